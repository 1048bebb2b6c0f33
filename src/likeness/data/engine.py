"""The engine under every builder of data sets: items become rows and files, chunk by chunk.

A `Builder` says what there is to do (`items`) and how one item is done (`open`). The engine cuts the items
into chunks, has them done in this process, in several or by Ray Data on many machines (`data.workers`), and
writes

    build.json            the builder's settings; built again only with the same
    parts/00000.jsonl     one a chunk, written last: what has one is done
    shards/00000.tar      the chunk's files
    manifest.parquet      a row a sample, in the items' order: what it shows, where it lies, whence it came
    rejects.parquet       what is not in it, and why
    counts.json           how many rows, people, rejects
    runs.jsonl            one line a run: engine, workers, items and seconds

A chunk's files are renamed into place, so a build killed at any moment goes on after its last chunk, and a
chunk that is done twice, as after a lost machine, has the same files. What a row is does not depend on how
many work, nor on where they stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import likeness
from likeness.errors import InputError
from likeness.files.images import to_json, write_bytes, write_json
from likeness.files.shards import write_shard

__all__ = [
    "BUILD",
    "RUNS",
    "SPLITS",
    "Builder",
    "Built",
    "Engine",
    "Item",
    "RejectedError",
    "Sample",
    "Work",
    "build",
    "split_of",
    "work_chunk",
]

Engine = Literal["local", "ray"]
BUILD, PARTS, SHARDS, RUNS = "build.json", "parts", "shards", "runs.jsonl"
FORMAT = 1
SPLITS: Mapping[str, float] = {"train": 0.98, "validation": 0.01, "test": 0.01}
"""Shares of the people in each split."""


@dataclass(frozen=True, slots=True)
class Item:
    """A unit of work. key: unique and lasting, as rows and requests are known by it; data: plain values.

    digest: where two items of the same digest are copies, of which the first is taken.
    """

    key: str
    data: Mapping[str, Any] = field(default_factory=dict)
    digest: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One row that came of an item, with its files.

    key: unique, letters, digits, "-" and "_". files: suffix -> bytes, as they stand in the shard. identity:
    whose pictures may never lie in two splits. source: where it came from. columns: the builder's own.
    digest: samples of one digest are copies, of which the first is kept.
    """

    key: str
    identity: str
    source: str
    licence: str
    columns: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
    digest: str | None = None


class RejectedError(InputError):
    """An item that gives no row. reason: a few words that are counted; columns: more to be kept of it."""

    def __init__(self, reason: str, message: str, **columns: Any) -> None:
        super().__init__(message)
        self.reason, self.columns = reason, columns


Work = Callable[[Item], Sequence[Sample]]


class Builder(Protocol):
    """What a kind of data set is made of. It goes to other processes by pickle: models belong into `open`."""

    @property
    def kind(self) -> str:
        """The word for it on the command line."""

    @property
    def threads(self) -> int:
        """Items done at once by one worker: more than one where work waits for a server."""

    def settings(self) -> dict[str, Any]:
        """Everything that rows depend on besides the items: plain values."""

    def items(self) -> Iterable[Item]:
        """What there is to do, in a fixed order."""

    def open(self) -> Work:
        """Ready to work, in the process that does. Work raises `InputError` for an item that gives nothing;
        any other error ends the build."""

    def finish(self, built: Built) -> None:
        """Write what this kind has besides the tables; also called when the build is stopped."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a build came to: rows as in the manifest, rejects with `item`, `reason` and `message`."""

    folder: Path
    rows: tuple[dict[str, Any], ...]
    rejects: tuple[dict[str, Any], ...]

    def reasons(self) -> dict[str, int]:
        """How many items were rejected for what, the commonest first."""
        return dict(Counter(row["reason"] for row in self.rejects).most_common())


def split_of(identity: str, seed: int = 0) -> str:
    """The split of a person, by the hash of the name: the same in every data set and for any number of
    people, so that nobody is in two."""
    digest = hashlib.sha256(f"{seed}:{identity}".encode()).digest()
    place, end = int.from_bytes(digest[:8]) / 2**64, 0.0
    for name, share in SPLITS.items():
        end += share
        if place < end:
            return name
    return next(iter(SPLITS))


