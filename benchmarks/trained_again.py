"""Does a part trained again from nothing, with another seed, measure what the shipped one does?

First train it: `likeness pack build mini --part landmarks --steps N --seed 1 --pack PACK`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pack import metrics_of
from record import record

from likeness.packs import mini, mini_path, read_card
from likeness.packs.check import check_pack
from likeness.packs.data import draw_split, load_pictures

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pack", type=Path, required=True, help="folder with the part trained again")
    arguments.add_argument("--part", default="landmarks")
    arguments.add_argument("--people", type=int, default=500)
    arguments.add_argument("--work", type=Path, required=True, help="folder for the pictures")
    given = arguments.parse_args()
    folder = draw_split(given.work / "data", "held_out", people=given.people, views=4)
    pictures = load_pictures(folder, people=given.people, views=4)
    table = {}
    for name, pack in (("shipped", mini_path()), ("trained again", given.pack)):
        measured = metrics_of(check_pack(pack, pictures, (given.part,)))
        steps, seed = (getattr(read_card(pack).parts[given.part], key) for key in ("steps", "seed"))
        table |= {f"{name} ({steps} steps, seed {seed}), {key}": value for key, value in measured.items()}
    record(
        "trained-again",
        f"{given.part}, trained again",
        table,
        given=given,
        n=given.people,
        seed=mini.first_seed("held_out"),
        intervals="by normal approximation; n counts people",
    )
