"""A set of portraits of one person: painted, judged, saved with all that is needed to repeat them."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import ImageOps

from likeness.errors import Cancelled, InputError
from likeness.evaluation.judge import UNLIKE, Judge, Likeness, explanation
from likeness.files.images import contact_sheet, write_json, write_png
from likeness.files.provenance import pixels_sha256, recipe_of
from likeness.references import KnowsFaces
from likeness.types import PortraitRequest

if TYPE_CHECKING:
    from PIL import Image

    from likeness.types import PortraitPipeline, PortraitResult

__all__ = [
    "RESULT",
    "SITTERS_ONLY",
    "PaintedPicture",
    "counted",
    "document_of",
    "folder_for",
    "make_portraits",
    "paint_one",
    "peak_memory",
    "save_picture",
    "sitters_only",
    "slug",
]

SITTERS_ONLY = (
    "The mini pack paints synthetic sitters only and has never seen a photograph: for photographs use "
    "--base sd15 or --base sdxl."
)

CONTACT_SHEET = "contact-sheet.png"
RESULT = "result.json"


def make_portraits(
    pipeline: PortraitPipeline,
    references: Sequence[Image.Image],
    prompts: Sequence[str],
    count: int,
    seed: int,
    out_dir: Path | str,
    *,
    best_of: int = 1,
    judge: Judge | None = None,
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    warnings: Sequence[str] = (),
    references_are_sitters: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Paint `count` pictures of every prompt and save them in `out_dir`.

    Picture k of a prompt has seed `seed + k`. With `best_of` N each is painted N times, picture k from
    the seeds `seed + k * N` and on, and the one most like the references is kept; the pipeline's own face
    encoder chooses, so that the judge's score stays a judge's. Each PNG holds its full recipe; beside them
    lie a contact sheet and `result.json`, whose content is returned. `warnings` are those about the
    references, known beforehand; unless `references_are_sitters`, a pack of sitters adds its own.
    variants: name -> options that differ; each picture is painted once for each, from the same seed.
    `on_progress(step, steps)` counts denoising steps of all pictures. `settings` are further fields of
    `PortraitRequest`, the same for all; with `people` there are no `references`, and a picture is as like as
    the least alike of them.
    Raises: InputError for impossible settings; Cancelled after Ctrl-C, when what was finished is
    saved with contact sheet and `result.json` like a whole run.
    """
    if not prompts:
        raise InputError(
            "At least one prompt is needed: say what the portrait shows, such as 'wearing a red hat'."
        )
    for name, number in (("count", count), ("best_of", best_of)):
        if number < 1:
            raise InputError(f"{name} must be at least 1, got {number}.")
    if best_of > 1:
        _chooser(pipeline)
    out_dir = folder_for(out_dir)
    judge = judge or Judge()
    shared, variants = dict(settings.pop("options", {})), variants or {"": {}}
    planned = [
        (
            name,
            PortraitRequest(
                prompt=prompt,
                references=tuple(references),
                seed=seed + index * best_of,
                options={**shared, **changes},
                **settings,
            ),
        )
        for prompt in prompts
        for index in range(count)
        for name, changes in variants.items()
    ]
    requests = [request for _, request in planned]
    started = time.perf_counter()
    done: list[PaintedPicture] = []
    stopped = False
    for number, (variant, request) in enumerate(planned):
        try:
            progress = counted(on_progress, number, len(requests))
            painted = paint_one(
                pipeline, request, number, judge, best_of=best_of, variant=variant, on_progress=progress
            )
        except (KeyboardInterrupt, Cancelled):
            stopped = True
            break
        save_picture(painted, out_dir)
        done.append(painted)
    if not references_are_sitters:
        warnings = [*sitters_only(done), *warnings]
    document = document_of(done, judge, references, warnings, stopped, time.perf_counter() - started)
    if done:
        write_png(_sheet(done, count * len(variants)), out_dir / CONTACT_SHEET)
        write_json(out_dir / RESULT, document)
    if stopped:
        kept = (
            f"{len(done)} of {len(requests)} pictures are in {out_dir}" if done else "no picture was finished"
        )
        raise Cancelled(f"Stopped; {kept}.")
    return document


def folder_for(out: Path | str, what: str = "the pictures") -> Path:
    """Where pictures, or `what`, are to go, not made yet.

    Raises: InputError for a file, and where no folder can be made, before hours are spent on the pictures.
    """
    out = Path(out)
    # `Path.exists` raises where a folder above may not be looked into, `os.path.exists` does not.
    there = next(one for one in (out, *out.absolute().parents) if os.path.exists(one))  # noqa: PTH110
    if not there.is_dir():
        beyond = "" if there == out else f", and {out} would lie in it"
        raise InputError(f"{there} is a file{beyond}: give a folder for {what}.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{there} may not be written to: give another folder for {what}.")
    return out


