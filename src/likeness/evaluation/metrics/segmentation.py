"""Whether everything is still where it was: regions of a picture and of its source, compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from likeness.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from likeness.evaluation.case import Case

__all__ = ["SegmentationConsistency", "Segmenter", "mean_overlap"]


class Segmenter(Protocol):
    """Picture -> regions, the same in the same order on every picture, empty where absent: (R, H, W) bool, or
    (H, W) integers where they do not overlap, one a kind of region."""

    @property
    def name(self) -> str:
        """For records of scores."""
        ...

    def __call__(self, image: Image.Image) -> NDArray[Any]:
        """See the class."""
        ...


def mean_overlap(one: NDArray[Any], two: NDArray[Any]) -> float:
    """Mean intersection over union of the regions that either of two pictures has, as a `Segmenter` tells.

    Raises: InputError for regions of two sizes.
    """
    if one.shape != two.shape:
        raise InputError(f"Regions are compared on pictures of one size, got {one.shape} and {two.shape}.")
    if one.ndim == 2:
        labels = np.union1d(one, two)[:, None, None]
        one, two = one == labels, two == labels
    union = (one | two).sum((1, 2))
    return float(((one & two).sum((1, 2))[union > 0] / union[union > 0]).mean())


@dataclass(frozen=True, slots=True)
class SegmentationConsistency:
    """Seg-Cons: mean overlap of the regions of the painted picture and of its source.

    The paper's regions are Segment Anything's: here those around one grid of points on both pictures, for
    it does not say how regions of two pictures belong together. A pack's are its face parser's classes.
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
