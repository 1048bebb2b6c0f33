"""Is a chance of 80 % right in 80 of 100 cases? Pairs of held-out sitters on whom nothing was fitted.

Besides the table a reliability diagram is drawn: `docs/images/reliability.svg`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from record import ROOT, record, single

from likeness.evaluation.result import MetricValue
from likeness.faces.calibration import Calibrations, calibration_error, chances, reliability
from likeness.files.chart import line_chart
from likeness.files.images import write_bytes
from likeness.packs import mini, mini_path
from likeness.packs.data import draw_split, load_pictures
from likeness.packs.recipes.calibration import FILE, PAIRS, cosines_of, embedded, pairs_of

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--people", type=int, default=400)
    arguments.add_argument("--work", type=Path, required=True, help="folder for the pictures")
    given = arguments.parse_args()
    folder = draw_split(given.work / "data", "held_out", people=given.people, views=4)
    faces, person, _ = embedded(mini_path(), load_pictures(folder, people=given.people, views=4))
    one, two, same = pairs_of(person, PAIRS)
    rng = np.random.default_rng(0)
    again = [rng.integers(len(same), size=len(same)) for _ in range(1000)]
    metrics, bins = {}, {}
    for fitted in Calibrations.read(mini_path() / FILE).sets:
        cosines = cosines_of(faces, fitted.encoders, one, two)
        chance = chances(cosines, fitted.weights, fitted.bias)
        drawn = [calibration_error(chance[rows], same[rows]) for rows in again]
        low, high = np.percentile(drawn, [2.5, 97.5])
        name = " + ".join(fitted.encoders)
        bins[name] = [row.model_dump() for row in reliability(chance, same)]
        error = calibration_error(chance, same)
        metrics[f"{name}: calibration error"] = MetricValue(
            mean=error, low=low, high=high, n=len(same), unit="chance"
        )
        metrics[f"{name}: right"] = single(float(((chance > 0.5) == same).mean()), "share", len(same))
        metrics[f"{name}: chance of two pictures of one person"] = single(
            float(chance[same].mean()), "chance", int(same.sum())
        )
        for row in bins[name]:
            told = f"{name}, told {row['low']:.2f} to {row['high']:.2f}"
            metrics[f"{told}: chance"] = single(row["chance"], "chance", row["n"])
            metrics[f"{told}: share of one person"] = single(row["share"], "share", row["n"])
    lines = {name: [(row["chance"], row["share"]) for row in rows] for name, rows in bins.items()}
    chart = line_chart(
        lines,
        x="chance of the same person, as told",
        y="share of the pairs that were of one person",
        x_range=(0, 1),
        y_range=(0, 1),
        diagonal=True,
    )
    write_bytes(ROOT / "docs" / "images" / "reliability.svg", chart.encode())
    first = mini.first_seed("held_out")
    record("likeness-score", "the judge's chances", metrics, given=given, n=len(same), seed=first)
