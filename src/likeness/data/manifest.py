"""A data set on disk: a folder that says of each picture whose face is where, and what is to be seen.

    dataset.json        what built it: encoders, captions, licence (`About`)
    manifest.jsonl      one `Row` a picture
    embeddings.npy      (rows, D) float32, the faces' embeddings of unit length
    parsing/ROW.png     grey values are indices into `faces.parsing.CLASSES`, where a parser was given

Pictures stay where they are; a row names them relative to the folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from likeness.errors import ImageError, InputError
from likeness.faces.parsing import CLASSES
from likeness.faces.parts import PARTS, part_word
from likeness.files.images import read_image, to_json, whole_file, write_bytes, write_json
from likeness.files.weights import sha256_of
from likeness.types import Face

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "About",
    "Dataset",
    "FaceRow",
    "Problem",
    "Records",
    "Row",
    "by_person",
    "check",
    "read_dataset",
    "read_records",
    "write_dataset",
    "wrong_picture",
]

ABOUT, MANIFEST, EMBEDDINGS = "dataset.json", "manifest.jsonl", "embeddings.npy"
AnyAbout = TypeVar("AnyAbout", bound=BaseModel)
AnyRow = TypeVar("AnyRow", bound=BaseModel)


class FaceRow(BaseModel):
    """box_xyxy px; landmarks_px: eyes, nose, corners of the mouth; left and right as seen in the picture."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    box_xyxy: tuple[float, float, float, float]
    landmarks_px: tuple[tuple[float, float], ...] = Field(min_length=5, max_length=5)
    score: float = Field(ge=0, le=1)

    @classmethod
    def of(cls, face: Face) -> FaceRow:
        """A detector's face, to a hundredth of a pixel."""
        x0, y0, x1, y1 = (round(float(v), 2) for v in face.box_xyxy)
        points = tuple((round(float(x), 2), round(float(y), 2)) for x, y in face.landmarks_px)
        return cls(box_xyxy=(x0, y0, x1, y1), landmarks_px=points, score=round(float(face.score), 4))

    @property
    def face(self) -> Face:
        """As methods take it."""
        return Face(self.box_xyxy, np.array(self.landmarks_px, np.float32), score=self.score)


class Row(BaseModel):
    """One picture with one face that counts.

    picture: path relative to the data set's folder. sha256: of the file. person: whose pictures belong
    together. parts: those of `faces.parts.PARTS` that are seen. caption: of the whole picture; face_caption:
    of the face, naming its parts. parsing: path of its label picture, or None. split: the person's
    (`data.engine.split_of`), None in data sets that were built before there was one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    picture: str = Field(min_length=1)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size_px: tuple[int, int]
    person: str = Field(min_length=1)
    face: FaceRow
    parts: tuple[str, ...]
    caption: str = Field(min_length=1)
    face_caption: str = Field(min_length=1)
    parsing: str | None = None
    split: Literal["train", "validation", "test"] | None = None


class About(BaseModel):
    """What built a data set. encoder: the recogniser of the embeddings, and the hash of its weights.

    captions: where they come from. licence: of the pictures, as whoever built it declared. left_out: pictures
    that are not in it, and why.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: str
    format: int = 1
    detector: str
    encoder: str
    encoder_sha256: str
    encoder_licence: str
    parser: str | None
    captions: str
    licence: str
    pictures: int
    people: int
    left_out: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A data set that was read; embeddings (rows, D)."""

    folder: Path
    about: About
    rows: tuple[Row, ...]
    embeddings: NDArray[np.float32]

    def path(self, row: Row) -> Path:
        """Of the row's picture."""
        return self.folder / row.picture

    def people(self) -> dict[str, list[int]]:
        """Each person's rows, in order."""
        return by_person(row.person for row in self.rows)