def sitters_only(done: Sequence[PaintedPicture]) -> list[str]:
    """The warning about photographs on a pack of sitters, where one painted."""
    small = done and done[0].result.provenance.recipe.get("family") == "mini"
    return [SITTERS_ONLY] if small else []


def paint_one(
    pipeline: PortraitPipeline,
    request: PortraitRequest,
    number: int,
    judge: Judge,
    *,
    best_of: int = 1,
    variant: str = "",
    on_progress: Callable[[int, int], None] | None = None,
) -> PaintedPicture:
    """Paint a request, the `number`th from 0, and judge it; of `best_of` seeds the likest is taken.

    variant: what it is one of, where pictures differ by more than their prompts.
    on_progress(step, steps): of the attempts together. Nothing is written; `file` is what it is to be called.
    Raises: what the pipeline raises.
    """
    chooser = _chooser(pipeline) if best_of > 1 else None
    tried = [
        _paint(pipeline, attempt, index, best_of, on_progress)
        for index, attempt in enumerate(_attempts(request, best_of))
    ]
    seen = [_resemblance(chooser, one) for one in tried] if chooser else [None]
    result = tried[max(range(best_of), key=lambda index: _rank(seen[index]))]
    each = _compare(judge, result, _identity_encoder(result))
    likeness = _least(each)
    result = replace(result, scores={**result.scores, "likeness": likeness.chance})
    name = f"{number + 1:03d}-{slug(variant or request.prompt)}-{result.request.seed}.png"
    seeds = {one.request.seed: value for one, value in zip(tried, seen, strict=True)}
    return PaintedPicture(name, result, each, _explained(likeness, result, judge), seeds, variant)


def save_picture(painted: PaintedPicture, out: Path) -> None:
    """Write a picture with its recipe, and the further ones that its method made beside it."""
    write_png(painted.result.image, out / painted.file, recipe_of(painted.result))
    for kind, image in painted.result.extras.items():
        write_png(image, out / f"{painted.file[:-4]}-{kind}.png")


def counted(
    on_progress: Callable[[int, int], None] | None, number: int, total: int
) -> Callable[[int, int], None] | None:
    """For the `number`th of `total` pictures, from 0: what counts the steps of all of them."""
    if on_progress is None:
        return None
    return lambda step, steps: on_progress(number * steps + step, total * steps)


@dataclass(frozen=True, slots=True, eq=False)
class PaintedPicture:
    """A painted and judged picture.

    file: what it is called. people: the likeness of each. explained: what may keep it from being alike.
    tried: seeds, and what the chooser saw of each.
    """

    file: str
    result: PortraitResult
    people: Sequence[Likeness]
    explained: Sequence[str]
    tried: Mapping[int, float | None]
    variant: str = ""

    @property
    def likeness(self) -> Likeness:
        """Of the least alike of the people."""
        return _least(self.people)


def slug(text: str) -> str:
    """A short file name's worth of `text`: lower-case letters, digits and hyphens."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:40].strip("-") or "portrait"


def _chooser(pipeline: PortraitPipeline) -> Judge:
    if not isinstance(pipeline, KnowsFaces):
        raise InputError("This method has no face encoder to choose pictures by: leave best_of at 1.")
    return Judge([pipeline.face_encoder], pipeline.detector)


def _attempts(request: PortraitRequest, count: int) -> list[PortraitRequest]:
    return [replace(request, seed=request.seed + index) for index in range(count)]


def _identity_encoder(result: PortraitResult) -> str | None:
    found: str | None = result.provenance.recipe.get("identity_encoder")
    return found


def _resemblance(chooser: Judge, result: PortraitResult) -> float | None:
    """The cosine by the chooser's encoder, of several people the least; None where one has no face."""
    seen = [next(iter(one.cosines.values()), None) for one in _compare(chooser, result)]
    known = [cosine for cosine in seen if cosine is not None]
    return min(known) if len(known) == len(seen) else None


def _compare(judge: Judge, result: PortraitResult, without: str | None = None) -> list[Likeness]:
    """How alike each person of a picture is, in the part of it where the person is."""
    request = result.request
    if not request.people and request.image is None:
        return [judge.compare(result.image, request.references, without)]
    boxes = result.provenance.recipe["people_px"]
    if not request.people:  # painted into a picture, where others may be larger
        return [judge.compare(result.image.crop(boxes[0]), request.references, without)]
    return [
        judge.compare(result.image.crop(box), person.references, without)
        for person, box in zip(request.people, boxes, strict=True)
    ]


def _least(people: Sequence[Likeness]) -> Likeness:
    """A picture is as like as the least alike of its people."""
    return min(people, key=_chance)


