"""Bases of the published sizes with random weights: their pictures mean nothing, what they cost does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
)

from likeness.diffusion.clip_tokenizer import clip_tokenizer
from likeness.diffusion.load import Base
from likeness.diffusion.shapes import image_tower_of

__all__ = ["built_in", "clip_vision", "millions", "random_base", "sd15_unet", "sdxl_unet"]

CLIP_L = CLIPTextConfig(
    hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
    vocab_size=49408, bos_token_id=49406, eos_token_id=49407,
)  # fmt: skip
CLIP_G = CLIPTextConfig(
    hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20,
    hidden_act="gelu", projection_dim=1280, vocab_size=49408, bos_token_id=49406, eos_token_id=49407,
)  # fmt: skip


@contextmanager
def built_in(dtype: torch.dtype) -> Iterator[None]:
    """Models are built in this dtype: a copy would take the memory twice."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def sd15_unet(**sizes: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        **{"cross_attention_dim": 768, "sample_size": 64, "attention_head_dim": 8, **sizes}
    )


def sdxl_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def clip_vision(width: int) -> CLIPVisionModelWithProjection:
    """The image encoder of published adapters: OpenCLIP's ViT-H/14 (1280 wide) or ViT-bigG/14 (1664)."""
    return CLIPVisionModelWithProjection(image_tower_of("sdxl", width).config).eval()


def millions(*modules: torch.nn.Module) -> float:
    return sum(p.numel() for module in modules for p in module.parameters()) / 1e6


def random_base(unet: UNet2DConditionModel, dtype: torch.dtype) -> Base:
    """SD1.5's or SDXL's autoencoder and text encoders around a UNet; call it inside of `built_in(dtype)`."""
    xl = unet.config.cross_attention_dim == 2048
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=1024 if xl else 512,
    )
    encoders = [CLIPTextModel(CLIP_L), *([CLIPTextModelWithProjection(CLIP_G)] if xl else [])]
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    return Base(
        name="random weights",
        family="sdxl" if xl else "sd15",
        vae=vae.eval().requires_grad_(False),
        text_encoders=tuple(one.eval().requires_grad_(False) for one in encoders),
        tokenizers=tuple(clip_tokenizer() for _ in encoders),
        unet=unet.eval().requires_grad_(False),
        scheduler=scheduler,
        weights=(),
        size_px=1024 if xl else 512,
        device=torch.device("cpu"),
        dtype=dtype,
    )
