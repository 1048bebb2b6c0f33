"""People and their pictures: who they are, whether they agreed, and where their pictures lie.

Everything lies in one data folder, under names that the studio makes up; a name that a user gives is only
ever text in the database.

    pictures/ID.png     references: pixels only, the metadata of photos is left out
    results/JOB.N/      what a job's N-th attempt painted, whole or not there
    runs/JOB.N/         a training's run folder
    datasets/JOB/       data sets built here
    studies/NAME/       studies
    previews/           forming pictures
    work/               what is not whole yet
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image
from pydantic import BaseModel, Field

from likeness.errors import InputError
from likeness.files.images import RECIPE_KEY, image_from, read_image, write_png
from likeness.files.provenance import pixels_sha256
from likeness.studio.jobs import Conflict

if TYPE_CHECKING:
    from likeness.studio.databases import Database

__all__ = [
    "PEOPLE",
    "UPLOAD_BYTES",
    "UPLOAD_PIXELS",
    "Consent",
    "Library",
    "NoConsent",
    "Person",
    "Picture",
    "safe_file",
]

UPLOAD_BYTES = 25 * 2**20
UPLOAD_PIXELS = 40_000_000
PEOPLE = "people.json"
"""Beside a study made here: whose pictures it shows. It goes when one of them is forgotten."""
FOLDERS = ("pictures", "results", "runs", "datasets", "studies", "previews", "work", "adapters")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,80}")
SCHEMA = """
CREATE TABLE IF NOT EXISTS people (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL, created DOUBLE PRECISION NOT NULL,
  consent TEXT);
CREATE TABLE IF NOT EXISTS pictures (
  id TEXT PRIMARY KEY, person TEXT NOT NULL, label TEXT NOT NULL, width INTEGER NOT NULL,
  height INTEGER NOT NULL, sitter INTEGER NOT NULL, pixels TEXT NOT NULL, verdict TEXT,
  created DOUBLE PRECISION NOT NULL);
CREATE INDEX IF NOT EXISTS pictures_of ON pictures (person);
CREATE INDEX IF NOT EXISTS pictures_same ON pictures (pixels)
"""


class NoConsent(InputError):  # noqa: N818  as in `errors`, the thing itself
    """A real person's pictures are to be used, and nobody has said that they agreed."""


class Consent(BaseModel):
    """Who said that a person agrees, and to what. at: seconds since 1970, by the studio's clock."""

    given_by: str = Field(min_length=1, max_length=200, description="Whose word this is.")
    statement: str = Field(min_length=1, max_length=2000, description="What the person agreed to.")
    at: float | None = None


class Person(BaseModel):
    """kind: "sitter", who does not exist, or "real", who has to agree before anything is painted of them."""

    id: str
    name: str
    kind: Literal["sitter", "real"]
    created: float
    consent: Consent | None = None
    pictures: list[Picture] = []


class Picture(BaseModel):
    """A reference. sitter: its own recipe says that it shows a synthetic person. verdict: the doctor's."""

    id: str
    person: str
    label: str
    width: int
    height: int
    sitter: bool
    created: float
    verdict: dict[str, Any] | None = None


