"""What is to be edited: pictures and videos that words of a command stand for, or rows of a file."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from likeness.errors import ImageError, InputError
from likeness.files.video import VIDEO_SUFFIXES

__all__ = ["EditJob", "is_video", "jobs_of_file", "pictures_in"]

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
"""Those of `files.images.FORMATS`."""


@dataclass(frozen=True, slots=True)
class EditJob:
    """A picture or video and what becomes of it: instructions one after another, each on what the last made.

    size_px: (width, height) of the result; None: the method's choice. options: the method's own, such as
    {"style": 1.5}.
    """

    picture: Path
    instructions: tuple[str, ...]
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    size_px: tuple[int, int] | None = None
    options: tuple[tuple[str, Any], ...] = ()


def pictures_in(given: Sequence[str | Path]) -> tuple[list[Path], list[Path]]:
    """Pictures and videos that files, folders and patterns such as "in/*.jpg" stand for, in order.

    A folder stands for its pictures, a pattern for the pictures and videos among what it matches.
    Raises: InputError for what stands for nothing, ImageError for a file that is not there.
    """
    pictures: list[Path] = []
    videos: list[Path] = []
    for text in given:
        path = Path(text).expanduser()
        if path.is_dir():
            found = _files(path.iterdir(), PICTURE_SUFFIXES)
        elif path.is_file():
            found = [path]
        elif not any(mark in str(text) for mark in "*?["):
            raise ImageError(f"{path} does not exist; check the path.")
        else:
            root, pattern = (
                (Path(path.anchor), str(path)[len(path.anchor) :]) if path.anchor else (Path(), str(path))
            )
            found = _files(root.glob(pattern), PICTURE_SUFFIXES | VIDEO_SUFFIXES)
        if not found:
            raise InputError(
                f"{text} holds no picture: give pictures, a folder of them, or a pattern in quotes."
            )
        for one in found:
            (videos if is_video(one) else pictures).append(one)
    return list(dict.fromkeys(pictures)), list(dict.fromkeys(videos))


def jobs_of_file(file: Path, like: EditJob) -> list[EditJob]:
    """Rows of a .csv (with a header) or .jsonl file: `image`, `instruction`, and optionally `seed`, `steps`,
    `guidance`, `style`, `size` (WIDTHxHEIGHT); a relative image lies beside the file.

    Raises: InputError naming the line of what is wrong; of a table's row the line it ends on.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}.") from error
    if file.suffix.lower() == ".csv":
        rows = list(_csv_rows(file, text))
    else:
        lines = enumerate(text.split("\n"), start=1)  # not splitlines: U+2028 stays in its line
        rows = [(number, _row(file, number, line)) for number, line in lines if line.strip()]
    if not rows:
        raise InputError(f"{file} has no rows: each is an image and an instruction.")
    return [_job(file, number, row, like) for number, row in rows]


def is_video(path: Path) -> bool:
    """By its ending."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def _files(paths: Iterable[Path], suffixes: frozenset[str]) -> list[Path]:
    return sorted(one for one in paths if one.suffix.lower() in suffixes and one.is_file())


def _csv_rows(file: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a table with the numbers of the lines they end on: a quoted field may have several."""
    # Lines end as they do in the file: newlines inside quotes belong to the field.
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if None in row:
                raise InputError(
                    f"{file}, line {reader.line_num}: it has more fields than the header; put a text with "
                    "commas in quotes."
                )
            yield reader.line_num, row
    except csv.Error as error:
        raise InputError(f"{file}, line {reader.reader.line_num}: this is no CSV: {error}.") from error


def _row(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{file}, line {number}, column {error.colno}: this is no JSON: {error.msg}."
        ) from error
    if not isinstance(row, dict):
        raise InputError(
            f"{file}, line {number}: a row is an object such as {{'image': ..., 'instruction': ...}}."
        )
    return row


def _whole(text: str) -> int:
    """Raises: ValueError for what is no whole number; "1.0" is 1, as spreadsheets write it."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise
        return int(number)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _size(text: str) -> tuple[int, int]:
    width, height = (int(word) for word in text.lower().split("x"))
    return width, height


_SETTINGS: dict[str, tuple[Callable[[str], Any], str]] = {
    "seed": (_whole, "a whole number"),
    "steps": (_whole, "a whole number"),
    "guidance": (_finite, "a number"),
    "style": (_finite, "a number"),
    "size": (_size, "WIDTHxHEIGHT in pixels, such as 1024x576"),
}
"""Columns of a row: how each is read, and what it must be."""


def _job(file: Path, number: int, row: Mapping[str, Any], like: EditJob) -> EditJob:
    given = {key: value for key, value in row.items() if value not in (None, "")}
    unknown = sorted(set(given) - {"image", "instruction", *_SETTINGS}, key=str)
    if unknown:
        raise InputError(f"{file}, line {number}: there is no column {unknown[0]!r}.")
    for name in ("image", "instruction"):
        if name not in given:
            raise InputError(f"{file}, line {number}: it lacks {name!r}.")
    values: dict[str, Any] = {}
    for name, (read, what) in _SETTINGS.items():
        if name in given:
            try:
                values[name] = read(str(given[name]))
            except ValueError as error:
                raise InputError(f"{file}, line {number}: {name} is {given[name]!r}, not {what}.") from error
    if "size" in values:
        values["size_px"] = values.pop("size")
    style = values.pop("style", None)
    options = like.options if style is None else tuple({**dict(like.options), "style": style}.items())
    picture = file.parent / Path(str(given["image"])).expanduser()
    if not picture.is_file():
        raise InputError(f"{file}, line {number}: {picture} does not exist.")
    return replace(
        like, picture=picture, instructions=(str(given["instruction"]),), options=options, **values
    )
