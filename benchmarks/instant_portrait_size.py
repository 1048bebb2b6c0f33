"""One InstantPortrait step at the size of SD1.5, from random weights: parameters and memory.

The picture means nothing; what it costs does not depend on the weights' values.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image
from record import record, single
from transformers import CLIPTextConfig, CLIPTextModel

from likeness.diffusion.clip_tokenizer import clip_tokenizer
from likeness.diffusion.load import Base
from likeness.methods.instant_portrait.config import EditSettings
from likeness.methods.instant_portrait.pipeline import InstantPortraitPipeline
from likeness.portraits import peak_memory
from likeness.types import PortraitRequest

SD15 = {
    "in_channels": 8,
    "cross_attention_dim": 768,
    "sample_size": 64,
    "attention_head_dim": 8,
}
"""What differs from diffusers' own defaults, and the input's four channels."""


def random_base(dtype: torch.dtype) -> tuple[Base, UNet2DConditionModel]:
    """Text encoder, autoencoder and editing UNet of SD1.5's sizes."""
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)  # built in it: a copy would take the memory twice
    unet = UNet2DConditionModel(**SD15).eval().requires_grad_(False)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=512,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
            vocab_size=49408, bos_token_id=49406, eos_token_id=49407,
        )
    )  # fmt: skip
    torch.set_default_dtype(before)
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    base = Base(
        name="random weights",
        family="sd15",
        vae=vae.eval().requires_grad_(False),
        text_encoders=(text.eval().requires_grad_(False),),
        tokenizers=(clip_tokenizer(),),
        unet=unet,
        scheduler=scheduler,
        weights=(),
        size_px=512,
        device=torch.device("cpu"),
        dtype=dtype,
    )
    return base, unet


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--size", type=int, default=512)
    arguments.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    given = arguments.parse_args()
    base, unet = random_base(getattr(torch, given.dtype))
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
