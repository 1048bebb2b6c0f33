"""Hugging Face's image folders: pictures, and a `metadata.jsonl` that says what is on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likeness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["METADATA", "listed_pictures", "listed_rows"]

METADATA = "metadata.jsonl"


def listed_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a `metadata.jsonl` with their line numbers, from 1. Raises: InputError naming the line."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")  # not splitlines: U+2028 stays in its line
    except UnicodeDecodeError:
        raise InputError(f"{file} is no UTF-8 text; save it as UTF-8.") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{file}:{number}:{error.colno}: this is no JSON: {error.msg}.") from error
        if not isinstance(row, dict):
            raise InputError(f"{file}:{number}: a row is an object, {{...}}; this is none.")
        yield number, row


def listed_pictures(source: Path) -> dict[Path, dict[str, Any]]:
    """Rows of `metadata.jsonl` in a folder by the picture they name (`file_name`); empty where there is none.

    Columns that count here: `text`, the caption; `identity`, who it is. Exported sitters have both.
    Raises: InputError naming the line of what is wrong.
    """
    file = source / METADATA
    if not file.is_file():
        return {}
    found: dict[Path, dict[str, Any]] = {}
    for number, row in listed_rows(file):
        if not isinstance(row.get("file_name"), str):
            raise InputError(f"{file}:{number}: a row needs `file_name`, the picture it is about.")
        for name in ("text", "identity"):
            if not isinstance(row.get(name, ""), str):
                raise InputError(f"{file}:{number}: {name} is no text.")
        path = source / row["file_name"]
        if not path.is_file():
            raise InputError(f"{file}:{number}: {row['file_name']} is not there.")
        found[path] = row
    return found
