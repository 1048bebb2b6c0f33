"""Pictures as tensors, and back."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

__all__ = ["fitted", "to_levels", "to_pictures", "to_pixels"]


ROUNDING_PX = 8
"""What rounding both sides may come to: where shapes differ by more, another one was asked for."""


def fitted(picture: Image.Image, size_px: tuple[int, int]) -> Image.Image:
    """A picture at (width, height): of another shape than that, its middle is cut out, never squeezed."""
    width, height = size_px
    ratio = (width * picture.height) / (height * picture.width)
    if max(ratio, 1 / ratio) <= 1 + ROUNDING_PX / min(size_px):
        return picture.resize(size_px, Image.Resampling.LANCZOS)
    return ImageOps.fit(picture, size_px, Image.Resampling.LANCZOS)


def to_pixels(picture: Image.Image) -> Tensor:
    """A PIL picture -> RGB (1, 3, H, W) float32 in [-1, 1]."""
    return _values(picture.convert("RGB")) / 127.5 - 1


def to_levels(picture: Image.Image) -> Tensor:
    """A PIL picture, RGB or L -> (1, 3 or 1, H, W) float32 in [0, 1], as masks and control pictures are."""
    return _values(picture) / 255


def to_pictures(pixels: Tensor) -> list[Image.Image]:
    """(N, 3, H, W) on any device, cut off to [-1, 1] -> N PIL RGB pictures."""
    values = (pixels.detach().float().clamp(-1, 1) + 1) * 127.5
    arrays = values.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(array) for array in arrays]


def _values(picture: Image.Image) -> Tensor:
    """(1, C, H, W) float32, 0 to 255."""
    array = np.asarray(picture, np.float32).copy()
    return torch.from_numpy(array).reshape(picture.height, picture.width, -1).permute(2, 0, 1)[None]