def build(
    builder: Builder,
    folder: Path,
    *,
    engine: Engine = "local",
    workers: int = 1,
    chunk: int = 100,
    on_items: Callable[[int, int], None] | None = None,
) -> Built:
    """Build `folder`, or go on with it; returns everything that is in it.

    workers: processes on this machine (1: this one), or at most so many actors of Ray. chunk: items a shard.
    on_items(done, of) as chunks come in. Items that were done before are not done again, what is no longer
    among the items is no longer in the manifest.
    Raises: InputError for a folder built with other settings; what the builder's work raises, after what
    was done has been written.
    """
    from likeness.data.workers import runner

    _opened(folder, builder)
    items, copies = _listed(builder)
    positions = {item.key: place for place, item in enumerate(items)}
    known = {key for path in _parts(folder) for key in _part(path)["items"]}
    todo = [item for item in items if item.key not in known]
    chunks = list(_chunks(todo, chunk, {int(path.stem) for path in _parts(folder)}))
    done, started = len(items) - len(todo), time.perf_counter()
    if on_items is not None and items:
        on_items(done, len(items))
    try:
        if chunks:
            for count in runner(engine, workers)(builder, folder, chunks):
                done += count
                if on_items is not None:
                    on_items(done, len(items))
    finally:
        fresh = sum(len(_part(path)["items"]) for path in _parts(folder)) - len(known)
        if fresh:  # with what a stopped chunk had done
            _note(folder, engine, workers, fresh, time.perf_counter() - started)
        built = _collected(folder, positions, copies)
        _write(built, builder)
        builder.finish(built)
    for left in folder.rglob(".*.part"):  # by workers that were killed while they wrote
        left.unlink(missing_ok=True)
    return built


def work_chunk(work: Work, builder: Builder, folder: Path, number: int, items: Sequence[Item]) -> int:
    """Do a chunk's items and write its files; returns how many. What is done before an error is kept."""
    done: list[tuple[Item, Sequence[Sample] | InputError]] = []
    try:
        for outcome in _outcomes(work, items, builder.threads):
            done.append(outcome)
    finally:
        if done:
            _write_part(folder, number, done, _made_by(builder))
    return len(done)


def _outcomes(
    work: Work, items: Sequence[Item], threads: int
) -> Iterator[tuple[Item, Sequence[Sample] | InputError]]:
    def one(item: Item) -> Sequence[Sample] | InputError:
        try:
            return work(item)
        except InputError as error:
            return error

    if threads == 1:
        yield from ((item, one(item)) for item in items)
        return
    with ExitStack() as stack:
        pool = ThreadPoolExecutor(threads)
        stack.callback(pool.shutdown, cancel_futures=True)
        yield from zip(items, pool.map(one, items), strict=True)


def _opened(folder: Path, builder: Builder) -> None:
    wanted = json.loads(to_json({"kind": builder.kind, "format": FORMAT, **builder.settings()}))
    file = folder / BUILD
    if file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        for name, value in wanted.items():
            if before.get(name) != value:
                raise InputError(
                    f"{folder} was built with {name} {before.get(name)!r}, not {value!r}; "
                    "choose another folder."
                )
    else:
        write_json(file, wanted)


def _copy(item: str, first: str) -> dict[str, Any]:
    return {"item": item, "reason": "copy", "message": f"It is the same as {first}."}


def _listed(builder: Builder) -> tuple[list[Item], list[dict[str, Any]]]:
    """The items without copies, and the copies as rejects."""
    items: list[Item] = []
    seen: dict[str, str] = {}
    copies: list[dict[str, Any]] = []
    for item in builder.items():
        first = seen.setdefault(item.digest, item.key) if item.digest else item.key
        if first == item.key:
            items.append(item)
        else:
            copies.append(_copy(item.key, first))
    return items, copies


def _chunks(items: Sequence[Item], size: int, taken: set[int]) -> Iterator[tuple[int, list[Item]]]:
    """Items in order, under the smallest free numbers: after a kill the chunks that were to come."""
    number = 0
    for start in range(0, len(items), size):
        while number in taken:
            number += 1
        yield number, list(items[start : start + size])
        number += 1


def _parts(folder: Path) -> list[Path]:
    return sorted((folder / PARTS).glob("[0-9]*.jsonl"), key=lambda path: int(path.stem))


