"""`likeness dataset`: from a folder of pictures to a data set that methods train on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from likeness.cli import dataset_attributes  # noqa: F401  its command joins those of `building`
from likeness.cli import dataset_build as building
from likeness.cli.output import AsJson, show, step_progress
from likeness.errors import InputError

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


app.add_typer(building.app, name="build")


@app.command("import")
def import_pairs(
    source: Annotated[
        Path, typer.Argument(help="InstructPix2Pix folder, Parquet, data set saved to disk, image folder.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set.")],
    columns: Annotated[
        list[str] | None,
        typer.Option(help="before=..., after=... or instruction=..., where named otherwise."),
    ] = None,
    licence: Annotated[str, typer.Option(help="Of the pictures; kept in the data set.")] = "not declared",
    engine: building.Engine = "local",
    workers: building.Workers = 1,
    as_json: AsJson = False,
) -> None:
    """Edit pairs from elsewhere: pictures before and after and the instruction, as shards with a manifest."""
    from likeness.data.edit_pairs import PairImporter
    from likeness.data.engine import build

    named = dict(one.partition("=")[::2] for one in columns or ())
    importer = PairImporter(source.absolute(), named, licence)
    with step_progress("importing", as_json) as on_items:
        built = build(importer, out, engine=engine, workers=workers, chunk=500, on_items=on_items)
    building.show_built(built, "pairs", as_json)


@app.command()
def cache(
    folder: Annotated[Path, typer.Argument(help="A data set with shards, such as cheese or imported pairs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the latents.")],
    base: Annotated[str, typer.Option(help="mini, sd15, sdxl, a folder, or a name on the hub.")] = "mini",
    pictures: Annotated[str, typer.Option(help="Files of a row, the target last.")] = "before,after",
    texts: Annotated[str, typer.Option(help="Columns that are read by the text encoder.")] = "instruction",
    side: Annotated[
        int | None, typer.Option(help="Side of a square picture, px. [default: the base's]")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    engine: building.Engine = "local",
    workers: building.Workers = 1,
    as_json: AsJson = False,
) -> None:
    """What a base makes of a data set's pictures and texts, computed once: latents and text states."""
    from functools import partial

    from likeness.data.engine import build
    from likeness.data.latents import LatentsBuilder, base_sha256
    from likeness.packs import open_base

    opened = open_base(base, device)
    builder = LatentsBuilder(
        folder.absolute(),
        tuple(pictures.split(",")),
        tuple(texts.split(",")),
        partial(open_base, building.everywhere(base), device),
        opened.name,
        base_sha256(opened),
        side or opened.size_px,
        opened.unit_px,
    )
    with step_progress("encoding", as_json) as on_items:
        built = build(builder, out, engine=engine, workers=workers, on_items=on_items)
    building.show_built(built, "rows", as_json)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    hashes: Annotated[bool, typer.Option(help="Read every picture and compare its hash.")] = True,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with a data set, by file, line and column. Exit code 2 when anything is.

    Warnings, of rows that teach less, change no exit code.
    """
    from likeness.data.kinds import check as problems_of
    from likeness.data.kinds import warnings_of

    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}: give that of a data set.")
    found = problems_of(folder, hashes=hashes)
    warned = warnings_of(folder)
    lines = [str(one) for one in found] or [f"{folder}: nothing is wrong"]
    lines += [f"warning: {one}" for one in warned]
    told = {"problems": [asdict(one) for one in found], "warnings": [asdict(one) for one in warned]}
    show({"folder": str(folder), **told}, as_json, *lines)
    if found:
        raise typer.Exit(InputError.exit_code)
