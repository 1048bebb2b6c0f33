"""How long one picture of the mini pack takes: diffusers' own loop against ours through torch and OpenVINO.

The same weights, words, steps and guidance, one picture at a time, fp32 eager against bf16 compiled.
Routes take turns, so that a busy machine slows them alike; what converting costs once stands beside. With the
pack's guide, which diffusers' loop has not, each step asks a smaller UNet as well.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from record import record, single

from likeness.diffusion.load import Base
from likeness.diffusion.schedule import guidance_rescale
from likeness.diffusion.text_to_image import paint_text
from likeness.evaluation.result import summarised
from likeness.packs import open_base

PROMPT = "A portrait of a smiling woman with long dark brown hair, wearing a red hat, by the sea."
GUIDANCE = 5.0


def diffusers_loop(base: Base, steps: int) -> Callable[[int], torch.Tensor]:
    """Its StableDiffusionPipeline over the pack's own models: pictures in [0, 1]."""
    pipeline = StableDiffusionPipeline(
        vae=base.vae,
        text_encoder=base.text_encoders[0],
        tokenizer=base.tokenizers[0],
        unet=base.unet,
        scheduler=base.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)

    def paint(seed: int) -> torch.Tensor:
        out = pipeline(
            PROMPT,
            height=base.size_px,
            width=base.size_px,
            num_inference_steps=steps,
            guidance_scale=GUIDANCE,
            guidance_rescale=guidance_rescale(base.scheduler),
            generator=torch.Generator().manual_seed(seed),
            output_type="pt",
        )
        return out.images

    return paint


def ours(base: Base, steps: int) -> Callable[[int], torch.Tensor]:
    return lambda seed: (paint_text(base, [PROMPT], [seed], steps=steps, guidance=GUIDANCE) + 1) / 2


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pictures", type=int, default=9)
    arguments.add_argument("--steps", type=int, default=30)
    given = arguments.parse_args()
    plain, fast = open_base("mini", "cpu"), open_base("mini", "openvino")
    routes = {
        "diffusers": diffusers_loop(plain, given.steps),
        "torch": ours(replace(plain, guide=None), given.steps),
        "openvino": ours(replace(fast, guide=None), given.steps),
        "torch and guide": ours(plain, given.steps),
        "openvino and guide": ours(fast, given.steps),
    }
    first: dict[str, float] = {}
    pictures: dict[str, torch.Tensor] = {}
    seconds: dict[str, list[float]] = {name: [] for name in routes}
    for name, paint in routes.items():
        started = time.perf_counter()
        pictures[name] = paint(0)
        first[name] = time.perf_counter() - started
    for seed in range(1, given.pictures + 1):
        for name, paint in routes.items():
            started = time.perf_counter()
            paint(seed)
            seconds[name].append(time.perf_counter() - started)
    generator = torch.Generator().manual_seed(0)
    latents, rows = (
        torch.randn(2, 16, 16, 16, generator=generator),
        torch.randn(2, 77, 192, generator=generator),
    )
    apart = {}
    with torch.no_grad():
        for step in (999, 500, 20):
            wanted = plain.unet(latents, torch.tensor(step), rows).sample
            found = fast.unet(latents, torch.tensor(step), rows).sample
            apart[f"UNet at time step {step}"] = float((wanted - found).norm() / wanted.norm())
        wanted, found = plain.vae.decode(latents).sample, fast.vae.decode(latents).sample
        apart["decoder"] = float((wanted - found).norm() / wanted.norm())
    metrics = {f"seconds a picture, {name}": summarised(np.array(row), "s") for name, row in seconds.items()}
    for name, row in seconds.items():
        metrics[f"median seconds a picture, {name}"] = single(statistics.median(row), "s", len(row))
    for name, value in first.items():
        metrics[f"seconds of the first picture, {name}"] = single(value, "s")
    ratio = np.array(seconds["diffusers"]) / np.array(seconds["openvino"])
    metrics["times as fast as diffusers, openvino"] = summarised(ratio, "ratio")
    ratio = np.array(seconds["diffusers"]) / np.array(seconds["openvino and guide"])
    metrics["times as fast as diffusers, openvino and guide"] = summarised(ratio, "ratio")
    for name, value in apart.items():
        metrics[f"relative error of openvino, {name}"] = single(value, "share")
    for name, picture in pictures.items():
        value = float((picture - pictures["diffusers"]).abs().mean())
        metrics[f"mean difference of a pixel to diffusers, {name}"] = single(value, "in [0, 1]")
    metrics["threads"] = single(torch.get_num_threads(), "threads")
    record("painting-speed", "words alone", metrics, given=given, n=given.pictures)
