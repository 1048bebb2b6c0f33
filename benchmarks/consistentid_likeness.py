"""Does the mini pack's ConsistentID keep the person? Held-out sitters, by recognisers that gave it nothing.

For each person: one reference, prompts, and the same prompts and seeds painted without identity (both
scales at zero, words only). Beside them stands what two real pictures of one person and of two people
are given, which is the scale they are to be read on.
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image
from record import record

from likeness.catalog import load_pipeline
from likeness.evaluation.judge import Likeness, open_judge
from likeness.evaluation.result import MetricValue, ordering, summarised
from likeness.references import open_detector
from likeness.sitters import sample_scene, with_same_person
from likeness.sitters.render import render
from likeness.types import PortraitRequest

PROMPTS = ("wearing a red hat", "smiling, in front of a beach")
OPTIONS = {"with identity": {}, "words only": {"identity_scale": 0.0, "merge_step": 1.0}}


def chances(rows: list[Likeness]) -> np.ndarray:
    return np.array([np.nan if row.chance is None else row.chance for row in rows])


def cosines(rows: list[Likeness]) -> np.ndarray:
    return np.array([next(iter(row.cosines.values()), np.nan) for row in rows])


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--people", type=int, default=25)
    arguments.add_argument("--seed", type=int, default=10_000_000)
    given = arguments.parse_args()
    detector = open_detector("mini", references_are_sitters=True)
    pipeline = load_pipeline("consistentid", "mini", sitters=True)
    judge, own = open_judge("mini", detector, sitters=True), pipeline.face_encoder.name
    references, again = [], []
    for seed in range(given.seed, given.seed + given.people):
        scene = sample_scene(seed)
        pair = [Image.fromarray(render(one, 128).rgb) for one in (scene, with_same_person(scene, 1))]
        if all(len(detector(picture)) == 1 for picture in pair):  # a reference without a face paints nothing
            references.append(pair[0])
            again.append(pair[1])
    found: dict[str, list[Likeness]] = {
        "two pictures of one person": [
            judge.compare(a, [b], own) for a, b in zip(references, again, strict=True)
        ],
        "pictures of two people": [
            judge.compare(a, [b], own) for a, b in zip(references, [again[-1], *again[:-1]], strict=True)
        ],
    }
    for name, options in OPTIONS.items():
        found[name] = []
        for number, reference in enumerate(references):
            requests = [PortraitRequest(p, (reference,), seed=number, options=options) for p in PROMPTS]
            found[name] += [judge.compare(one.image, [reference], own) for one in pipeline(requests)]
    metrics: dict[str, MetricValue] = {}
    twice = np.arange(len(references)).repeat(len(PROMPTS))
    for name, rows in found.items():
        whose = twice if name in OPTIONS else None
        metrics[f"same person, {name}"] = summarised(chances(rows), "chance", whose=whose)
        metrics[f"cosine, {name}"] = summarised(cosines(rows), "cosine", whose=whose)
    for name in OPTIONS:
        faces = np.array([float(bool(row.cosines)) for row in found[name]])
        metrics[f"face found, {name}"] = summarised(faces, "share", whose=twice)
    claim = ordering(
        "a portrait is likelier of its person with identity than by the same words without",
        "ConsistentID (arXiv 2404.16771), its purpose",
        chances(found["with identity"]),
        chances(found["words only"]),
        whose=twice,
    )
    count = len(found["with identity"])
    record(
        "consistentid-likeness",
        "consistentid",
        metrics,
        given=given,
        n=count,
        seed=given.seed,
        orderings=[claim],
    )
