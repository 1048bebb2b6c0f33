"""Number formats of the forward pass."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["autocast", "bf16_is_fast"]


def bf16_is_fast(device: torch.device | str) -> bool:
    """Whether bfloat16 pays on this device: GPUs that have it, CPUs with the instructions for it."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and "avx512_bf16" in _cpu_flags()


def autocast(device: torch.device | str, *, enabled: bool | None = None) -> AbstractContextManager[Any]:
    """bfloat16 autocast where it pays (`enabled=None`), or as asked."""
    wanted = bf16_is_fast(device) if enabled is None else enabled
    if not wanted:
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)


def _cpu_flags() -> str:
    from pathlib import Path

    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return ""
    text = cpuinfo.read_text(errors="replace")
    return text + (" avx512_bf16" if "amx_bf16" in text else "")
