"""What people see: blind comparisons and ratings of painted pictures, and what their answers amount to.

A study is a folder: `study.json` says what is shown, `pictures/` holds it under names that give nothing
away, `answers.sqlite` collects what people say. Whoever answers never sees which variant is which.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from likeness.errors import ImageError, InputError
from likeness.evaluation.result import bootstrap_interval
from likeness.files.images import read_image, write_json, write_png
from likeness.statistics import krippendorff_alpha

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Answer",
    "Item",
    "Study",
    "answer",
    "answers_of",
    "build_study",
    "load_study",
    "report",
    "shown_to",
]

Kind = Literal["pairs", "ratings", "collections"]
QUESTIONS: dict[Kind, dict[str, str]] = {
    "pairs": {
        "person": "Which picture is more the person of the reference?",
        "prompt": "Which picture follows the words better?",
    },
    "ratings": {
        "details": "How well are the person and the details kept that the words do not change? (0 to 4)",
        "prompt": "How well are the words followed? (0 to 4)",
    },
    "collections": {
        "coherence": "How well do these pictures go together as one collection of this person? (0 to 4)",
    },
}
CHOICES: dict[Kind, tuple[str, ...]] = {
    "pairs": ("left", "equal", "right"),
    "ratings": ("0", "1", "2", "3", "4"),
    "collections": ("0", "1", "2", "3", "4"),
}
MOST = 8
"""Pictures of a collection that are shown together."""


class Item(BaseModel):
    """One thing to judge. pictures: files, left to right; variants: whose they are, not shown. reference: a
    file, "" where nobody was to be kept. prompt: "" of a collection, whose pictures have one each."""

    model_config = ConfigDict(extra="forbid")
    id: str
    prompt: str
    reference: str
    pictures: tuple[str, ...]
    variants: tuple[str, ...]


class Study(BaseModel):
    """variants: what is compared, by the names of their folders."""

    model_config = ConfigDict(extra="forbid")
    format: Literal[1] = 1
    kind: Kind
    seed: int
    variants: tuple[str, ...]
    items: tuple[Item, ...]

    @property
    def questions(self) -> dict[str, str]:
        """Asked of every item."""
        return QUESTIONS[self.kind]

    @property
    def choices(self) -> tuple[str, ...]:
        """Possible answers, worst or leftmost first."""
        return CHOICES[self.kind]


@dataclass(frozen=True, slots=True)
class Answer:
    """One rater's answer to one question about one item."""

    rater: str
    item: str
    question: str
    value: str


def build_study(
    evaluations: Sequence[Path], out: Path, *, kind: Kind, count: int | None = None, seed: int = 0
) -> Study:
    """A study of pictures that evaluations of the same cases painted (`evaluation.run`).

    "pairs" shows two variants side by side, in a random order; "ratings" shows each picture alone;
    "collections" shows together what one variant painted of one person, `MOST` at most. count: how many
    cases, or people, drawn by `seed`.
    Raises: InputError for folders that are no evaluations, have no case in common, or a wrong number.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty; a study needs a new folder.")
    if kind == "pairs" and len(evaluations) != 2:
        raise InputError(f"Pairs are made of two evaluations, got {len(evaluations)}.")
    names = [folder.name for folder in evaluations]
    if not names or len(set(names)) != len(names):
        raise InputError("Give one or more evaluations in folders of different names.")
    tables = [_cases(folder) for folder in evaluations]
    common = [case for case in tables[0] if all(case in table for table in tables)]
    if not common:
        raise InputError("The evaluations have no painted case in common; use the same protocol and seed.")
    rng = random.Random(seed)
    if kind == "collections":
        people: dict[str, list[str]] = {}
        for case in common:
            people.setdefault(tables[0][case]["person"], []).append(case)
        sets = [cases for cases in people.values() if len(cases) > 1]
        if not sets:
            raise InputError(
                "A collection needs two pictures of one person or more; the evaluations have none."
            )
    else:
        sets = [[case] for case in common]
    items: list[Item] = []
    for cases in sorted(rng.sample(sets, min(count or len(sets), len(sets)))):
        shown_cases = cases if len(cases) <= MOST else sorted(rng.sample(cases, MOST))
        first = tables[0][cases[0]]
        reference = _copied(evaluations[0] / first["reference"], out, rng) if first["reference"] else ""
        shown = [
            (name, [_copied(folder / table[case]["file"], out, rng) for case in shown_cases])
            for name, folder, table in zip(names, evaluations, tables, strict=True)
        ]
        rng.shuffle(shown)
        groups = [shown] if kind == "pairs" else [[one] for one in shown]
        items += [
            Item(
                id=f"{len(items) + place:04d}",
                prompt="" if kind == "collections" else first["prompt"],
                reference=reference,
                pictures=tuple(file for _, files in group for file in files),
                variants=tuple(name for name, _ in group),
            )
            for place, group in enumerate(groups)
        ]
    study = Study(kind=kind, seed=seed, variants=tuple(names), items=tuple(items))
    write_json(out / "study.json", study.model_dump(mode="json"))
    return study


def load_study(folder: Path) -> Study:
    """Raises: InputError for a folder without a readable study."""
    file = folder / "study.json"
    try:
        return Study.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{file} is no study; make one with `likeness study build`.") from None


def shown_to(study: Study, rater: str) -> list[Item]:
    """All items in an order of the rater's own, the same every time."""
    items = list(study.items)
    random.Random(f"{study.seed} {rater}").shuffle(items)
    return items


