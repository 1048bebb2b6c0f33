"""Studies in the data folder: of comparisons made here, or put there by `likeness study build`."""

from __future__ import annotations

import json
import random
import secrets
import shutil
from pathlib import Path
from typing import Any

from likeness.errors import InputError
from likeness.evaluation.study import Answer, Item, Study, answer, answers_of, load_study, report, shown_to
from likeness.files.images import read_image, to_json, write_json, write_png
from likeness.studio.jobs import Conflict
from likeness.studio.library import PEOPLE

__all__ = ["items", "keep", "listed", "make", "summary"]


def listed(place: Path) -> list[dict[str, Any]]:
    """Every study: name, kind, how many items and answers."""
    found = []
    for folder in sorted(place.iterdir()):
        if (folder / "study.json").is_file():
            study = load_study(folder)
            raters = {one.rater for one in answers_of(folder)}
            found.append(
                {"name": folder.name, "kind": study.kind, "items": len(study.items), "raters": len(raters)}
            )
    return found


def items(folder: Path, rater: str) -> dict[str, Any]:
    """What a rater is to judge and has judged, without a word on whose picture is whose."""
    study = load_study(folder)
    given = {f"{one.item} {one.question}": one.value for one in answers_of(folder, rater)}
    return {
        "kind": study.kind,
        "questions": study.questions,
        "choices": study.choices,
        "items": [
            {
                "id": item.id,
                "prompt": item.prompt,
                "reference": item.reference,
                "pictures": item.pictures,
                "answers": {q: given[f"{item.id} {q}"] for q in study.questions if f"{item.id} {q}" in given},
            }
            for item in shown_to(study, rater)
        ],
    }


def make(place: Path, name: str, kind: str, groups: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """A study of comparisons, whole or not there.

    groups: of each comparison its variants: method, prompt, reference (file) and pictures (files).
    Raises: Conflict for a name that is taken; InputError where nothing compares.
    """
    folder = place / name
    if folder.exists():
        raise Conflict(f"There is a study called {name}; choose another name.")
    seed = secrets.randbelow(2**31)
    rng = random.Random(seed)
    part = place / f".{secrets.token_hex(6)}"
    (part / "pictures").mkdir(parents=True)
    rows: list[Item] = []
    try:
        for painted in groups:
            if kind == "ratings" or len(painted) > 1:
                rows += _items(painted[:2] if kind == "pairs" else painted, kind, part, rng, len(rows))
        if not rows:
            raise InputError(
                "These comparisons have no two methods that painted the same; compare some first."
            )
        variants = tuple(dict.fromkeys(one for row in rows for one in sorted(row.variants)))
        study = Study(kind=kind, seed=seed, variants=variants, items=tuple(rows))  # type: ignore[arg-type]
        write_json(part / "study.json", study.model_dump(mode="json"))
        write_json(part / PEOPLE, sorted({one for rows in groups for row in rows for one in row["people"]}))
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return {"name": name, "kind": kind, "items": len(rows), "raters": 0}


def _items(
    painted: list[dict[str, Any]], kind: str, part: Path, rng: random.Random, first: int
) -> list[Item]:
    """Of one comparison: picture k of each method beside that of the other, in a random order."""

    def copied(file: str) -> str:
        shown = f"pictures/{rng.getrandbits(64):016x}.png"
        write_png(read_image(file), part / shown)  # without its recipe, which names the method
        return shown

    found = list[Item]()
    for row in zip(*(one["pictures"] for one in painted), strict=False):
        shown = [(one["method"], copied(file)) for one, file in zip(painted, row, strict=True)]
        rng.shuffle(shown)
        reference = copied(painted[0]["reference"])
        for pictures in [shown] if kind == "pairs" else [[one] for one in shown]:
            found.append(
                Item(
                    id=f"{first + len(found):04d}",
                    prompt=painted[0]["prompt"],
                    reference=reference,
                    pictures=tuple(file for _, file in pictures),
                    variants=tuple(method for method, _ in pictures),
                )
            )
    return found


def keep(folder: Path, rater: str, item: str, question: str, value: str) -> None:
    """Keep an answer. Raises: InputError for one that the study does not have."""
    answer(folder, load_study(folder), Answer(rater, item, question, value))


def summary(folder: Path) -> dict[str, Any]:
    """What the answers amount to, in plain values."""
    found: dict[str, Any] = json.loads(to_json(report(folder)))
    return found
