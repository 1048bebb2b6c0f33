"""Edit pairs from elsewhere: pictures before and after, and the instruction between them.

    an InstructPix2Pix folder    0000012/prompt.json, 0000012/SEED_0.jpg, 0000012/SEED_1.jpg
    Parquet                      a file or a folder of them, as the hub keeps data sets
    a data set saved to disk     *.arrow, as `datasets.save_to_disk` writes them
    an image folder              metadata.jsonl that names both pictures of a row

All become the same: files `before` and `after`, columns `instruction`, `before_size_px`, `after_size_px`.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from likeness.data.engine import Built, Item, RejectedError, Sample, Work
from likeness.data.image_folder import METADATA, listed_rows
from likeness.errors import InputError
from likeness.files.images import image_from, to_json
from likeness.files.weights import sha256_of

__all__ = ["NAMES", "PairImporter", "pair_sample"]

NAMES: Mapping[str, tuple[str, ...]] = {
    "before": ("original_image", "input_image", "source_image", "before", "source", "input", "image"),
    "after": ("edited_image", "output_image", "target_image", "after", "target", "output"),
    "instruction": ("edit_prompt", "instruction", "edit_instruction", "edit", "prompt", "text"),
}
"""What a column may be called; the first that is there is taken."""
PROMPT = "prompt.json"


@dataclass(frozen=True, slots=True)
class PairImporter:
    """The kind "pairs". columns: of `NAMES`, where a source calls them something else."""

    source: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    licence: str = "not declared"
    kind: str = "pairs"
    threads: int = 1

    def __post_init__(self) -> None:
        for name in self.columns:
            if name not in NAMES:
                raise InputError(f"A pair has no {name!r}; it has {', '.join(NAMES)}.")

    def settings(self) -> dict[str, Any]:
        """See `Builder`."""
        return {"columns": dict(self.columns), "licence": self.licence}

    def items(self) -> Iterator[Item]:
        """Every pair that the source names, looked into for nothing but that.

        Raises: InputError for a source of no known form, or without the columns.
        """
        source = self.source
        if not source.exists():
            raise InputError(f"{source} is not there; give a folder or a Parquet file of edit pairs.")
        parquet = [source] if source.suffix == ".parquet" else sorted(source.rglob("*.parquet"))
        arrow = [path for path in sorted(source.rglob("*.arrow")) if not path.name.startswith("cache-")]
        if parquet or arrow:
            for path in parquet or arrow:
                yield from self._table_items(path)
        elif (source / METADATA).is_file():
            yield from self._listed_items(source / METADATA)
        elif any(source.glob(f"*/{PROMPT}")):
            yield from self._folder_items()
        else:
            raise InputError(
                f"{source} holds no edit pairs: give Parquet files, a data set saved to disk, folders with "
                f"{PROMPT}, or a {METADATA} that names two pictures a row."
            )

    def open(self) -> Work:
        """Reads one pair."""
        return self._pair

    def finish(self, built: Built) -> None:
        """Nothing more."""

    def _table_items(self, path: Path) -> Iterator[Item]:
        names = _schema(path)
        columns = self._columns(names, str(path))
        where = path.name if path == self.source else path.relative_to(self.source).as_posix()
        mark = sha256_of(path)[:12]  # what a row is depends on what is in the file
        for group, rows in enumerate(_group_sizes(path)):
            for row in range(rows):
                data = {"table": str(path), "group": group, "row": row, "columns": columns}
                yield Item(f"{where}:{group}:{row}#{mark}", data)

    def _listed_items(self, file: Path) -> Iterator[Item]:
        columns: dict[str, str] = {}
        for number, row in listed_rows(file):
            names = {name.removesuffix("_file_name"): name for name in row}
            columns = columns or self._columns(list(names), f"{file}:{number}")
            found = {name: row.get(names.get(column, column)) for name, column in columns.items()}
            pictures = [self._size(found[name]) for name in ("before", "after")]
            yield Item(f"{file.name}:{number}#{_mark(found, pictures)}", {"row": found})

    def _folder_items(self) -> Iterator[Item]:
        for prompt in sorted(self.source.glob(f"*/{PROMPT}")):
            for before in sorted(prompt.parent.glob("*_0.jpg")):
                stem = before.name.removesuffix("_0.jpg")
                data = {
                    "prompt": str(prompt),
                    "before": str(before),
                    "after": f"{prompt.parent}/{stem}_1.jpg",
                }
                seen = [_stat(Path(data[name])) for name in ("prompt", "before", "after")]
                yield Item(f"{prompt.parent.name}/{stem}#{_mark(seen)}", data)

    def _columns(self, names: list[str], where: str) -> dict[str, str]:
        found = {}
        for name, known in NAMES.items():
            wanted = (self.columns[name],) if name in self.columns else known
            column = next((one for one in wanted if one in names), None)
            if column is None:
                raise InputError(
                    f"{where} has no column for {name} (looked for {', '.join(wanted)}); it has "
                    f"{', '.join(names)}: say --columns {name}=..."
                )
            found[name] = column
        return found

    def _pair(self, item: Item) -> list[Sample]:
        data = item.data
        if "prompt" in data:
            try:
                told = json.loads(Path(data["prompt"]).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                raise RejectedError("no instruction", f"{data['prompt']} is no JSON.") from None
            values: dict[str, Any] = {"before": data["before"], "after": data["after"]}
            values["instruction"] = told.get("edit") if isinstance(told, dict) else None
        elif "table" in data:
            row = _group(data["table"], data["group"]).slice(data["row"], 1).to_pylist()[0]
            values = {name: row[column] for name, column in data["columns"].items()}
        else:
            values = data["row"]
        key = item.key.rpartition("#")[0]
        pictures = {name: self._bytes(values[name], f"{key}, {name}") for name in ("before", "after")}
        words = values["instruction"]
        if not isinstance(words, str) or not words.strip():
            raise RejectedError("no instruction", f"{key} has no instruction.")
        return [pair_sample(pictures, words.strip(), f"{self.source.name}: {key}", self.licence)]

    def _size(self, cell: Any) -> list[int]:
        return _stat(self.source / cell) if isinstance(cell, str) else []

    def _bytes(self, cell: Any, where: str) -> bytes:
        """Of a picture as tables hold them: bytes, a path, or both as the hub's `Image` feature."""
        if isinstance(cell, Mapping):
            cell = cell.get("bytes") or cell.get("path")
        if isinstance(cell, bytes):
            return cell
        if not isinstance(cell, str):
            raise RejectedError("no picture", f"{where}: there is no picture.")
        root = self.source if self.source.is_dir() else self.source.parent
        try:
            return (root / cell if not Path(cell).is_absolute() else Path(cell)).read_bytes()
        except OSError as error:
            raise RejectedError("no picture", f"{where}: {cell} cannot be read ({error.strerror}).") from None