def _chance(likeness: Likeness) -> float:
    """Where nobody has calibrated cosines, their mean; a person without a face comes first."""
    if likeness.chance is not None or not likeness.cosines:
        return -2.0 if likeness.chance is None else likeness.chance
    return sum(likeness.cosines.values()) / len(likeness.cosines)


def _explained(likeness: Likeness, result: PortraitResult, judge: Judge) -> list[str]:
    if (
        likeness.chance is None
        or likeness.chance >= UNLIKE
        or judge.detector is None
        or result.request.people
    ):
        return []
    needs_px = 48 if result.provenance.recipe.get("family") == "mini" else 96
    return explanation(result.image, result.request.references, judge.detector, needs_px)


def _rank(resemblance: float | None) -> float:
    """A picture without a face is chosen last."""
    return -2.0 if resemblance is None else resemblance


def _paint(
    pipeline: PortraitPipeline,
    request: PortraitRequest,
    number: int,
    total: int,
    on_progress: Callable[[int, int], None] | None,
) -> PortraitResult:
    def on_step(step: int, steps: int) -> None:
        if on_progress is not None:
            on_progress(number * steps + step, total * steps)

    return pipeline([request], on_step=on_step)[0]


def document_of(
    done: Sequence[PaintedPicture],
    judge: Judge,
    references: Sequence[Image.Image],
    warnings: Sequence[str],
    stopped: bool,
    seconds: float,
) -> dict[str, Any]:
    """What `result.json` tells of a run: settings, likeness, pictures, warnings."""
    scores = [value for p in done if (value := p.likeness.chance) is not None]
    reasons = sorted({picture.likeness.reason for picture in done if picture.likeness.reason})
    without = _identity_encoder(done[0].result) if done else None
    return {
        "format": 1,
        "method": done[0].result.provenance.method if done else None,
        "settings": dict(done[0].result.provenance.recipe) if done else {},
        "stopped": stopped,
        "likeness": {
            "encoders": {encoder.name: encoder.licence for encoder in judge.independent(without)},
            "own_pictures": judge.own_pictures(references, without),
            "mean": round(sum(scores) / len(scores), 4) if scores else None,
            "lowest": min(scores, default=None),
            "reason": "; ".join(reasons) or None,
        },
        "pictures": [
            {
                "file": picture.file,
                "prompt": picture.result.request.prompt,
                "variant": picture.variant or None,
                "extras": {kind: f"{picture.file[:-4]}-{kind}.png" for kind in picture.result.extras},
                "seed": picture.result.request.seed,
                "resemblance_by_seed": {str(seed): value for seed, value in picture.tried.items()},
                "likeness": picture.likeness.chance,
                "cosines": dict(picture.likeness.cosines),
                "reason": picture.likeness.reason or None,
                "people": [one.chance for one in picture.people],
                "explained": list(picture.explained),
                "warnings": list(picture.result.warnings),
                "timings_s": {key: round(value, 3) for key, value in picture.result.timings_s.items()},
                "pixels_sha256": pixels_sha256(picture.result.image),
            }
            for picture in done
        ],
        "contact_sheet": CONTACT_SHEET if done else None,
        "warnings": list(dict.fromkeys([*warnings, *(w for p in done for w in p.result.warnings)])),
        "timings_s": {"total": round(seconds, 3)},
        "peak_memory_mib": peak_memory(),
    }


def peak_memory() -> dict[str, int | None]:
    """The most this process has held so far, in MiB: "process" on the host, "cuda" on a GPU, or None."""
    import torch

    process = None
    if sys.platform != "win32":
        import resource

        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, KiB elsewhere
        process = held // (2**20 if sys.platform == "darwin" else 2**10)
    cuda = torch.cuda.max_memory_allocated() // 2**20 if torch.cuda.is_initialized() else None
    return {"process": process, "cuda": cuda}


def _sheet(done: Sequence[PaintedPicture], count: int) -> Image.Image:
    """The references, then the pictures; with several of each prompt, a row a prompt."""
    size, request = done[0].result.image.size, done[0].result.request
    shown = [person.references[0] for person in request.people] or list(request.references[:1])
    before = [ImageOps.contain(picture.convert("RGB"), size) for picture in shown]
    if request.image is not None:
        before.append(ImageOps.contain(request.image.convert("RGB"), size))
    words = ["reference"] * len(shown) + ["picture"] * (request.image is not None)
    images, labels = [], []
    for index, picture in enumerate(done):
        result = picture.result
        if index == 0 or (count > 1 and index % count == 0):
            images += before
            labels += words
        likeness = result.scores["likeness"]
        images.append(result.image)
        told = picture.variant or result.request.prompt
        labels.append(told if likeness is None else f"{told} ({likeness:.0%})".strip())
    return contact_sheet(images, count + len(before) if count > 1 else min(len(images), 4), labels)
