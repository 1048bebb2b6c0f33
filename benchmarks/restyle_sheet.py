"""Draw `docs/images/restyled.png`: held-out sitters, not chosen, put into pictures of others."""

from __future__ import annotations

import argparse

from PIL import Image
from record import ROOT

from likeness.catalog import load_pipeline
from likeness.files.images import contact_sheet, write_png
from likeness.restyling import RESTYLING
from likeness.sitters import sample_scene, straightened
from likeness.sitters.render import render
from likeness.types import PortraitRequest


def shown(seed: int) -> Image.Image:
    return Image.fromarray(render(straightened(sample_scene(seed)), 128).rgb)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--people", type=int, default=6)
    arguments.add_argument("--seed", type=int, default=10_000_000)
    given = arguments.parse_args()
    pipeline = load_pipeline("ic-portrait", "mini", sitters=True)
    seeds = range(given.seed, given.seed + given.people)
    people, styles = [shown(seed) for seed in seeds], [shown(seed + 5000) for seed in seeds]
    painted = [
        pipeline([PortraitRequest("", (one,), seed=seed, image=style, strength=RESTYLING)])[0].image
        for seed, one, style in zip(seeds, people, styles, strict=True)
    ]
    labels = [*["profile"] * given.people, *["style"] * given.people, *["restyled"] * given.people]
    sheet = contact_sheet([*people, *styles, *painted], given.people, labels)
    write_png(sheet, ROOT / "docs" / "images" / "restyled.png")