def _stat(path: Path) -> list[int]:
    """What changes when a file does, without reading it."""
    return [path.stat().st_size, path.stat().st_mtime_ns] if path.is_file() else []


def _mark(*told: Any) -> str:
    return hashlib.sha256(to_json(told, indent=None).encode()).hexdigest()[:12]


def pair_sample(
    pictures: Mapping[str, bytes],
    instruction: str,
    source: str,
    licence: str,
    identity: str | None = None,
    **columns: Any,
) -> Sample:
    """A row of edit pairs from the picture files "before" and "after".

    identity: whose they are; the picture before by default, so that its edits stay in one split.
    Raises: ImageError for what is no picture.
    """
    files, sizes = {}, {}
    for name in ("before", "after"):
        data = pictures[name]
        sizes[f"{name}_size_px"] = list(image_from(data, f"{source}, {name}").size)
        files[f"{name}.{_format(data)}"] = data
    digest = hashlib.sha256(b"\0".join((*files.values(), instruction.encode()))).hexdigest()
    first = hashlib.sha256(pictures["before"]).hexdigest()[:16]
    told = {"instruction": instruction, **sizes, **columns}
    return Sample(digest[:24], identity or f"picture {first}", source, licence, told, files, digest)


def _format(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as picture:
        return "jpg" if picture.format == "JPEG" else str(picture.format).lower()


def _schema(path: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".parquet":
            return list(pq.read_schema(path).names)
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
            return list(stream.schema.names)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} is no table that can be read ({str(error).splitlines()[0]}).") from None


def _group_sizes(path: Path) -> list[int]:
    """Rows of each part that is read at once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        about = pq.read_metadata(path)
        return [about.row_group(group).num_rows for group in range(about.num_row_groups)]
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
        return [batch.num_rows for batch in stream]


@functools.lru_cache(maxsize=2)
def _group(path: str, group: int) -> Any:
    """One part of a table; the neighbours of a row are asked for next."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.endswith(".parquet"):
        with pq.ParquetFile(path) as file:
            return file.read_row_group(group)
    with pa.memory_map(path) as mapped, pa.ipc.open_stream(mapped) as stream:
        for _ in range(group):
            stream.read_next_batch()
        return pa.Table.from_batches([stream.read_next_batch()])
