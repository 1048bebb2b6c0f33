"""`likeness replay`: a picture painted again from its own recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likeness.cli.output import AsJson, show, step_progress

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["app"]

app = typer.Typer()

DIFFERENT = 1
"""Exit code where the picture is not the same."""


@app.command()
def replay(
    picture: Annotated[Path, typer.Argument(help="A PNG that likeness painted.")],
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            "--reference",
            "-r",
            help="A photo that took part, or a folder that holds it; repeatable. The picture's own folder "
            "and the one above are searched too.",
        ),
    ] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            help="A LoRA, a delta or a ControlNet that took part, or a folder that holds it; repeatable. "
            "Their strengths are in the recipe."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the new picture to this PNG.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="The base, when not found by its name.")] = None,
    adapter: Annotated[
        Path | None, typer.Option(help="The method's weights, when not those of the base.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="As in `likeness generate`.")] = None,
    as_json: AsJson = False,
) -> None:
    """Paint a picture again from the recipe inside it, and say what differs where it is not the same.

    Exit code 0: every pixel is the same. 1: it is not; weights, version, device and settings that differ are
    named.
    """
    from likeness.catalog import load_pipeline
    from likeness.files.images import read_image, read_recipe, write_png
    from likeness.files.provenance import recipe_of
    from likeness.packs.mini import pack_folder
    from likeness.references import is_sitter
    from likeness.replay import added_weights, compared, known_pictures, loading_of, request_from

    recipe = read_recipe(picture)
    known: dict[str, Path] = {}
    used: list[Path] = []

    def find(digest: str) -> Image.Image | None:
        if not known:
            beside = picture.resolve().parent
            known.update(known_pictures([*(reference or ()), beside, beside.parent]))
        file = known.get(digest)
        if file is None:
            return None
        used.append(file)
        return read_image(file)

    given = loading_of(recipe)
    request = request_from(recipe, find)
    own = pack_folder(base or given["base"]) / "adapters" / given["name"]  # a delta may be the pack's own
    places = [*(weights or ()), *([adapter] if adapter else []), *([own] if own.is_dir() else [])]
    more = {"adapter": adapter, **added_weights(recipe, places)}
    pipeline = load_pipeline(
        given["name"],
        base or given["base"],
        device=device,
        sitters=bool(used) and all(is_sitter(file) for file in used),
        **more,
    )
    with step_progress("painting", as_json) as on_progress:
        [result] = pipeline([request], on_step=on_progress)
    differences = compared(recipe, read_image(picture), result)
    if out is not None:
        write_png(result.image, out, recipe_of(result))
    document = {
        "picture": str(picture),
        "identical": not differences,
        "differences": [{"what": one.what, "before": one.before, "now": one.now} for one in differences],
        "out": None if out is None else str(out),
    }
    lines = [str(one) for one in differences] or [f"{picture}: every pixel is the same"]
    show(document, as_json, *lines)
    if differences:
        raise typer.Exit(DIFFERENT)