class Library:
    """The data folder and what the database says of it."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder.resolve()
        for name in FOLDERS:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        with database.writing() as rows:
            for statement in SCHEMA.split(";"):
                rows(statement)

    # People.

    def add_person(self, name: str, kind: Literal["sitter", "real"] = "real") -> Person:
        """Somebody new, of any name."""
        with self.database.writing() as rows:
            [row] = rows(
                "INSERT INTO people (id, name, kind, created) VALUES (?, ?, ?, :now) "
                "RETURNING *",
                secrets.token_hex(8), name.strip() or "somebody", kind,
            )  # fmt: skip
        return _person(row, [])

    def person(self, identifier: str) -> Person | None:
        """With their pictures, oldest first."""
        with self.database.reading() as rows:
            found = rows("SELECT * FROM people WHERE id = ?", identifier)
            pictures = rows("SELECT * FROM pictures WHERE person = ? ORDER BY created", identifier)
        return _person(found[0], pictures) if found else None

    def people(self) -> list[Person]:
        """Everybody, newest first."""
        with self.database.reading() as rows:
            found = rows("SELECT * FROM people ORDER BY created DESC LIMIT 500")
            pictures = rows("SELECT * FROM pictures ORDER BY created")
        return [_person(row, [one for one in pictures if one["person"] == row["id"]]) for row in found]

    def consent(self, identifier: str, given: Consent) -> Person | None:
        """Keep who said that the person agrees, and when."""
        with self.database.writing() as rows:
            [clock] = rows("SELECT :now AS now")
            kept = given.model_copy(update={"at": float(clock["now"])}).model_dump_json()
            rows("UPDATE people SET consent = ? WHERE id = ?", kept, identifier)
        return self.person(identifier)

    def forget(self, identifier: str) -> list[str]:
        """Take a person and their pictures out of the database and off the disk; the pictures' ids."""
        with self.database.writing() as rows:
            gone = [row["id"] for row in rows("SELECT id FROM pictures WHERE person = ?", identifier)]
            rows("DELETE FROM pictures WHERE person = ?", identifier)
            rows("DELETE FROM people WHERE id = ?", identifier)
        for picture in gone:
            self.picture_file(picture).unlink(missing_ok=True)
        for file in (self.folder / "studies").glob(f"*/{PEOPLE}"):
            if identifier in json.loads(file.read_text(encoding="utf-8")):
                shutil.rmtree(file.parent, ignore_errors=True)
        return gone

    # Pictures.

    def add_picture(self, person: str, data: bytes, label: str = "", *, sitter: bool = False) -> Picture:
        """A picture of a person, from the bytes of a file.

        sitter: it comes from the studio's own renderer; else its recipe says whether it does.
        Raises: InputError for an unknown person; ImageError for what is no picture or too large.
        """
        owner = self.person(person)
        if owner is None:
            raise InputError("There is no such person; add them first.")
        image = image_from(data, "The picture", pixels_max=UPLOAD_PIXELS)
        shows_sitter = sitter or _says_sitter(data)
        if owner.kind == "sitter" and not shows_sitter:
            raise Conflict(
                "This person is a sitter, and the picture is not of one: add a person of their own."
            )
        identifier = secrets.token_hex(12)
        write_png(image, self.picture_file(identifier))
        with self.database.writing() as rows:
            there = rows("UPDATE people SET id = id WHERE id = ? RETURNING id", person)  # locks the row
            kept = there and rows(
                "INSERT INTO pictures (id, person, label, width, height, sitter, pixels, created) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, :now) RETURNING *",
                identifier, person, label[:200], image.width, image.height, int(shows_sitter),
                pixels_sha256(image),
            )  # fmt: skip
        if not kept:  # forgotten while the picture was being read
            self.picture_file(identifier).unlink(missing_ok=True)
            raise InputError("There is no such person; add them first.")
        return _picture(kept[0])

    def picture(self, identifier: str) -> Picture | None:
        """What is known of a picture."""
        with self.database.reading() as rows:
            found = rows("SELECT * FROM pictures WHERE id = ?", identifier)
        return _picture(found[0]) if found else None

    def judged(self, identifier: str, verdict: dict[str, Any]) -> None:
        """Keep what the doctor says of a picture."""
        with self.database.writing() as rows:
            rows("UPDATE pictures SET verdict = ? WHERE id = ?", json.dumps(verdict), identifier)

    def remove_picture(self, identifier: str) -> bool:
        """Take one picture away."""
        with self.database.writing() as rows:
            found = rows("DELETE FROM pictures WHERE id = ? RETURNING id", identifier)
        if found:
            self.picture_file(identifier).unlink(missing_ok=True)
        return bool(found)

    def picture_file(self, identifier: str) -> Path:
        """Where a picture's PNG lies. Raises: InputError for what is no id."""
        if not re.fullmatch(r"[0-9a-f]{24}", identifier):
            raise InputError("A picture's id has 24 hexadecimal digits.")
        return self.folder / "pictures" / f"{identifier}.png"

    def read(self, identifier: str) -> Image.Image:
        """A picture's pixels. Raises: InputError for one that is not there (any more)."""
        file = self.picture_file(identifier)
        if not file.is_file():
            raise InputError("A picture that the job needs is no longer there.")
        return read_image(file)

    def with_pixels(self, digest: str) -> str | None:
        """The id of a picture of these very pixels."""
        with self.database.reading() as rows:
            found = rows("SELECT id FROM pictures WHERE pixels = ? LIMIT 1", digest)
        return str(found[0]["id"]) if found else None

    def allowed(self, pictures: Sequence[str]) -> list[str]:
        """The people that pictures show, once each, where all may be painted.

        Raises: InputError for an unknown picture; NoConsent for a real person who did not agree.
        """
        people: dict[str, None] = {}
        for identifier in dict.fromkeys(pictures):
            known = self.picture(identifier)
            if known is None:
                raise InputError(f"There is no picture {identifier}; add it first.")
            people[known.person] = None
        return self.agreed(list(people))

    def agreed(self, people: Sequence[str]) -> list[str]:
        """People, where all may be painted. Raises: NoConsent; InputError for one who was forgotten."""
        for identifier in people:
            owner = self.person(identifier)
            if owner is None:
                raise InputError("A person whose pictures took part was forgotten.")
            if owner.kind == "real" and owner.consent is None:
                raise NoConsent(
                    f"{owner.name} is a real person and nobody has said that they agreed: record their "
                    "consent first."
                )
        return list(people)

    # Files of jobs.

    def remove_of_job(self, job: str) -> None:
        """Everything that a job's attempts left on the disk."""
        self._remove(job, ("results", "runs", "work", "datasets", "previews"))

    def begin_again(self, job: str) -> None:
        """What attempts left that were killed; a training's run is kept, for the next one goes on from it."""
        self._remove(job, ("results", "work", "datasets", "previews"))

    def _remove(self, job: str, places: Sequence[str]) -> None:
        for name in places:
            for path in (self.folder / name).glob(f"{job}.*"):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def safe_file(folder: Path, name: str) -> Path | None:
    """The regular file of that name in a folder or below, or None: no name leads out of it."""
    try:
        path = (folder / name).resolve()
        inside = path.is_relative_to(folder.resolve()) and path.is_file()
    except (OSError, ValueError):
        return None
    return path if inside else None


def _says_sitter(data: bytes) -> bool:
    """Whether a PNG's recipe is a sitter's."""
    try:
        with Image.open(BytesIO(data), formats=["PNG"]) as picture:
            picture.load()
            recipe = json.loads(picture.info.get(RECIPE_KEY, "{}"))
    except Exception:  # noqa: BLE001  what cannot be read says nothing
        return False
    return isinstance(recipe, dict) and "sitter" in recipe


def _person(row: dict[str, Any], pictures: Sequence[dict[str, Any]]) -> Person:
    consent = Consent.model_validate_json(row["consent"]) if row["consent"] else None
    return Person(**{**row, "consent": consent}, pictures=[_picture(one) for one in pictures])


def _picture(row: dict[str, Any]) -> Picture:
    verdict = json.loads(row["verdict"]) if row["verdict"] else None
    return Picture(**{**row, "sitter": bool(row["sitter"]), "verdict": verdict})


Person.model_rebuild()
