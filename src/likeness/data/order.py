"""In what order samples are learned from: a function of the draw alone, so that any number of processes see
each sample once an epoch, and a run taken up in the middle of one goes on exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from likeness.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EpochOrder", "aspect_buckets", "bucket_of"]


def aspect_buckets(side_px: int, unit_px: int, ratio_max: float = 2.0) -> tuple[tuple[int, int], ...]:
    """Sizes (width, height) of about side_px ** 2 pixels, sides in multiples of unit_px, narrow to wide.

    One for each width between side_px / sqrt(ratio_max) and side_px * sqrt(ratio_max).
    Raises: InputError where not even the square fits.
    """
    if side_px % unit_px or side_px < unit_px:
        raise InputError(
            f"Pictures of {side_px} px do not divide into cells of {unit_px} px; choose another."
        )
    low = math.ceil(side_px / math.sqrt(ratio_max) / unit_px)
    high = math.floor(side_px * math.sqrt(ratio_max) / unit_px)
    sizes = []
    for cells in range(low, high + 1):
        width = cells * unit_px
        height = max(1, round(side_px**2 / width / unit_px)) * unit_px
        if 1 / ratio_max <= width / height <= ratio_max:
            sizes.append((width, height))
    return tuple(sizes)


def bucket_of(size_px: tuple[int, int], buckets: Sequence[tuple[int, int]]) -> int:
    """The bucket whose aspect is nearest, on the scale of ratios; of two as near, the first."""
    aspect = math.log(size_px[0] / size_px[1])
    return min(range(len(buckets)), key=lambda n: abs(math.log(buckets[n][0] / buckets[n][1]) - aspect))


class EpochOrder:
    """Batches of rows of one bucket each, numbered through all epochs.

    buckets: (N,) the bucket of each row. An epoch has every row once: rows are shuffled within their bucket,
    cut into batches, the last of a bucket smaller, and the batches shuffled. Batch number d of a world of W
    processes is read by process d % W at its step d // W, as `training.Moment.draw` counts.
    """

    def __init__(self, buckets: Sequence[int] | NDArray[np.int64], batch_size: int, seed: int = 0) -> None:
        self.buckets = np.asarray(buckets, np.int64)
        if not len(self.buckets):
            raise InputError("There is no sample to learn from; build a data set with some first.")
        if batch_size < 1:
            raise InputError(f"A batch has at least one sample, not {batch_size}.")
        self.batch_size, self.seed = batch_size, seed
        counts = np.unique(self.buckets, return_counts=True)[1]
        self.batches_an_epoch = int(sum(-(-count // batch_size) for count in counts))
        self._epoch = -1
        self._batches: list[NDArray[np.int64]] = []

    def rows(self, draw: int) -> NDArray[np.int64]:
        """The rows of a batch, all of one bucket. draw: from 0."""
        epoch, place = divmod(draw, self.batches_an_epoch)
        if epoch != self._epoch:
            self._batches, self._epoch = self._shuffled(epoch), epoch
        return self._batches[place]

    def _shuffled(self, epoch: int) -> list[NDArray[np.int64]]:
        rng = np.random.default_rng([self.seed, epoch])
        batches: list[NDArray[np.int64]] = []
        for bucket in np.unique(self.buckets):
            rows = rng.permutation(np.flatnonzero(self.buckets == bucket))
            batches += [
                rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)
            ]
        return [batches[place] for place in rng.permutation(len(batches))]
