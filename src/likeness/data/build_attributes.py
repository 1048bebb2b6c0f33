"""From a folder of pictures to a data set of attributes: words apart, the pictures that fit them best kept.

SPF-Portrait's appendix A.2: the 30 % whose pictures and texts agree most in CLIP's space, and of those what
people would prefer.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from likeness.data.attributes import (
    LOOKED,
    AttributeRow,
    AttributesAbout,
    AttributeSet,
    read_attributes,
    read_looked,
    write_attributes,
)
from likeness.data.build import person_of, pictures_in
from likeness.data.image_folder import METADATA, listed_pictures
from likeness.errors import InputError
from likeness.files.images import read_image
from likeness.files.weights import sha256_of

__all__ = ["KEEP", "QUESTION", "Filters", "Scorer", "Words", "build_attributes", "columns"]

SAVE_EVERY = 200
KEEP = 0.3
"""The share of pictures that alignment lets through (appendix A.2)."""
QUESTION = (
    "Write two texts about this portrait of one person. The first, `base`: one or two plain sentences on the "
    "person, expression, pose, hair, clothes, background and light, without a word about {about}. The second "
    "is `target`: a phrase of at most twelve words that tells of {about} and nothing else, made to stand "
    "behind the first, such as 'with ...' or 'wearing ...'. The third, `attribute`: one to three words that "
    "name it. {told}"
)
"""What a vision-language model is asked. about: the kind of attribute; told: what a caption says of it."""


@dataclass(frozen=True, slots=True)
class Words:
    """Who splits a picture's words. name: for the record. tell(path, read): (base, target, attribute)."""

    name: str
    tell: Callable[[Path, Callable[[], Image.Image]], tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class Scorer:
    """How well a picture and words go together, or how much it would be preferred: more is better."""

    name: str
    score: Callable[[Image.Image, str], float]


@dataclass(frozen=True, slots=True)
class Filters:
    """What lets pictures through.

    alignment: whose scores rank all pictures, of which the best share `keep` stays. least: scorers, or
    columns of `metadata.jsonl`, by name, and what a picture needs of each.
    """

    alignment: Scorer | None = None
    keep: float = KEEP
    preferences: tuple[Scorer, ...] = ()
    least: Mapping[str, float] = field(default_factory=dict)


def columns(source: Path) -> Words:
    """The columns `base`, `target` and, where there is one, `attribute` of the folder's `metadata.jsonl`."""
    listed = listed_pictures(source)

    def tell(path: Path, read: Callable[[], Image.Image]) -> tuple[str, str, str]:
        row = listed.get(path, {})
        base, target = (" ".join(str(row.get(name) or "").split()) for name in ("base", "target"))
        if not base or not target:
            raise InputError(f"Its row of {METADATA} needs the columns base and target, both with words.")
        return base, target, str(row.get("attribute") or target)

    return Words(f"columns of {METADATA}", tell)


def build_attributes(
    source: Path,
    folder: Path,
    *,
    words: Words,
    filters: Filters | None = None,
    licence: str = "not declared",
    on_picture: Callable[[int, int], None] | None = None,
) -> AttributeSet:
    """Build a data set in `folder` from all pictures under `source`, or those its `metadata.jsonl` names.

    What is left out, and why, is in `AttributesAbout`. Built again, only new and changed pictures are looked
    at; the filters' limits may change from one time to the next. on_picture(done, of) after each.
    Raises: InputError for a source without a usable picture, a folder built with other words or scorers, or
    filters that let nothing through.
    """
    filters = filters or Filters()
    listed, files = pictures_in(source, folder)
    about = AttributesAbout(
        words=words.name,
        alignment=filters.alignment.name if filters.alignment else None,
        keep=filters.keep if filters.alignment else 1.0,
        least=dict(filters.least),
        licence=licence,
        pictures=0,
        people=0,
    )
    known = _looked_before(folder, about)
    looked: dict[str, AttributeRow] = {}
    left_out: dict[str, str] = {}
    hashes: dict[str, str] = {}

    def look(path: Path, name: str, digest: str) -> AttributeRow:
        before = known.get((name, digest))
        opened: list[Image.Image] = []

        def read() -> Image.Image:
            opened[:] = opened or [read_image(path)]
            return opened[0]

        base, target, attribute = words.tell(path, read)
        same = before is not None and (before.base, before.target) == (base, target)
        text = f"{base.rstrip(' .')}, {target}"
        alignment = before.alignment if before and same else None
        if alignment is None and filters.alignment:
            alignment = round(filters.alignment.score(read(), text), 5)
        given, known_scores = listed.get(path, {}), before.preference if before and same else {}
        preference: dict[str, float] = {}
        for scorer in filters.preferences:
            score = known_scores.get(scorer.name)
            preference[scorer.name] = round(scorer.score(read(), text), 5) if score is None else score
        for column in filters.least:
            number = given.get(column)
            counts = isinstance(number, (int, float)) and math.isfinite(number)
            if column not in preference and not counts:
                raise InputError(
                    f"Nothing scored it by {column}, and its row of {METADATA} has no such number."
                )
            preference.setdefault(column, float(given.get(column, 0)))
        return AttributeRow(
            picture=Path(name).as_posix(),
            sha256=digest,
            size_px=before.size_px if before else read().size,
            person=person_of(path, source, listed),
            base=base,
            target=target,
            attribute=attribute,
            alignment=alignment,
            preference=preference,
        )

    def save() -> dict[str, AttributeRow]:
        kept, refused = _filtered(looked, filters)
        people = len({row.person for row in kept.values()})
        counts = {"pictures": len(kept), "people": people, "left_out": {**left_out, **refused}}
        if looked:
            write_attributes(folder, about.model_copy(update=counts), kept, looked)
        return kept

    try:
        for done, path in enumerate(files, start=1):
            name, digest = os.path.relpath(path, folder), sha256_of(path)
            try:
                if digest in hashes:
                    raise InputError(f"It is the same picture as {hashes[digest]}.")
                hashes[digest] = name
                looked[name] = look(path, name, digest)
            except InputError as error:
                left_out[name] = str(error)
            if done % SAVE_EVERY == 0:
                save()
            if on_picture is not None:
                on_picture(done, len(files))
    except BaseException:  # stopped, or a server gave up: what was done is there when it is built again
        save()
        raise
    if not looked:
        reason = next(iter(left_out.values()))
        raise InputError(f"None of the {len(files)} pictures in {source} can be used; the first: {reason}")
    if not save():
        raise InputError(f"The filters let none of {len(looked)} pictures through; lower what they ask for.")
    return read_attributes(folder)


def _filtered(
    looked: Mapping[str, AttributeRow], filters: Filters
) -> tuple[dict[str, AttributeRow], dict[str, str]]:
    """What stays of all rows, and why the others do not."""
    refused: dict[str, str] = {}
    if filters.alignment and looked:
        scores = {name: row.alignment or -math.inf for name, row in looked.items()}
        best = sorted(scores, key=lambda name: (-scores[name], name))
        best = best[: max(1, math.ceil(filters.keep * len(best) - 1e-9))]
        least = scores[best[-1]]
        for name in looked.keys() - set(best):
            refused[name] = (
                f"Picture and words agree by {scores[name]:.3f}, the best {filters.keep:.0%} by {least:.3f}."
            )
    for name, row in looked.items():
        for scorer, least in filters.least.items():
            if name not in refused and row.preference[scorer] < least:
                refused[name] = f"{scorer} gives it {row.preference[scorer]:.3f}, less than {least:g}."
    return {name: row for name, row in looked.items() if name not in refused}, refused


def _looked_before(folder: Path, about: AttributesAbout) -> dict[tuple[str, str], AttributeRow]:
    """Rows of an earlier build by picture and hash; none where there was no build."""
    if not (folder / LOOKED).is_file():
        return {}
    try:
        before, rows = read_looked(folder)
    except InputError:  # killed between two of its files
        return {}
    for name in ("words", "alignment"):
        if getattr(before, name) != getattr(about, name):
            raise InputError(
                f"{folder} was built with {name} {getattr(before, name)!r}, not {getattr(about, name)!r}; "
                "choose another folder."
            )
    return {(row.picture, row.sha256): row for row in rows}
