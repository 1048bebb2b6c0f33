"""A collection: portraits of one person from one portrait and instructions, fit to stand side by side.

Painted one after another, then judged as a set, for what is to stay the same has to be the same between all
of them. The weakest are painted again while the budget lasts; what looks copied from the reference is named.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

from likeness.errors import Cancelled, InputError
from likeness.evaluation.coherence import Coherence, SetScores
from likeness.evaluation.judge import Judge
from likeness.files.images import contact_sheet, write_json, write_png
from likeness.portraits import (
    CONTACT_SHEET,
    RESULT,
    PaintedPicture,
    counted,
    document_of,
    folder_for,
    paint_one,
    save_picture,
    sitters_only,
)
from likeness.types import PortraitRequest

if TYPE_CHECKING:
    from likeness.types import PortraitPipeline

__all__ = ["COPIED", "PRESETS", "edits_of", "likeness_of_places", "make_collection"]

Box = tuple[float, float, float, float]
PRESETS: Mapping[str, tuple[str, ...]] = {
    "headshots": (
        "make it a close-up, turn the head to the camera and give them a neutral expression",
        "make it a close-up and make them smile at the camera",
        "turn the head slightly to the left, smile, look at the camera",
        "turn the head slightly to the right, smile, look at the camera",
        "make it a portrait, turn the head to the camera and make them laugh",
        "tilt the head to the left and make them smirk",
    ),
    "walk": (
        "show the head and shoulders, turn the head to the left, look to the left",
        "show the head and shoulders, turn the head to the right, look to the right",
        "zoom out to head and shoulders, raise the head, look up and smile",
        "make it a portrait, turn the head slightly to the left and make them laugh",
        "show the head and shoulders, lower the head and look down",
        "make it a close-up, turn the head slightly to the right, look at the camera and grin",
    ),
    "studio": (
        "show the head and shoulders, turn the head to the camera, neutral expression",
        "make it a portrait, turn the head to the left, look to the left, neutral expression",
        "make it a portrait, turn the head to the right, look to the right, neutral expression",
        "make it a close-up, lower the head, look at the camera",
        "make it a close-up, raise the head, tilt the head to the right, close the eyes",
        "make it a portrait, turn the head slightly to the left, look at the camera and smile",
    ),
}
"""Instructions of usual sets, in words that the mini pack knows too."""

COPIED = 0.85
"""A picture whose face is that alike to the reference's, place by place, has not been turned or moved: above
what other views of sitters come to, below what their blurred or noisy copies do."""
SIDE = 32
UNTOLD = -math.inf
"""The rank of a picture of which nothing can be told."""


def edits_of(given: Sequence[str]) -> list[str]:
    """Instructions, and those of files: one a line, but empty lines and those that begin with #.

    Raises: InputError for a file without any, or that cannot be read, and for none at all.
    """
    found: list[str] = []
    for text in given:
        path = Path(text)
        if path.suffix.lower() != ".txt":
            found.append(text.strip())
            continue
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read: {error}.") from error
        wanted = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not wanted:
            raise InputError(f"{path} has no instruction: write one a line.")
        found += wanted
    if not all(found) or not found:
        raise InputError("Say what the pictures are to show: instructions, or a file with one a line.")
    return found


def make_collection(
    pipeline: PortraitPipeline,
    reference: Image.Image,
    edits: Sequence[str],
    out_dir: Path | str,
    *,
    count: int | None = None,
    seed: int = 0,
    redo: int = 0,
    judge: Judge | None = None,
    coherence: Coherence | None = None,
    warnings: Sequence[str] = (),
    references_are_sitters: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Paint a collection and save it in `out_dir`.

    Picture k follows edit k, from the first again past the last, until there are `count`, by default one of
    each; its seed is `seed + k`. Then up to `redo` times the weakest is painted again from a new seed and the
    better one kept: one that is not a copy before one that is, then the one that fits the set better. Where
    `coherence` compares nothing, copies alone are painted again. Each PNG holds its full recipe; beside them
    lie a contact sheet and `result.json`, whose content is returned.
    `settings` are further fields of `PortraitRequest`.
    Raises: InputError for impossible settings; Cancelled after Ctrl-C, when what was finished is saved with
    contact sheet and `result.json` like a whole run.
    """
    if count is not None and count < 1:
        raise InputError(f"count must be at least 1, got {count}.")
    if redo < 0:
        raise InputError(f"redo must be at least 0, got {redo}.")
    out, judge, coherence = folder_for(out_dir), judge or Judge(), coherence or Coherence(())
    chosen = [edits[k % len(edits)] for k in range(count or len(edits))]
    requests = [
        PortraitRequest(prompt=edit, references=(reference,), seed=seed + k, **settings)
        for k, edit in enumerate(chosen)
    ]
    shoot = _Shoot(pipeline, judge, coherence, reference, len(requests) + redo, on_progress)
    started, stopped = time.perf_counter(), False
    redone: list[dict[str, Any]] = []
    try:
        for number, request in enumerate(requests):
            painted = shoot.paint(request, number)
            save_picture(painted, out)
            shoot.done.append(painted)
        for attempt in range(redo):
            number = shoot.weakest()
            if not coherence.aspects and shoot.copied(number) < COPIED:
                break  # nothing is compared by which another could be better
            again = replace(requests[number], seed=seed + len(requests) + attempt)
            redone.append(shoot.redo(again, number))
    except (KeyboardInterrupt, Cancelled):
        stopped = True
    done, told = shoot.done, shoot.each()
    if not references_are_sitters:
        warnings = [*sitters_only(done), *warnings]
    document = document_of(done, judge, [reference], warnings, stopped, time.perf_counter() - started)
    document |= {"edits": list(edits), "coherence": shoot.document(), "redone": redone}
    document["pictures"] = [a | b for a, b in zip(document["pictures"], told, strict=True)]
    if done:
        _save(out, done, told)
        for row in redone:
            gone = row.pop("instead_of")
            if row["kept"]:
                (out / gone).unlink(missing_ok=True)
        write_png(_sheet(reference, told, done), out / CONTACT_SHEET)
        write_json(out / RESULT, document)
    if stopped:
        kept = f"{len(done)} of {len(requests)} pictures are in {out}" if done else "no picture was finished"
        raise Cancelled(f"Stopped; {kept}.")
    return document


