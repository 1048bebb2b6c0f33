"""Attention, and putting processors of it into a UNet and taking them out again, without a trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["attached", "attend"]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v over q (B, H, P, d), k and v (B, H, T, d).

    Where gradients are wanted on a CPU it is done in plain products: the backward pass of torch's
    fused kernel takes longer there than all the rest of a small UNet's attention.
    """
    if mask is None and q.device.type == "cpu" and torch.is_grad_enabled() and q.requires_grad:
        return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


@contextmanager
def attached(unet: Any, processors: Mapping[str, Any]) -> Iterator[None]:
    """Inside the block `unet` uses `processors`, named as in `unet.attn_processors`.

    Layers that are not named keep theirs. On leaving, also by an error, every layer has its own
    processor object back, so the UNet is bit for bit what it was.
    """
    before = dict(unet.attn_processors)
    unknown = sorted(set(processors) - set(before))
    if unknown:
        raise ValueError(f"The UNet has no attention layer {unknown[0]!r}.")
    unet.set_attn_processor({**before, **processors})
    try:
        yield
    finally:
        unet.set_attn_processor(before)
