"""What the mini pack's parts measure on held-out sitters: `likeness pack check`, with its origin."""

from __future__ import annotations

import argparse
from pathlib import Path

from record import record, single

from likeness.evaluation.result import MetricValue
from likeness.packs import mini, mini_path
from likeness.packs.check import CHECKS, check_pack
from likeness.packs.data import draw_split, load_pictures

UNITS = {"psnr_db": "dB", "psnr_half_size_db": "dB", "error": "face sizes", "face_similarity": "cosine"}
INTERVAL, COUNT = "_interval", "_n"


def metrics_of(checked: dict[str, dict[str, float]]) -> dict[str, MetricValue]:
    """A value of each part, between its half widths where there are any, with how many it counts."""
    found = {}
    for part, values in checked.items():
        for name, value in values.items():
            if name.endswith((INTERVAL, COUNT)) or name == "n":
                continue
            half = values.get(name + INTERVAL)
            one = single(value, UNITS.get(name, ""), int(values.get(name + COUNT, values["n"])))
            if half is not None:
                end = 1.0 if value <= 1 and not one.unit else float("inf")  # shares and cosines end there
                one = one.model_copy(update={"low": value - half, "high": min(value + half, end)})
            found[f"{part}: {name.replace('_', ' ')}"] = one
    return found


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--part", choices=tuple(CHECKS), help="only this one, into a table of its own")
    arguments.add_argument("--people", type=int, default=300)
    arguments.add_argument("--work", type=Path, required=True, help="folder for the pictures")
    given = arguments.parse_args()
    folder = draw_split(given.work / "data", "held_out", people=given.people, views=4)
    parts = (given.part,) if given.part else None
    checked = check_pack(mini_path(), load_pictures(folder, people=given.people, views=4), parts)
    name = f"pack-{given.part}" if given.part else "pack"
    record(
        name,
        "the pack's parts",
        metrics_of(checked),
        given=given,
        n=given.people,
        seed=mini.first_seed("held_out"),
        intervals="by normal approximation; n counts people (of CLIP's areas values, of seconds batches)",
    )
