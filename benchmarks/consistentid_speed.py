"""What identity costs: ConsistentID beside the same base painting the same words alone, picture by picture.

The reference is encoded before; both take the same steps, guidance and seeds, in turn.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from PIL import Image
from record import record

from likeness.catalog import load_pipeline
from likeness.diffusion.text_to_image import paint_text
from likeness.evaluation.result import ordering, summarised
from likeness.packs.mini import GUIDANCE, STEPS
from likeness.sitters import HELD_OUT_SEEDS, sample_scene, straightened
from likeness.sitters.render import render
from likeness.types import PortraitRequest

PROMPT = "A woman smiling, in a blue t-shirt, in front of a white wall."
BOUND = 1.05
"""Identity may cost a twentieth."""

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pictures", type=int, default=12)
    given = arguments.parse_args()
    pipeline = load_pipeline("consistentid", "mini", sitters=True)
    reference = Image.fromarray(render(straightened(sample_scene(HELD_OUT_SEEDS[0])), 128).rgb)
    seconds: dict[str, list[float]] = {"with identity": [], "words only": []}
    for seed in range(given.pictures + 1):
        started = time.perf_counter()
        pipeline([PortraitRequest(PROMPT, (reference,), seed=seed, steps=STEPS, guidance=GUIDANCE)])
        between = time.perf_counter()
        paint_text(pipeline.base, [PROMPT], [seed], steps=STEPS, guidance=GUIDANCE)
        if seed:  # the first one warms up, and encodes the reference
            seconds["with identity"].append(between - started)
            seconds["words only"].append(time.perf_counter() - between)
    known, plain = (np.array(row) for row in seconds.values())
    metrics = {f"seconds a picture, {name}": summarised(np.array(row), "s") for name, row in seconds.items()}
    metrics["times the seconds of words only"] = summarised(known / plain, "ratio")
    claim = ordering(f"identity costs at most {BOUND - 1:.0%}", "ours", BOUND * plain, known)
    record("consistentid-speed", "consistentid", metrics, given=given, n=given.pictures, orderings=[claim])
