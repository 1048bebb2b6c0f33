"""A picture as a prompt: CLIP's vision tower, by its states or by its embedding."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from likeness.diffusion.parts import load_part

__all__ = ["ImageEncoder", "load_image_encoder"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class ImageEncoder:
    """A CLIP vision tower, such as ViT-H/14, whose states before the last layer are read, or its embedding.

    model: transformers' CLIPVisionModelWithProjection or CLIPVisionModel. mean, std: of the
    pixels it was trained with, per channel, for pixels in [0, 1].
    """

    def __init__(self, model: Any, mean: Sequence[float], std: Sequence[float]) -> None:
        self.model = model
        self.size_px: int = model.config.image_size
        self.width: int = model.config.hidden_size
        self._mean = torch.tensor(mean).view(3, 1, 1)
        self._std = torch.tensor(std).view(3, 1, 1)

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Square pictures (others are centre-cropped) -> penultimate states (B, S, W)."""
        return self.states(torch.stack([self.pixels(picture) for picture in pictures]))

    @torch.no_grad()
    def states(self, pixels: Tensor) -> Tensor:
        """(B, 3, size_px, size_px) normalised -> (B, S, W)."""
        out = self.model(pixels.to(self.model.device, self.model.dtype), output_hidden_states=True)
        return out.hidden_states[-2]  # type: ignore[no-any-return]

    @torch.no_grad()
    def embeds(self, pixels: Tensor) -> Tensor:
        """(B, 3, size_px, size_px) normalised -> what is compared with texts' embeddings, (B, D)."""
        out = self.model(pixels.to(self.model.device, self.model.dtype))
        return out.image_embeds  # type: ignore[no-any-return]

    @torch.no_grad()
    def embeds_of(self, states: Tensor) -> Tensor:
        """The same from what `states` gave, (B, S, W) -> (B, D): the last layer, and the projection."""
        tower = self.model.vision_model
        last = tower.encoder.layers[-1](states.to(self.model.device, self.model.dtype), None)
        return self.model.visual_projection(tower.post_layernorm(last[:, 0]))  # type: ignore[no-any-return]

    def zero_picture(self) -> Tensor:
        """States (1, S, W) of an all-zero input."""
        return self.states(torch.zeros(1, 3, self.size_px, self.size_px))

    def pixels(self, picture: Image.Image) -> Tensor:
        """What the tower reads: (3, size_px, size_px), normalised."""
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        box = (left, top, left + side, top + side)
        small = picture.resize((self.size_px, self.size_px), Image.Resampling.BICUBIC, box=box)
        return self.normalised(torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1))

    def normalised(self, pixels: Tensor) -> Tensor:
        """uint8 pictures (..., 3, H, W) of any size -> what the tower reads of them."""
        small = pixels.float() / 255
        if small.shape[-2:] != (self.size_px, self.size_px):
            size = (self.size_px, self.size_px)
            small = F.interpolate(small, size, mode="bicubic", antialias=True, align_corners=False)
        return (small - self._mean) / self._std


def load_image_encoder(folder: Path, *, device: torch.device | str, dtype: torch.dtype) -> ImageEncoder:
    """A CLIP vision tower from its folder; pixel statistics from `preprocessor_config.json`, else CLIP's."""
    from transformers import CLIPVisionModelWithProjection

    model = load_part(folder, CLIPVisionModelWithProjection, dtype).to(device)
    file = folder / "preprocessor_config.json"
    values: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return ImageEncoder(model, values.get("image_mean", CLIP_MEAN), values.get("image_std", CLIP_STD))
