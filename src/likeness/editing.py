"""Pictures edited by instructions: read, edited, judged against the first photo, saved; taken up again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps

from likeness.diffusion.pixels import fitted
from likeness.edit_jobs import EditJob, is_video
from likeness.errors import Cancelled, InputError
from likeness.evaluation.judge import Judge, Likeness
from likeness.files.images import contact_sheet, read_image, to_json, write_json, write_png
from likeness.files.provenance import pixels_sha256, recipe_of
from likeness.files.video import frames_of, open_video, video_sink
from likeness.files.weights import sha256_of
from likeness.flicker import FlickerMeter, Steady
from likeness.portraits import folder_for, peak_memory, slug
from likeness.training.tracking import JsonlLog, read_log
from likeness.types import PortraitRequest

if TYPE_CHECKING:
    from likeness.types import PortraitPipeline, PortraitResult

__all__ = ["edit_pictures", "edit_video"]

LOG, RESULT, SHEET = "edits.jsonl", "result.json", "before-after.png"
SOUND = "Videos are written without their sound."


def edit_pictures(
    pipeline: PortraitPipeline,
    jobs: Sequence[EditJob],
    out: Path,
    *,
    judge: Judge | None = None,
    steady: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Edit every job's picture and save it in `out` with its recipe; a video as `edit_video` does.

    Each result is compared with the job's first photo, whatever was edited between; what lies between is kept
    too, for a recipe leads to its own reference only. What `out` holds already of the same jobs is not done
    again. Beside the pictures lie `edits.jsonl`, the sheet of all before and after, and `result.json`, whose
    content is returned. A job that cannot be done, such as a broken picture, does not stop the others: its
    row is in `failed`, with the `reason`.
    Raises: InputError where all jobs fail for one reason, such as an impossible setting; Cancelled after
    Ctrl-C, when what is finished can be taken up.
    """
    out, judge = folder_for(out), judge or Judge()
    held = {row["file"]: row for row in read_log(out / LOG)}  # what a file holds is told by its last row
    known = {row["job"]: row for row in held.values() if (out / row["file"]).is_file()}
    done: list[tuple[EditJob, dict[str, Any]]] = []
    failed: list[dict[str, Any]] = []
    errors: dict[str, InputError] = {}
    started, again = time.perf_counter(), 0
    names = {row["file"] for row in known.values()}
    log: JsonlLog | None = None

    def keep(job: EditJob, row: dict[str, Any]) -> None:
        nonlocal log
        log = log or JsonlLog(out / LOG)
        log.write(row)
        done.append((job, row))

    def finish(stopped: bool) -> dict[str, Any]:
        return _finish(out, done, failed, judge, again, stopped, time.perf_counter() - started)

    try:
        for number, job in enumerate(jobs):
            try:
                if is_video(job.picture):
                    key = _key(job, sha256_of(job.picture), pipeline, steady=steady)
                else:
                    first = read_image(job.picture)
                    key = _key(job, pixels_sha256(first), pipeline)
                if key in known:
                    done.append((job, known[key]))
                    again += 1
                    continue
                stem = f"{slug(job.picture.stem)}-{slug(job.instructions[-1])}"
                if is_video(job.picture):
                    name = free_name(stem, names, ".mp4")
                    counted = _counted(on_progress, number, len(jobs))
                    told = edit_video(
                        pipeline,
                        job.picture,
                        job,
                        out / name,
                        judge=judge,
                        steady=steady,
                        on_progress=counted,
                    )
                    keep(job, {"job": key, **told})
                    continue
                *between, result = _edited(pipeline, job, first, number, len(jobs), on_progress)
            except InputError as error:
                failed.append(_failure(job, error))
                errors[str(error)] = error
                continue
            likeness = judge.compare(result.image, [first], _taught_by(result))
            result = replace(result, scores={**result.scores, "likeness": likeness.chance})
            name = free_name(stem, names)
            write_png(result.image, out / name, recipe_of(result))
            for index, step in enumerate(between, start=1):
                kept = free_name(f"{name[:-4]}-step-{index}", names)
                write_png(step.image, out / kept, recipe_of(step))
            keep(job, _row_of(job, key, name, result, likeness))
    except (KeyboardInterrupt, Cancelled):
        finish(stopped=True)
        raise Cancelled(f"Stopped; {len(done)} of {len(jobs)} are in {out}, run again to go on.") from None
    if len(errors) == 1 and not done:
        raise next(iter(errors.values()))
    return finish(stopped=False)


