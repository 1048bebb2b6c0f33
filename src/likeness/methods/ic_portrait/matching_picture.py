"""The matching to look at: target, the profile carried onto it, lines between both, and how sure it is."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from likeness.diffusion.pixels import to_pictures, to_pixels
from likeness.methods.ic_portrait.matching import Matching, warp

__all__ = ["draw_matching"]

SIDE_PX = 320
LINES = 6
"""Correspondences drawn across and down."""
LOW, HIGH = np.array([40, 60, 160]), np.array([255, 225, 60])
"""Colours of the least and the most sure cells."""


def draw_matching(target: Image.Image, profile: Image.Image, matching: Matching) -> Image.Image:
    """A row of four: target and profile joined by lines, the profile warped by the flow, the confidence.

    target, profile: RGB of one size, the pair; matching: of one pair. Lines and the last picture are coloured
    by the confidence, from blue, the least on this pair, to yellow.
    """
    height = round(SIDE_PX * target.height / target.width)
    size = (SIDE_PX, height)
    warped = to_pictures(warp(to_pixels(profile), matching.flow.cpu().float()))[0]
    sure = _shares(matching.confidence[0].cpu().float())
    map_of = Image.fromarray(_colours(sure)).resize(size, Image.Resampling.NEAREST)
    row = Image.new("RGB", (4 * SIDE_PX, height))
    for place, picture in enumerate((target, profile, warped)):
        row.paste(picture.resize(size, Image.Resampling.LANCZOS), (place * SIDE_PX, 0))
    row.paste(map_of, (3 * SIDE_PX, 0))
    pen = ImageDraw.Draw(row)
    cells = matching.source.shape[-1], matching.source.shape[-2]
    for y in _spread(cells[1]):
        for x in _spread(cells[0]):
            index = int(matching.source[0, y, x])
            here = _middle((x, y), cells, size)
            there = _middle((index % cells[0], index // cells[0]), cells, size)
            there = (there[0] + SIDE_PX, there[1])
            colour = tuple(int(v) for v in _colours(sure)[y, x])
            pen.line([here, there], fill=colour, width=1)
            for point in (here, there):
                pen.ellipse([point[0] - 3, point[1] - 3, point[0] + 3, point[1] + 3], outline=colour, width=2)
    return row


def _shares(confidence: torch.Tensor) -> NDArray[np.float32]:
    """Confidence (h, w) from 0, the least, to 1, the most."""
    low, high = confidence.min(), confidence.max()
    return ((confidence - low) / (high - low).clamp_min(1e-6)).numpy()


def _colours(
    shares: NDArray[np.float32],
) -> NDArray[np.uint8]:
    """(h, w) in [0, 1] -> RGB (h, w, 3)."""
    return np.asarray(LOW + shares[..., None] * (HIGH - LOW)).round().astype(np.uint8)


def _spread(count: int) -> list[int]:
    """Up to `LINES` cells of a row, evenly, none at the border."""
    number = min(LINES, count)
    return sorted({int((i + 0.5) * count / number) for i in range(number)})


def _middle(cell: tuple[int, int], cells: tuple[int, int], size: tuple[int, int]) -> tuple[float, float]:
    return (cell[0] + 0.5) / cells[0] * size[0], (cell[1] + 0.5) / cells[1] * size[1]
