"""`likeness demo`: three portraits of the bundled sitter, and one page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from likeness.cli.output import AsJson, show, step_progress

__all__ = ["app"]

PROMPTS = (
    "A woman wearing a red hat, in front of the sea.",
    "A woman in a teal sweater, in a city street.",
    "A woman in a blue shirt, in a park.",
)
"""Her hair and face are the reference's to tell. The sitter is `straightened(sample_scene(10_000_505))`, whom
no model was trained on; she and the seed were chosen because they come out well."""
PAGE = "index.html"
LEAD = (
    "The reference is a sitter, a procedural person who does not exist. The portraits were painted on "
    "this machine from that one picture and the words below them, by small models that come with the "
    "package and know sitters only."
)

app = typer.Typer()


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures and the page.")] = Path(
        "out/demo"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the portraits.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Paint three portraits of a bundled sitter and write a page to look at."""
    import torch

    from likeness.catalog import load_pipeline
    from likeness.evaluation.judge import open_judge
    from likeness.files.images import read_image, write_bytes
    from likeness.files.page import portraits_page
    from likeness.packs.mini import mini_path
    from likeness.portraits import make_portraits
    from likeness.references import open_detector

    # The models are so small that a second thread gains a second; but where something else holds a core, two
    # that wait for each other at every operation take minutes.
    torch.set_num_threads(1)
    reference = read_image(mini_path().parent / "demo" / "reference.png")
    detector = open_detector("mini", references_are_sitters=True)
    pipeline = load_pipeline("consistentid", "mini", sitters=True)
    with step_progress("painting", as_json) as on_progress:
        document = make_portraits(
            pipeline,
            [reference],
            PROMPTS,
            count=1,
            seed=seed,
            out_dir=out,
            judge=open_judge("mini", detector, sitters=True),
            references_are_sitters=True,
            on_progress=on_progress,
        )
    page = portraits_page("Three portraits of one sitter", LEAD, [reference], out, document)
    write_bytes(out / PAGE, page.encode())
    mean = document["likeness"]["mean"]
    show(
        {**document, "out": str(out), "page": str(out / PAGE)},
        as_json,
        f"{len(document['pictures'])} portraits in {document['timings_s']['total']:.0f} s"
        + ("" if mean is None else f", {mean:.0%} likely of the same person on average"),
        f"look at {(out / PAGE).resolve()}",
    )
