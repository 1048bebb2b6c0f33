"""Two ConsistentID steps at the size of SD1.5 or SDXL, from random weights: parameters, memory and seconds.

The picture means nothing; what it costs does not depend on the weights' values. Faces are read by the mini
pack's detector and by a recogniser of its build with as many numbers as the published adapters want.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from PIL import Image
from random_weights import built_in, clip_vision, millions, random_base, sd15_unet, sdxl_unet
from record import record, single

from likeness.diffusion.image_encoder import CLIP_MEAN, CLIP_STD, ImageEncoder
from likeness.faces.embed import RecogniserNet, TorchEncoder
from likeness.methods.consistentid.config import SIZES
from likeness.methods.consistentid.pipeline import ConsistentIDPipeline
from likeness.methods.consistentid.weights import new_adapter
from likeness.portraits import peak_memory
from likeness.references import open_detector
from likeness.sitters import sample_scene, straightened
from likeness.sitters.render import render
from likeness.types import PortraitRequest

STEPS = 2


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--family", choices=("sd15", "sdxl"), default="sd15")
    arguments.add_argument("--size", type=int, default=256)
    arguments.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    given = arguments.parse_args()
    dtype = getattr(torch, given.dtype)
    torch.manual_seed(0)
    with built_in(dtype):
        base = random_base(sd15_unet() if given.family == "sd15" else sdxl_unet(), dtype)
        adapter = new_adapter(base).eval().requires_grad_(False)
        images = ImageEncoder(clip_vision(1280).requires_grad_(False), CLIP_MEAN, CLIP_STD)
    pipeline = ConsistentIDPipeline(
        base,
        adapter,
        detector=open_detector("mini", references_are_sitters=True),
        face_encoder=TorchEncoder(RecogniserNet(dim=SIZES[given.family].id_width).eval(), "random", "ours"),
        image_encoder=images,
    )
    sitter = Image.fromarray(render(straightened(sample_scene(10_000_003)), 256).rgb)
    [result] = pipeline(
        [PortraitRequest("A portrait.", (sitter,), steps=STEPS, size_px=(given.size, given.size))]
    )
    if result.image.size != (given.size, given.size) or not np.asarray(result.image).std() > 0:
        raise SystemExit("Nothing was painted.")
    metrics = {
        "parameters, facial encoder": single(millions(adapter.FacialEncoder), "million"),
        "parameters, identity tokens": single(millions(adapter.image_proj), "million"),
        "parameters, attention": single(millions(adapter.adapter_modules), "million"),
        "parameters, UNet": single(millions(base.unet), "million"),
        "parameters, all": single(
            millions(base.unet, base.vae, *base.text_encoders, images.model, adapter), "million"
        ),
        "seconds a step": single(result.timings_s["denoising"] / STEPS, "s", STEPS),
        "most memory held": single((peak_memory()["process"] or 0) / 1024, "GiB"),
    }
    name = f"consistentid-size-{given.family}"
    base_name = f"{given.family}, random weights, {given.dtype}"
    record(name, "consistentid", metrics, given=given, n=1, base=base_name, intervals="none")
