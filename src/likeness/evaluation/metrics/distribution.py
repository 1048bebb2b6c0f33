"""How far apart two sets of pictures are: FID and KID over any embedder's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from likeness.errors import InputError
from likeness.statistics import frechet_distance

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from likeness.evaluation.embedders import ImageEmbedder

__all__ = ["FrechetDistance", "KernelDistance"]


@dataclass(frozen=True, slots=True)
class FrechetDistance:
    """FID with the embedder's unit vectors as features; only distances by one embedder compare.

    Biased upwards for fewer pictures than features; `KernelDistance` is not.
    """

    embedder: ImageEmbedder
    name: ClassVar[str] = "FID"
    unit: ClassVar[str] = "squared feature distance"
    higher_is_better: ClassVar[bool] = False
    source: ClassVar[str] = "Heusel et al. 2017 (arXiv 1706.08500), eq. 6; features of another network"

    def features(self, images: Sequence[Image.Image]) -> NDArray[np.float64]:
        """See `SetMetric`."""
        return self.embedder.images(images)

    def distance(self, painted: NDArray[np.float64], real: NDArray[np.float64]) -> float:
        """See `SetMetric`."""
        _enough(painted, real)
        return frechet_distance(torch.from_numpy(painted), torch.from_numpy(real))


@dataclass(frozen=True, slots=True)
class KernelDistance:
    """KID: squared maximum mean discrepancy, unbiased, with the kernel (x . y / D + 1)^3.

    The embedder's unit vectors are scaled by the root of D, the size of a row of D unit normals.
    """

    embedder: ImageEmbedder
    name: ClassVar[str] = "KID"
    unit: ClassVar[str] = "squared discrepancy"
    higher_is_better: ClassVar[bool] = False
    source: ClassVar[str] = "Binkowski et al. 2018 (arXiv 1801.01401), section 3; all pictures in one block"

    def features(self, images: Sequence[Image.Image]) -> NDArray[np.float64]:
        """See `SetMetric`."""
        found = self.embedder.images(images)
        scaled: NDArray[np.float64] = found * found.shape[1] ** 0.5
        return scaled

    def distance(self, painted: NDArray[np.float64], real: NDArray[np.float64]) -> float:
        """See `SetMetric`."""
        _enough(painted, real)
        n, m, dim = len(painted), len(real), painted.shape[1]

        def kernel(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
            products: NDArray[np.float64] = one @ two.T
            cubes: NDArray[np.float64] = (products / dim + 1) ** 3
            return cubes

        own, others = kernel(painted, painted), kernel(real, real)
        within = (own.sum() - own.trace()) / (n * (n - 1)) + (others.sum() - others.trace()) / (m * (m - 1))
        return float(within - 2 * kernel(painted, real).mean())


def _enough(painted: NDArray[np.float64], real: NDArray[np.float64]) -> None:
    for rows, what in ((painted, "painted"), (real, "real")):
        if len(rows) < 2:
            raise InputError(f"A distance of sets needs at least 2 {what} pictures, got {len(rows)}.")
