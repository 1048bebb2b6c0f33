"""What a collection costs beside as many plain pictures of the base, its reference read once or per step.

Cost does not depend on what the weights have learned: where the pack has no adapter yet, one that begins as
training does is timed. Seconds are the process's own on the processor, so that other work on the machine does
not count; everything of one kind and all kinds in one run, in turn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from record import record

from likeness.diffusion.image_encoder import load_image_encoder
from likeness.diffusion.load import load_base
from likeness.diffusion.text_to_image import paint_text
from likeness.evaluation.result import ordering, summarised
from likeness.methods.scheese.config import SIZES
from likeness.methods.scheese.model import SCheese
from likeness.methods.scheese.pipeline import SCheesePipeline, load
from likeness.packs import mini_path
from likeness.sitters import HELD_OUT_SEEDS, sample_scene, straightened
from likeness.sitters.render import render
from likeness.types import PortraitRequest

MOST = 1.25
"""A collection is to cost at most so many times the plain pictures."""
EDIT = "turn the head slightly to the left and make them smile"


def pipeline_of() -> SCheesePipeline:
    base = load_base(mini_path())
    if (mini_path() / "adapters" / "scheese").is_dir():
        return load(base)
    torch.manual_seed(0)
    adapter = SCheese(SIZES["mini"], base.unet).eval().requires_grad_(False)
    encoder = load_image_encoder(mini_path() / "image_encoder", device="cpu", dtype=torch.float32)
    return SCheesePipeline(base, adapter, encoder)


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pictures", type=int, default=8)
    arguments.add_argument("--steps", type=int, default=30)
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    pipeline = pipeline_of()
    base, guidance = pipeline.base, pipeline.adapter.sizes.guidance
    seeds = list(HELD_OUT_SEEDS)[: given.rounds + 1]
    people = [Image.fromarray(render(straightened(sample_scene(seed)), base.size_px).rgb) for seed in seeds]

    def plain(count: int) -> None:
        for seed in range(count):
            paint_text(base, [EDIT], [seed], steps=given.steps, guidance=guidance, batch_size=1)

    def collection(person: Image.Image, features: str, count: int) -> None:
        options = {"features": features}
        pipeline(
            [
                PortraitRequest(EDIT, (person,), seed=seed, steps=given.steps, options=options)
                for seed in range(count)
            ]
        )

    plain(1)
    collection(people[-1], "once", 1)  # warm
    found: dict[str, list[float]] = {"plain": [], "once": [], "per step": []}
    for person in people[: given.rounds]:
        found["plain"].append(seconds(lambda: plain(given.pictures)))
        for kind in ("once", "per step"):
            pipeline.forget()
            found[kind].append(seconds(lambda: collection(person, kind, given.pictures)))  # noqa: B023
    plainly, once, each = (np.array(found[kind]) for kind in found)
    name = f"{given.pictures} pictures at {given.steps} steps"
    metrics = {
        f"processor seconds, {name} of the base": summarised(plainly, "s"),
        f"processor seconds, a collection of {name}, features once": summarised(once, "s"),
        f"processor seconds, a collection of {name}, features per step": summarised(each, "s"),
        "times the base's, features once": summarised(once / plainly, "ratio"),
        "times the base's, features per step": summarised(each / plainly, "ratio"),
    }
    claim = f"a collection of {name} costs at most {MOST} times as many plain pictures of the base"
    orderings = [
        ordering(claim, "ours", MOST * plainly, once),
        ordering("features once cost less than features per step", "ours", each, once),
    ]
    record("scheese-cost", "scheese", metrics, given=given, n=given.rounds, orderings=orderings)
