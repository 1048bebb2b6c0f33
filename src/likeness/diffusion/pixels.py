"""Pictures as tensors, and back."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

__all__ = ["to_levels", "to_pictures", "to_pixels"]


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
