"""Data sets of sitters on disk: a folder of pictures, or tar shards with a manifest.

The same settings give the same bytes, whether made in one go or stopped and taken up again. Work
is done chunk by chunk; a chunk's table of rows is written last, so what has one is complete.

`folder`: `images/KEY.png` and `metadata.jsonl` as Hugging Face's image folders have them
(`file_name`, `text` and more columns), further truth in `labels/`, `depth/` and `normals/`.
`shards`: `shard-00000.tar` as WebDataset has them (`KEY.png`, `KEY.txt`, `KEY.json`,
`KEY.labels.png`, `KEY.depth.npy`, `KEY.normals.npy`) and `manifest.parquet`, which says where in
which shard a sample lies.
"""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import likeness
from likeness.errors import InputError
from likeness.files.images import png_bytes, to_json, whole_file, write_bytes, write_json
from likeness.files.shards import write_shard
from likeness.sitters.parameters import Scene
from likeness.sitters.sample import PairKind, partner, sample_scene, split_of
from likeness.sitters.words import captions, instructions

__all__ = ["TRUTHS", "ExportFormat", "ExportSettings", "export", "npy_bytes"]

ExportFormat = Literal["folder", "shards"]
Truth = Literal["labels", "depth", "normals", "landmarks"]
TRUTHS: tuple[Truth, ...] = get_args(Truth)
CAPTIONS = 5  # one of each length
TEXT = 2  # which of them is the `text`: a long one
PARTS = ".parts"
SETTINGS = "export.json"


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """What to export: `count` people, those of the seeds `seed`, `seed + 1` ...

    pairs: two pictures of each that differ in this, with instructions both ways, instead of one.
    truths: what to write besides picture and words. chunk: people a shard (or a step of a folder).
    Raises InputError for values out of range.
    """

    count: int
    seed: int = 0
    size_px: int = 128
    format: ExportFormat = "folder"
    pairs: PairKind | None = None
    truths: tuple[Truth, ...] = ()
    chunk: int = 500

    def __post_init__(self) -> None:
        for name, low, high in (
            ("count", 1, 10**9),
            ("seed", 0, 2**52),
            ("size_px", 16, 4096),
            ("chunk", 1, 10**6),
        ):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} is {getattr(self, name)}, but must lie between {low} and {high}.")
        choices = (("format", (self.format,), get_args(ExportFormat)), ("truth", self.truths, TRUTHS))
        for name, given, known in (*choices, ("kind of pair", (self.pairs,), (None, *get_args(PairKind)))):
            for value in given:
                if value not in known:
                    raise InputError(
                        f"There is no {name} {value!r}; choose from {', '.join(filter(None, known))}."
                    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """One picture to make: its scene and the columns that need no rendering."""

    key: str
    scene: Scene
    columns: dict[str, Any]


def export(
    settings: ExportSettings,
    out: Path | str,
    *,
    workers: int | None = None,
    on_pictures: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Write a data set to the folder `out`, or finish one that was begun there with the same settings.

    workers: threads that paint, all cores when None. `on_pictures(n)` is called as pictures are done.
    Returns a summary: format, people, pictures, resumed (pictures that were there already), files.
    Raises: InputError when `out` holds something else, or an export with other settings.
    """
    folder = _opened(Path(out), settings)
    starts = range(0, settings.count, settings.chunk)
    a_person = 2 if settings.pairs else 1
    resumed = 0
    for number, start in enumerate(starts):
        people = range(start, min(start + settings.chunk, settings.count))
        rows_path = folder / PARTS / f"{number:05d}.jsonl"
        if rows_path.exists() or _table_path(folder, settings).exists():
            resumed += len(people) * a_person
            if on_pictures:
                on_pictures(len(people) * a_person)
            continue
        entries = [entry for index in people for entry in _entries(settings, index)]
        made = _painted(entries, settings, workers, on_pictures)
        if settings.format == "folder":
            rows = [_to_folder(folder, key, row, files) for key, row, files in made]
        else:
            rows = _to_shard(folder / f"shard-{number:05d}.tar", made)
        write_bytes(rows_path, "".join(to_json(row, indent=None) + "\n" for row in rows).encode())
    _finish(folder, settings)
    return {
        "out": str(folder),
        "format": settings.format,
        "people": settings.count,
        "pictures": settings.count * a_person,
        "resumed": resumed,
        "table": str(_table_path(folder, settings)),
    }


def _opened(folder: Path, settings: ExportSettings) -> Path:
    wanted = {"version": likeness.__version__, **json.loads(to_json(dataclasses.asdict(settings)))}
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder to export to.")
    begun = folder / SETTINGS
    if begun.exists():
        found = json.loads(begun.read_text("utf-8"))
        other = next((name for name in wanted if found.get(name) != wanted[name]), None)
        if other is not None:
            raise InputError(
                f"{folder} holds an export with {other} {found.get(other)!r}, not {wanted[other]!r}; "
                "give the same settings to finish it, or another folder."
            )
    elif folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty and holds no export; give an empty or a new folder.")
    write_json(begun, wanted)
    return folder


def _table_path(folder: Path, settings: ExportSettings) -> Path:
    return folder / ("metadata.jsonl" if settings.format == "folder" else "manifest.parquet")


def _entries(settings: ExportSettings, index: int) -> Iterator[_Entry]:
    seed = settings.seed + index
    key = f"{seed:08d}"
    scenes = [sample_scene(seed)]
    if settings.pairs:
        scenes.append(partner(scenes[0], 1, settings.pairs))
    for i, scene in enumerate(scenes):
        words = captions(scene, CAPTIONS, seed + i)
        columns: dict[str, Any] = {
            "text": words[TEXT],
            "captions": words,
            "identity": f"sitter-{key}",
            "seed": seed,
            "split": split_of(seed),
        }
        if settings.pairs:
            other = scenes[1 - i]
            columns["partner"] = f"{key}_{1 - i}"
            columns["instructions"] = instructions(scene, other, seed + i, 3)
        yield _Entry(f"{key}_{i}" if settings.pairs else key, scene, columns)


def _painted(
    entries: list[_Entry],
    settings: ExportSettings,
    workers: int | None,
    on_pictures: Callable[[int], None] | None,
) -> Iterator[tuple[str, dict[str, Any], dict[str, bytes]]]:
    """(key, columns, files by suffix) of each entry in order."""
    from likeness.sitters.render import LANDMARKS, render_many

    scenes = [entry.scene for entry in entries]
    for entry, picture in zip(entries, render_many(scenes, settings.size_px, workers=workers), strict=True):
        row = dict(entry.columns)
        # the recipe tells whoever reads the file later that nobody real is on it
        files = {"png": png_bytes(Image.fromarray(picture.rgb), {"sitter": entry.key})}
        if "labels" in settings.truths:
            files["labels.png"] = png_bytes(Image.fromarray(picture.labels))
        if "depth" in settings.truths:
            files["depth.npy"] = npy_bytes(picture.depth)
        if "normals" in settings.truths:
            files["normals.npy"] = npy_bytes(picture.normals)
        if "landmarks" in settings.truths:
            shown = zip(LANDMARKS, picture.landmarks_px, picture.landmarks_visible, strict=True)
            row["landmarks"] = [
                {"name": name, "x": round(float(x), 3), "y": round(float(y), 3), "visible": bool(visible)}
                for name, (x, y), visible in shown
            ]
        row["record"] = picture.record
        yield entry.key, row, files
        if on_pictures:
            on_pictures(1)


def npy_bytes(values: NDArray[Any]) -> bytes:
    """A NumPy file of one array."""
    with io.BytesIO() as buffer:
        np.save(buffer, values, allow_pickle=False)
        return buffer.getvalue()


# Where a folder keeps each file of a sample: (folder, suffix, column naming it). Columns ending in
# `file_name` are pictures to readers of image folders.
_PLACES = {
    "png": ("images", ".png", "file_name"),
    "labels.png": ("labels", ".png", "labels_file_name"),
    "depth.npy": ("depth", ".npy", "depth_path"),
    "normals.npy": ("normals", ".npy", "normals_path"),
}


def _to_folder(folder: Path, key: str, row: dict[str, Any], files: dict[str, bytes]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for kind, data in files.items():
        place, suffix, column = _PLACES[kind]
        named[column] = f"{place}/{key}{suffix}"
        write_bytes(folder / named[column], data)
    if "partner" in row:
        row["partner"] = f"images/{row['partner']}.png"
    return {**named, **row}


def _to_shard(
    path: Path, made: Iterator[tuple[str, dict[str, Any], dict[str, bytes]]]
) -> list[dict[str, Any]]:
    rows = []

    def samples() -> Iterator[tuple[str, dict[str, bytes]]]:
        for key, row, files in made:
            rows.append({"key": key, **row})
            words = {"txt": row["text"].encode(), "json": to_json(row, indent=None).encode()}
            yield key, {"png": files.pop("png"), **words, **files}

    for row, place in zip(rows, write_shard(path, samples()), strict=True):
        image = place.members[0]
        row |= {"shard": path.name, "offset": place.offset, "length": place.length}
        row |= {"image_offset": image.offset, "image_length": image.length}
    return rows


def _finish(folder: Path, settings: ExportSettings) -> None:
    table = _table_path(folder, settings)
    parts = sorted((folder / PARTS).glob("*.jsonl"))
    if table.exists():
        shutil.rmtree(folder / PARTS, ignore_errors=True)
        return
    if settings.format == "folder":
        with whole_file(table) as part, part.open("wb") as stream:
            for path in parts:
                stream.write(path.read_bytes())
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = [
            "key", "shard", "offset", "length", "image_offset", "image_length", "identity", "seed", "split",
            "text", "captions",
        ]  # fmt: skip
        if settings.pairs:
            names += ["partner", "instructions"]
        rows = [json.loads(line) for path in parts for line in path.read_text("utf-8").splitlines()]
        with whole_file(table) as part:
            pq.write_table(pa.table({name: [row[name] for row in rows] for name in names}), part)
    shutil.rmtree(folder / PARTS, ignore_errors=True)
