"""What SPF-Portrait's second stage costs: a step's time beside stage 1's, and memory beside a second UNet.

Both arrangements of the reference path run in one process and take turns with stage 1, batch for batch: the
one UNet that is called with and without the trained weights, and two UNets, one of them frozen, the other
trained in place. Times are the processor's, so that a busy machine does not show. Memory is counted in bytes
of weights that exist only for the reference path, here and on SD1.5's UNet, whose sizes are read off its
config.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from record import record, single
from torch import nn

from likeness.diffusion.load import Base
from likeness.evaluation.result import summarised
from likeness.methods.spf_portrait.clip import load_clip_space
from likeness.methods.spf_portrait.config import SpfTraining
from likeness.methods.spf_portrait.training import ContrastivePhase, NaivePhase
from likeness.methods.spf_portrait.tuning import Tuning, tuned_names
from likeness.packs import open_base
from likeness.training.optim import make_optimizer
from likeness.training.precision import trainable_attention

SD15 = {
    "sample_size": 64, "in_channels": 4, "out_channels": 4, "layers_per_block": 2, "cross_attention_dim": 768,
    "block_out_channels": (320, 640, 1280, 1280), "attention_head_dim": 8,
}  # fmt: skip
"""The published config of SD1.5's UNet."""


class InPlace(nn.Module):
    """A UNet whose own cross-attention is trained, called as `Tuning` is."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet
        names = tuned_names(unet, "cross-attention")
        for name, parameter in unet.named_parameters():
            parameter.requires_grad_(name in names)

    def predict(self, _: Any, *inputs: Any, target_tokens: torch.Tensor, **more: Any) -> torch.Tensor:
        """The UNet's own prediction."""
        return self.unet(*inputs, **more).sample


def batch_of(base: Base, width: int, size: int, seed: int) -> dict[str, torch.Tensor]:
    """Random tensors of a batch's shapes: what a step costs does not depend on what they show."""
    source = torch.Generator().manual_seed(seed)
    side = base.size_px // base.downscale
    text = torch.randn(2, size, 77, base.text_width, generator=source)
    tokens = torch.zeros(size, 77, dtype=torch.bool)
    tokens[:, 1:25] = True
    phrases = torch.zeros(size, 6, 77, dtype=torch.bool)
    for number in range(6):
        phrases[:, number, 1 + 4 * number : 5 + 4 * number] = True
    unit = torch.nn.functional.normalize(torch.randn(2, size, width, generator=source), dim=-1)
    return {
        "latents": torch.randn(size, base.unet.config.in_channels, side, side, generator=source),
        "base_text": text[0], "full_text": text[1], "base_tokens": tokens, "target_tokens": ~tokens,
        "phrases": phrases,
        "similarity": torch.rand(size, 6, generator=source), "target": unit[0], "wanted": unit[1],
    }  # fmt: skip


def stepper(phase: Any) -> Callable[[dict[str, torch.Tensor], int], float]:
    """One step of the optimizer; returns its processor seconds."""
    optimizer = make_optimizer(phase.trainable, weight_decay=0.01)

    def step(batch: dict[str, torch.Tensor], number: int) -> float:
        started = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        with trainable_attention("cpu"):
            terms = phase.loss(batch, torch.Generator().manual_seed(number))
        torch.stack([v for k, v in terms.items() if not k.startswith("_")]).sum().backward()
        optimizer.step()
        return time.process_time() - started

    return step


def bytes_of(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def sd15() -> tuple[int, int, float]:
    """SD1.5's UNet at fp32, whose weights are not needed for it: its bytes, those held twice, their share."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD15)
    names = set(tuned_names(unet, "cross-attention"))
    extra = sum(p.numel() for name, p in unet.named_parameters() if name in names)
    whole = sum(p.numel() for p in unet.parameters())
    return 4 * whole, 4 * extra, extra / whole


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--steps", type=int, default=6)
    arguments.add_argument("--batch-size", type=int, default=4)
    given = arguments.parse_args()
    base = open_base("mini", "cpu")
    clip = load_clip_space(base)
    width = clip.text(["a hat"]).shape[1]
    trained = dataclasses.replace(base, unet=copy.deepcopy(base.unet))
    settings = SpfTraining()
    tuning = Tuning(base.unet, "cross-attention")
    no_target = dataclasses.replace(settings, target=0.0)
    phases = {
        "stage 1, all weights (the paper's)": NaivePhase(Tuning(base.unet, "all"), base),
        "stage 1, cross-attention": NaivePhase(Tuning(base.unet, "cross-attention"), base),
        "stage 2, one UNet": ContrastivePhase(tuning, base, clip.image, settings),
        "stage 2, two UNets": ContrastivePhase(
            InPlace(trained.unet), trained, clip.image, settings, original=base.unet
        ),
        "stage 2, one UNet, without L_tar": ContrastivePhase(
            Tuning(base.unet, "cross-attention"), base, None, no_target
        ),
    }
    steps = {name: stepper(phase) for name, phase in phases.items()}
    seconds: dict[str, list[float]] = {name: [] for name in phases}
    for number in range(given.steps + 1):
        batch = batch_of(base, width, given.batch_size, number)
        for name, step in steps.items():
            took = step(batch, number)
            if number:  # the first of each warms up
                seconds[name].append(took)
    first = "stage 1, all weights (the paper's)"
    least = {name: min(row) for name, row in seconds.items()}
    metrics = {f"seconds a step, {name}": summarised(np.array(row), "s") for name, row in seconds.items()}
    for name, value in least.items():
        metrics[f"least seconds a step, {name}"] = single(value, "s", given.steps)
        metrics[f"times stage 1 of all weights, {name}"] = single(value / least[first], "ratio", given.steps)
    second_unet, twice = bytes_of(base.unet.parameters()), bytes_of(tuning.parameters())
    sizes = {"mini": (second_unet, twice, twice / second_unet), "SD1.5 at fp32": sd15()}
    for name, (whole, held, share) in sizes.items():
        metrics[f"a second UNet, {name}"] = single(whole, "bytes")
        metrics[f"held twice, {name}"] = single(held, "bytes")
        metrics[f"held twice of a second UNet, {name}"] = single(share, "share")
    metrics["threads"] = single(torch.get_num_threads(), "threads")
    record("spf-cost", "spf-portrait", metrics, given=given, n=given.steps)
