"""Does the pollution report put fine-tunes in the right order, and what does base text alone still paint?

The same off-target prompts through a delta of zeros, naive fine-tuning, a LoRA, SPF-Portrait's delta and its
delta for the target's tokens alone, all taught the same words; every report is `likeness pollution`'s own.
Then many more prompts through both of SPF-Portrait's, by fewer steps: of how many are identity and layout
changed by less than the base itself changes where its batch holds another picture too.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from record import record, single

from likeness.diffusion.pixels import to_pictures
from likeness.diffusion.text_to_image import paint_text
from likeness.evaluation.case import Case
from likeness.evaluation.judge import open_judge
from likeness.evaluation.pollution import AXES, Axes, open_axes
from likeness.evaluation.result import MetricValue, ordering, summarised
from likeness.files.weights import write_safetensors
from likeness.methods.spf_portrait.pipeline import load
from likeness.methods.spf_portrait.weights import load_delta, save_delta
from likeness.packs import mini, mini_path, open_base
from likeness.pollution import off_target, open_tuned, pollution
from likeness.references import open_detector
from likeness.types import PortraitRequest

NAIVE, LORA, SPF, WORDS, ZERO = "naive", "LoRA", "SPF-Portrait", "target's tokens", "zeros"
ORDER = ((SPF, NAIVE), (SPF, LORA), (WORDS, SPF), (ZERO, SPF))
FLOOR = ("identity", "layout")


def as_lora(delta: Path, rank: int, file: Path) -> None:
    """A delta whose tensors are of a low rank, as a LoRA in the names that PEFT gives it."""
    tensors, _, _ = load_delta(delta, open_base("mini", "cpu"))
    parts: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        up, size, down = torch.linalg.svd(tensor.float(), full_matrices=False)
        layer = f"unet.{name.removesuffix('.weight')}"
        parts[f"{layer}.lora_B.weight"] = (up[:, :rank] * size[:rank]).contiguous()
        parts[f"{layer}.lora_A.weight"] = down[:rank].contiguous()
    write_safetensors(parts, file)


def reported(tuned: Path, prompts: Sequence[str], out: Path, axes: Axes) -> dict[str, Any]:
    return pollution("mini", open_tuned(str(tuned)), prompts, out, axes, targets=())


def columns(document: dict[str, Any]) -> dict[str, np.ndarray]:
    return {axis: np.array([case[axis] for case in document["cases"]], float) for axis in AXES}


def painted(delta: Path | None, prompts: Sequence[str], steps: int) -> list[Image.Image]:
    pipeline = load("mini", delta)
    requests = [PortraitRequest(prompt, seed=seed, steps=steps) for seed, prompt in enumerate(prompts)]
    return [pipeline([request])[0].image for request in requests]


def in_company(prompts: Sequence[str], steps: int) -> list[Image.Image]:
    """By the base itself, the same prompts and seeds, many in a batch: other sums in its kernels."""
    seeds = list(range(len(prompts)))
    pixels = paint_text(open_base("mini", "cpu"), prompts, seeds, steps=steps, guidance=mini.GUIDANCE)
    return to_pictures(pixels)


def changes(
    images: Sequence[Image.Image], before: Sequence[Image.Image], axes: Axes
) -> dict[str, np.ndarray]:
    cases = [
        Case(str(number), image, "", (), source=source)
        for number, (image, source) in enumerate(zip(images, before, strict=True))
    ]
    return {metric.name: metric(cases) for metric in axes.metrics if metric.name in FLOOR}


def within(found: dict[str, np.ndarray], floor: dict[str, float]) -> np.ndarray:
    """Of each picture, whether no axis changed by more than the floor; a face neither had counts as kept."""
    return np.all([~(found[axis] > floor[axis]) for axis in FLOOR], axis=0).astype(float)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ("naive", "lora", "spf", "words"):
        arguments.add_argument(
            f"--{name}", type=Path, required=True, help="a delta, or a folder that has one"
        )
    arguments.add_argument("--rank", type=int, default=16, help="of the LoRA")
    arguments.add_argument("--prompts", type=int, default=16)
    arguments.add_argument("--many", type=int, default=200, help="prompts of base text alone")
    arguments.add_argument("--steps", type=int, default=10, help="of each of these")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    pack = mini_path()
    axes = open_axes(pack, open_judge("mini", open_detector("mini", True), (), sitters=True))
    metrics: dict[str, MetricValue] = {}
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside)
        as_lora(given.lora, given.rank, folder / "lora.safetensors")
        delta, card, _ = load_delta(given.spf, open_base("mini", "cpu"))
        zeros = {name: torch.zeros_like(tensor) for name, tensor in delta.items()}
        save_delta(zeros, card, folder / "zeros.safetensors")
        files = {
            ZERO: folder / "zeros.safetensors", NAIVE: given.naive, LORA: folder / "lora.safetensors",
            SPF: given.spf, WORDS: given.words,
        }  # fmt: skip
        prompts = off_target("mini", given.prompts, given.seed, card.targets)
        reports = {name: reported(file, prompts, folder / name, axes) for name, file in files.items()}
    values = {name: columns(report) for name, report in reports.items()}
    for axis in AXES:
        for name, found in values.items():
            metrics[f"{axis}, {name}"] = summarised(found[axis], "change")
        scale = reports[NAIVE]["axes"][axis]["another_seed"]
        metrics[f"{axis}, another seed"] = MetricValue(**scale)
    for name, report in reports.items():
        metrics[f"pictures the same to the pixel, {name}"] = single(
            report["unchanged_pictures"], f"of {len(prompts)}", len(prompts)
        )
    many = off_target("mini", given.many, given.seed + 1, card.targets)
    before = painted(None, many, given.steps)
    chance = changes(in_company(many, given.steps), before, axes)
    floor = {axis: float(np.nanmax(chance[axis])) for axis in FLOOR}
    for axis, most in floor.items():
        metrics[f"base text alone, {axis}: the base's own noise floor"] = single(most, "change", len(many))
    kept = {}
    for name, file in ((SPF, given.spf), (WORDS, given.words)):
        found = changes(painted(file, many, given.steps), before, axes)
        kept[name] = within(found, floor)
        metrics[f"base text alone, within the floor, {name}"] = summarised(kept[name], "share of prompts")
    claims = [
        ordering(f"{better} pollutes {axis} less than {worse}", "ours", values[better][axis],
                 values[worse][axis], higher_is_better=False)
        for better, worse in ORDER for axis in AXES
    ]  # fmt: skip
    claims += [
        ordering(f"base text alone stays within the floor for 95 % of prompts, {name}", "ours", column,
                 np.full(len(column), 0.95))
        for name, column in kept.items()
    ]  # fmt: skip
    record(
        "spf-pollution",
        "spf-portrait",
        metrics,
        given=given,
        n=len(prompts),
        seed=given.seed,
        orderings=claims,
    )
