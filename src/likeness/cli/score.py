"""`likeness score`: do these pictures show the same person?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from likeness.cli.encoders import Encoders
from likeness.cli.output import AsJson, show

__all__ = ["app"]

app = typer.Typer()


@app.command()
def score(
    reference: Annotated[Path, typer.Argument(help="A picture of the person.")],
    pictures: Annotated[list[Path], typer.Argument(help="Pictures to compare with it.")],
    also: Annotated[
        list[Path] | None, typer.Option(help="A further photo of the reference's person; may be repeated.")
    ] = None,
    base: Annotated[str, typer.Option(help="The pack whose recognisers judge, without --judge.")] = "mini",
    judge: Annotated[
        list[Path] | None, typer.Option(help="A face recogniser (folder or .onnx); may be repeated.")
    ] = None,
    encoder: Encoders = None,
    sitters: Annotated[
        bool,
        typer.Option(help="The pictures are synthetic sitters; known without it where a recipe says so."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The chance that each picture shows the person of the reference.

    An encoder that gave a picture its identity, as its recipe says, has no say in it.
    """
    from likeness.errors import ImageError
    from likeness.evaluation.judge import UNLIKE, explanation, open_judge
    from likeness.files.images import read_image, read_recipe
    from likeness.portraits import CONTACT_SHEET
    from likeness.references import needed_px, open_detector

    known = [read_image(path) for path in (reference, *(also or ()))]
    # `out/*.png` names the sheet beside the portraits too: many faces, and no recipe.
    pictures = [path for path in pictures if path.name != CONTACT_SHEET] or pictures
    painted = [read_image(path) for path in pictures]

    def recipe(path: Path) -> dict[str, Any]:
        try:
            return read_recipe(path)
        except ImageError:  # a photo
            return {}

    recipes = [recipe(path) for path in (*pictures, reference, *(also or ()))]
    settings = [one.get("settings", {}) for one in recipes]
    # What a pack has painted is a sitter too.
    sitters = sitters or all(
        "sitter" in one or made.get("family") == "mini" for one, made in zip(recipes, settings, strict=True)
    )
    detector = open_detector(base, sitters)
    judging = open_judge(base, detector, judge or (), further=encoder or (), sitters=sitters)
    rows, lines = [], []
    for path, image, made in zip(pictures, painted, settings, strict=False):
        without = made.get("identity_encoder")
        found = judging.compare(image, known, without)
        own = judging.own_pictures(known, without)
        unlike = found.chance is None or found.chance < UNLIKE
        why = explanation(image, known, detector, needed_px(base)) if unlike and judging.encoders else []
        rows.append(
            {
                "picture": str(path),
                "chance": found.chance,
                "cosines": dict(found.cosines),
                "own_pictures": own,
                "reason": found.reason or None,
                "explained": why,
            }
        )
        lines += _lines(rows[-1])
    document = {
        "reference": str(reference),
        "encoders": {encoder.name: encoder.licence for encoder in judging.encoders},
        "pictures": rows,
    }
    show(document, as_json, *lines)


def _lines(row: dict[str, Any]) -> list[str]:
    cosines = ", ".join(f"cosine {value:.2f} by {name}" for name, value in row["cosines"].items())
    if row["chance"] is None:
        lines = [f"{row['picture']}: no score, {row['reason']}{f' ({cosines})' if cosines else ''}"]
    else:
        own = f"two real pictures of one person have {row['own_pictures']:.0%}"
        lines = [f"{row['picture']}: {row['chance']:.0%} the same person ({cosines}; {own})"]
    return lines + [f"    {text}" for text in row["explained"]]
