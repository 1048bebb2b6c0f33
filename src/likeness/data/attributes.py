"""Data sets of attributes on disk: of each picture what it shows, and apart from it the words to be taught.

    dataset.json        where words come from, what was left out, the licence (`AttributesAbout`)
    manifest.jsonl      one `AttributeRow` a picture that is learned from
    looked.jsonl        one for every picture that was looked at, so that none is looked at twice

SPF-Portrait's triples (T_base, T_tar, picture), section 4.1 and appendix A.2 there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from likeness.data.manifest import ABOUT, MANIFEST, Problem, Records, by_person, read_records, wrong_picture
from likeness.errors import InputError
from likeness.files.images import to_json, write_bytes, write_json

__all__ = [
    "LOOKED",
    "AttributeRow",
    "AttributeSet",
    "AttributesAbout",
    "check",
    "read_attributes",
    "read_looked",
    "write_attributes",
]

LOOKED = "looked.jsonl"
TARGETS_NAMED = 12


class AttributeRow(BaseModel):
    """One picture.

    picture: path relative to the data set's folder; sha256: of the file. person: whose pictures belong
    together. base: the picture in words, without the attribute. target: the attribute's words alone.
    attribute: what it is called, the same for all pictures that teach it. alignment: cosine of
    picture and both texts in CLIP's space, None where nobody measured it. preference: what each scorer gave.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    picture: str = Field(min_length=1)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size_px: tuple[int, int]
    person: str = Field(min_length=1)
    base: str = Field(min_length=1)
    target: str = Field(min_length=1)
    attribute: str = Field(min_length=1)
    alignment: float | None = None
    preference: dict[str, float] = Field(default_factory=dict)


class AttributesAbout(BaseModel):
    """What built a data set.

    words: where base and target come from. alignment: whose cosines; keep: the share of the pictures they let
    through. least: scorer -> what a picture needs of it. licence: of the pictures, as whoever built it
    declared. left_out: picture -> why.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["attributes"] = "attributes"
    format: int = 1
    words: str
    alignment: str | None
    keep: float = Field(gt=0, le=1)
    least: dict[str, float]
    licence: str
    pictures: int
    people: int
    left_out: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class AttributeSet:
    """A data set that was read."""

    folder: Path
    about: AttributesAbout
    rows: tuple[AttributeRow, ...]

    def path(self, row: AttributeRow) -> Path:
        """Of the row's picture."""
        return self.folder / row.picture

    def people(self) -> dict[str, list[int]]:
        """Each person's rows, in order."""
        return by_person(row.person for row in self.rows)

    def targets(self) -> dict[str, str]:
        """Each attribute with the words most used for it, the commonest attributes first."""
        words: dict[str, Counter[str]] = {}
        for row in self.rows:
            words.setdefault(row.attribute, Counter())[row.target] += 1
        known = sorted(words, key=lambda name: -words[name].total())[:TARGETS_NAMED]
        return {name: words[name].most_common(1)[0][0] for name in known}


def write_attributes(
    folder: Path, about: AttributesAbout, kept: Mapping[str, AttributeRow], looked: Mapping[str, AttributeRow]
) -> None:
    """Write the files whole, `dataset.json` last: without it nothing is read. Rows by their pictures."""
    for name, rows in ((LOOKED, looked), (MANIFEST, kept)):
        lines = "".join(to_json(row.model_dump(mode="json"), indent=None) + "\n" for row in rows.values())
        write_bytes(folder / name, lines.encode())
    write_json(folder / ABOUT, about.model_dump(mode="json"))


def read_attributes(folder: Path) -> AttributeSet:
    """Read a data set; the pictures are not looked at (see `check`).

    Raises: InputError with file, line and column of the first thing that is wrong.
    """
    found = _records(folder)
    if found.problems or found.about is None:
        raise InputError(f"The data set {folder} cannot be used: {found.problems[0]}")
    return AttributeSet(folder, found.about, tuple(found.rows.values()))


def read_looked(folder: Path) -> tuple[AttributesAbout, list[AttributeRow]]:
    """What built a data set, and all that was looked at, also what was left out.

    Raises: InputError where it cannot be read.
    """
    try:
        about = AttributesAbout.model_validate_json((folder / ABOUT).read_text(encoding="utf-8"))
        lines = (folder / LOOKED).read_text(encoding="utf-8").split("\n")
        return about, [AttributeRow.model_validate_json(line) for line in lines if line]
    except (OSError, ValueError) as error:
        raise InputError(f"The data set {folder} cannot be taken up: {error}") from error


def check(folder: Path, *, hashes: bool = True) -> list[Problem]:
    """Everything that is wrong with a data set. hashes: also read every picture and compare its hash."""
    found = _records(folder)
    problems = list(found.problems)
    seen: dict[str, int] = {}
    for line, row in found.rows.items():
        wrong = [*wrong_picture(folder, row.picture, row.sha256, row.size_px, hashes), *_wrong_words(row)]
        if row.sha256 in seen:
            wrong.append(("sha256", f"the same picture as in line {seen[row.sha256]}"))
        seen.setdefault(row.sha256, line)
        problems += [found.problem(line, field, text) for field, text in wrong]
    return problems


def _records(folder: Path) -> Records[AttributesAbout, AttributeRow]:
    return read_records(folder, AttributesAbout, AttributeRow)


def _wrong_words(row: AttributeRow) -> Iterator[tuple[str, str]]:
    if row.target.lower().strip(" .") in row.base.lower():
        yield "base", f"it says the target's words {row.target!r}, which it is to leave out"