def answer(folder: Path, study: Study, given: Answer) -> None:
    """Keep an answer; a later one to the same question takes its place.

    Raises: InputError for an item, question or value that the study has not, or a rater without a name.
    """
    if given.item not in {item.id for item in study.items}:
        raise InputError(f"The study has no item {given.item!r}.")
    if given.question not in study.questions or given.value not in study.choices:
        raise InputError(f"{given.value!r} is no answer to {given.question!r} in this study.")
    if not given.rater.strip() or len(given.rater) > 80:
        raise InputError("A rater needs a name of 1 to 80 letters.")
    with _database(folder) as database:
        database.execute(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)",
            (given.rater.strip(), given.item, given.question, given.value, time.time()),
        )


def answers_of(folder: Path, rater: str | None = None) -> list[Answer]:
    """All answers, or one rater's, oldest first."""
    query = "SELECT rater, item, question, value FROM answers"
    with _database(folder) as database:
        rows = database.execute(
            f"{query} WHERE rater = ? ORDER BY at" if rater is not None else f"{query} ORDER BY at",
            (rater,) if rater is not None else (),
        ).fetchall()
    return [Answer(*row) for row in rows]


def report(folder: Path) -> dict[str, Any]:
    """What the answers say, question by question.

    Ratings: each variant's mean with its 95 % interval. Pairs: how often the first variant was preferred,
    "equal" counting half to each. Intervals are bootstrap intervals over the items, whose raters are averaged
    first. alpha: Krippendorff's, ordinal, over all raters; None for fewer than two.
    """
    study = load_study(folder)
    given = answers_of(folder)
    items = {item.id: item for item in study.items}
    raters = sorted({one.rater for one in given})
    out: dict[str, Any] = {
        "kind": study.kind,
        "variants": list(study.variants),
        "items": len(items),
        "raters": len(raters),
        "questions": {},
    }
    for question, text in study.questions.items():
        asked = [one for one in given if one.question == question]
        table = np.full((len(raters), len(items)), np.nan)
        places = {name: place for place, name in enumerate(items)}
        for one in asked:
            table[raters.index(one.rater), places[one.item]] = _number(study, items[one.item], one.value)
        out["questions"][question] = {
            "question": text,
            "answers": len(asked),
            "alpha": krippendorff_alpha(table, "ordinal"),
            "scores": _scores(study, list(items.values()), table),
        }
    return out


def _number(study: Study, item: Item, value: str) -> float:
    """A rating as it is; of a pair, 1 where the first variant is preferred, 0 where the second."""
    if study.kind != "pairs":
        return float(value)
    share = {"left": 1.0, "equal": 0.5, "right": 0.0}[value]
    return share if item.variants[0] == study.variants[0] else 1 - share


def _scores(study: Study, items: Sequence[Item], table: NDArray[np.float64]) -> dict[str, Any]:
    answered = ~np.isnan(table).all(axis=0)
    scores: dict[str, Any] = {}
    for variant in study.variants[:1] if study.kind == "pairs" else study.variants:
        mine = np.array([variant in item.variants for item in items]) & answered
        if mine.any():
            means = np.nanmean(table[:, mine], axis=0)
            low, high = bootstrap_interval(means)
            scores[variant] = {"mean": float(means.mean()), "low": low, "high": high, "n": int(mine.sum())}
        else:
            scores[variant] = {"mean": None, "low": None, "high": None, "n": 0}
    return scores


def _cases(folder: Path) -> dict[str, dict[str, Any]]:
    file = folder / "cases.parquet"
    if not file.is_file():
        raise InputError(f"{folder} is no evaluation; make one with `likeness evaluate --out {folder}`.")
    return {row["id"]: row for row in pq.read_table(file).to_pylist() if row["file"]}


def _copied(source: Path, out: Path, rng: random.Random) -> str:
    """The picture without its recipe, under a name that says nothing."""
    name = f"pictures/{rng.randrange(16**12):012x}.png"
    try:
        write_png(read_image(source), out / name)
    except ImageError:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return name


@contextmanager
def _database(folder: Path) -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(folder / "answers.sqlite", timeout=30)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(
            "CREATE TABLE IF NOT EXISTS answers (rater TEXT, item TEXT, question TEXT, value TEXT, at REAL, "
            "PRIMARY KEY (rater, item, question))"
        )
        with database:
            yield database
    finally:
        database.close()