def by_person(people: Iterable[str]) -> dict[str, list[int]]:
    """Each person's rows, from 0 and in order, where `people` names who is on each."""
    found: dict[str, list[int]] = {}
    for number, person in enumerate(people):
        found.setdefault(person, []).append(number)
    return found


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where: a file of the data set, its line and column (from 1), as far as there are."""

    text: str
    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        where = self.file
        for number in (self.line, self.column):
            where += "" if number is None else f":{number}"
        return f"{where}: {self.text}"


@dataclass(frozen=True, slots=True)
class Records(Generic[AnyAbout, AnyRow]):
    """What could be read of a data set: rows by their lines in the manifest (from 1), and what is wrong."""

    about: AnyAbout | None
    rows: dict[int, AnyRow]
    problems: list[Problem]
    texts: dict[int, str] = field(repr=False)

    def problem(self, line: int, name: str, text: str) -> Problem:
        """What is wrong with a field of a row."""
        return Problem(text, MANIFEST, line, _column(self.texts[line], [name]))


def write_dataset(folder: Path, about: About, rows: Sequence[Row], embeddings: NDArray[np.float32]) -> None:
    """Write the three files whole, `dataset.json` last: without it nothing is read."""
    lines = "".join(to_json(row.model_dump(mode="json"), indent=None) + "\n" for row in rows)
    write_bytes(folder / MANIFEST, lines.encode())
    with whole_file(folder / EMBEDDINGS) as partial, partial.open("wb") as file:
        np.save(file, embeddings.astype(np.float32))
    write_json(folder / ABOUT, about.model_dump(mode="json"))


def read_dataset(folder: Path) -> Dataset:
    """Read a data set; what the pictures hold is not looked at (see `check`).

    Raises: InputError with file, line and column of the first thing that is wrong.
    """
    found, embeddings = _read(folder)
    if found.problems or found.about is None or embeddings is None:
        raise InputError(f"The data set {folder} cannot be used: {found.problems[0]}")
    return Dataset(folder, found.about, tuple(found.rows.values()), embeddings)


def check(folder: Path, *, hashes: bool = True) -> list[Problem]:
    """Everything that is wrong with a data set: its files, every line, and the pictures they speak of.

    hashes: also read every picture and compare its hash.
    """
    found, embeddings = _read(folder)
    rows, problems = found.rows, list(found.problems)
    seen: dict[str, int] = {}
    for line, row in rows.items():
        wrong = list(_wrong_in(folder, row, hashes))
        if row.sha256 in seen:
            wrong.append(("sha256", f"the same picture as in line {seen[row.sha256]}"))
        seen.setdefault(row.sha256, line)
        problems += [found.problem(line, key, text) for key, text in wrong]
    if embeddings is not None and embeddings.ndim == 2 and len(embeddings) == len(rows):
        lengths = np.linalg.norm(embeddings, axis=1)
        for number, (line, length) in enumerate(zip(rows, lengths, strict=True)):
            if not abs(length - 1) < 1e-2:
                text = f"row {number} (line {line} of {MANIFEST}) has length {length:.3g}, not 1"
                problems.append(Problem(text, EMBEDDINGS))
    return problems


def warnings_of(folder: Path) -> list[Problem]:
    """What is no fault but teaches less: descriptions of faces that name no face part."""
    found = read_records(folder, About, Row)
    return [
        found.problem(line, "face_caption", "names no face part: nothing is learned of its parts")
        for line, row in found.rows.items()
        if not any(part_word(part, row.face_caption) for part in PARTS)
    ]


def read_records(folder: Path, about: type[AnyAbout], row: type[AnyRow]) -> Records[AnyAbout, AnyRow]:
    """What can be read of a data set's `dataset.json` and manifest, as the models given for both."""
    problems: list[Problem] = []
    known, rows = None, {}
    try:
        known = about.model_validate_json((folder / ABOUT).read_text(encoding="utf-8"))
    except OSError:
        problems.append(Problem("is missing; build it with `likeness dataset build`", ABOUT))
    except ValidationError as error:
        problems.append(Problem(_said(error.errors()[0]), ABOUT))
    except UnicodeDecodeError:
        problems.append(Problem("is no UTF-8 text", ABOUT))
    if not (folder / MANIFEST).is_file():
        problems.append(Problem("is missing", MANIFEST))
    texts = dict(enumerate(_lines(folder / MANIFEST), start=1))
    for line, text in texts.items():
        try:
            rows[line] = row.model_validate(json.loads(text))
        except json.JSONDecodeError as error:
            problems.append(Problem(f"is no JSON: {error.msg}", MANIFEST, line, error.colno))
        except ValidationError as error:
            for one in error.errors():
                problems.append(Problem(_said(one), MANIFEST, line, _column(text, one["loc"])))
    pictures = getattr(known, "pictures", len(rows))
    if pictures != len(rows) and not problems:
        problems.append(Problem(f"tells of {pictures} pictures, {MANIFEST} has {len(rows)}", ABOUT))
    return Records(known, rows, problems, texts)


