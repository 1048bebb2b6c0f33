"""Whether everything is still where it was: regions of a picture and of its source, compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from likeness.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from likeness.evaluation.case import Case

__all__ = ["SegmentationConsistency", "Segmenter", "mean_overlap"]


class Segmenter(Protocol):
    """Picture -> (H, W) integers, one a kind of region, the same numbers on every picture."""

    @property
    def name(self) -> str:
        """For records of scores."""
        ...

    def __call__(self, image: Image.Image) -> NDArray[np.int64]:
        """See the class."""
        ...


def mean_overlap(one: NDArray[np.int64], two: NDArray[np.int64]) -> float:
    """Mean intersection over union of the regions on either of two (H, W) label maps.

    Raises: InputError for maps of two sizes.
    """
    if one.shape != two.shape:
        raise InputError(f"Regions are compared on pictures of one size, got {one.shape} and {two.shape}.")
    overlaps = []
    for label in np.union1d(one, two):
        a, b = one == label, two == label
        overlaps.append((a & b).sum() / (a | b).sum())
    return float(np.mean(overlaps))


@dataclass(frozen=True, slots=True)
class SegmentationConsistency:
    """Seg-Cons: mean overlap of the regions of the painted picture and of its source.

    The paper's regions are Segment Anything's; a pack's are its face parser's classes.
    """

    segmenter: Segmenter
    name: ClassVar[str] = "Seg-Cons"
    unit: ClassVar[str] = "mean IoU"
    higher_is_better: ClassVar[bool] = True
    source: ClassVar[str] = "SPF-Portrait, section 4.1"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`; nan without a source."""
        found = [
            mean_overlap(self.segmenter(case.image), self.segmenter(case.source)) if case.source else np.nan
            for case in cases
        ]
        return np.array(found, np.float64)
