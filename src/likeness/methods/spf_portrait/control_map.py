"""The Semantic-Aware Fine Control Map: where a target may change the picture (eq. 8 to 10).

The paper's formulas are lost in its text; these are readings of them, named by its numbers. Shapes: B
pictures, h x w latent cells, T text tokens, N phrases of the base text, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["control_map", "phrase_maps", "similarity_share", "soft_map"]


def soft_map(response: Tensor, reference: Tensor) -> Tensor:
    """Eq. 8: how far the two predictions (B, C, h, w) are apart, 0 to 1 within each picture, (B, h, w)."""
    apart = (response.detach().float() - reference.detach().float()).abs().mean(dim=1)
    return _stretched(apart, even=1e-4)


def phrase_maps(maps: Sequence[Tensor], tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Eq. 9: where each phrase is looked at, 0 to 1, (B, N, h, w).

    maps: a layer's cross-attention probabilities (B, H, P, T) each, P of a grid of the size's shape.
    tokens: (B, N, T) bool. size: (h, w). A phrase without tokens is 0 everywhere.
    """
    height, width = size
    total = torch.zeros(*tokens.shape[:2], height, width, device=tokens.device)
    if not tokens.shape[1]:
        return total
    weights = tokens.float() / tokens.sum(dim=2, keepdim=True).clamp(min=1)
    for layer in maps:
        looked = torch.einsum("bpt,bnt->bnp", layer.detach().float().mean(dim=1), weights)
        rows = round((looked.shape[-1] * height / width) ** 0.5)
        grid = looked.unflatten(-1, (rows, -1))
        total += F.interpolate(grid, size=size, mode="bilinear", align_corners=False)
    return _stretched(total)


def similarity_share(target: Tensor, phrases: Tensor) -> Tensor:
    """s_i of eq. 10: cosine of the target's CLIP text (B, D) with each phrase's (B, N, D), in [0, 1]."""
    return (F.cosine_similarity(target[:, None].float(), phrases.float(), dim=-1) + 1) / 2


def control_map(soft: Tensor, phrases: Tensor, similarity: Tensor) -> Tensor:
    """Eq. 10: the soft map (B, h, w) without what phrases (B, N, h, w) unlike the target look at.

    similarity: (B, N) in [0, 1]. Of the phrases the strongest claim on a cell counts: their sum, as eq. 10
    may be read too, grows with the length of the text and leaves little of any map. Returned 0 to 1 within
    each picture: high where the target may act.
    """
    claims = (1 - similarity)[..., None, None] * phrases
    unlike = claims.amax(dim=1) if phrases.shape[1] else torch.zeros_like(soft)
    return _stretched((soft - unlike).clamp(0, 1))


def _stretched(maps: Tensor, even: float = 1e-6) -> Tensor:
    """(..., h, w) brought to [0, 1] each; a range below `even` is rounding and stays near 0."""
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / (high - low).clamp(min=even)
