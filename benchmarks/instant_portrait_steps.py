"""One step beside its teacher's: the pack's IPNet and IDE-Net on the same edits of held-out sitters.

Cases, metrics and claims are those of `likeness ablate instant-portrait`, for the weights that come along.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from record import record

from likeness.ablation_cases import cases_of, metrics_of, painted_case
from likeness.evaluation.result import ordering, summarised
from likeness.methods.instant_portrait.ablations import IDE_NET, IP_NET, PLAN, TWICE
from likeness.methods.instant_portrait.pipeline import load
from likeness.packs import mini_path
from likeness.packs.ablations import Painting
from likeness.packs.mini import SIZE_PX

TOLD = ("CLIP-T", "FaceSim", "same person", "face found", "LPIPS", "sharpness")
FEW, HAZY = f"{IDE_NET}, 4 steps", f"{IDE_NET}, one step"
PAINTINGS = (
    Painting(IP_NET, "", steps=1),
    Painting(TWICE, "", {"style_boost": True}, steps=1),
    Painting(IDE_NET, "", steps=20),
    Painting(FEW, "", steps=4),
    Painting(HAZY, "", steps=1),
)

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--edits", type=int, default=100)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    cases = cases_of("instant-portrait", PLAN, mini_path(), SIZE_PX, given.edits, given.seed, Path())
    measured = metrics_of(mini_path(), PLAN, cases)
    pipeline = load("mini", sitters=True)
    assert pipeline.teacher is not None  # noqa: S101  both editors come along
    values: dict[str, dict[str, NDArray[np.float64]]] = {}
    for painting in PAINTINGS:
        by = pipeline.teacher if painting.name.startswith(IDE_NET) else pipeline
        painted = [painted_case(by, painting, one) for one in cases]
        known = [one for one in painted if one is not None]
        values[painting.name] = {metric.name: np.asarray(metric(known)) for metric in measured}
    kinds = {metric.name: metric for metric in measured}
    claims = [one for one in PLAN.claims if {one.better, one.worse} <= values.keys() and one.metric in kinds]
    record(
        "instant-portrait-steps",
        "instant-portrait",
        {
            f"{name}, {painting}": summarised(found[name], kinds[name].unit)
            for painting, found in values.items()
            for name in TOLD
        },
        given=given,
        n=given.edits,
        seed=given.seed,
        orderings=[
            ordering(
                one.text,
                one.source,
                values[one.better][one.metric],
                values[one.worse][one.metric],
                higher_is_better=kinds[one.metric].higher_is_better,
                margin=one.margin,
            )
            for one in claims
        ],
    )
