"""The control map to look at: laid over the picture, step by step and phrase by phrase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

from likeness.files.images import contact_sheet

__all__ = ["ControlMap", "map_sheet", "overlaid"]

HEAT = (255, 64, 0)
STRONGEST = 0.75
"""How much of the heat's colour covers the picture where a map is 1."""


@dataclass(frozen=True, slots=True, eq=False)
class ControlMap:
    """Where the target may act at one step (from 1), and what it was made of, all (h, w) in [0, 1].

    map: eq. 10; soft: eq. 8; phrases: each phrase of the prompt and what it looks at, eq. 9.
    """

    step: int
    map: Tensor
    soft: Tensor
    phrases: tuple[tuple[str, Tensor], ...]


def map_sheet(image: Image.Image, maps: Sequence[ControlMap]) -> Image.Image:
    """A row a step: the control map, the difference of the predictions, then every phrase."""
    images, labels = [], []
    for one in maps:
        images += [overlaid(image, part) for part in (one.map, one.soft, *(map_ for _, map_ in one.phrases))]
        labels += [f"step {one.step}: control map", "difference", *(text for text, _ in one.phrases)]
    return contact_sheet(images, 2 + len(maps[0].phrases), labels)


def overlaid(image: Image.Image, heat: Tensor) -> Image.Image:
    """The picture in grey under a map (h, w) in [0, 1]."""
    grey = np.asarray(image.convert("L").convert("RGB"), np.float32)
    map_ = Image.fromarray(heat.float().numpy()).resize(image.size, Image.Resampling.BICUBIC)
    share = STRONGEST * np.asarray(map_, np.float32).clip(0, 1)[..., None]
    return Image.fromarray((grey * (1 - share) + np.array(HEAT, np.float32) * share).round().astype(np.uint8))