@dataclass(eq=False)
class _Shoot:
    """The pictures of a collection so far, and how they go together; the reference is the set's first.

    total: how many are going to be painted, for the progress.
    """

    pipeline: PortraitPipeline
    judge: Judge
    coherence: Coherence
    reference: Image.Image
    total: int
    on_progress: Callable[[int, int], None] | None
    done: list[PaintedPicture] = field(default_factory=list)
    painted: int = 0

    def paint(self, request: PortraitRequest, number: int) -> PaintedPicture:
        """The `number`th picture of the collection, from 0."""
        progress = counted(self.on_progress, self.painted, self.total)
        self.painted += 1
        return paint_one(self.pipeline, request, number, self.judge, on_progress=progress)

    def redo(self, request: PortraitRequest, number: int) -> dict[str, Any]:
        """Paint a picture again, keep the better of both, and tell what came of it."""
        before, old = self._rank(number), self.done[number]
        new = self.paint(request, number)
        self.done[number] = new
        after = self._rank(number)
        kept = after > before
        if not kept:
            self.done[number] = old
        return {
            "picture": number + 1,
            "instead_of": old.file,
            "seed": request.seed,
            "before": _rounded(_known(before)),
            "after": _rounded(_known(after)),
            "kept": kept,
        }

    def weakest(self) -> int:
        """The picture that comes last: a copy, then the one that fits to the least of the set."""
        scores = self.scores()
        return min(range(len(self.done)), key=lambda number: self._rank(number, scores))

    def scores(self) -> SetScores:
        """Every aspect of every pair, the reference at 0."""
        return self.coherence([self.reference, *(one.result.image for one in self.done)])

    @cached_property
    def box(self) -> Box | None:
        """Where the reference has its face."""
        faces = self.judge.detector(self.reference) if self.judge.detector else []
        return faces[0].box_xyxy if faces else None

    def copied(self, number: int) -> float:
        """`likeness_of_places` with the reference."""
        return likeness_of_places(self.done[number].result.image, self.reference, self.box)

    def _rank(self, number: int, scores: SetScores | None = None) -> tuple[bool, float]:
        together = (scores or self.scores()).of(number + 1)
        return self.copied(number) < COPIED, UNTOLD if together is None else together

    def each(self) -> list[dict[str, Any]]:
        """What `result.json` tells of each picture besides."""
        scores = self.scores()
        return [
            {
                "together": _rounded(scores.of(k + 1)),
                "in_place": _rounded(self.copied(k)),
                "copied": self.copied(k) >= COPIED,
            }
            for k in range(len(self.done))
        ]

    def document(self) -> dict[str, Any]:
        """What it tells of the set. together: means over all pairs of pictures; with_reference: over those
        with the reference."""
        scores, numbers = self.scores(), range(1, len(self.done) + 1)
        pairs, with_first = list(combinations(numbers, 2)), [(0, k) for k in numbers]
        return {
            "together": _rounded(scores.overall(pairs)),
            "by_aspect": {name: _rounded(scores.mean(name, pairs)) for name in scores.pairs},
            "with_reference": {name: _rounded(scores.mean(name, with_first)) for name in scores.pairs},
            "copied": sum(self.copied(k - 1) >= COPIED for k in numbers),
            "reason": self.coherence.reason or None,
        }


