"""The ablation table: IP-Adapter, and what each part of the method adds to the row above it.

What the paper has judged is read off the pictures: following (PF) by what of pose and expression came as
asked for, detail preservation (DP) by what else changed.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from likeness.diffusion.load import load_base
from likeness.methods.scheese.config import VARIANTS
from likeness.methods.scheese.pipeline import load
from likeness.methods.scheese.recipe import train_variant
from likeness.methods.scheese.weights import load_adapter, save_adapter
from likeness.packs.ablations import Claim, Painting, Plan, Variant

if TYPE_CHECKING:
    from likeness.packs.workshop import Workshop
    from likeness.training import TrainResult
    from likeness.types import PortraitPipeline

__all__ = ["PLAN"]

FIRST = "zero-shot"
IDENTITY_WEIGHT = 0.3
"""Less than the pack's own: what the rows differ by is the paper's losses."""
LIFTED = ("CLIP-I", "DINO-I", "followed", "details wrong")


def _train(name: str, shop: Workshop, part: str, start: Path | None, folder: Path) -> TrainResult:
    first = None
    if start is not None:
        first, _ = load_adapter(start, load_base(shop.pack, device=shop.device, dtype=torch.float32))
    adapter, result = train_variant(shop, name, part, first, IDENTITY_WEIGHT)
    if result.finished:
        save_adapter(adapter, folder)
    return result


def _load(pack: Path, weights: Path) -> PortraitPipeline:
    return load(pack, weights, sitters=True)


def _claim(text: str, metric: str, better: str, worse: str) -> Claim:
    return Claim(text, "the ablation table", metric, better, worse)


PLAN = Plan(
    cases="collections",
    variants=tuple(
        Variant(name, partial(_train, name), None if name == FIRST else FIRST) for name in VARIANTS
    ),
    paintings=tuple(Painting(name, name) for name in VARIANTS),
    claims=(
        _claim("triplets lift following", "followed", "sft", FIRST),
        _claim("triplets bring the head nearer to the pose that was asked for", "pose error", "sft", FIRST),
        _claim("ConsistencyNet keeps more details", "details wrong", "consistency", "sft"),
        _claim("ConsistencyNet keeps more of the picture, by DINO", "DINO-I", "consistency", "sft"),
        _claim("ConsistencyNet costs following", "followed", "sft", "consistency"),
        _claim("Fusion recovers following", "followed", "fusion", "consistency"),
        *(_claim(f"alignment lifts {metric}", metric, "alignment", "fusion") for metric in LIFTED),
        *(_claim(f"teacher forcing lifts {metric}", metric, "scheese", "alignment") for metric in LIFTED),
    ),
    load=_load,
)
