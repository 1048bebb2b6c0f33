"""How much fine detail a picture has beside what it should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likeness.evaluation.case import Case

__all__ = ["Sharpness"]


@dataclass(frozen=True, slots=True)
class Sharpness:
    """Fine detail of the painted picture as a share of its source's: below 1 it is blurred, above noisy.

    Detail is the mean absolute Laplacian of the luma, with the four nearest neighbours.
    """

    name: ClassVar[str] = "sharpness"
    unit: ClassVar[str] = "share of the true picture's"
    higher_is_better: ClassVar[bool] = True
    source: ClassVar[str] = "ratio of mean |Laplacian|"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`; nan without a source, which has to have the picture's size, or with a flat one."""
        found = np.full(len(cases), np.nan)
        for row, case in enumerate(cases):
            known = _detail(case.source) if case.source is not None else 0.0
            if known:
                found[row] = _detail(case.image) / known
        return found


def _detail(picture: Image.Image) -> float:
    luma = np.asarray(picture.convert("L"), np.float64)
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return float(np.abs(around - 4 * luma[1:-1, 1:-1]).mean())