def edit_video(
    pipeline: PortraitPipeline,
    video: Path,
    job: EditJob,
    out: Path,
    *,
    judge: Judge | None = None,
    steady: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Edit a video frame by frame with one noise, so that it stays steady; writes `out`, an .mp4, no sound.

    judge: compares one frame a second with the video's first. steady: what stands still in the input is held
    still (`flicker.Steady`).
    Returns its row: frames, frames_per_s of the work, flicker of input and output; how many frames were
    `checked`, in how many of them a face was found (`judged`), their mean likeness and cosines, the `lowest`.
    Raises: InputError for a file that is no video or has no frames, and for impossible settings.
    """
    about, judge, hold = open_video(video), judge or Judge(), Steady()
    started, count, every = time.perf_counter(), 0, max(1, round(about.frames_per_s))
    before, after = FlickerMeter(), FlickerMeter()
    seen: list[Likeness] = []
    frames = frames_of(video)
    first = next(frames, None)
    if first is None:
        raise InputError(f"{video} has no frames.")
    result = _edited(pipeline, job, first, 0, 1, None)[-1]
    warnings = [*result.warnings, SOUND]
    with video_sink(out, result.image.size, about.frames_per_s) as take:
        for frame in chain([first], frames):
            result = _edited(pipeline, job, frame, 0, 1, None)[-1] if count else result
            shown = hold(frame, result.image) if steady else result.image
            take(shown)
            before.see(fitted(frame, shown.size))
            after.see(shown)
            if count % every == 0:
                seen.append(judge.compare(shown, [first], _taught_by(result)))
            count += 1
            if on_progress is not None:
                on_progress(count, max(count, about.frames))
    seconds = time.perf_counter() - started
    return {
        "file": out.name,
        "video": str(video),
        "instructions": list(job.instructions),
        "seed": job.seed,
        "frames": count,
        "frames_per_s": round(count / seconds, 2),
        "flicker": {"before": before.mean(3), "after": after.mean(3)},
        **_told(seen),
        "warnings": warnings,
        "seconds": round(seconds, 4),
    }


def _told(seen: Sequence[Likeness]) -> dict[str, Any]:
    """What several frames' likenesses come to together."""
    chances = [one.chance for one in seen if one.chance is not None]
    judged = [one for one in seen if one.cosines]
    reasons = [one.reason for one in seen if one.reason]
    return {
        "checked": len(seen),
        "judged": len(judged),
        "likeness": round(fmean(chances), 4) if chances else None,
        "lowest": min(chances, default=None),
        "cosines": {
            name: round(fmean(one.cosines[name] for one in judged), 4)
            for name in (judged[0].cosines if judged else ())
        },
        "reason": next(iter(reasons), None) if not chances else None,
    }


def _edited(
    pipeline: PortraitPipeline,
    job: EditJob,
    first: Image.Image,
    number: int,
    total: int,
    on_progress: Callable[[int, int], None] | None,
) -> list[PortraitResult]:
    """The results of a job's instructions, each applied to what came before."""
    picture, results = first, []
    parts = len(job.instructions)
    for index, instruction in enumerate(job.instructions):

        def on_step(step: int, steps: int, done: int = number * parts + index) -> None:
            if on_progress is not None:
                on_progress(done * steps + step, total * parts * steps)

        request = PortraitRequest(
            prompt=instruction,
            references=(picture,),
            size_px=job.size_px,
            seed=job.seed,
            steps=job.steps,
            guidance=job.guidance,
            options=dict(job.options),
        )
        [result] = pipeline([request], on_step=on_step)
        results.append(result)
        picture = result.image
    return results


def _row_of(job: EditJob, key: str, name: str, result: PortraitResult, likeness: Likeness) -> dict[str, Any]:
    return {
        "job": key,
        "file": name,
        "picture": str(job.picture),
        "instructions": list(job.instructions),
        "seed": job.seed,
        "likeness": likeness.chance,
        "cosines": dict(likeness.cosines),
        "reason": likeness.reason or None,
        "warnings": list(result.warnings),
        "seconds": round(sum(result.timings_s.values()), 4),
    }


def _failure(job: EditJob, error: InputError) -> dict[str, Any]:
    return {
        "picture": str(job.picture),
        "instructions": list(job.instructions),
        "seed": job.seed,
        "reason": str(error),
    }


def _finish(
    out: Path,
    done: Sequence[tuple[EditJob, Mapping[str, Any]]],
    failed: Sequence[Mapping[str, Any]],
    judge: Judge,
    again: int,
    stopped: bool,
    seconds: float,
) -> dict[str, Any]:
    rows = [row for _, row in done]
    edits = [(job, row) for job, row in done if "video" not in row]
    known = [row["likeness"] for row in rows if row["likeness"] is not None]
    lowest = [row.get("lowest", row["likeness"]) for row in rows if row["likeness"] is not None]
    document = {
        "format": 1,
        "edits": [row for _, row in edits],
        "videos": [row for row in rows if "video" in row],
        "failed": list(failed),
        "taken_up": again,
        "stopped": stopped,
        "likeness": {
            "encoders": {encoder.name: encoder.licence for encoder in judge.encoders},
            "mean": round(sum(known) / len(known), 4) if known else None,
            "lowest": min(lowest, default=None),
        },
        "warnings": list(dict.fromkeys(w for row in rows for w in row["warnings"])),
        "timings_s": {"total": round(seconds, 3)},
        "peak_memory_mib": peak_memory(),
        "sheet": SHEET if edits else None,
    }
    if edits:
        write_png(_sheet(out, edits), out / SHEET)
    if rows or failed:
        write_json(out / RESULT, document)
    return document


def _sheet(out: Path, done: Sequence[tuple[EditJob, Mapping[str, Any]]]) -> Image.Image:
    """Before and after side by side, two pairs a row."""
    images, labels = [], []
    for job, row in done:
        after = read_image(out / row["file"])
        images += [ImageOps.contain(read_image(job.picture), after.size), after]
        words = ", then ".join(row["instructions"])
        chance = row["likeness"]
        labels += [job.picture.name, words if chance is None else f"{words} ({chance:.0%})"]
    return contact_sheet(images, 4, labels)


def _taught_by(result: PortraitResult) -> str | None:
    found: str | None = result.provenance.recipe.get("identity_encoder")
    return found


def _key(job: EditJob, sha256: str, pipeline: PortraitPipeline, **more: Any) -> str:
    """The same for the same work by the same weights, wherever the picture lies. sha256: of what it shows."""
    weights = [[one.role, one.sha256 or one.name, one.source] for one in getattr(pipeline, "weights", ())]
    told = {**asdict(job), "picture": sha256, "weights": weights, **more}
    return hashlib.sha256(to_json(told, None).encode()).hexdigest()[:24]


def _counted(
    on_progress: Callable[[int, int], None] | None, number: int, total: int
) -> Callable[[int, int], None] | None:
    """Progress of one video of so many jobs."""
    if on_progress is None:
        return None
    return lambda frame, frames: on_progress(number * frames + frame, total * frames)


def free_name(stem: str, taken: set[str], suffix: str = ".png") -> str:
    """`stem` with a number behind it where that name is taken, which the name then is."""
    name, number = f"{stem}{suffix}", 2
    while name in taken:
        name, number = f"{stem}-{number}{suffix}", number + 1
    taken.add(name)
    return name
