"""Guidance: away from what a picture would be without words, or by a weaker UNet.

Classifier-free guidance (arXiv 2207.12598) asks the UNet twice, with words and without. A base may have a
*guide*: a UNet that is smaller and has learned less, and makes the same mistakes more often. Asked without
words in the UNet's stead, guidance leads away from its mistakes as well (autoguidance, arXiv 2406.02507), and
a step costs little more than one call of the UNet.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["guide"]


def guide(unconditional: Tensor, conditional: Tensor, scale: float, rescale: float = 0.0) -> Tensor:
    """`u + scale * (c - u)`, optionally brought back to the contrast of `c`.

    unconditional: the UNet's prediction without words, or the guide's. Both (B, C, h, w). rescale: phi of
    arXiv 2305.08891, eq. 15-16, in [0, 1]; it undoes the over-exposure that guidance brings with a zero
    terminal SNR schedule (they use 0.7).
    """
    guided = unconditional + scale * (conditional - unconditional)
    if rescale == 0:
        return guided
    axes = tuple(range(1, guided.ndim))
    matched = guided * (conditional.std(axes, keepdim=True) / guided.std(axes, keepdim=True))
    return rescale * matched + (1 - rescale) * guided
