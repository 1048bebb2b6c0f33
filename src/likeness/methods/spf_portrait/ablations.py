"""Tables 1 and 5: naive fine-tuning, each stage alone, both without each of their losses; and both for the
target's tokens alone.

Every stage has the same number of steps; naive fine-tuning has those of both stages.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from likeness.diffusion.load import load_base
from likeness.files.deltas import DELTA
from likeness.methods.spf_portrait.config import ABLATIONS, NaiveTraining, Preset, SpfTraining
from likeness.methods.spf_portrait.pipeline import load
from likeness.methods.spf_portrait.recipe import read_delta, taught_set, train_stage
from likeness.packs.ablations import Claim, Painting, Plan, Variant

if TYPE_CHECKING:
    from likeness.packs.workshop import Workshop
    from likeness.training import TrainResult
    from likeness.types import PortraitPipeline

__all__ = ["PLAN"]

FIRST, NAIVE, SECOND, BOTH = "stage 1", "naive", "stage 2 alone", "SPF-Portrait"
UNTAUGHT = "the base"
FIRST_WORDS, WORDS = "stage 1, target's tokens", "target's tokens"
WITHOUT = {
    "w/o map": "no-map",
    "w/o L_tar": "no-target",
    "w/o L_att": "no-attention",
    "w/o L_unet": "no-features",
}


def _train(
    settings: NaiveTraining | SpfTraining, shop: Workshop, part: str, start: Path | None, folder: Path
) -> TrainResult:
    base = load_base(shop.pack, device=shop.device, dtype=torch.float32)
    delta = read_delta(start, base) if start else None
    return train_stage(shop, base, taught_set(shop), settings, delta, part, folder)


def _load(pack: Path, weights: Path | None) -> PortraitPipeline:
    return load(pack, weights / DELTA if weights else [])


def _base_alone(name: str) -> str:
    return f"{name}, base text"


CHANGES = ("identity", "layout", "background", "picture", "attributes")
"""What is to be 0 but for the target; names of the axes of `likeness pollution`."""


def _claims() -> tuple[Claim, ...]:
    found = [
        Claim(f"both stages change less {axis} than naive fine-tuning", "Table 1", axis, BOTH, NAIVE)
        for axis in CHANGES
    ]
    found += [
        Claim(
            f"by base text alone {of} at most a third of naive fine-tuning's {axis}",
            "ours", axis, _base_alone(name), _base_alone(NAIVE), share=1 / 3,
        )
        for name, of in ((BOTH, "both stages change"), (WORDS, "the target's tokens alone change"))
        for axis in CHANGES
    ]  # fmt: skip
    found += [
        Claim(f"trained for the target's tokens alone less {axis} changes", "ours", axis, WORDS, BOTH)
        for axis in CHANGES
    ]
    for metric, margin in (("followed", -0.05), ("response", -0.02)):
        # Without these, what the base paints of the same words anyway would count as learned.
        found += [
            Claim(f"{metric}: {of} more than the base by the same words", "ours", metric, name, UNTAUGHT)
            for name, of in ((NAIVE, "naive"), (BOTH, "both stages"), (WORDS, "target's tokens"))
        ]
        found += [
            Claim(f"{metric}: both stages no worse than naive", "Table 1", metric, BOTH, NAIVE, margin),
            Claim(f"{metric}: both stages more than stage 2 alone", "Table 5", metric, BOTH, SECOND),
            Claim(f"{metric}: with the map more than without", "Table 5", metric, BOTH, "w/o map"),
            Claim(f"{metric}: with L_tar more than without", "Table 5", metric, BOTH, "w/o L_tar"),
            Claim(f"{metric}: target's tokens no worse than naive", "ours", metric, WORDS, NAIVE, margin),
        ]  # fmt: skip
    for axis in ("identity", "picture"):
        found += [
            Claim(f"stage 2 alone changes less {axis} than stage 1", "Table 5", axis, SECOND, FIRST),
            Claim(f"without the map less {axis} changes", "Table 5", axis, "w/o map", BOTH),
            Claim(f"with L_att less {axis} changes than without", "Table 5", axis, BOTH, "w/o L_att"),
            Claim(f"with L_unet less {axis} changes than without", "Table 5", axis, BOTH, "w/o L_unet"),
        ]
    return tuple(found)


SPF = Preset()
PLAN = Plan(
    cases="targets",
    variants=(
        Variant(FIRST, partial(_train, SPF.naive)),
        Variant(NAIVE, partial(_train, SPF.naive), FIRST),
        Variant(SECOND, partial(_train, SPF.contrastive)),
        Variant(BOTH, partial(_train, SPF.contrastive), FIRST),
        *(
            Variant(name, partial(_train, ABLATIONS[preset].contrastive), FIRST)
            for name, preset in WITHOUT.items()
        ),
        Variant(FIRST_WORDS, partial(_train, ABLATIONS["words"].naive)),
        Variant(WORDS, partial(_train, ABLATIONS["words"].contrastive), FIRST_WORDS),
    ),
    paintings=(
        Painting(UNTAUGHT, FIRST, {"scale": 0.0}),
        *(Painting(name, name) for name in (FIRST, NAIVE, SECOND, BOTH, *WITHOUT, FIRST_WORDS, WORDS)),
        *(Painting(_base_alone(name), name, {"target": ""}) for name in (NAIVE, BOTH, WORDS)),
    ),
    claims=_claims(),
    load=_load,
)
