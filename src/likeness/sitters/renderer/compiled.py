"""Compile the kernels once, in a process of their own, so that every picture comes from the cache.

A process that compiles the kernels itself runs code whose float operations are ordered a little
differently from what it leaves in the cache (LLVM links and optimises callees anew), and now and
then a pixel comes out one level off. So whoever finds no compiled kernels lets a child process
compile them and then loads them like everybody else: same scene, same pixels, first run or not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from likeness.sitters.renderer.kernel import sources_hash

__all__ = ["ensure_compiled"]

_lock = threading.Lock()
_done = False


def ensure_compiled() -> None:
    """Compile the kernels unless that was done before; about a minute, once for each version."""
    global _done
    with _lock:
        if _done:
            return
        stamp = _stamp()
        if not stamp.exists() and os.environ.get("LIKENESS_COMPILING") != "1":
            package_root = str(Path(__file__).parents[3])
            paths = os.pathsep.join([package_root, *filter(None, [os.environ.get("PYTHONPATH")])])
            # A cache that cannot be written leaves no stamp: then this process compiles for itself.
            subprocess.run(
                [sys.executable, "-W", "ignore", "-m", "likeness.sitters.renderer.compiled"],
                env={**os.environ, "PYTHONPATH": paths, "LIKENESS_COMPILING": "1"},
                check=False,
                capture_output=True,
            )
        _done = True


def _stamp() -> Path:
    from likeness.sitters.renderer.shading import render_rays

    return Path(render_rays.stats.cache_path) / f"compiled-{sources_hash()}"


def _compile() -> None:
    from likeness.sitters.parameters import Scene
    from likeness.sitters.render import render

    render(Scene(), 16)
    stamp = _stamp()
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.touch()


if __name__ == "__main__":
    _compile()
