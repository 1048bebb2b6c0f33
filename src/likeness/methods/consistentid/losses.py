"""The two losses of ConsistentID: noise prediction (eq. 2) and attention localisation (eq. 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["FACIAL_WEIGHT", "facial_localisation_loss", "noise_loss"]

FACIAL_WEIGHT = 0.01
"""Lambda in `L = L_noise + lambda * L_facial` (section 4.1)."""

_TINY = 1e-5


def noise_loss(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Eq. 2: mean squared error of the UNet's prediction, both (B, C, h, w); a scalar in fp32.

    weight: (B, 1, h, w), what each place counts; the mean is over all places all the same.
    """
    error = (prediction.float() - target.float()).square()
    return (error if weight is None else weight * error).mean()


def facial_localisation_loss(
    maps: Sequence[Tensor], masks: Tensor, token_index: Tensor, valid: Tensor, *, normalise: bool = False
) -> Tensor:
    """Eq. 1: attention of a part's token outside the part, minus inside; mean over layers, heads, parts.

    maps: one (B, H, P, T) per cross-attention layer, softmax over T, P = h * w pixels of a square.
    masks: (B, N, h', w') in [0, 1], part segmentation of the target picture, any size.
    token_index: (B, N) position of each part's token. valid: (B, N) bool.
    normalise: divide each map by its spatial maximum first, as the published code does; the
    paper does not. Pictures without a valid part count as zero. Returns a scalar.
    """
    if not maps:
        raise ValueError("The localisation loss needs at least one cross-attention map, got none.")
    return torch.stack([_layer(m, masks, token_index, valid, normalise) for m in maps]).mean()


def _layer(maps: Tensor, masks: Tensor, token_index: Tensor, valid: Tensor, normalise: bool) -> Tensor:
    batch, heads, pixels, _ = maps.shape
    side = int(pixels**0.5)
    m = F.interpolate(masks.float(), size=(side, side), mode="bilinear", antialias=True).flatten(2)
    m = m.transpose(1, 2)[:, None]  # (B, 1, P, N)
    index = token_index[:, None, None, :].expand(batch, heads, pixels, -1)
    p = maps.gather(3, index)  # (B, H, P, N): P_{i_j}
    if normalise:
        p = p / (p.amax(dim=2, keepdim=True) + _TINY)
    outside = (p * (1 - m)).sum(2) / ((1 - m).sum(2) + _TINY)
    inside = (p * m).sum(2) / (m.sum(2) + _TINY)
    parts = (outside - inside) * valid[:, None, :]
    count = valid.sum(1).clamp(min=1)[:, None]
    return (parts.sum(2) / count).mean()
