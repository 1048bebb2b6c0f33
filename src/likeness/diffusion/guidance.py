"""Classifier-free guidance."""

from __future__ import annotations

from torch import Tensor

__all__ = ["guide"]


def guide(unconditional: Tensor, conditional: Tensor, scale: float, rescale: float = 0.0) -> Tensor:
    """`u + scale * (c - u)` (arXiv 2207.12598), optionally brought back to the contrast of `c`.

    Both (B, C, h, w). rescale: phi of arXiv 2305.08891, eq. 15-16, in [0, 1]; it undoes the
    over-exposure that guidance brings with a zero terminal SNR schedule (they use 0.7).
    """
    guided = unconditional + scale * (conditional - unconditional)
    if rescale == 0:
        return guided
    axes = tuple(range(1, guided.ndim))
    matched = guided * (conditional.std(axes, keepdim=True) / guided.std(axes, keepdim=True))
    return rescale * matched + (1 - rescale) * guided
