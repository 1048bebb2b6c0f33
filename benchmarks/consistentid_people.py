"""Two people in one picture: is each face whose it should be? Held-out sitters, by the judge's recogniser.

The words are the same for both, so that only the references tell them apart. A picture is right when each
of its faces is nearer to its own person's reference than to the other's.
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image
from record import record

from likeness.catalog import load_pipeline
from likeness.evaluation.judge import open_judge
from likeness.evaluation.result import summarised
from likeness.references import open_detector
from likeness.sitters import sample_scene, straightened
from likeness.sitters.render import render
from likeness.types import Person, PortraitRequest

PROMPT = "A portrait in front of a blue wall."

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pictures", type=int, default=50)
    arguments.add_argument("--seed", type=int, default=10_000_000)
    given = arguments.parse_args()
    detector = open_detector("mini", references_are_sitters=True)
    pipeline = load_pipeline("consistentid", "mini", sitters=True)
    judge, without = open_judge("mini", detector, sitters=True), pipeline.face_encoder.name
    found, faces, right, own, other = [], given.seed, [], [], []
    while len(found) < 2 * given.pictures:
        picture = Image.fromarray(render(straightened(sample_scene(faces)), 128).rgb)
        if len(detector(picture)) == 1:  # a reference without a face paints nothing
            found.append(picture)
        faces += 1
    for number in range(given.pictures):
        pair = found[2 * number : 2 * number + 2]
        people = tuple(Person((one,)) for one in pair)
        [result] = pipeline([PortraitRequest(PROMPT, people=people, seed=number)])
        seen = []
        for index, box in enumerate(result.provenance.recipe["people_px"]):
            part = result.image.crop(box)
            near, far = (
                next(iter(judge.compare(part, [one], without).cosines.values()), np.nan)
                for one in (pair[index], pair[1 - index])
            )
            own.append(near)
            other.append(far)
            seen.append(near > far)  # a face that is not found is not right
        right.append(float(all(seen)))
    metrics = {
        "pictures with both faces whose they should be": summarised(np.array(right), "share"),
        "faces found": summarised(np.array([float(not np.isnan(value)) for value in own]), "share"),
        "cosine with the own reference": summarised(np.array(own), "cosine"),
        "cosine with the other's reference": summarised(np.array(other), "cosine"),
    }
    record("consistentid-people", "consistentid", metrics, given=given, n=given.pictures, seed=given.seed)
