"""How a pack's own delta is trained: on sitters who show attributes, through both stages.

The pack's own teaches `GLASSES`, which its base does not paint; the ablations teach
`sitters.taught.TAUGHT`. A base that has never painted these is built by
`likeness pack build nano --part unet --hold-back`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from likeness.data.attributes import AttributeSet, read_attributes
from likeness.data.build_attributes import build_attributes, columns
from likeness.diffusion.load import load_base
from likeness.files.deltas import DELTA
from likeness.methods.spf_portrait.clip import load_clip_space
from likeness.methods.spf_portrait.config import ABLATIONS, NaiveTraining, SpfTraining, fitted
from likeness.methods.spf_portrait.own_data import AttributeTraining
from likeness.methods.spf_portrait.pipeline import Delta
from likeness.methods.spf_portrait.weights import load_delta
from likeness.packs import mini
from likeness.packs.data import close_up
from likeness.sitters.taught import TAUGHT, attribute_of, write_taught
from likeness.training import World

if TYPE_CHECKING:
    from pathlib import Path

    from likeness.diffusion.load import Base
    from likeness.packs.workshop import Workshop
    from likeness.training import TrainResult

__all__ = ["FOLDER", "read_delta", "taught_set", "train_adapter", "train_stage"]

GLASSES = ("glasses=glasses", "glasses=round glasses", "glasses=sunglasses")
"""What the pack's own delta is taught: straight heads of the portraits that the base learned from wear none.
Tried with eleven kinds of glasses, hats and patterns at once it painted hardly any of them."""
FOLDER = "adapters/spf-portrait"  # in the pack
MINUTES = 40.0
NAIVE_SHARE = 0.7
"""Of the training that stage 1 takes."""
PEOPLE = 600
BATCH = 16
PRESET = ABLATIONS["words"]
"""What is learned for the target's tokens alone leaves a small base as it was; see `config.WeightSet`."""


def train_adapter(shop: Workshop) -> TrainResult:
    """Stage 1, then stage 2 from its delta, in the time or steps of one part; needs the base's parts."""
    base = load_base(shop.pack, device=shop.device, dtype=torch.float32)
    dataset = taught_set(shop, GLASSES)
    shop = shop.budgeted(MINUTES)
    delta: Delta | None = None
    steps, hours = 0, 0.0
    stages: tuple[tuple[NaiveTraining | SpfTraining, float], ...] = (
        (PRESET.naive, NAIVE_SHARE), (PRESET.contrastive, 1 - NAIVE_SHARE),
    )  # fmt: skip
    for settings, share in stages:
        run = f"spf-portrait-{'contrastive' if delta else 'naive'}"
        result = train_stage(shop.part_of(share), base, dataset, settings, delta, run, shop.pack / FOLDER)
        if not result.over:
            break
        World.here().wait()  # until the first process has written it
        delta = read_delta(shop.pack / FOLDER, base)
        steps, hours = steps + result.step, hours + result.seconds / 3600
    if result.finished and delta is not None:
        shop.record(
            FOLDER,
            "portraits",
            parameters=sum(tensor.numel() for tensor in delta.tensors.values()),
            steps=steps,
            hours=hours,
            pictures=len(dataset.rows),
            people=dataset.about.people,
        )
    return result


def train_stage(
    shop: Workshop,
    base: Base,
    dataset: AttributeSet,
    settings: NaiveTraining | SpfTraining,
    start: Delta | None,
    run: str,
    folder: Path,
) -> TrainResult:
    """One stage in the shop's budget; writes the delta into `folder` where it is used up."""
    settings = dataclasses.replace(fitted(settings, "mini"), batch_size=BATCH)
    clip = load_clip_space(base) if isinstance(settings, SpfTraining) and settings.target > 0 else None
    rows = range(len(dataset.rows))
    training = AttributeTraining(dataset, rows, base, settings, start=start, clip=clip, seed=shop.seed)
    [phase] = training.phases
    result = shop.train([phase], training.batches, run, ema_decay=0.99)
    if result.finished:
        training.save(result.emas[phase.name].module, folder)
    return result


def read_delta(folder: Path, base: Base) -> Delta:
    """What `train_stage` wrote."""
    tensors, card, _ = load_delta(folder / DELTA, base)
    return Delta(tensors, card)


def taught_set(shop: Workshop, taught: Sequence[str] = TAUGHT) -> AttributeSet:
    """A data set of attributes on at most `PEOPLE` training people, drawn first where it is not there yet."""
    people, size_px = min(shop.people, PEOPLE), shop.preset.SIZE_PX
    named = hashlib.sha256("; ".join(taught).encode()).hexdigest()[:8]
    folder = shop.work / "data" / "taught" / f"{people}-{size_px}-{named}"
    world = World.here()
    if world.writes and not (folder / "pictures" / "metadata.jsonl").is_file():
        first = mini.first_seed("portraits")
        write_taught(
            folder / "pictures",
            [attribute_of(text) for text in taught],
            range(first, first + people),
            size_px,
            framed=close_up if size_px < mini.SIZE_PX else lambda scene: scene,
            workers=shop.workers,
        )
    made = None
    if world.writes:
        licence = "Apache-2.0: pictures of likeness.sitters, drawn by this package"
        source = folder / "pictures"
        made = build_attributes(source, folder / "set", words=columns(source), licence=licence)
    world.wait()
    if made is None:
        made = read_attributes(folder / "set")
    return made
