"""`@kernel` compiles the renderer's inner functions so that they stay in 32-bit floats.

A float literal is a 64-bit number to numba, and one of them in a distance field makes the
whole loop 64-bit and halves the vector width. The decorator rewrites every float literal of
the function to `np.float32(literal)` before compiling, so kernels read as plain formulas.

Compiled code is cached beside the package. numba renews a cached function only when its own
file changes, so the cache key also carries a hash of every kernel file of this package.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

__all__ = ["inline_kernel", "kernel"]

OPTIONS = {"fastmath": True, "error_model": "numpy", "cache": True, "nogil": True}


class _Float32Literals(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if not isinstance(node.value, float):
            return node
        call = ast.Call(func=ast.Name("_float32", ast.Load()), args=[node], keywords=[])
        return ast.copy_location(call, node)


@cache
def sources_hash() -> str:
    """Hash of every source file of this package: compiled code is valid for exactly these."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _compile(function: Callable[..., Any], forceinline: bool) -> Any:
    source = textwrap.dedent(inspect.getsource(function))
    tree = ast.parse(source)
    definition = tree.body[0]
    if not isinstance(definition, ast.FunctionDef):
        raise TypeError(f"{function.__qualname__} is not written as a plain function.")
    definition.decorator_list = []
    definition.returns = None
    for argument in definition.args.args:
        argument.annotation = None
    tree = ast.fix_missing_locations(_Float32Literals().visit(tree))
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
    scope = function.__globals__
    scope["_float32"] = np.float32
    local: dict[str, Any] = {}
    code = compile(tree, function.__code__.co_filename, "exec")
    exec(code, scope, local)  # noqa: S102 (the project's own source, read back from its file)
    rewritten = local[function.__name__]
    rewritten.__qualname__ = f"{function.__name__}_{sources_hash()}"
    rewritten.__doc__ = function.__doc__
    return njit(forceinline=forceinline, **OPTIONS)(rewritten)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a loop over points or rays."""
    return _compile(function, forceinline=False)


def inline_kernel(function: Callable[..., Any]) -> Any:
    """Compile a per-point formula and inline it into every caller, so that loops vectorise."""
    return _compile(function, forceinline=True)
