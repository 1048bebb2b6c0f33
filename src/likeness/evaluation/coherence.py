"""Whether pictures belong together: the person, clothes and jewellery, compared between all pairs of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from likeness.faces.parsing import CLASSES
from likeness.files.provenance import pixels_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from PIL import Image

    from likeness.evaluation.judge import Judge

__all__ = ["Aspect", "Coherence", "SamePersons", "SetScores", "Worn", "colours_apart", "worn_aspects"]

TO_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
QUANTILES = 16
FAR = 50.0
"""Colours so far apart, in CIELAB, have nothing in common."""
MOST_PX = 2**21
"""Larger pictures, as cameras take them, are reduced before they are parsed, which would take gigabytes."""
LEAST = 4e-4
"""Share of a picture under which a region counts as not seen: six pixels of 128 x 128."""
WORN: Mapping[str, tuple[str, ...]] = {
    "clothes": ("cloth",),
    "jewellery": ("ear_r", "neck_l"),
    "hat": ("hat",),
}
"""Parser classes (`faces.parsing.CLASSES`) of what is to stay."""


class Aspect(Protocol):
    """One thing that is to be the same on all pictures of a set."""

    @property
    def name(self) -> str:
        """For the document, such as "clothes"."""

    def __call__(self, one: Image.Image, two: Image.Image) -> float | None:
        """How much the two have in common, 1 is all; None where it cannot be told."""


@dataclass(frozen=True, slots=True)
class SamePersons:
    """The judge's chance that two pictures show one person; its mean cosine where nobody calibrated it."""

    judge: Judge
    without: str | None = None
    name: str = "identity"

    def __call__(self, one: Image.Image, two: Image.Image) -> float | None:
        """See `Aspect`; None without a face on either."""
        found = self.judge.compare(one, [two], self.without)
        if found.chance is not None or not found.cosines:
            return found.chance
        return float(np.mean(list(found.cosines.values())))


@dataclass(frozen=True, slots=True, eq=False)
class Worn:
    """Whether regions have the same colours on both: 1 less `colours_apart` in shares of `FAR`.

    parse: picture -> (H, W) indices into `CLASSES`. What is seen on one of the two only has nothing in
    common, be it lost or hidden; on neither, it cannot be told.
    """

    name: str
    classes: tuple[str, ...]
    parse: Callable[[Image.Image], NDArray[np.uint8]]
    _known: dict[str, NDArray[np.float64] | None] = field(default_factory=dict)

    def __call__(self, one: Image.Image, two: Image.Image) -> float | None:
        """See `Aspect`."""
        first, second = self._colours(one), self._colours(two)
        if first is None and second is None:
            return None
        if first is None or second is None:
            return 0.0
        return max(0.0, 1 - colours_apart(first, second) / FAR)

    def _colours(self, picture: Image.Image) -> NDArray[np.float64] | None:
        key = pixels_sha256(picture)
        if key not in self._known:
            seen = _reduced(picture)
            wanted = np.isin(self.parse(seen), [CLASSES.index(name) for name in self.classes])
            self._known[key] = quantiles(lab(seen)[wanted]) if wanted.mean() >= LEAST else None
        return self._known[key]


def _reduced(picture: Image.Image) -> Image.Image:
    """To `MOST_PX` pixels at most."""
    scale = (MOST_PX / (picture.width * picture.height)) ** 0.5
    if scale >= 1:
        return picture
    return picture.resize((max(1, int(picture.width * scale)), max(1, int(picture.height * scale))))


def worn_aspects(parse: Callable[[Image.Image], NDArray[np.uint8]]) -> list[Worn]:
    """Clothes, jewellery and hats, as a face parser sees them."""
    return [Worn(name, classes, parse) for name, classes in WORN.items()]


def lab(picture: Image.Image) -> NDArray[np.float64]:
    """CIELAB (H, W, 3) of an sRGB picture under its own white (IEC 61966-2-1): L in 0 to 100."""
    linear = np.asarray(picture.convert("RGB"), np.float64) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array(TO_XYZ).T / np.sum(TO_XYZ, axis=1)  # white is (1, 1, 1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def quantiles(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) -> (`QUANTILES`, 3): the middles of as many equal shares of each channel."""
    where = (np.arange(QUANTILES) + 0.5) / QUANTILES
    found: NDArray[np.float64] = np.quantile(colours, where, axis=0)
    return found


def colours_apart(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    """How far two regions' colours lie apart, in units of CIELAB: of two flat regions, their distance.

    Both are `quantiles`. Each channel counts by its earth mover's distance, the mean difference of the
    quantiles, so that a stripe of another colour is seen where the mean is the same.
    """
    return math.hypot(*np.abs(one - two).mean(axis=0).tolist())


@dataclass(frozen=True, slots=True)
class SetScores:
    """What a set has in common. pairs: aspect -> (N, N), nan where it cannot be told, and on the diagonal."""

    pairs: Mapping[str, NDArray[np.float64]]

    def of(self, picture: int) -> float | None:
        """How well a picture fits to all others: the mean over what can be told of each aspect."""
        return _mean([_mean(of[picture].tolist()) for of in self.pairs.values()])

    def mean(self, name: str, pairs: Sequence[tuple[int, int]]) -> float | None:
        """The mean of an aspect over pairs of pictures."""
        return _mean([float(self.pairs[name][pair]) for pair in pairs])

    def overall(self, pairs: Sequence[tuple[int, int]]) -> float | None:
        """The mean over the aspects."""
        return _mean([self.mean(name, pairs) for name in self.pairs])


@dataclass(frozen=True, slots=True)
class Coherence:
    """Compares the pictures of a set pair by pair. reason: why something that matters is not looked at."""

    aspects: Sequence[Aspect]
    reason: str = ""

    def __call__(self, pictures: Sequence[Image.Image]) -> SetScores:
        """Every aspect of every pair."""
        pairs = {}
        for aspect in self.aspects:
            found = np.full((len(pictures), len(pictures)), np.nan)
            for i, one in enumerate(pictures):
                for j in range(i):
                    value = aspect(one, pictures[j])
                    found[i, j] = found[j, i] = np.nan if value is None else value
            pairs[aspect.name] = found
        return SetScores(pairs)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return sum(known) / len(known) if known else None
