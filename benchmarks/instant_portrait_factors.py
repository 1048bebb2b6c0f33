"""Does an instruction change the two things it names, and nothing else? By the attribute judge.

Held-out sitters; see `likeness.evaluation.edits.two_factors`. Beside painted pictures stand the true ones,
which is the most that the judge grants anybody.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from record import record

from likeness.catalog import load_pipeline
from likeness.errors import MissingWeightsError
from likeness.evaluation.edits import Seen, held_out_edits, two_factors
from likeness.evaluation.result import summarised
from likeness.packs.mini import SIZE_PX, load_attributes, mini_path, to_unit
from likeness.types import PortraitRequest

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--edits", type=int, default=500)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    folder = mini_path() / "attributes"
    if not folder.is_dir():
        raise MissingWeightsError(
            f"The attribute judge is not in {folder}; train it: `likeness pack build mini --part attributes`."
        )
    net = load_attributes(folder)

    def describe(pictures: Sequence[Image.Image]) -> list[Seen]:
        found: list[Seen] = []
        for start in range(0, len(pictures), 32):
            rows = [np.asarray(one.resize((SIZE_PX, SIZE_PX))) for one in pictures[start : start + 32]]
            found += net.describe(to_unit(torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2)))
        return found

    pipeline = load_pipeline("instant-portrait", "mini", sitters=True)
    edits = held_out_edits(given.edits, given.seed, SIZE_PX, factors=(2,))
    painted = [
        pipeline([PortraitRequest(one.instruction, (one.before,), seed=number)])[0].image
        for number, one in enumerate(edits)
    ]
    found = two_factors(edits, painted, describe)
    metrics = {
        "edits that change the two named factors and nothing else": summarised(found.passed, "share"),
        "edits that change both named factors": summarised(found.changed, "share"),
        f"edits that change no more than {found.floor} other attributes": summarised(found.kept, "share"),
        "the first, of the true pictures": summarised(found.truth, "share"),
    }
    record(
        "instant-portrait-factors", "instant-portrait", metrics, given=given, n=given.edits, seed=given.seed
    )
