"""Two people in one picture: is each face whose it should be? Held-out sitters, by the judge's recogniser.

The words are the same for both, so that only the references tell them apart. A picture is right when each
of its faces is nearer to its own person's reference than to the other's. Each picture is painted once, and
once more as `likeness generate --best-of N` does: N times, of which the recogniser that paints chooses; the
judge is another.
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image
from record import record

from likeness.catalog import load_pipeline
from likeness.evaluation.judge import open_judge
from likeness.evaluation.result import summarised
from likeness.portraits import PaintedPicture, paint_one
from likeness.references import open_detector
from likeness.sitters import sample_scene, straightened
from likeness.sitters.render import render
from likeness.types import Person, PortraitRequest

PROMPT = "A portrait in front of a blue wall."


def main() -> None:
    """Paint the pairs once and best of several, and write both down."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pictures", type=int, default=50)
    arguments.add_argument("--best-of", type=int, default=4)
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--seed", type=int, default=10_000_000)
    given = arguments.parse_args()
    detector = open_detector("mini", references_are_sitters=True)
    pipeline = load_pipeline("consistentid", "mini", sitters=True, device=given.device)
    judge, without = open_judge("mini", detector, sitters=True), pipeline.face_encoder.name
    found, faces = list[Image.Image](), given.seed
    while len(found) < 2 * given.pictures:
        picture = Image.fromarray(render(straightened(sample_scene(faces)), 128).rgb)
        if len(detector(picture)) == 1:  # a reference without a face paints nothing
            found.append(picture)
        faces += 1

    def cosines(painted: PaintedPicture, pair: list[Image.Image]) -> list[tuple[float, float]]:
        """Of each face: with its own reference and with the other's."""
        result, seen = painted.result, []
        for index, box in enumerate(result.provenance.recipe["people_px"]):
            part = result.image.crop(box)
            near, far = (
                next(iter(judge.compare(part, [one], without).cosines.values()), np.nan)
                for one in (pair[index], pair[1 - index])
            )
            seen.append((near, far))
        return seen

    metrics = {}
    for times in dict.fromkeys((1, given.best_of)):
        told = "" if times == 1 else f", best of {times}"
        rows = []
        for number in range(given.pictures):
            pair = found[2 * number : 2 * number + 2]
            people = tuple(Person((one,)) for one in pair)
            request = PortraitRequest(PROMPT, people=people, seed=number * given.best_of)
            rows.append(cosines(paint_one(pipeline, request, number, judge, best_of=times), pair))
        values = np.array(rows)  # (pictures, 2, 2)
        own, other = values[..., 0], values[..., 1]
        right = (own > other).all(axis=1)  # a face that is not found is not right
        metrics |= {
            f"pictures with both faces whose they should be{told}": summarised(right.astype(float), "share"),
            f"faces found{told}": summarised((~np.isnan(own)).astype(float).ravel(), "share"),
            f"cosine with the own reference{told}": summarised(own.ravel(), "cosine"),
            f"cosine with the other's reference{told}": summarised(other.ravel(), "cosine"),
        }
    record("consistentid-people", "consistentid", metrics, given=given, n=given.pictures, seed=given.seed)


if __name__ == "__main__":
    main()
