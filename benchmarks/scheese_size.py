"""Two SCheese steps at the size of SDXL or SD1.5, from random weights: parameters, memory and seconds.

The picture means nothing; what it costs does not depend on the weights' values.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from PIL import Image
from random_weights import built_in, clip_vision, millions, random_base, sd15_unet, sdxl_unet
from record import record, single

from likeness.diffusion.image_encoder import CLIP_MEAN, CLIP_STD, ImageEncoder
from likeness.methods.scheese.config import SIZES
from likeness.methods.scheese.pipeline import SCheesePipeline
from likeness.methods.scheese.plan import memory_plan
from likeness.methods.scheese.weights import new_adapter
from likeness.portraits import peak_memory
from likeness.sitters import sample_scene, straightened
from likeness.sitters.render import render
from likeness.types import PortraitRequest

STEPS = 2

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--family", choices=("sd15", "sdxl"), default="sdxl")
    arguments.add_argument("--size", type=int, default=256)
    given = arguments.parse_args()
    torch.manual_seed(0)
    with built_in(torch.bfloat16):
        base = random_base(sd15_unet() if given.family == "sd15" else sdxl_unet(), torch.bfloat16)
        tower = clip_vision(SIZES[given.family].image_width).eval().requires_grad_(False)
        images = ImageEncoder(tower, CLIP_MEAN, CLIP_STD)
        adapter = new_adapter(base, images).eval().requires_grad_(False)
    pipeline = SCheesePipeline(base, adapter, images)
    sitter = Image.fromarray(render(straightened(sample_scene(10_000_003)), given.size).rgb)
    # The reference has the picture's shape and is read at the size that the base paints best.
    request = PortraitRequest("turn to the left", (sitter,), steps=STEPS, size_px=(given.size, given.size))
    [result] = pipeline([request])
    if result.image.size != (given.size, given.size) or not np.asarray(result.image).std() > 0:
        raise SystemExit("Nothing was painted.")
    plan = memory_plan(given.family)
    metrics = {
        "parameters, ConsistencyNet": single(millions(adapter.consistency_net), "million"),
        "parameters, reference attention": single(millions(adapter.reference), "million"),
        "parameters, Fusion IP-Adapter": single(millions(adapter.fusion, adapter.cross), "million"),
        "parameters, UNet": single(millions(base.unet), "million"),
        "parameters, all": single(
            millions(base.unet, base.vae, *base.text_encoders, images.model, adapter), "million"
        ),
        "memory to paint, as planned": single(plan["paint_gb"], "GB"),
        "memory to train, as planned": single(plan["train_gb"], "GB"),
        "seconds for the reference, read once": single(result.timings_s["conditioning"], "s"),
        "seconds a step": single(result.timings_s["denoising"] / STEPS, "s", STEPS),
        "most memory held": single((peak_memory()["process"] or 0) / 1024, "GiB"),
    }
    name = f"scheese-size-{given.family}"
    record(
        name, "scheese", metrics, given=given, n=1, base=f"{given.family}, random weights", intervals="none"
    )
