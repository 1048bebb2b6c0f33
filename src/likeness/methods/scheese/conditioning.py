"""From a reference picture to tensors, in the same way for training and for painting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from likeness.diffusion.pixels import to_pixels

if TYPE_CHECKING:
    from likeness.diffusion.image_encoder import ImageEncoder
    from likeness.diffusion.load import Base

__all__ = ["Reference", "picture_size", "reference_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What SCheese knows of a portrait.

    states: (1, S, W) of the image encoder. latents: (1, C, h, w), scaled and clean.
    """

    states: Tensor
    latents: Tensor


@torch.no_grad()
def reference_of(picture: Image.Image, base: Base, image_encoder: ImageEncoder) -> Reference:
    """Encode a portrait: its middle square for the image encoder, the whole of it for ConsistencyNet."""
    whole = picture.convert("RGB").resize(picture_size(picture, base), Image.Resampling.LANCZOS)
    latents = base.encode(to_pixels(whole))[0].to(base.dtype)
    return Reference(image_encoder([whole]).to(base.device, base.dtype), latents)


def picture_size(picture: Image.Image, base: Base) -> tuple[int, int]:
    """Width and height px of the picture's shape at the area that the base paints best."""
    scale = base.size_px / (picture.width * picture.height) ** 0.5
    width, height = (max(1, round(side * scale / base.unit_px)) * base.unit_px for side in picture.size)
    return width, height
