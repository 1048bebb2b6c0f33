"""`likeness sitters`: pictures of people who do not exist, with their ground truth and words."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likeness.cli.output import AsJson, progress, show, step_progress
from likeness.errors import InputError

if TYPE_CHECKING:
    from likeness.sitters.parameters import Scene

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


class Pairs(Enum):
    """What differs between two pictures of one person."""

    VIEW = "view"
    LIGHT = "light"
    EVERYTHING = "everything"


class Format(Enum):
    """How an export lies on disk."""

    FOLDER = "folder"
    SHARDS = "shards"


Seed = Annotated[int, typer.Option(min=0, help="Seed of the first person; the others follow.")]
Size = Annotated[int, typer.Option(min=16, max=4096, help="Pixels a side.")]
Out = Annotated[Path, typer.Option(help="PNG file to write.", dir_okay=False)]


@app.callback()
def _root() -> None:
    """Make pictures of people who do not exist, with their ground truth."""


@app.command()
def sheet(
    out: Out,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many pictures.")] = 24,
    columns: Annotated[int, typer.Option(min=1, help="How many a row.")] = 6,
    size: Size = 192,
    seed: Seed = 0,
    same_person: Annotated[bool, typer.Option("--same-person", help="One person in many pictures.")] = False,
    as_json: AsJson = False,
) -> None:
    """Paint a sheet of people, or of one person in many pictures."""
    from likeness.sitters.sample import sample_scene, with_same_person

    first = sample_scene(seed)
    if same_person:
        scenes = [first] + [with_same_person(first, i) for i in range(1, count)]
    else:
        scenes = [sample_scene(seed + i) for i in range(count)]
    _write_sheet(scenes, out, columns, size, as_json)
    show({"out": str(out), "pictures": count, "seed": seed}, as_json, f"{count} pictures in {out}")


@app.command()
def view(
    out: Out,
    pairs: Annotated[
        Pairs, typer.Option(help="What differs between the two pictures of a person.")
    ] = Pairs.EVERYTHING,
    count: Annotated[int, typer.Option(min=1, max=500, help="How many pairs.")] = 6,
    size: Size = 192,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Paint pairs of pictures of one person, and say how one becomes the other."""
    from likeness.sitters.sample import partner, sample_scene
    from likeness.sitters.words import instructions

    scenes: list[Scene] = []
    told: list[str] = []
    for i in range(count):
        first = sample_scene(seed + i)
        scenes += [first, partner(first, 1, pairs.value)]
        told += instructions(scenes[-2], scenes[-1], seed + i, 1)
    _write_sheet(scenes, out, 4 if count > 1 else 2, size, as_json)
    document = {"out": str(out), "pairs": pairs.value, "seed": seed, "instructions": told}
    lines = [f"{seed + i}: {text}" for i, text in enumerate(told)]
    show(document, as_json, *lines, f"{count} pairs in {out}")


@app.command()
def export(
    out: Annotated[
        Path, typer.Option(help="Folder to write to; an interrupted export is finished.", file_okay=False)
    ],
    count: Annotated[int, typer.Option(min=1, help="How many people.")],
    seed: Seed = 0,
    size: Size = 128,
    form: Annotated[
        Format, typer.Option("--format", help="Pictures and metadata.jsonl, or tar shards.")
    ] = Format.FOLDER,
    pairs: Annotated[Pairs | None, typer.Option(help="Two pictures a person that differ in this.")] = None,
    truths: Annotated[
        str, typer.Option("--with", help="Further truth, comma separated: labels,depth,normals,landmarks.")
    ] = "",
    chunk: Annotated[int, typer.Option(min=1, help="People a shard.")] = 500,
    as_json: AsJson = False,
) -> None:
    """Write a data set: pictures, captions, parameters and, if wanted, ground truth."""
    from likeness.sitters.export import TRUTHS, ExportSettings
    from likeness.sitters.export import export as write

    wanted = [name.strip() for name in truths.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in TRUTHS]
    if unknown:
        raise InputError(f"--with {unknown[0]!r} is no ground truth; choose from {', '.join(TRUTHS)}.")
    settings = ExportSettings(
        count=count,
        seed=seed,
        size_px=size,
        format=form.value,
        pairs=None if pairs is None else pairs.value,
        truths=tuple(name for name in TRUTHS if name in wanted),
        chunk=chunk,
    )
    with progress("painting", count * (2 if pairs else 1), as_json) as advance:
        summary = write(settings, out, on_pictures=advance)
    done = f"{summary['pictures']} pictures of {summary['people']} people in {summary['out']}"
    show(
        summary, as_json, f"{done} ({summary['resumed']} were there already)" if summary["resumed"] else done
    )


@app.command()
def taught(
    attribute: Annotated[
        list[str],
        typer.Argument(help="KIND=VALUE, such as hair=afro, hat=beanie, pattern=camouflage; several."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.", file_okay=False)],
    count: Annotated[int, typer.Option(min=1, help="How many people.")] = 200,
    seed: Seed = 0,
    size: Size = 128,
    as_json: AsJson = False,
) -> None:
    """Write pictures that show an attribute, with its words apart: for `dataset build attributes`.

    Each person wears each attribute once, where they would, and no other of them on the same picture.
    """
    from likeness.sitters.taught import attribute_of, write_taught

    wanted = [attribute_of(text) for text in attribute]
    with step_progress("painting", as_json) as on_picture:
        made = write_taught(out, wanted, range(seed, seed + count), size, on_picture=on_picture)
    document = {"out": str(out), "people": count, "pictures": made, "attributes": list(map(str, wanted))}
    show(document, as_json, f"{made} pictures of {count} people in {out}")


@app.command()
def bench(
    seconds: Annotated[float, typer.Option(min=0.5, max=600, help="How long to paint at each size.")] = 6.0,
    as_json: AsJson = False,
) -> None:
    """Measure images a second on all cores, and the distance field's cost a point on one.

    Ends with exit code 1 when a loop of the field costs more than any vectorised build does.
    """
    from likeness.sitters.bench import bench as measure

    found = measure(seconds)
    lines = [f"{rate:7.1f} images/s at {size} px" for size, rate in found["images_per_s"].items()]
    lines.append(f"{found['cores']} threads, {found['machine']}, anti-aliased, with all ground truth")
    for name, cost in found["field_ns"].items():
        late = "" if cost <= found["ceiling_ns"][name] else "  TOO SLOW: no longer vectorised?"
        lines.append(f"{cost:7.2f} ns a point in {name} (at most {found['ceiling_ns'][name]:g}){late}")
    show(found, as_json, *lines)
    if not found["vectorised"]:
        raise typer.Exit(1)


@app.command()
def caption(
    seed: Annotated[int, typer.Argument(min=0, help="Seed of the person and picture.")],
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many captions.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Put the picture of a seed into words."""
    from likeness.sitters.sample import sample_scene
    from likeness.sitters.words import attributes, captions

    scene = sample_scene(seed)
    words = captions(scene, count, seed)
    show({"seed": seed, "attributes": attributes(scene), "captions": words}, as_json, *words)


def _write_sheet(scenes: list[Scene], out: Path, columns: int, size_px: int, as_json: bool) -> None:
    from PIL import Image

    from likeness.files.images import contact_sheet, write_png
    from likeness.sitters.render import render_many

    images = []
    with progress("painting", len(scenes), as_json) as advance:
        for picture in render_many(scenes, size_px):
            images.append(Image.fromarray(picture.rgb))
            advance(1)
    write_png(contact_sheet(images, columns), out)
