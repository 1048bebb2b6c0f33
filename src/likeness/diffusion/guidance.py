"""Guidance: away from what a picture would be without words, or by a weaker UNet.

Classifier-free guidance (arXiv 2207.12598) asks the UNet twice, with words and without. A base may have a
*guide*: a UNet that is smaller and has learned less, and makes the same mistakes more often. It is asked
without words too, and guidance leads away from the mean of both answers: from what the words do not say, and
from the guide's mistakes (autoguidance, arXiv 2406.02507). From the guide's answer alone faces come out
cleaner still, but words are followed less.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from likeness.types import WeightsRecord

__all__ = ["GUIDE_SHARE", "guide", "with_guide", "without_guide"]

GUIDE_SHARE = 0.5
"""How much of what guidance leads away from is the guide's answer; the rest is the UNet's own."""


def with_guide(
    asked: Any,
    unconditional: Tensor,
    latents: Tensor,
    timestep: Tensor,
    rows: Tensor,
    added: dict[str, Tensor] | None = None,
) -> Tensor:
    """What guidance leads away from, (B, C, h, w): the UNet's prediction without words and the guide's.

    asked: the base's guide, or None, which leaves `unconditional` as it is. latents (B, C, h, w), rows
    (B, 77, D) and `added`, SDXL's further conditions, are those of `unconditional`.
    """
    if asked is None:
        return unconditional
    answer = asked(latents, timestep, rows, added_cond_kwargs=added).sample
    return unconditional.lerp(answer, GUIDE_SHARE)


def without_guide(weights: Iterable[WeightsRecord]) -> tuple[WeightsRecord, ...]:
    """Those that a picture was made by which never asked the base's guide."""
    return tuple(one for one in weights if one.role != "guide")


def guide(unconditional: Tensor, conditional: Tensor, scale: float, rescale: float = 0.0) -> Tensor:
    """`u + scale * (c - u)`, optionally brought back to the contrast of `c`.

    unconditional: the prediction without words, or `with_guide`. Both (B, C, h, w). rescale: phi of arXiv
    2305.08891, eq. 15-16, in [0, 1]; it undoes the over-exposure that guidance brings with a zero
    terminal SNR schedule (they use 0.7).
    """
    guided = unconditional + scale * (conditional - unconditional)
    if rescale == 0:
        return guided
    axes = tuple(range(1, guided.ndim))
    matched = guided * (conditional.std(axes, keepdim=True) / guided.std(axes, keepdim=True))
    return rescale * matched + (1 - rescale) * guided
