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
    """Whether bfloat16 pays on this device: GPUs that have it, CPUs with the instructions for it.

    On a CPU: AMX, or AMD's avx512_bf16. Intel's, where AMX is hidden by a virtual machine, has no more
    throughput than float32's, and a training step of a small UNet took 1.4 times as long.
    """
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and _has_fast_bf16(_cpuinfo())


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


def _has_fast_bf16(cpuinfo: str) -> bool:
    """By the text of /proc/cpuinfo."""
    return "amx_bf16" in cpuinfo or ("avx512_bf16" in cpuinfo and "AuthenticAMD" in cpuinfo)


def _cpuinfo() -> str:
    from pathlib import Path

    file = Path("/proc/cpuinfo")
    return file.read_text(errors="replace") if file.is_file() else ""
