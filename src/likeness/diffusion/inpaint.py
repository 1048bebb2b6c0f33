"""Painting into a picture that is there: the part that changes, and what is kept around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageChops, ImageFilter
from torch import Tensor

from likeness.diffusion.noise import draw
from likeness.diffusion.pixels import to_levels, to_pixels
from likeness.diffusion.regions import Region, whole
from likeness.errors import InputError

if TYPE_CHECKING:
    from likeness.diffusion.load import Base

__all__ = ["Kept", "Patch", "first_step"]

MARGIN = 0.25
"""Room around what is painted anew, on each side, as a share of its larger side: what it must fit to."""


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """The part of a picture that is painted anew, enlarged to what the base paints best.

    box: (x0, y0, x1, y1) px in the picture. image: RGB. mask: L, white where it changes; both of the size
    that is painted.
    """

    box: tuple[int, int, int, int]
    image: Image.Image
    mask: Image.Image

    @staticmethod
    def around(
        picture: Image.Image,
        mask: Image.Image,
        native_px: int,
        unit_px: int,
        size_px: tuple[int, int] | None = None,
    ) -> Patch:
        """The patch around the white of `mask`, with some room.

        native_px: the side the base paints best; unit_px: what sides must be multiples of. size_px: (width,
        height) to enlarge it to, whatever the base paints best.
        Raises: InputError for a mask of another size, or without white.
        """
        mask = mask.convert("L")
        if mask.size != picture.size:
            raise InputError(
                f"The mask is {mask.width} x {mask.height} px, the picture {picture.width} x "
                f"{picture.height}; they must be of one size."
            )
        white = mask.point(lambda v: 255 if v >= 128 else 0).getbbox()
        if white is None:
            raise InputError("The mask is black everywhere: white says what is painted anew.")
        x0, y0, x1, y1 = white
        # Less where the picture has no room, so that the patch stays square: so the base paints best.
        larger = max(x1 - x0, y1 - y0)
        side = min(round(larger * (1 + 2 * MARGIN)), max(larger, min(picture.size)))
        left, right = _within((x0 + x1) / 2, side, picture.width)
        top, bottom = _within((y0 + y1) / 2, side, picture.height)
        box = (left, top, right, bottom)
        scale = native_px / max(right - left, bottom - top)
        own = (_nearest((right - left) * scale, unit_px), _nearest((bottom - top) * scale, unit_px))
        size = size_px or own
        image = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS, box=box)
        return Patch(box, image, mask.resize(size, Image.Resampling.BILINEAR, box=box))

    def share_of(self, picture: Image.Image) -> tuple[float, float, float, float]:
        """`box` in shares of the picture's sides."""
        x0, y0, x1, y1 = self.box
        return x0 / picture.width, y0 / picture.height, x1 / picture.width, y1 / picture.height

    def cells(self, base: Base) -> Region:
        """The whole patch, in the base's latents."""
        return whole((self.image.width // base.downscale, self.image.height // base.downscale))

    def laid_back(self, picture: Image.Image, mask: Image.Image, painted: Image.Image) -> Image.Image:
        """The picture with the painted patch in it; what is black in `mask` stays bit for bit."""
        x0, y0, x1, y1 = self.box
        size = (x1 - x0, y1 - y0)
        inside = mask.convert("L").crop(self.box)
        rim = max(1, round(0.04 * max(size)))
        # Soft towards the inside only. At the picture's border there is nothing to fit to: the filters take
        # it that the mask goes on past it.
        shrunk = _eroded(inside, rim // 2).filter(ImageFilter.BoxBlur(rim / 2))
        soft = ImageChops.darker(inside, shrunk)
        out = picture.convert("RGB").copy()
        out.paste(painted.resize(size, Image.Resampling.LANCZOS), (x0, y0), soft)
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What denoising must leave alone (Blended Latent Diffusion, arXiv 2206.02779, algorithm 1).

    latents: (1, C, h, w), clean. changes: (1, 1, h, w), 1 where it is painted anew. noise: as `latents`.
    """

    latents: Tensor
    changes: Tensor
    noise: Tensor

    @staticmethod
    def of(base: Base, patch: Patch, source: torch.Generator) -> Kept:
        """A patch as the base sees it; the noise is drawn from `source`."""
        latents = base.encode(to_pixels(patch.image))[0].to(base.dtype)
        # A cell changes when any of it does.
        changes = (torch.nn.functional.max_pool2d(to_levels(patch.mask), base.downscale) > 0).to(
            base.device, base.dtype
        )
        noise = draw(latents.shape, source, device=base.device, dtype=base.dtype)
        return Kept(latents, changes, noise)

    def at(self, scheduler: Any, timestep: Tensor | None) -> Tensor:
        """The kept latents with the noise of a time step, or clean."""
        if timestep is None:
            return self.latents
        return scheduler.add_noise(self.latents, self.noise, timestep.reshape(1))  # type: ignore[no-any-return]

    def restored(self, latents: Tensor, scheduler: Any, timestep: Tensor | None) -> Tensor:
        """Latents that have just come to `timestep` (None: the end), with what is kept put back."""
        return self.changes * latents + (1 - self.changes) * self.at(scheduler, timestep)


def first_step(steps: int, strength: float) -> int:
    """The step that painting into a picture begins with: a share `strength` of the steps is taken."""
    return steps - max(1, round(steps * strength))


def _nearest(length: float, unit: int) -> int:
    return max(unit, round(length / unit) * unit)


def _within(middle: float, length: int, limit: int) -> tuple[int, int]:
    """A stretch about `middle`, moved and cut so that it lies in [0, limit]."""
    length = min(length, limit)
    low = min(max(round(middle - length / 2), 0), limit - length)
    return low, low + length


def _eroded(mask: Image.Image, reach: int) -> Image.Image:
    """`MinFilter(2 * reach + 1)`, whose time grows with the square of `reach`: minutes for a large photo."""
    levels = np.pad(np.asarray(mask), reach, mode="edge")
    for _ in range(2):
        width = 1
        while width < 2 * reach + 1:
            step = min(width, 2 * reach + 1 - width)
            levels = np.minimum(levels[:-step], levels[step:])
            width += step
        levels = levels.T
    return Image.fromarray(np.ascontiguousarray(levels))
