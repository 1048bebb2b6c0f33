"""What the mini pack's guide is worth: guidance away from the UNet without words, and from the guide as well.

The same held-out captions, people and seeds either way: words alone, then ConsistentID. Each way has the
scale that suits it: 3 was the pack's before it had a guide.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from record import record, single

from likeness.catalog import load_pipeline
from likeness.diffusion.load import Base
from likeness.diffusion.pixels import to_pictures
from likeness.diffusion.text_to_image import paint_text
from likeness.evaluation.judge import open_judge
from likeness.evaluation.result import MetricValue, ordering, summarised
from likeness.packs import mini, mini_path, open_base
from likeness.packs.check_words import attribute_truth, attributes_right, frechet, image_embeddings
from likeness.packs.data import Pictures, draw_split, load_pictures
from likeness.references import open_detector
from likeness.sitters import HELD_OUT_SEEDS, sample_scene
from likeness.sitters.render import render
from likeness.types import PortraitRequest

PROMPTS = ("A person wearing a red hat.", "A person smiling, in front of a beach.")


def spread(rows: torch.Tensor, count: int) -> torch.Tensor:
    return rows[torch.linspace(0, len(rows) - 1, count).long().unique()]


def by_words(
    base: Base, scale: float, pictures: Pictures, rows: torch.Tensor
) -> tuple[dict[str, np.ndarray], torch.Tensor]:
    """Each held-out caption painted: columns of what is seen, and the pictures."""
    detector = open_detector("mini", references_are_sitters=True)
    captions = [pictures.captions[i][0] for i in rows.tolist()]
    painted = paint_text(base, captions, rows.tolist(), steps=mini.STEPS, guidance=scale)
    net = mini.load_attributes(mini_path() / "attributes")
    seen = attributes_right(net, painted, attribute_truth(pictures, net.config.kinds), rows).numpy()
    found = np.array([float(len(detector(picture)) == 1) for picture in to_pictures(painted)])
    return {"named attributes seen": seen, "one face found": found}, painted


def of_people(base: Base, scale: float, references: Sequence[Image.Image]) -> dict[str, np.ndarray]:
    """Each person painted by ConsistentID: columns of likeness by recognisers that gave it nothing."""
    pipeline = load_pipeline("consistentid", base, sitters=True)
    detector = open_detector("mini", references_are_sitters=True)
    judge, own = open_judge("mini", detector, sitters=True), pipeline.face_encoder.name
    rows = []
    for number, reference in enumerate(references):
        requests = [PortraitRequest(words, (reference,), seed=number, guidance=scale) for words in PROMPTS]
        for result in pipeline(requests):
            rows.append(judge.compare(result.image, [reference], own))
    return {
        "same person": np.array([np.nan if row.chance is None else row.chance for row in rows]),
        "face found": np.array([float(bool(row.cosines)) for row in rows]),
    }


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--captions", type=int, default=200)
    arguments.add_argument("--people", type=int, default=30)
    arguments.add_argument("--work", type=Path, required=True, help="folder for the pictures")
    given = arguments.parse_args()
    folder = draw_split(given.work / "data", "held_out", people=500, views=4)
    pictures = load_pictures(folder, people=500, views=4)
    even = spread((pictures.person % 2 == 0).nonzero()[:, 0], given.captions)
    odd = spread((pictures.person % 2 == 1).nonzero()[:, 0], given.captions)
    real, truth = (image_embeddings(mini_path(), mini.to_unit(pictures.pixels[rows])) for rows in (odd, even))
    detector = open_detector("mini", references_are_sitters=True)
    references: list[Image.Image] = []
    for seed in HELD_OUT_SEEDS:
        picture = Image.fromarray(render(sample_scene(seed), mini.SIZE_PX).rgb)
        references += [picture] if len(detector(picture)) == 1 else []
        if len(references) == given.people:
            break
    base = open_base("mini", "cpu")
    routes = {"no guide": (replace(base, guide=None), 3.0), "guide": (base, mini.GUIDANCE)}
    words: dict[str, dict[str, np.ndarray]] = {}
    people: dict[str, dict[str, np.ndarray]] = {}
    metrics: dict[str, MetricValue] = {}
    units = {"same person": "chance"}
    twice = np.arange(len(references)).repeat(len(PROMPTS))
    for name, (route, scale) in routes.items():
        words[name], painted = by_words(route, scale, pictures, even)
        people[name] = of_people(route, scale, references)
        for what, columns in (("words", words[name]), ("ConsistentID", people[name])):
            for column, values in columns.items():
                whose = twice if what == "ConsistentID" else None
                metrics[f"{what}: {column}, {name}"] = summarised(
                    values, units.get(column, "share"), whose=whose
                )
        distance = frechet(image_embeddings(mini_path(), painted), truth, real)
        times, half = distance["fid_times_real"], distance["fid_times_real_interval"]
        fid = single(times, "ratio", len(even)).model_copy(update={"low": times - half, "high": times + half})
        metrics[f"words: FID, in real pictures' own, {name}"] = fid
    without, guide = routes
    claims = [
        ordering(
            f"{what}: {column} is higher with a guide",
            "arXiv 2406.02507",
            of[guide][column],
            of[without][column],
            whose=twice if what == "ConsistentID" else None,
        )
        for what, of, columns in (
            ("words", words, ("named attributes seen", "one face found")),
            ("ConsistentID", people, ("same person", "face found")),
        )
        for column in columns
    ]  # fmt: skip
    record(
        "guidance", "guidance", metrics, given=given, n=len(even), seed=HELD_OUT_SEEDS[0], orderings=claims
    )
