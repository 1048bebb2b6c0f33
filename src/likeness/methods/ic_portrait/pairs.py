"""Two pictures side by side: equations 1 and 2.

Pictures (B, 3, H, W); features (B, C, h, w) of one picture, (B, C, h, 2 w) of a pair. swapped: (B,) bool,
true where the target is on the right; None: everywhere on the left, as in painting.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

__all__ = ["halves", "joined", "random_shares", "sample_pixels"]


def sample_pixels(pixels: Tensor, shares: Tensor, generator: Generator) -> Tensor:
    """F(z, n) of eq. 1: pixels in [0, 1] of which a random share stays and the rest is black.

    shares: (B,) in [0, 1]. Each pixel is drawn by itself: a regular grid would be smoothed over.
    """
    drawn = torch.rand((len(pixels), 1, *pixels.shape[-2:]), generator=generator)
    keep = drawn < shares.cpu().view(-1, 1, 1, 1)
    return pixels * keep.to(pixels)


def random_shares(count: int, most: float, generator: Generator) -> Tensor:
    """n of eq. 1 for each picture: uniform in (0, `most`), (count,)."""
    return torch.rand(count, generator=generator) * most


def joined(target: Tensor, profile: Tensor, swapped: Tensor | None = None) -> Tensor:
    """Eq. 1's and 2's concatenation along the width: [target | profile], or the other way round."""
    pair = torch.cat([target, profile], dim=-1)
    if swapped is None:
        return pair
    turned = torch.cat([profile, target], dim=-1)
    return torch.where(swapped.to(pair.device).view(-1, 1, 1, 1), turned, pair)


def halves(pair: Tensor, swapped: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Target and profile of a pair, what `joined` put together."""
    left, right = pair.chunk(2, dim=-1)
    if swapped is None:
        return left, right
    turned = swapped.to(pair.device).view(-1, 1, 1, 1)
    return torch.where(turned, right, left), torch.where(turned, left, right)