def likeness_of_places(picture: Image.Image, reference: Image.Image, box: Box | None = None) -> float:
    """How alike two pictures are place by place, in [-1, 1]: near 1 for a copy.

    Correlation of the luma of both within `box`, px of the reference, such as its face; of the whole pictures
    without one. Each is reduced to `SIDE` x `SIDE`.
    """
    box = box or (0, 0, *reference.size)
    parts = []
    for shown in (picture.resize(reference.size), reference):
        small = shown.convert("L").resize(
            (SIDE, SIDE), Image.Resampling.BOX, box=_inside(box, reference.size)
        )
        parts.append(np.asarray(small, np.float64).ravel())
    one, two = (values - values.mean() for values in parts)
    length = float(np.linalg.norm(one) * np.linalg.norm(two))
    return float(one @ two) / length if length else float(np.array_equal(parts[0], parts[1]))


def _inside(box: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    return max(0.0, x0), max(0.0, y0), min(float(size[0]), x1), min(float(size[1]), y1)


def _known(rank: tuple[bool, float]) -> float | None:
    return None if rank[1] == UNTOLD else rank[1]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _save(out: Path, done: Sequence[PaintedPicture], told: Sequence[Mapping[str, Any]]) -> None:
    """The pictures with what is known now; those that were replaced go."""
    for painted, row in zip(done, told, strict=True):
        scores = {**painted.result.scores, "together": row["together"], "in_place": row["in_place"]}
        save_picture(replace(painted, result=replace(painted.result, scores=scores)), out)


def _sheet(
    reference: Image.Image, told: Sequence[Mapping[str, Any]], done: Sequence[PaintedPicture]
) -> Image.Image:
    """The reference, then the pictures, each with its edit and how well it fits to the set."""
    size = done[0].result.image.size
    labels = ["reference"]
    for row, one in zip(told, done, strict=True):
        edit = one.result.request.prompt
        notes = [] if row["together"] is None else [f"{row['together']:.0%} together"]
        notes += ["copied?"] if row["copied"] else []
        # In front, as long instructions are cut off.
        labels.append(f"{', '.join(notes)}: {edit}" if notes else edit)
    images = [ImageOps.contain(reference.convert("RGB"), size), *(one.result.image for one in done)]
    return contact_sheet(images, min(len(images), 4), labels)
