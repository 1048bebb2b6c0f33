"""`likeness edit`: portraits changed by an instruction, the person kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from likeness.cli.generate import size_of
from likeness.cli.licences import Commercial
from likeness.cli.output import AsJson, show, step_progress
from likeness.errors import ImageError, InputError

__all__ = ["app", "edit_size"]

app = typer.Typer()

UNIT_PX, LEAST_PX = 8, 16


@app.command()
def edit(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures, made when missing.")],
    photo: Annotated[
        list[str] | None,
        typer.Argument(help="Pictures, folders of them, patterns such as 'in/*.jpg', or videos."),
    ] = None,
    instruction: Annotated[
        list[str] | None,
        typer.Option("--instruction", "-i", help="What to change; repeat for several, one after another."),
    ] = None,
    batch: Annotated[
        Path | None,
        typer.Option(
            help="Instead: .csv or .jsonl with image, instruction, and seed, steps, guidance, style, size."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="1 is one look; by default what the weights were made for.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="WIDTHxHEIGHT in px, multiples of 8; of another shape than the picture its middle is taken. "
            "By default the picture's shape at what the base paints best."
        ),
    ] = None,
    style: Annotated[
        float, typer.Option(min=0, max=4, help="Strength of the instruction against the person's look.")
    ] = 1.0,
    style_boost: Annotated[
        bool, typer.Option(help="Feed the output in once more: a stronger style.")
    ] = False,
    keep_background: Annotated[bool, typer.Option(help="Change nothing behind the person.")] = False,
    steady: Annotated[bool, typer.Option(help="In videos: hold still what stands still.")] = True,
    guidance: Annotated[
        float | None, typer.Option(min=1, help="In several steps: how closely to follow the words.")
    ] = None,
    image_guidance: Annotated[
        float | None, typer.Option(min=1, help="In several steps: how closely to follow the picture.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same pixels.")] = 0,
    base: Annotated[str, typer.Option(help="As in `likeness generate`.")] = "mini",
    adapter: Annotated[
        Path | None, typer.Option(help="The editing weights, when not those of the base.")
    ] = None,
    method: Annotated[str, typer.Option(help="The editing method.")] = "instant-portrait",
    judge: Annotated[list[Path] | None, typer.Option(help="As in `likeness generate`.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: cuda where there is one.")] = None,
    commercial: Commercial = False,
    as_json: AsJson = False,
) -> None:
    """Change portraits by an instruction, in one step, and check that each is still the person.

    Every result is compared with its first photo, also after several instructions; of a video one frame a
    second with its first, and its sound is not kept. Run again with the same folder, it goes on where it
    stopped. What cannot be edited is left out and told in result.json; the exit code is then 2.
    """
    from likeness.catalog import load_pipeline
    from likeness.edit_jobs import EditJob, is_video, jobs_of_file, pictures_in
    from likeness.editing import RESULT, edit_pictures
    from likeness.references import find_judge, is_sitter

    if bool(batch) == bool(photo):
        raise InputError("Give pictures with --instruction, or --batch with a file of both.")
    if bool(batch) == bool(instruction):
        raise InputError("Say what to change with --instruction, or in the rows of --batch.")
    options: dict[str, Any] = {"style": style, "style_boost": style_boost, "keep_background": keep_background}
    if image_guidance is not None:
        options["image_guidance"] = image_guidance
    like = EditJob(
        Path(), tuple(instruction or ()), seed, steps, guidance, edit_size(size), tuple(options.items())
    )
    pictures, videos = pictures_in(photo or ())
    given = [replace(like, picture=one) for one in (*pictures, *videos)]
    jobs = jobs_of_file(batch, like) if batch else given
    shown = [job.picture for job in jobs]
    # Who is on a video nobody knows.
    sitters = not any(map(is_video, shown)) and all(is_sitter(one) or not _readable(one) for one in shown)
    pipeline = load_pipeline(
        method, base, adapter=adapter, device=device, sitters=sitters, commercial=commercial
    )
    judging = find_judge(base, judge or (), sitters=sitters)
    with step_progress("editing", as_json) as on_progress:
        document = edit_pictures(pipeline, jobs, out, judge=judging, steady=steady, on_progress=on_progress)
    show({**document, "out": str(out)}, as_json, *_text(document, out))
    failed = len(document["failed"])
    if failed:
        typer.echo(
            f"error: {failed} of {len(jobs)} could not be edited; {out / RESULT} says why, under `failed`.",
            err=True,
        )
        raise typer.Exit(InputError.exit_code)


def edit_size(text: str | None) -> tuple[int, int] | None:
    """WIDTHxHEIGHT that an editor can paint. Raises: InputError for anything else."""
    size = size_of(text)
    if size and any(side < LEAST_PX or side % UNIT_PX for side in size):
        raise InputError(
            f"--size takes multiples of {UNIT_PX} from {LEAST_PX} on, such as 1024x576, not {text!r}."
        )
    return size


def _readable(picture: Path) -> bool:
    """A broken picture says nothing of whether the others are sitters."""
    from likeness.files.images import read_image

    try:
        read_image(picture)
    except ImageError:
        return False
    return True


def _text(document: dict[str, Any], out: Path) -> list[str]:
    lines = [f"{out / row['file']}{_person(row)}" for row in document["edits"]]
    if document["sheet"]:
        lines.append(str(out / document["sheet"]))
    for row in document["videos"]:
        told = ", ".join(f"{name} {value}" for name, value in row["flicker"].items())
        lines.append(
            f"{out / row['file']}{_person(row)}  {row['frames']} frames, {row['frames_per_s']} a second; "
            f"flicker {told}"
        )
    if document["taken_up"]:
        lines.append(f"{document['taken_up']} were there already")
    return lines + [f"warning: {warning}" for warning in document["warnings"]]


def _person(row: dict[str, Any]) -> str:
    chance = row["likeness"]
    if chance is None:
        return "".join(f"  cosine {value:.2f} by {name}" for name, value in row["cosines"].items())
    least = f" (at least {row['lowest']:.0%})" if "lowest" in row else ""
    return f"  same person: {chance:.0%}{least}"
