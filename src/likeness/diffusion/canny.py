"""Canny's edges (1986), as ControlNets were trained on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["canny"]

TAN_22 = 0.41421356237


def canny(picture: Image.Image, low: float = 100.0, high: float = 200.0) -> Image.Image:
    """White edges on black, RGB: thin lines where the brightness changes by more than `high`, followed as
    far as it changes by more than `low` (sums of the absolute Sobel derivatives, of levels 0 to 255)."""
    grey = np.pad(np.asarray(picture.convert("L"), np.int32), 1, mode="edge")
    rows = grey[:-2] + 2 * grey[1:-1] + grey[2:], grey[2:] - grey[:-2]
    across = rows[0][:, 2:] - rows[0][:, :-2]
    down = rows[1][:, :-2] + 2 * rows[1][:, 1:-1] + rows[1][:, 2:]
    strength = np.abs(across) + np.abs(down)
    thin = _ridge(strength, across, down) & (strength > low)
    found = thin & (strength > high)
    while True:  # weak ridges beside strong ones, until there are no more
        wider = _spread(found) & thin
        if (wider == found).all():
            break
        found = wider
    return Image.fromarray((found * 255).astype(np.uint8)).convert("RGB")


def _ridge(strength: NDArray[Any], across: NDArray[Any], down: NDArray[Any]) -> NDArray[np.bool_]:
    """Where no neighbour along the gradient is stronger."""
    wide = np.pad(strength, 1)
    height, width = strength.shape

    def shifted(dy: int, dx: int) -> NDArray[Any]:
        return wide[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]

    x, y = np.abs(across), np.abs(down)
    flat, steep = y < TAN_22 * x, y > (TAN_22 + 2) * x
    falling = (across < 0) == (down < 0)
    level = (strength > shifted(0, -1)) & (strength >= shifted(0, 1))
    upright = (strength > shifted(-1, 0)) & (strength >= shifted(1, 0))
    along = np.where(
        falling,
        (strength > shifted(-1, -1)) & (strength > shifted(1, 1)),
        (strength > shifted(-1, 1)) & (strength > shifted(1, -1)),
    )
    return np.where(flat, level, np.where(steep, upright, along))


def _spread(found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Every pixel with a neighbour, corners included."""
    wide = np.pad(found, 1)
    height, width = found.shape
    out = np.zeros_like(found)
    for dy in range(3):
        for dx in range(3):
            out |= wide[dy : dy + height, dx : dx + width]
    return out
