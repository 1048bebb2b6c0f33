"""One small class a number; what a metric has to offer.

A metric gives one value a case, so that means, intervals and worst cases come from one table. A set
metric compares two sets of pictures and has no value for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from likeness.evaluation.case import Case

__all__ = ["Described", "Metric", "SetMetric"]


class Described(Protocol):
    """What every metric says of itself."""

    @property
    def name(self) -> str:
        """As it stands in tables, such as "CLIP-T"."""
        ...

    @property
    def unit(self) -> str:
        """Such as "cosine" or "degrees"."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """The direction."""
        ...

    @property
    def source(self) -> str:
        """Paper and section, or formula."""
        ...


class Metric(Described, Protocol):
    """One value a case."""

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """(N,), nan where a case has no value."""
        ...


class SetMetric(Described, Protocol):
    """A distance of two sets of pictures."""

    def features(self, images: Sequence[Image.Image]) -> NDArray[np.float64]:
        """(N, D), computed once for all resamplings."""
        ...

    def distance(self, painted: NDArray[np.float64], real: NDArray[np.float64]) -> float:
        """Of features (N, D) and (M, D)."""
        ...
