"""What the words that come along with the pack (SPF-Portrait) paint, and what else they change.

Captions of held-out people with the words of some glasses behind, painted from the same seeds: by the base
from the caption alone, by the base from both, and with what was taught. Beside what the attribute judge sees
of the glasses stands what it sees on the renderer's own picture, and how far everything is from the caption's
picture, the glasses included.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from record import record

from likeness.evaluation.case import Case, Truth
from likeness.evaluation.judge import open_judge
from likeness.evaluation.metrics.attributes import AttributeViews, WordsFollowed
from likeness.evaluation.pollution import open_axes
from likeness.evaluation.result import ordering, summarised
from likeness.faces.attributes import NOT_SHOWN
from likeness.files.images import contact_sheet, write_png
from likeness.methods.spf_portrait.pipeline import load
from likeness.methods.spf_portrait.recipe import GLASSES
from likeness.packs import mini, mini_path
from likeness.references import open_detector
from likeness.sitters import HELD_OUT_SEEDS
from likeness.sitters.render import render
from likeness.sitters.taught import attribute_of, taught_scene
from likeness.types import PortraitRequest

SIDES: dict[str, dict[str, object]] = {
    "the base": {"scale": 0.0},
    "taught": {},
    "taught, caption alone": {"target": ""},
}
"""What is painted beside the caption's picture, by the method's options."""
SHOWN = 9


def main() -> None:
    """Paint, look, and write it down."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pictures", type=int, default=45)
    arguments.add_argument("--delta", type=Path, help="another than the one that comes along")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--sheet", type=Path, help="also write the first pictures as one")
    given = arguments.parse_args()
    pipeline = load("mini", given.delta)
    taught = [attribute_of(text) for text in GLASSES]
    people = iter(random.Random(given.seed).sample(HELD_OUT_SEEDS, len(HELD_OUT_SEEDS)))
    requests, truths, real = list[PortraitRequest](), list[Truth](), list[Image.Image]()
    while len(requests) < given.pictures:
        number = len(requests) % len(taught)
        found = taught_scene(next(people), taught, number)
        if found is not None:
            requests.append(PortraitRequest(found.base, seed=len(requests), options={"target": found.target}))
            truths.append(Truth({taught[number].kind: taught[number].value}))
            real.append(Image.fromarray(render(found.scene, mini.SIZE_PX).rgb))

    def paint(**options: object) -> list[Image.Image]:
        asked = [dataclasses.replace(one, options={**one.options, **options}) for one in requests]
        return [pipeline([one])[0].image for one in asked]

    before = paint(scale=0.0, target="")

    def cases(images: Sequence[Image.Image]) -> list[Case]:
        rows = zip(images, requests, before, truths, strict=True)
        return [
            Case(str(number), image, request.options["target"], (), (), source=source, truth=truth)
            for number, (image, request, source, truth) in enumerate(rows)
        ]

    detector = open_detector("mini", references_are_sitters=True)
    axes = open_axes(mini_path(), open_judge("mini", detector, sitters=True)).metrics
    views = AttributeViews(mini.load_attributes(mini_path() / "attributes"))
    painted = {name: paint(**options) for name, options in SIDES.items()}
    seen, some = dict[str, NDArray[np.float64]](), dict[str, NDArray[np.float64]]()
    for name, images in {**painted, "the renderer": real}.items():
        seen[name] = WordsFollowed(views)(cases(images))
        asked = zip(images, truths, strict=True)
        shown = [
            [views.see(image).shown[kind] != NOT_SHOWN for kind in truth.asked] for image, truth in asked
        ]
        some[name] = np.array(shown, np.float64).mean(axis=1)
    values = np.array([one.value for one in taught])[np.arange(given.pictures) % len(taught)]
    metrics = {}
    for name in seen:
        metrics[f"some glasses seen, {name}"] = summarised(some[name], "share")
        metrics[f"those that were asked for seen, {name}"] = summarised(seen[name], "share")
        for value in dict.fromkeys(values):
            of_these = summarised(seen[name][values == value], "share")
            metrics[f"those that were asked for seen, {name}, {value}"] = of_these
    for axis in axes:
        for name, images in painted.items():
            metrics[f"{axis.name}, {name}"] = summarised(axis(cases(images)), axis.unit)
    pairs = zip(painted["taught, caption alone"], before, strict=True)
    same = [float(one.tobytes() == other.tobytes()) for one, other in pairs]
    metrics["the caption alone paints the same to the pixel"] = summarised(np.array(same), "share")
    claims = [
        ordering(f"{what} than by the base with the same words", "ours", by["taught"], by["the base"])
        for what, by in (
            ("glasses are seen more often", some),
            ("more often those that were asked for", seen),
        )
    ]
    if given.sheet:
        rows = {"caption alone": before, "the base": painted["the base"], "taught": painted["taught"]}
        labels = [one.options["target"] for one in requests[:SHOWN]]
        labels += [name for name in list(rows)[1:] for _ in requests[:SHOWN]]
        write_png(
            contact_sheet(
                [one for row in rows.values() for one in row[:SHOWN]], len(requests[:SHOWN]), labels
            ),
            given.sheet,
        )
    del given.sheet
    record(
        "spf-words", "spf-portrait", metrics, given=given, n=given.pictures, seed=given.seed, orderings=claims
    )


if __name__ == "__main__":
    main()
