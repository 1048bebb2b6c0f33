"""Does the pack's text encoder tell instructions apart? Two that name other values of one factor, and two
captions of pictures that differ in it: how far apart are the rows that a UNet reads of them?

A factor whose instructions have all but the same rows cannot be followed, whatever reads them.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from record import record

from likeness.diffusion.load import load_base
from likeness.diffusion.prompts import encode_prompts
from likeness.evaluation.result import summarised
from likeness.packs.mini import mini_path
from likeness.sitters import FACTORS, HELD_OUT_SEEDS, captions, instructions, sample_scene, with_same_person

SHORT = 3
"""Which of a picture's captions: a short one."""

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--people", type=int, default=200)
    arguments.add_argument("--seed", type=int, default=HELD_OUT_SEEDS[0])
    given = arguments.parse_args()
    base = load_base(mini_path(), device="cpu", dtype=torch.float32)

    @torch.no_grad()
    def apart(one: str, other: str) -> float:
        rows = encode_prompts(base, [one, other]).rows
        return float((rows[0] - rows[1]).norm() / rows[0].norm())

    metrics = {}
    for factor in (one for one in FACTORS if one != "identity"):
        found: dict[str, list[float]] = {"instructions": [], "short captions": []}
        for number in range(given.people):
            scene = sample_scene(given.seed + number)
            stays = [one for one in FACTORS if one != factor]
            views = [with_same_person(scene, view, keep=stays) for view in (1, 2)]
            told = [instructions(scene, view, number, 1)[0] for view in views]
            seen = [captions(view, SHORT + 1, number)[SHORT] for view in views]
            for kind, texts in (("instructions", told), ("short captions", seen)):
                if texts[0] != texts[1]:
                    found[kind].append(apart(*texts))
        for kind, values in found.items():
            if values:
                metrics[f"{kind}, {factor}"] = summarised(np.array(values), "share of the rows' length")
    record("words-apart", "pack", metrics, given=given, n=given.people, seed=given.seed)
