"""What the mini pack's parts measure on held-out sitters: `likeness pack check`, with its origin."""

from __future__ import annotations

import argparse
from pathlib import Path

from record import record

from likeness.packs import mini, mini_path
from likeness.packs.check import check_pack
from likeness.packs.data import draw_split, load_pictures

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--people", type=int, default=300)
    arguments.add_argument("--work", type=Path, required=True, help="folder for the pictures")
    given = arguments.parse_args()
    folder = draw_split(given.work / "data", "held_out", people=given.people, views=4)
    values = check_pack(mini_path(), load_pictures(folder, people=given.people, views=4))
    print(
        record(
            "pack",
            f"python benchmarks/pack.py --people {given.people} --work DIR",
            mini.first_seed("held_out"),
            dict(values),
        )
    )
