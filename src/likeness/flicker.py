"""How much a stream of frames flickers, and holding it down."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from likeness.diffusion.pixels import fitted

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FlickerMeter", "Steady", "flicker"]


def flicker(one: Image.Image, two: Image.Image) -> float:
    """Mean absolute difference of two frames that follow each other, in grey levels of 255."""
    a, b = (np.asarray(frame.convert("RGB"), np.int16) for frame in (one, two))
    return float(np.abs(a - b).mean())


class FlickerMeter:
    """The mean flicker of a stream of frames: of all, or of the `recent` last ones."""

    def __init__(self, recent: int | None = None) -> None:
        self._last: Image.Image | None = None
        self._seen: deque[float] = deque(maxlen=recent)

    def see(self, frame: Image.Image) -> None:
        """The next frame; one of another size begins anew."""
        if self._last is not None and self._last.size == frame.size:
            self._seen.append(flicker(self._last, frame))
        self._last = frame

    def mean(self, digits: int) -> float | None:
        """Grey levels of 255, rounded; None before there are two frames."""
        return round(sum(self._seen) / len(self._seen), digits) if self._seen else None


class Steady:
    """Holds down flicker: where the camera's picture stays, so does the edited one.

    A pixel takes on the new edit as far as the input around it changed since the last frame: at `moved` grey
    levels (of 255) and more wholly, below in proportion, and never less than `floor`, so that a wrong pixel
    goes away.
    """

    def __init__(self, moved: float = 12.0, floor: float = 0.1) -> None:
        self.moved, self.floor = moved, floor
        self._input: NDArray[np.float32] | None = None
        self._shown: NDArray[np.float32] | None = None

    def __call__(self, before: Image.Image, after: Image.Image) -> Image.Image:
        """The edited frame to show. before: the input, of any size."""
        seen = np.asarray(fitted(before, after.size), np.float32)
        edited = np.asarray(after, np.float32)
        if self._input is None or self._shown is None or self._shown.shape != edited.shape:
            self._input, self._shown = seen, edited
            return after
        change = np.abs(seen - self._input).mean(axis=2)
        # An edge that moves changes what is beside it too.
        change = np.asarray(_widest(Image.fromarray(change)), np.float32)
        share = np.clip(change / self.moved, self.floor, 1)[..., None]
        shown = (share * edited + (1 - share) * self._shown).astype(np.float32)
        self._shown = shown
        # The input is followed slowly too: else slow changes would never add up to one.
        self._input = (share * seen + (1 - share) * self._input).astype(np.float32)
        return Image.fromarray(shown.round().astype(np.uint8))

    def forget(self) -> None:
        """Of another instruction nothing is kept."""
        self._input = self._shown = None


def _widest(change: Image.Image) -> Image.Image:
    """Each pixel's largest neighbour within about 3 % of the picture; mode F."""
    side = 2 * max(1, round(0.015 * max(change.size))) + 1
    levels = change.convert("L")
    return levels.filter(ImageFilter.MaxFilter(side)).convert("F")
