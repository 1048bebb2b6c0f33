"""What training reads: the rows of a built data set, their files by offset, batches read ahead."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from likeness.data.order import EpochOrder, aspect_buckets, bucket_of
from likeness.data.tables import read_table
from likeness.diffusion.pixels import to_pixels
from likeness.errors import InputError
from likeness.files.images import image_from
from likeness.files.shards import read_member

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BatchReader", "Drawn", "ShardSet", "fitted", "pixel_reader", "read_set"]


class ShardSet:
    """Rows of one or several data set folders, in the manifests' order, and their files."""

    def __init__(self, folders: Sequence[Path], table: Any, of_folder: NDArray[np.int64]) -> None:
        self.folders, self._table, self._of_folder = tuple(folders), table, of_folder

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def row(self, number: int) -> dict[str, Any]:
        """Every column of a row."""
        found: dict[str, Any] = self._table.slice(number, 1).to_pylist()[0]
        return found

    def column(self, name: str) -> list[Any]:
        """One column of all rows. Raises: InputError where there is none of that name."""
        if name not in self._table.column_names:
            raise InputError(
                f"{self.folders[0]} has no column {name!r}; it has {', '.join(self._table.column_names)}."
            )
        values: list[Any] = self._table.column(name).to_pylist()
        return values

    def files(self, number: int, only: Sequence[str] | None = None) -> dict[str, bytes]:
        """The files of a row by name ("target.png"), or those whose first part ("target") is in `only`."""
        row = self._table.select(["shard", "files"]).slice(number, 1).to_pylist()[0]
        folder = self.folders[int(self._of_folder[number])]
        return {
            file["name"]: read_member(folder / row["shard"], file["offset"], file["length"])
            for file in row["files"]
            if only is None or file["name"].partition(".")[0] in only
        }


def read_set(folders: Path | Sequence[Path], split: str | None = None) -> ShardSet:
    """Open built data sets of one kind as one. split: only the people of "train", "validation" or "test".

    Raises: InputError for a folder without a manifest, or where the split is empty.
    """
    import pyarrow as pa

    given = [folders] if isinstance(folders, Path) else list(folders)
    tables = [read_table(folder / "manifest.parquet") for folder in given]
    if split is not None:
        tables = [
            table.filter(
                pa.array([value == split for value in table.column("split").to_pylist()], pa.bool_())
            )
            if table.num_rows
            else table
            for table in tables
        ]
    table = pa.concat_tables(tables, promote_options="default")
    if not table.num_rows:
        raise InputError(f"{given[0]} has no row{f' in the split {split!r}' if split else ''}.")
    return ShardSet(given, table, np.repeat(range(len(tables)), [one.num_rows for one in tables]))


class Drawn(Protocol):
    """A `training.Moment`."""

    @property
    def draw(self) -> int:
        """Number of this process's batch."""


class BatchReader:
    """`training.train`'s batches: a function of the moment, read ahead by several workers.

    load: a row's number -> its tensors; rows of one batch have the same shapes and are stacked. workers:
    threads that read (decoding releases the interpreter); 0 reads when asked. ahead: batches begun before
    they are asked for.
    """

    def __init__(
        self,
        order: EpochOrder,
        load: Callable[[int], Mapping[str, Tensor]],
        *,
        workers: int = 0,
        ahead: int = 2,
    ) -> None:
        self.order, self._load, self._ahead = order, load, ahead
        self._pool = ThreadPoolExecutor(workers) if workers else None
        self._begun: dict[int, list[Future[Mapping[str, Tensor]]]] = {}
        self._last, self._lock = -1, threading.Lock()

    def __call__(self, moment: Drawn) -> dict[str, Tensor]:
        """The batch of this draw."""
        return self.batch(moment.draw)

    def batch(self, draw: int) -> dict[str, Tensor]:
        """The batch of a draw, whatever was drawn before."""
        if self._pool is None:
            rows = [self._load(int(row)) for row in self.order.rows(draw)]
        else:
            rows = [future.result() for future in self._ready(draw)]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    def _ready(self, draw: int) -> list[Future[Mapping[str, Tensor]]]:
        """This batch's rows under way, and those of the draws that are likely to follow."""
        with self._lock:
            stride = draw - self._last if self._last >= 0 and draw > self._last else 1
            coming = [draw + stride * number for number in range(self._ahead + 1)]
            for gone in set(self._begun) - set(coming):
                for future in self._begun.pop(gone):
                    future.cancel()
            for one in coming:
                if one not in self._begun:
                    self._begun[one] = [self._begin(int(row)) for row in self.order.rows(one)]
            self._last = draw
            return self._begun.pop(draw)

    def _begin(self, row: int) -> Future[Mapping[str, Tensor]]:
        if self._pool is None:
            raise RuntimeError("there is no pool")
        return self._pool.submit(self._load, row)


def fitted(picture: Image.Image, size_px: tuple[int, int]) -> Tensor:
    """A picture scaled to cover a size (width, height) and cut to it in the middle: (3, H, W), [-1, 1]."""
    width, height = size_px
    scale = max(width / picture.width, height / picture.height)
    cut = (width / scale, height / scale)
    left, top = (picture.width - cut[0]) / 2, (picture.height - cut[1]) / 2
    box = (left, top, left + cut[0], top + cut[1])
    return to_pixels(picture.convert("RGB").resize(size_px, Image.Resampling.LANCZOS, box=box))[0]


def pixel_reader(
    rows: ShardSet,
    pictures: Sequence[str],
    *,
    side_px: int,
    unit_px: int = 8,
    batch_size: int = 8,
    seed: int = 0,
    workers: int = 0,
) -> BatchReader:
    """Batches of pixels, "NAME" (B, 3, H, W) in [-1, 1] for each of `pictures`, and "row" (B,).

    H and W are those of the aspect bucket of the row's last picture, to which the others are fitted too.
    """
    sizes = aspect_buckets(side_px, unit_px)
    buckets = [bucket_of(tuple(size), sizes) for size in rows.column(f"{pictures[-1]}_size_px")]

    def load(number: int) -> dict[str, Tensor]:
        files = rows.files(number, pictures)
        found = {name.partition(".")[0]: image_from(data, name) for name, data in files.items()}
        fit = partial(fitted, size_px=sizes[buckets[number]])
        return {name: fit(found[name]) for name in pictures} | {"row": torch.tensor(number)}

    return BatchReader(EpochOrder(buckets, batch_size, seed), load, workers=workers)
