"""How many edit pairs a second the engine reads, checks and writes: one worker and two, here and on Ray.

A Parquet file of pairs is imported: every picture is decoded, hashed and written into shards. Counted from
the first shard that is done on: what it takes to begin processes and actors does not matter on a long build.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from record import record

from likeness.data.edit_pairs import PairImporter
from likeness.data.engine import Engine, build
from likeness.evaluation.result import MetricValue, ordering, summarised

CHUNK = 50


def picture(seed: int, size_px: int) -> bytes:
    """A JPEG as photographs compress."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (size_px // 8, size_px // 8, 3), dtype=np.uint8))
    with io.BytesIO() as out:
        small.resize((size_px, size_px), Image.Resampling.BICUBIC).save(out, format="JPEG", quality=90)
        return out.getvalue()


def write_pairs(path: Path, count: int, size_px: int) -> None:
    rows = {
        "original_image": [picture(2 * n, size_px) for n in range(count)],
        "edited_image": [picture(2 * n + 1, size_px) for n in range(count)],
        "edit_prompt": [f"edit {n}" for n in range(count)],
    }
    pq.write_table(pa.table(rows), path, row_group_size=CHUNK)


def rate(source: Path, folder: Path, engine: Engine, workers: int) -> float:
    seen: list[tuple[int, float]] = []
    build(
        PairImporter(source),
        folder,
        engine=engine,
        workers=workers,
        chunk=CHUNK,
        on_items=lambda done, _: seen.append((done, time.perf_counter())),
    )
    (_, _), (first, began), *_, (last, ended) = seen  # the very first report is of none
    return (last - first) / (ended - began)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pairs", type=int, default=2000)
    arguments.add_argument("--size", type=int, default=512)
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    engines: tuple[Engine, ...] = ("local", "ray") if importlib.util.find_spec("ray") else ("local",)
    rates: dict[tuple[str, int], list[float]] = {}
    with TemporaryDirectory() as folder:
        source = Path(folder) / "pairs.parquet"
        write_pairs(source, given.pairs, given.size)
        for number in range(given.rounds):
            for engine in engines:
                for workers in (1, 2):
                    out = Path(folder) / f"{engine}-{workers}-{number}"
                    rates.setdefault((engine, workers), []).append(rate(source, out, engine, workers))
    metrics: dict[str, MetricValue] = {
        f"pairs a second, {engine}, {workers} worker{'s' * (workers > 1)}": summarised(
            np.array(found), "pairs/s"
        )
        for (engine, workers), found in rates.items()
    }
    claims = [
        ordering(
            f"two workers import more pairs a second than one, {engine}",
            "ours",
            np.array(rates[engine, 2]),
            np.array(rates[engine, 1]),
        )
        for engine in engines
    ]
    record("data-engine", "data engine", metrics, given=given, n=given.pairs, base="none", orderings=claims)