def _read(folder: Path) -> tuple[Records[About, Row], NDArray[np.float32] | None]:
    found, embeddings = read_records(folder, About, Row), None
    try:
        embeddings = np.load(folder / EMBEDDINGS, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        text = "is missing" if isinstance(error, OSError) else "is no array"
        found.problems.append(Problem(text, EMBEDDINGS))
    rows, problems = found.rows, found.problems
    if embeddings is not None and (embeddings.ndim != 2 or len(embeddings) != len(rows)) and not problems:
        text = f"has shape {embeddings.shape} for {len(rows)} rows of {MANIFEST}"
        problems.append(Problem(text, EMBEDDINGS))
    return found, embeddings


def _lines(file: Path) -> Iterator[str]:
    if file.is_file():
        # Not splitlines, which also parts at U+2028, U+2029 and U+0085: JSON leaves them as they are.
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
        yield from lines if lines[-1] else lines[:-1]


def _wrong_in(folder: Path, row: Row, hashes: bool) -> Iterator[tuple[str, str]]:
    """(field, what is wrong) of a row against the files it names."""
    yield from wrong_picture(folder, row.picture, row.sha256, row.size_px, hashes)
    x0, y0, x1, y1 = row.face.box_xyxy
    width, height = row.size_px
    if not (x0 < x1 and y0 < y1):
        yield "box_xyxy", "the box has no area; it is x0, y0, x1, y1 with x0 < x1 and y0 < y1"
    elif x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        yield "box_xyxy", f"the box lies outside of the picture of {width} x {height} px"
    if row.parsing is None:
        return
    if not (folder / row.parsing).is_file():
        yield "parsing", f"{row.parsing} is not there"
        return
    try:
        with Image.open(folder / row.parsing) as opened:
            labels = np.asarray(opened)
    except (OSError, SyntaxError) as error:
        yield "parsing", f"{row.parsing} is a broken picture ({error})"
        return
    if labels.shape != (height, width):
        yield "parsing", f"{row.parsing} has shape {labels.shape}, not ({height}, {width}) of grey values"
    elif labels.max(initial=0) >= len(CLASSES):
        yield "parsing", f"{row.parsing} has the value {labels.max()}, but there are {len(CLASSES)} classes"


def wrong_picture(
    folder: Path, picture: str, sha256: str, size_px: tuple[int, int], hashes: bool
) -> Iterator[tuple[str, str]]:
    """(field, what is wrong) of a row's picture; with `hashes` it is read."""
    path = folder / picture
    if not path.is_file():
        yield "picture", f"{picture} is not there"
    elif hashes:
        if sha256_of(path) != sha256:
            yield "sha256", f"{picture} was changed after the data set was built"
        else:
            try:
                size = read_image(path).size
            except ImageError as error:
                yield "picture", str(error)
            else:
                if size != size_px:
                    yield "size_px", f"{picture} has {size[0]} x {size[1]} px"


def _said(error: Any) -> str:
    """A validation error in one sentence."""
    field = ".".join(str(step) for step in error["loc"])
    return f"{field}: {error['msg']}" if field else str(error["msg"])


def _column(text: str, path: Sequence[Any]) -> int:
    """Where in a line of JSON the innermost named field of `path` stands, from 1."""
    place = 0
    for name in path:
        found = re.compile(rf'"{re.escape(str(name))}"\s*:').search(text, place)
        place = found.start() if found else place
    return place + 1
