"""IC-Portrait on groups of two and three held-out sitters: is each face nearest to its own profile?"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from ic_portrait import STYLE_OF, cosines, nearest, shown
from PIL import Image
from record import record

from likeness.catalog import load_pipeline
from likeness.errors import LikenessError
from likeness.evaluation.judge import open_judge
from likeness.evaluation.result import summarised
from likeness.references import open_detector
from likeness.restyling import RESTYLING
from likeness.sitters import sample_scene, straightened
from likeness.types import Person, PortraitRequest

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--base", default="mini", help="A pack: mini, or a folder such as a nano pack's.")
    arguments.add_argument("--groups", type=int, default=60)
    arguments.add_argument("--seed", type=int, default=10_000_000)
    given = arguments.parse_args()
    try:
        pipeline = load_pipeline("ic-portrait", given.base, sitters=True)
    except LikenessError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    detector = open_detector(given.base, references_are_sitters=True)
    judge = open_judge(given.base, detector, sitters=True)

    right: list[float] = []
    faces_right: list[float] = []
    found: list[float] = []
    rest: list[float] = []
    for number in range(given.groups):
        count = 2 + number % 2
        start = given.seed + 4 * number
        whole = [straightened(sample_scene(start + STYLE_OF + place)) for place in range(count)]
        group = Image.new("RGB", (128 * count, 128))
        for place, scene in enumerate(whole):
            group.paste(shown(scene), (128 * place, 0))
        own = [shown(straightened(sample_scene(start + place))) for place in range(count)]
        boxes = [detector(group.crop((128 * i, 0, 128 * i + 128, 128))) for i in range(count)]
        if not all(boxes) or not all(detector(one) for one in own):
            continue
        people = []
        for place, (photo, there) in enumerate(zip(own, boxes, strict=True)):
            x0, y0, x1, y1 = np.clip(there[0].box_xyxy, 0, 128)
            people.append(Person((photo,), (x0 + 128 * place, y0, x1 + 128 * place, y1)))
        request = PortraitRequest("", people=tuple(people), seed=number, image=group, strength=RESTYLING)
        [result] = pipeline([request])
        faces = [result.image.crop((128 * i, 0, 128 * i + 128, 128)) for i in range(count)]
        seen = [nearest(cosines(judge, face, own)) for face in faces]
        right.append(float(seen == list(range(count))))
        faces_right.append(float(np.mean([one == place for place, one in enumerate(seen)])))
        found.append(float(np.mean([one >= 0 for one in seen])))
        shoulders = np.abs(np.asarray(result.image, np.int16) - np.asarray(group, np.int16))[-2:]
        rest.append(float(shoulders.mean()))
    metrics = {
        "groups with each face whose it should be": summarised(np.array(right), "share"),
        "faces nearest to their own profile": summarised(np.array(faces_right), "share of a group"),
        "faces found": summarised(np.array(found), "share of a group"),
        "change of the lowest two rows": summarised(np.array(rest), "levels of 255"),
    }
    record(
        "ic-portrait-groups",
        "ic-portrait",
        metrics,
        given=given,
        n=len(right),
        seed=given.seed,
        base=given.base,
    )
