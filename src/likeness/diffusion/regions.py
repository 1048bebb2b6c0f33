"""Several painters on one picture, each in a window of their own.

A base paints one person best, in a picture of its own size. So a picture of several people is painted as
windows of that size, one a person; where windows overlap, the predictions are averaged by weights at
every step and the parts grow together (MultiDiffusion, arXiv 2302.08113, eq. 5; Mixture of Diffusers,
arXiv 2302.02412). All sizes here are in latent cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from likeness.diffusion.pixels import to_levels
from likeness.errors import InputError

__all__ = ["Region", "blended", "check_box", "covered", "mask_cells", "side_by_side", "whole"]

Box = tuple[float, float, float, float]

OVERLAP = 0.25
"""Share of a window that people side by side have in common with their neighbours."""
FEATHER = 0.125
"""Width of the soft border of a region, as a share of its window."""
FAINT = 1e-3
"""Weight inside a window but far from the region: it counts where nobody else paints."""


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A window (top, left, height, width) of the latents, and how much its painter counts there, (h, w)."""

    top: int
    left: int
    height: int
    width: int
    weight: Tensor

    def of(self, latents: Tensor) -> Tensor:
        """The window of latents (B, C, H, W), or of anything with two last axes."""
        return latents[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def times(self, cell: int) -> Region:
        """The same window in picture px, of `cell` px a latent cell; without weights."""
        return Region(self.top * cell, self.left * cell, self.height * cell, self.width * cell, self.weight)

    @staticmethod
    def around(box: Box, size: tuple[int, int], native: int, unit: int, mask: Tensor | None = None) -> Region:
        """The window around a box (x0, y0, x1, y1), on latents of `size` (width, height).

        native: the side the base paints best. unit: what sides must be multiples of. mask: (H, W) in [0, 1],
        the region itself where it is no box.
        """
        x0, y0, x1, y1 = box
        width = min(max(native, -int(-(x1 - x0) // unit) * unit), size[0])
        height = min(max(native, -int(-(y1 - y0) // unit) * unit), size[1])
        left = min(max(round((x0 + x1 - width) / 2), 0), size[0] - width)
        top = min(max(round((y0 + y1 - height) / 2), 0), size[1] - height)
        if mask is None:
            feather = max(1.0, FEATHER * native)
            across = _ramp(torch.arange(left, left + width) + 0.5, x0, x1, feather)
            down = _ramp(torch.arange(top, top + height) + 0.5, y0, y1, feather)
            inside = down[:, None] * across[None]
        else:
            inside = mask[top : top + height, left : left + width].float()
        return Region(top, left, height, width, FAINT + inside)


def whole(size: tuple[int, int]) -> Region:
    """The whole of latents of `size` (width, height)."""
    return Region(0, 0, size[1], size[0], torch.ones(size[1], size[0]))


def side_by_side(count: int, native_px: int, unit_px: int) -> tuple[tuple[int, int], list[Box]]:
    """A picture's size (width, height) for `count` people in a row, and a box for each, in px."""
    step = max(unit_px, round(native_px * (1 - OVERLAP) / unit_px) * unit_px)
    shared = native_px - step
    boxes = [
        (
            float(i * step + (shared / 2 if i else 0)),
            0.0,
            float(i * step + native_px - (shared / 2 if i < count - 1 else 0)),
            float(native_px),
        )
        for i in range(count)
    ]
    return (native_px + (count - 1) * step, native_px), boxes


def mask_cells(mask: Image.Image, size: tuple[int, int]) -> Tensor:
    """A mask picture (L, white inside) on latents of `size` (width, height): (H, W) in [0, 1]."""
    small = mask.convert("L").resize(size, Image.Resampling.BOX)
    return to_levels(small)[0, 0]


def check_box(box: Box, size_px: tuple[int, int]) -> Box:
    """The box, if it lies in a picture of that size. Raises: InputError."""
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= size_px[0] and 0 <= y0 < y1 <= size_px[1]):
        raise InputError(
            f"The box {x0:g},{y0:g},{x1:g},{y1:g} does not lie in the picture of {size_px[0]} x {size_px[1]} "
            "px; give x0,y0,x1,y1 with x1 > x0 and y1 > y0 inside it."
        )
    return box


def blended(predictions: Sequence[Tensor], regions: Sequence[Region], like: Tensor) -> Tensor:
    """Predictions (1, C, h, w) of each window, averaged by their weights on latents shaped `like`.

    Cells no window covers are left at zero; the caller sees to it that there are none.
    """
    if len(regions) == 1 and predictions[0].shape == like.shape:
        return predictions[0]
    total, weights = torch.zeros_like(like), torch.zeros_like(like[:, :1])
    for prediction, region in zip(predictions, regions, strict=True):
        weight = region.weight.to(like)
        region.of(total).add_(weight * prediction)
        region.of(weights).add_(weight)
    return total / weights.clamp(min=1e-9)


def covered(regions: Sequence[Region], size: tuple[int, int]) -> bool:
    """Whether the windows cover latents of `size` (width, height)."""
    seen = torch.zeros(size[1], size[0])
    for region in regions:
        region.of(seen).fill_(1)
    return bool(seen.all())


def _ramp(middles: Tensor, low: float, high: float, feather: float) -> Tensor:
    """1 in the box, falling to 0 over `feather` cells, half of them inside its border."""
    inside = torch.minimum(middles - low, high - middles)
    return (inside / feather + 0.5).clamp(0, 1)
