"""Does the mini pack's ConsistentID keep the person? Held-out sitters, judged by a recogniser of its own.

For each person: one reference, prompts, and the same prompts and seeds painted without identity
(both scales at zero, words only). Beside the scores stand what the judge gives to two real
pictures of one person and of two people, which is the scale they are to be read on.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from PIL import Image
from record import mean, record

from likeness.catalog import load_pipeline
from likeness.errors import FaceError
from likeness.evaluation.judge import open_judge
from likeness.faces.align import align_arcface
from likeness.faces.detect import find_one_face
from likeness.portraits import open_detector
from likeness.sitters import sample_scene, with_same_person
from likeness.sitters.render import render
from likeness.types import PortraitRequest

PROMPTS = ("wearing a red hat", "smiling, in front of a beach")

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--people", type=int, default=25)
    arguments.add_argument("--seed", type=int, default=10_000_000)
    given = arguments.parse_args()
    detector = open_detector("mini", references_are_sitters=True)
    pipeline = load_pipeline("consistentid", "mini", sitters=True)
    judging = open_judge("mini", detector)
    judge = judging.independent(pipeline.face_encoder.name)[0]
    calibration = judging.calibration(pipeline.face_encoder.name)

    def embed(image: Image.Image) -> np.ndarray | None:
        try:
            face = find_one_face(image, detector)
        except FaceError:
            return None
        return np.asarray(judge([align_arcface(image, face)])[0])

    scores: dict[str, list[float]] = {
        "with_identity": [],
        "words_only": [],
        "same_person": [],
        "other_person": [],
    }
    lost = {"with_identity": 0, "words_only": 0}
    earlier = None
    for number in range(given.people):
        scene = sample_scene(given.seed + number)
        reference = Image.fromarray(render(scene, 128).rgb)
        known = embed(reference)
        again = embed(Image.fromarray(render(with_same_person(scene, 1), 128).rgb))
        if known is None or again is None:
            continue
        scores["same_person"].append(float(known @ again))
        if earlier is not None:
            scores["other_person"].append(float(known @ earlier))
        earlier = again
        for name, options in (
            ("with_identity", {}),
            ("words_only", {"identity_scale": 0.0, "merge_step": 1.0}),
        ):
            requests = [PortraitRequest(p, (reference,), seed=number, options=options) for p in PROMPTS]
            for result in pipeline(requests):
                painted = embed(result.image)
                if painted is None:
                    lost[name] += 1
                else:
                    scores[name].append(float(known @ painted))
    values: dict[str, Any] = {name: mean(row) for name, row in scores.items()}
    if calibration is not None:
        values["same_person_chance"] = {
            name: mean([calibration.chance({judge.name: cosine}) for cosine in row])
            for name, row in scores.items()
        }
    values |= {"no_face_found": lost, "prompts": PROMPTS}
    command = f"python benchmarks/consistentid_likeness.py --people {given.people} --seed {given.seed}"
    print(record("consistentid_likeness", command, given.seed, values))
