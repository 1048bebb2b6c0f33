"""Who does a build's chunks: this process, several on this machine, or Ray Data's actors on many."""

from __future__ import annotations

import logging
import math
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

from likeness.data.engine import Builder, Engine, Item, Work, work_chunk
from likeness.errors import InputError, LikenessError, MissingWeightsError

__all__ = ["runner"]

Chunk: TypeAlias = "tuple[int, list[Item]]"
Runner: TypeAlias = "Callable[[Builder, Path, Sequence[Chunk]], Iterator[int]]"
ENGINES = ("local", "ray")


def runner(engine: Engine, workers: int) -> Runner:
    """Does chunks in any order, and yields the number of items of each that is done.

    Raises: InputError for an engine or a number of workers that does not exist.
    """
    if engine not in ENGINES:
        raise InputError(f"There is no engine {engine!r}; choose from {', '.join(ENGINES)}.")
    if workers < 1:
        raise InputError(f"A build needs at least one worker, not {workers}.")
    if engine == "ray":
        return lambda builder, folder, chunks: _by_ray(builder, folder, chunks, workers)
    if workers == 1:
        return _here
    return lambda builder, folder, chunks: _by_processes(builder, folder, chunks, workers)


def _here(builder: Builder, folder: Path, chunks: Sequence[Chunk]) -> Iterator[int]:
    work = builder.open()
    for number, items in chunks:
        yield work_chunk(work, builder, folder, number, items)


class _Worker:
    """One process's share: the builder, opened once."""

    def __init__(self, pickled: bytes, folder: str) -> None:
        self.builder: Builder = pickle.loads(pickled)  # noqa: S301  our own, from the process that began
        self.folder = Path(folder)
        self._work: Work | None = None

    def do(self, number: int, items: list[Item]) -> int:
        if self._work is None:
            self._work = self.builder.open()
        return work_chunk(self._work, self.builder, self.folder, number, items)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """As Ray Data calls it: an error on purpose comes back as a value, not as a traceback."""
        try:
            count = self.do(int(row["number"]), pickle.loads(row["items"]))  # noqa: S301  see above
        except LikenessError as error:
            return {"count": 0, "error": pickle.dumps(error)}
        return {"count": count, "error": b""}


_workers: list[_Worker] = []


def _begin(pickled: bytes, folder: str) -> None:
    _workers.append(_Worker(pickled, folder))


def _do(number: int, items: list[Item]) -> int:
    return _workers[0].do(number, items)


def _by_processes(builder: Builder, folder: Path, chunks: Sequence[Chunk], workers: int) -> Iterator[int]:
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_begin, initargs=(_pickled(builder), str(folder))
    )
    try:
        running = [pool.submit(_do, number, items) for number, items in chunks]
        for future in as_completed(running):
            yield future.result()
    except BrokenProcessPool:
        raise LikenessError(
            "A worker process was ended, perhaps for want of memory; run it again to go on, or with fewer "
            "--workers."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _by_ray(builder: Builder, folder: Path, chunks: Sequence[Chunk], workers: int) -> Iterator[int]:
    """Each chunk is a row of a Ray data set, done by a pool of actors; a lost one's chunks are done anew.

    Where the cluster has GPUs, each actor has one to itself, or with more actors than GPUs an even share.
    """
    ray = _ray()
    began = not ray.is_initialized()
    if began:  # $RAY_ADDRESS names a running cluster; without it, one is begun on this machine
        address = os.environ.get("RAY_ADDRESS") or "local"  # never a cluster that merely runs here
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address == "local":
            quiet["include_dashboard"] = False
        ray.init(address, **quiet)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    cards = float(ray.cluster_resources().get("GPU", 0))
    try:
        rows = [{"number": number, "items": pickle.dumps(items)} for number, items in chunks]
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _Worker,
            fn_constructor_args=(_pickled(builder), str(folder.resolve())),
            concurrency=(1, workers),
            num_cpus=1,
            # Without a share of its own an actor would paint on the first card that its machine has.
            num_gpus=1 / math.ceil(workers / cards) if cards else None,
        )
        for row in done.iter_rows():
            if row["error"]:
                raise pickle.loads(row["error"])  # noqa: S301  of our own workers
            yield int(row["count"])
    finally:
        if began:
            ray.shutdown()


def _ray() -> Any:
    """Ray, told before its import to report to nobody.

    Raises: MissingWeightsError without the `ray` extra.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # its coming default, else it warns
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingWeightsError(
            "The engine ray needs the ray package on every machine: pip install 'likeness[ray]'."
        ) from None
    return ray


def _pickled(builder: Builder) -> bytes:
    try:
        return pickle.dumps(builder)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(f"This build runs in one process only ({error}); leave --workers at 1.") from None
