"""Does a detector trained on photographs see sitters? YuNet on 1,000 random ones up to 45 degrees of yaw.

Needs the YuNet file (LIKENESS_MODELS or the cache). Landmark errors are distances to the renderer's
truth in shares of the found face's size, over landmarks that can be seen.
"""

from __future__ import annotations

import argparse
from itertools import count, islice

import numpy as np
from PIL import Image
from record import record, single

from likeness.evaluation.result import summarised
from likeness.faces.detect import find_detector
from likeness.sitters import sample_scene
from likeness.sitters.render import render_many

NAMES = ("left eye", "right eye", "nose tip", "left mouth corner", "right mouth corner")

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--count", type=int, default=1000)
    arguments.add_argument("--size", type=int, default=256)
    arguments.add_argument("--seed", type=int, default=10_000_000, help="of the first person; held out")
    given = arguments.parse_args()
    frontal = (s for s in map(sample_scene, count(given.seed)) if abs(s.pose.yaw_deg) <= 45)
    detect = find_detector("yunet")
    found, errors = 0, []
    for picture in render_many(islice(frontal, given.count), given.size):
        faces = detect(Image.fromarray(picture.rgb))
        if not faces:
            continue
        found += 1
        miss = np.linalg.norm(faces[0].landmarks_px - picture.landmarks_px[:5], axis=1) / faces[0].size_px
        errors.append(np.where(picture.landmarks_visible[:5], miss, np.nan))
    table = np.array(errors)
    seen = table[~np.isnan(table)]
    metrics = {
        "faces found": summarised((np.arange(given.count) < found).astype(float), "share"),
        "landmark error": summarised(seen, "face sizes"),
        "median landmark error": single(float(np.median(seen)), "face sizes", len(seen)),
    }
    for name, column in zip(NAMES, table.T, strict=True):
        metrics[f"landmark error, {name}"] = summarised(column, "face sizes")
    metrics["landmarks within 3 percent"] = summarised((seen <= 0.03).astype(float), "share")
    record("sitters-detection", "yunet", metrics, given=given, n=given.count, seed=given.seed, base="sitters")
