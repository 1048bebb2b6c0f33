"""How the forward pass is computed: number formats, and attention that goes backwards fast."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

__all__ = ["autocast", "bf16_is_fast", "trainable_attention"]


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


@contextlib.contextmanager
def trainable_attention(device: torch.device | str) -> Iterator[None]:
    """On a CPU, attention by plain products, in bf16 where the rest is.

    The backward pass of torch's fused kernel took longer there than that of a small UNet's convolutions.
    """
    if torch.device(device).type != "cpu":
        yield
        return
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()  # the switch is the CPU's too
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(before)


def _cpu_flags() -> str:
    from pathlib import Path

    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return ""
    text = cpuinfo.read_text(errors="replace")
    return text + (" avx512_bf16" if "amx_bf16" in text else "")
