"""Figure 16 with the mini pack's own ConsistentID: does a later merge step follow words more, and faces less?

The same held-out cases and metrics as `likeness ablate consistentid` has, whose variants are young.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from record import record

from likeness.ablation_cases import cases_of, metrics_of, painted_case
from likeness.catalog import ablation_plan, load_pipeline
from likeness.evaluation.result import ordering, summarised
from likeness.packs import mini, mini_path
from likeness.packs.ablations import Painting

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
TOLD = ("CLIP-T", "CLIP-I", "FGIS", "FaceSim", "same person")
CLAIMS = (
    ("CLIP-T rises with the merge step", "CLIP-T", 1.0, 0.0),
    ("CLIP-I falls with the merge step", "CLIP-I", 0.0, 1.0),
    ("FGIS falls with the merge step", "FGIS", 0.0, 1.0),
)

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--cases", type=int, default=40)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    pack, plan = mini_path(), ablation_plan("consistentid")
    with tempfile.TemporaryDirectory() as aside:
        cases = cases_of("consistentid", plan, pack, mini.SIZE_PX, given.cases, given.seed, Path(aside))
    measure = [one for one in metrics_of(pack, plan, cases) if one.name in TOLD]
    pipeline = load_pipeline("consistentid", "mini", sitters=True)
    values: dict[float, dict[str, np.ndarray]] = {}
    for share in SHARES:
        painting = Painting("", "", {"merge_step": share})
        painted = [painted_case(pipeline, painting, one) for one in cases]
        known = [one for one in painted if one is not None]
        values[share] = {}
        for metric in measure:
            column = np.full(len(cases), np.nan)
            column[[one is not None for one in painted]] = metric(known)
            values[share][metric.name] = column
    record(
        "consistentid-merge",
        "consistentid",
        {
            f"{metric.name}, merge step {share:g}": summarised(found[metric.name], metric.unit)
            for share, found in values.items()
            for metric in measure
        },
        given=given,
        seed=given.seed,
        n=given.cases,
        orderings=[
            ordering(text, "figure 16", values[better][name], values[worse][name], higher_is_better=True)
            for text, name, better, worse in CLAIMS
        ],
    )
