"""The kind "latents": what a base makes of a data set's pictures and texts, computed once and kept.

A row has one file, `safetensors`: of each picture NAME the mean and the deviation of its latents at the size
of the row's aspect bucket, `NAME.mean` and `NAME.std` (C, h, w); of each text COLUMN the rows the UNet
attends to, `COLUMN` (77, D), and `COLUMN.pooled` where the base has them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load, save

from likeness.data.engine import Built, Item, Sample, Work
from likeness.data.order import EpochOrder, aspect_buckets, bucket_of
from likeness.data.reading import BatchReader, ShardSet, fitted, read_set
from likeness.diffusion.prompts import encode_prompts
from likeness.errors import InputError
from likeness.files.images import image_from

if TYPE_CHECKING:
    from torch import Tensor

    from likeness.diffusion.load import Base

__all__ = ["LatentsBuilder", "base_sha256", "latent_reader"]


@dataclass(frozen=True, slots=True, eq=False)
class LatentsBuilder:
    """Latents and text states of a built data set.

    source: its folder. pictures: names of its files, such as ("reference", "target"); the last one's size
    decides the bucket. texts: columns. base: opens the base, in each process that works; base_name and
    base_sha256: for the record, so that no other base's latents are taken for these.
    """

    source: Path
    pictures: tuple[str, ...]
    texts: tuple[str, ...]
    base: Callable[[], Base]
    base_name: str
    base_sha256: str
    side_px: int
    unit_px: int
    kind: str = "latents"
    threads: int = 1

    def settings(self) -> dict[str, Any]:
        """See `Builder`."""
        return {
            "source": str(self.source.resolve()),
            "pictures": list(self.pictures),
            "texts": list(self.texts),
            "base": self.base_name,
            "base_sha256": self.base_sha256,
            "side_px": self.side_px,
            "unit_px": self.unit_px,
        }

    def items(self) -> Iterator[Item]:
        """Every row of the source. Raises: InputError for pictures or texts that it has not."""
        rows = read_set(self.source)
        for name in (*self.texts, f"{self.pictures[-1]}_size_px"):
            rows.column(name)
        for number, key in enumerate(rows.column("key")):
            yield Item(key, {"number": number})

    def open(self) -> Work:
        """Encodes one row."""
        rows, base = read_set(self.source), self.base()
        sizes = aspect_buckets(self.side_px, self.unit_px)

        def encoded(item: Item) -> list[Sample]:
            return [self._encoded(rows, base, sizes, item)]

        return encoded

    @torch.no_grad()
    def _encoded(self, rows: ShardSet, base: Base, sizes: tuple[tuple[int, int], ...], item: Item) -> Sample:
        row = rows.row(item.data["number"])
        files = {
            name.partition(".")[0]: image_from(data, f"{item.key}.{name}")
            for name, data in rows.files(item.data["number"], self.pictures).items()
        }
        missing = [name for name in self.pictures if name not in files]
        if missing:
            raise InputError(f"{item.key} has no picture {missing[0]!r}; it has {', '.join(files)}.")
        bucket = bucket_of(tuple(row[f"{self.pictures[-1]}_size_px"]), sizes)
        tensors: dict[str, Tensor] = {}
        for name in self.pictures:
            mean, std = base.encode(fitted(files[name], sizes[bucket])[None])
            tensors |= {f"{name}.mean": mean[0].cpu(), f"{name}.std": std[0].cpu()}
        for column in self.texts:
            text = encode_prompts(base, [row[column]])
            tensors[column] = text.rows[0].float().cpu()
            if text.pooled is not None:
                tensors[f"{column}.pooled"] = text.pooled[0].float().cpu()
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        told = {"bucket": bucket, "bucket_px": list(sizes[bucket])}
        return Sample(
            item.key, row["identity"], row["source"], row["licence"], told, {"safetensors": save(whole)}
        )

    def finish(self, built: Built) -> None:
        """Nothing more."""


def base_sha256(base: Base) -> str:
    """Of what makes latents and text states: the hashes of its weights together."""
    return hashlib.sha256("".join(sorted(record.sha256 for record in base.weights)).encode()).hexdigest()


def latent_reader(rows: ShardSet, *, batch_size: int = 8, seed: int = 0, workers: int = 0) -> BatchReader:
    """Batches of a "latents" data set: its tensors stacked, each batch of one bucket, and "row" (B,)."""

    def read(number: int) -> dict[str, Tensor]:
        return {**load(rows.files(number)["safetensors"]), "row": torch.tensor(number)}

    return BatchReader(EpochOrder(rows.column("bucket"), batch_size, seed), read, workers=workers)
