"""Is a chance of 80 % right in 80 of 100 cases? Pairs of held-out sitters on whom nothing was fitted.

Besides the table a reliability diagram is drawn: `docs/images/reliability.svg`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from record import ROOT, record

from likeness.faces.calibration import Calibrations, calibration_error, chances, reliability
from likeness.files.images import write_bytes
from likeness.packs import mini, mini_path
from likeness.packs.data import draw_split, load_pictures
from likeness.packs.recipes.calibration import FILE, PAIRS, cosines_of, embedded, pairs_of

COLOURS = ("#b4532a", "#2a6fb4", "#3f8f4f")
SIDE = 320


def diagram(rows: dict[str, list[dict[str, float]]]) -> str:
    """Share of pairs of one person over the chance they were given, one line a set of recognisers."""
    pad, step = 44, SIDE / 5
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="11" '
        f'viewBox="0 0 {SIDE + 2 * pad} {SIDE + 2 * pad + 18 * len(rows)}">',
        '<rect width="100%" height="100%" fill="#fbfaf7"/>',
        f'<path d="M{pad} {pad + SIDE}L{pad + SIDE} {pad}" stroke="#999" stroke-dasharray="4 4"/>',
        f'<rect x="{pad}" y="{pad}" width="{SIDE}" height="{SIDE}" fill="none" stroke="#999"/>',
    ]
    for tick in range(6):
        at = pad + tick * step
        parts += [
            f'<text x="{at}" y="{pad + SIDE + 15}" text-anchor="middle">{tick * 20} %</text>',
            f'<text x="{pad - 5}" y="{pad + SIDE - tick * step + 4}" text-anchor="end">{tick * 20} %</text>',
        ]
    parts += [
        f'<text x="{pad + SIDE / 2}" y="{pad + SIDE + 32}" text-anchor="middle">chance that was told</text>',
        f'<text x="{pad}" y="{pad - 10}">pairs that were of one person</text>',
    ]
    for (name, bins), colour in zip(rows.items(), COLOURS, strict=False):
        points = [(pad + SIDE * one["chance"], pad + SIDE * (1 - one["share"])) for one in bins]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        below = pad + SIDE + 50 + 18 * list(rows).index(name)
        parts += [
            f'<circle cx="{pad + 4}" cy="{below - 4}" r="4" fill="{colour}"/>',
            f'<text x="{pad + 14}" y="{below}">{name}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


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
    values, bins = {"pairs": len(same)}, {}
    for fitted in Calibrations.read(mini_path() / FILE).sets:
        cosines = cosines_of(faces, fitted.encoders, one, two)
        chance = chances(cosines, fitted.weights, fitted.bias)
        drawn = [calibration_error(chance[rows], same[rows]) for rows in again]
        low, high = np.percentile(drawn, [2.5, 97.5])
        name = " + ".join(fitted.encoders)
        bins[name] = [row.model_dump() for row in reliability(chance, same)]
        values[name] = {
            "calibration_error": {"value": calibration_error(chance, same), "low": low, "high": high},
            "right": float(((chance > 0.5) == same).mean()),
            "two_pictures_of_one_person": float(chance[same].mean()),
            "reliability": bins[name],
        }
    write_bytes(ROOT / "docs" / "images" / "reliability.svg", diagram(bins).encode())
    command = f"python benchmarks/likeness_score.py --people {given.people} --work DIR"
    print(record("likeness_score", command, mini.first_seed("held_out"), values))
