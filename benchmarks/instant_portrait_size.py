"""One InstantPortrait step at the size of SD1.5, from random weights: parameters and memory.

The picture means nothing; what it costs does not depend on the weights' values.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from PIL import Image
from random_weights import built_in, random_base, sd15_unet
from record import record, single

from likeness.methods.instant_portrait.config import EditSettings
from likeness.methods.instant_portrait.pipeline import InstantPortraitPipeline
from likeness.portraits import peak_memory
from likeness.types import PortraitRequest

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--size", type=int, default=512)
    arguments.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    given = arguments.parse_args()
    torch.manual_seed(0)
    with built_in(getattr(torch, given.dtype)):
        unet = sd15_unet(in_channels=8)
        base = random_base(unet, getattr(torch, given.dtype))
    editor = InstantPortraitPipeline(base, unet, EditSettings("sd15", "ipnet", steps=1, guidance=1.0))
    noise = np.random.default_rng(0).integers(0, 255, (given.size, given.size, 3), dtype=np.uint8)
    request = PortraitRequest("put on a red hat", (Image.fromarray(noise),), size_px=(given.size, given.size))
    editor([request])
    parameters = sum(p.numel() for p in unet.parameters())
    whole = parameters + sum(p.numel() for part in (base.vae, *base.text_encoders) for p in part.parameters())
    metrics = {
        "parameters of the editing UNet": single(parameters / 1e6, "million"),
        "parameters with autoencoder and text encoder": single(whole / 1e6, "million"),
        "most memory held": single((peak_memory()["process"] or 0) / 1024, "GiB"),
    }
    base_name = f"sd15, random weights, {given.dtype}"
    record("instant-portrait-size", "instant-portrait", metrics, given=given, n=1, base=base_name)
