"""How long one picture of the mini pack takes: diffusers' own loop against ours through torch and OpenVINO.

The same weights, words, steps and guidance, one picture at a time, fp32 eager against bf16 compiled.
Routes take turns, so that a busy machine slows them alike; what converting costs once stands beside.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from diffusers import StableDiffusionPipeline
from record import mean, record

from likeness.diffusion.load import Base, load_base
from likeness.diffusion.schedule import guidance_rescale
from likeness.diffusion.text_to_image import paint_text
from likeness.packs import mini_path

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
    plain, fast = load_base(mini_path()), load_base(mini_path(), device="openvino")
    routes = {
        "diffusers": diffusers_loop(plain, given.steps),
        "torch": ours(plain, given.steps),
        "openvino": ours(fast, given.steps),
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
            apart[f"unet_step_{step}"] = float((wanted - found).norm() / wanted.norm())
        wanted, found = plain.vae.decode(latents).sample, fast.vae.decode(latents).sample
        apart["decoder"] = float((wanted - found).norm() / wanted.norm())
    ratio = [slow / quick for slow, quick in zip(seconds["diffusers"], seconds["openvino"], strict=True)]
    values = {
        "steps": given.steps,
        "threads": torch.get_num_threads(),
        "seconds_a_picture": {name: mean(row) for name, row in seconds.items()},
        "median_seconds_a_picture": {name: statistics.median(row) for name, row in seconds.items()},
        "seconds_of_the_first_picture": first,
        "openvino_times_as_fast_as_diffusers": mean(ratio),
        "relative_error_of_openvino": apart,
        "mean_pixel_difference_to_diffusers": {
            name: float((picture - pictures["diffusers"]).abs().mean()) for name, picture in pictures.items()
        },
    }
    command = f"python benchmarks/painting_speed.py --pictures {given.pictures} --steps {given.steps}"
    print(record("painting_speed", command, 0, values))