def _part(path: Path) -> dict[str, Any]:
    """The first line of a part: what it is about."""
    with path.open(encoding="utf-8") as file:
        found: dict[str, Any] = json.loads(file.readline())
    return found


def _write_part(
    folder: Path,
    number: int,
    done: Sequence[tuple[Item, Sequence[Sample] | InputError]],
    made_by: str,
) -> None:
    """The chunk's shard, where it has files, then its part."""
    name = f"{number:05d}"
    samples = [(item, sample) for item, got in done if not isinstance(got, InputError) for sample in got]
    with_files = [(sample.key, sample.files) for _, sample in samples if sample.files]
    placed = {}
    if with_files:
        placed = {one.key: one for one in write_shard(folder / SHARDS / f"{name}.tar", with_files)}
    lines: list[dict[str, Any]] = [{"items": [item.key for item, _ in done]}]
    for item, got in done:
        if isinstance(got, InputError):
            more: Mapping[str, Any] = {}
            reason = _reason(got)
            if isinstance(got, RejectedError):
                reason, more = got.reason, got.columns
            lines.append({"item": item.key, "reason": reason, "message": str(got), **more})
    for item, sample in samples:
        place = placed.get(sample.key)
        members = [] if place is None else place.members
        lines.append(
            {
                "key": sample.key,
                "item": item.key,
                "identity": sample.identity,
                "split": split_of(sample.identity),
                "source": sample.source,
                "licence": sample.licence,
                "made_by": made_by,
                "digest": sample.digest,
                "shard": None if place is None else f"{SHARDS}/{name}.tar",
                "files": [{"name": m.name, "offset": m.offset, "length": m.length} for m in members],
                **sample.columns,
            }
        )
    text = "".join(to_json(line, indent=None) + "\n" for line in lines)
    write_bytes(folder / PARTS / f"{name}.jsonl", text.encode())


def _reason(error: InputError) -> str:
    """The class in words: "no face", "image", "input"."""
    name = type(error).__name__.removesuffix("Error")
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def _made_by(builder: Builder) -> str:
    digest = hashlib.sha256(to_json(builder.settings(), indent=None).encode()).hexdigest()
    return f"likeness {likeness.__version__} {builder.kind} {digest[:12]}"


def _collected(folder: Path, positions: Mapping[str, int], copies: Sequence[dict[str, Any]]) -> Built:
    """Everything that parts tell about the items, in the items' order; later copies become rejects."""
    rows: list[dict[str, Any]] = []
    rejects = list(copies)
    for path in _parts(folder):
        with path.open(encoding="utf-8") as file:
            next(file)
            for line in map(json.loads, file):
                if line["item"] not in positions:
                    continue
                if "reason" in line:
                    rejects.append(line)
                else:
                    rows.append(line)
    rows.sort(key=lambda row: positions[row["item"]])  # stable: an item's rows stay in their order
    kept: list[dict[str, Any]] = []
    seen: dict[str, dict[str, Any]] = {}
    for row in rows:
        first = seen.setdefault(row["digest"], row) if row["digest"] else row
        if first is row:
            kept.append(row)
        else:
            rejects.append(_copy(row["item"], first["item"]))
    rejects.sort(key=lambda row: positions.get(row["item"], len(positions)))
    return Built(folder, tuple(kept), tuple(rejects))


def _write(built: Built, builder: Builder) -> None:
    from likeness.data.tables import write_table

    write_table(built.folder / "manifest.parquet", built.rows)
    write_table(built.folder / "rejects.parquet", built.rejects)
    write_json(
        built.folder / "counts.json",
        {
            "kind": builder.kind,
            "rows": len(built.rows),
            "people": len({row["identity"] for row in built.rows}),
            "splits": dict(Counter(row["split"] for row in built.rows)),
            "licences": dict(Counter(row["licence"] for row in built.rows)),
            "rejected": built.reasons(),
        },
    )


def _note(folder: Path, engine: str, workers: int, items: int, seconds: float) -> None:
    row = {"engine": engine, "workers": workers, "items": items, "seconds": round(seconds, 3)}
    with (folder / RUNS).open("a", encoding="utf-8") as file:
        file.write(to_json(row, indent=None) + "\n")
