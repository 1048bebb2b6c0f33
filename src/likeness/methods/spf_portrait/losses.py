"""The losses of SPF-Portrait, equations 6, 7 and 12 to 14; readings of formulas its text has lost.

Shapes: B pictures, H heads of width d, P pixels of a layer, n text tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["LayerFeatures", "attention_loss", "direct_loss", "feature_loss", "resized_map", "target_loss"]

_TINY = 1e-6


class LayerFeatures(NamedTuple):
    """A cross-attention layer's queries (B, H, P, d) and keys (B, H, T, d)."""

    queries: Tensor
    keys: Tensor


def attention_loss(
    reference: Sequence[LayerFeatures],
    response: Sequence[LayerFeatures],
    tokens: Tensor,
    control: Tensor | None = None,
) -> Tensor:
    """Eq. 6: `|| A_ref - A_res ||^2`, the mean over layers; a scalar.

    A = softmax(K Q^T / sqrt(d)) Q: each token of the base text asks, the pixels answer. tokens: (B, T) bool,
    those of the base text. control: (B, h, w) in [0, 1]; pixels enter the average with weight 1 - M, in both
    paths.
    """
    asked = int(tokens.any(dim=0).nonzero().max()) + 1 if tokens.any() else 1  # the rest counts nothing
    tokens, losses = tokens[:, :asked], []
    for one, other in zip(reference, response, strict=True):
        weight = None if control is None else 1 - resized_map(control, one.queries.shape[2])
        apart = _answers(one, asked, weight) - _answers(other, asked, weight)
        apart = apart.square().mean(dim=(1, 3))  # (B, asked)
        losses.append((apart * tokens).sum() / tokens.sum().clamp(min=1))
    return torch.stack(losses).mean()


def _answers(layer: LayerFeatures, asked: int, weight: Tensor | None) -> Tensor:
    """(B, H, asked, d): what the first `asked` tokens are answered."""
    queries, keys = layer.queries.float(), layer.keys[:, :, :asked].float()
    shares = (keys @ queries.transpose(-2, -1) / queries.shape[-1] ** 0.5).softmax(dim=-1)
    if weight is not None:
        shares = shares * weight[:, None, None]
        shares = shares / shares.sum(dim=-1, keepdim=True).clamp(min=_TINY)
    answers: Tensor = shares @ queries
    return answers


def feature_loss(
    reference: Sequence[LayerFeatures], response: Sequence[LayerFeatures], control: Tensor | None = None
) -> Tensor:
    """Eq. 7: `|| (1 - M) (Q_ref - Q_res) ||^2`, the mean over layers; a scalar. control: as above."""
    losses = []
    for one, other in zip(reference, response, strict=True):
        apart = one.queries.float() - other.queries.float()
        if control is not None:
            apart = apart * (1 - resized_map(control, apart.shape[2]))[:, None, :, None]
        losses.append(apart.square().mean())
    return torch.stack(losses).mean()


def resized_map(control: Tensor, pixels: int) -> Tensor:
    """A map (B, h, w) at a layer of so many pixels, (B, P)."""
    height, width = control.shape[-2:]
    rows = round((pixels * height / width) ** 0.5)
    small = F.interpolate(control[:, None], size=(rows, pixels // rows), mode="bilinear", antialias=True)
    return small.flatten(1)


def target_loss(predicted: Tensor, wanted: Tensor, target: Tensor) -> Tensor:
    """Eq. 12 and 13: 1 - cosine of the ways from the target's text to both pictures, in CLIP's space.

    predicted, wanted: image embeddings (B, D) of what is painted and of the training picture. target: (B, D),
    the target text's. All of unit length. A scalar.
    """
    return (1 - F.cosine_similarity(predicted - target, wanted - target, dim=-1)).mean()


def direct_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Eq. 14, the ablation: 1 - cosine of the picture and the target's text."""
    return (1 - F.cosine_similarity(predicted, target, dim=-1)).mean()
