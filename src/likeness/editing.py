"""Pictures edited by instructions: read, edited, judged against the first photo, saved; taken up again."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps

from likeness.diffusion.pixels import fitted
from likeness.errors import Cancelled, ImageError, InputError
from likeness.evaluation.judge import Judge, Likeness
from likeness.files.images import contact_sheet, read_image, to_json, write_json, write_png
from likeness.files.provenance import pixels_sha256, recipe_of
from likeness.files.video import VIDEO_SUFFIXES, frames_of, open_video, video_sink
from likeness.flicker import FlickerMeter, Steady
from likeness.portraits import folder_for, peak_memory, slug
from likeness.training.tracking import JsonlLog, read_log
from likeness.types import PortraitRequest

if TYPE_CHECKING:
    from likeness.types import PortraitPipeline, PortraitResult

__all__ = ["EditJob", "edit_pictures", "edit_video", "is_video", "jobs_of_file", "pictures_in"]

LOG, RESULT, SHEET = "edits.jsonl", "result.json", "before-after.png"
PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
"""Those of `files.images.FORMATS`."""
SOUND = "Videos are written without their sound."


@dataclass(frozen=True, slots=True)
class EditJob:
    """A picture or video and what becomes of it: instructions one after another, each on what the last made.

    size_px: (width, height) of the result; None: the method's choice. options: the method's own, such as
    {"style": 1.5}.
    """

    picture: Path
    instructions: tuple[str, ...]
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    size_px: tuple[int, int] | None = None
    options: tuple[tuple[str, Any], ...] = ()


def pictures_in(given: Sequence[str | Path]) -> tuple[list[Path], list[Path]]:
    """Pictures and videos that files, folders and patterns such as "in/*.jpg" stand for, in order.

    A folder stands for its pictures, a pattern for the pictures and videos among what it matches.
    Raises: InputError for what stands for nothing, ImageError for a file that is not there.
    """
    pictures: list[Path] = []
    videos: list[Path] = []
    for text in given:
        path = Path(text).expanduser()
        if path.is_dir():
            found = _files(path.iterdir(), PICTURE_SUFFIXES)
        elif path.is_file():
            found = [path]
        elif not any(mark in str(text) for mark in "*?["):
            raise ImageError(f"{path} does not exist; check the path.")
        else:
            root, pattern = (
                (Path(path.anchor), str(path)[len(path.anchor) :]) if path.anchor else (Path(), str(path))
            )
            found = _files(root.glob(pattern), PICTURE_SUFFIXES | VIDEO_SUFFIXES)
        if not found:
            raise InputError(
                f"{text} holds no picture: give pictures, a folder of them, or a pattern in quotes."
            )
        for one in found:
            (videos if is_video(one) else pictures).append(one)
    return list(dict.fromkeys(pictures)), list(dict.fromkeys(videos))


def jobs_of_file(file: Path, like: EditJob) -> list[EditJob]:
    """Rows of a .csv (with a header) or .jsonl file: `image`, `instruction`, and optionally `seed`, `steps`,
    `guidance`, `style`, `size` (WIDTHxHEIGHT); a relative image lies beside the file.

    Raises: InputError naming the line of what is wrong; of a table's row the line it ends on.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}.") from error
    if file.suffix.lower() == ".csv":
        rows = list(_csv_rows(file, text))
    else:
        lines = enumerate(text.split("\n"), start=1)  # not splitlines: U+2028 stays in its line
        rows = [(number, _row(file, number, line)) for number, line in lines if line.strip()]
    if not rows:
        raise InputError(f"{file} has no rows: each is an image and an instruction.")
    return [_job(file, number, row, like) for number, row in rows]


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
                    key = _key(job, _file_sha256(job.picture), pipeline, steady=steady)
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


def is_video(path: Path) -> bool:
    """By its ending."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def _files(paths: Iterable[Path], suffixes: frozenset[str]) -> list[Path]:
    return sorted(one for one in paths if one.suffix.lower() in suffixes and one.is_file())


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


def _file_sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}; check the path.") from error


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


def _csv_rows(file: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a table with the numbers of the lines they end on: a quoted field may have several."""
    # Lines end as they do in the file: newlines inside quotes belong to the field.
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if None in row:
                raise InputError(
                    f"{file}, line {reader.line_num}: it has more fields than the header; put a text with "
                    "commas in quotes."
                )
            yield reader.line_num, row
    except csv.Error as error:
        raise InputError(f"{file}, line {reader.reader.line_num}: this is no CSV: {error}.") from error


def _row(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{file}, line {number}, column {error.colno}: this is no JSON: {error.msg}."
        ) from error
    if not isinstance(row, dict):
        raise InputError(
            f"{file}, line {number}: a row is an object such as {{'image': ..., 'instruction': ...}}."
        )
    return row


def _whole(text: str) -> int:
    """Raises: ValueError for what is no whole number; "1.0" is 1, as spreadsheets write it."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise
        return int(number)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _size(text: str) -> tuple[int, int]:
    width, height = (int(word) for word in text.lower().split("x"))
    return width, height


_SETTINGS: dict[str, tuple[Callable[[str], Any], str]] = {
    "seed": (_whole, "a whole number"),
    "steps": (_whole, "a whole number"),
    "guidance": (_finite, "a number"),
    "style": (_finite, "a number"),
    "size": (_size, "WIDTHxHEIGHT in pixels, such as 1024x576"),
}
"""Columns of a row: how each is read, and what it must be."""


def _job(file: Path, number: int, row: Mapping[str, Any], like: EditJob) -> EditJob:
    given = {key: value for key, value in row.items() if value not in (None, "")}
    unknown = sorted(set(given) - {"image", "instruction", *_SETTINGS}, key=str)
    if unknown:
        raise InputError(f"{file}, line {number}: there is no column {unknown[0]!r}.")
    for name in ("image", "instruction"):
        if name not in given:
            raise InputError(f"{file}, line {number}: it lacks {name!r}.")
    values: dict[str, Any] = {}
    for name, (read, what) in _SETTINGS.items():
        if name in given:
            try:
                values[name] = read(str(given[name]))
            except ValueError as error:
                raise InputError(f"{file}, line {number}: {name} is {given[name]!r}, not {what}.") from error
    if "size" in values:
        values["size_px"] = values.pop("size")
    style = values.pop("style", None)
    options = like.options if style is None else tuple({**dict(like.options), "style": style}.items())
    picture = file.parent / Path(str(given["image"])).expanduser()
    if not picture.is_file():
        raise InputError(f"{file}, line {number}: {picture} does not exist.")
    return replace(
        like, picture=picture, instructions=(str(given["instruction"]),), options=options, **values
    )
