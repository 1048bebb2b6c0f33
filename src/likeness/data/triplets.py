"""Two pictures and an instruction a row: data sets of the kinds "cheese", "pairs" and "edits"."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from likeness.data.engine import BUILD
from likeness.data.manifest import Problem, by_person
from likeness.data.reading import ShardSet, read_set
from likeness.errors import InputError
from likeness.files.images import image_from

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Triplet", "TripletSet", "TripletsAbout", "check", "kind_in", "read_triplets"]

PICTURES = {
    "cheese": ("reference", "target"),
    "pairs": ("before", "after"),
    "edits": ("before", "after"),
}
"""What the two pictures of a row are called, by kind."""


@dataclass(frozen=True, slots=True)
class TripletsAbout:
    """What is known of the whole set."""

    kind: str


@dataclass(frozen=True, slots=True)
class Triplet:
    """One row: who it is, what leads from the first picture, the reference, to the second, the sizes of both
    in px, and the person's split."""

    person: str
    instruction: str
    reference_size_px: tuple[int, int]
    target_size_px: tuple[int, int]
    split: str = "train"


@dataclass(frozen=True, eq=False)
class TripletSet:
    """The rows of a folder, but those of the split "test", with their pictures in shards."""

    folder: Path
    shards: ShardSet
    numbers: tuple[int, ...]
    about: TripletsAbout

    @cached_property
    def rows(self) -> tuple[Triplet, ...]:
        """Every triplet, in the manifest's order."""
        names = PICTURES[self.about.kind]
        people, texts, splits, first, second = (
            self.shards.column(name)
            for name in ("identity", "instruction", "split", *(f"{one}_size_px" for one in names))
        )
        return tuple(
            Triplet(people[n], texts[n], tuple(first[n]), tuple(second[n]), splits[n]) for n in self.numbers
        )

    def people(self) -> dict[str, list[int]]:
        """Each person's rows, in order."""
        return by_person(row.person for row in self.rows)

    def pictures(self, row: int) -> tuple[Image.Image, Image.Image]:
        """Reference and target. Raises: InputError naming a picture that is missing or broken."""
        number, names = self.numbers[row], PICTURES[self.about.kind]
        files = {
            name.partition(".")[0]: (name, data) for name, data in self.shards.files(number, names).items()
        }
        missing = [name for name in names if name not in files]
        if missing:
            raise InputError(f"Row {number} of {self.folder} has no {missing[0]} picture; build it again.")
        reference, target = (image_from(data, name) for name, data in (files[one] for one in names))
        return reference, target


def read_triplets(folder: Path) -> TripletSet:
    """Open a built data set. Raises: InputError where it has no rows to learn from."""
    shards = read_set(folder)
    numbers = tuple(n for n, split in enumerate(shards.column("split")) if split != "test")
    if not numbers:
        raise InputError(f"{folder} has no row but of the split test; build one of more people.")
    return TripletSet(folder, shards, numbers, TripletsAbout(kind_in(folder) or "cheese"))


def kind_in(folder: Path) -> str | None:
    """Which of these kinds `likeness dataset` made the folder of; None: of none."""
    try:
        told = json.loads((folder / BUILD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    kind = told.get("kind") if isinstance(told, dict) else None
    return kind if kind in PICTURES else None


def check(folder: Path, *, hashes: bool = True) -> list[Problem]:
    """Everything that is wrong with it. hashes: also read every picture."""
    try:
        found = read_triplets(folder)
        problems = [
            Problem("the instruction is empty", "manifest.parquet", number + 1)
            for number, row in zip(found.numbers, found.rows, strict=True)
            if not row.instruction.strip()
        ]
    except (InputError, OSError) as error:
        return [Problem(str(error), "manifest.parquet")]
    for row in range(len(found.rows) if hashes else 0):
        try:
            found.pictures(row)
        except (InputError, OSError) as error:
            shard = found.shards.row(found.numbers[row])["shard"]
            problems.append(Problem(str(error), shard, found.numbers[row] + 1))
    return problems
