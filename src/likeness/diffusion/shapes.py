"""The published networks' shapes, without their weights: on torch's meta device, to count what they take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from likeness.errors import InputError

__all__ = ["image_tower_of", "text_towers_of", "unet_of", "vae_of"]

_SDXL_UNET = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_SD15_UNET = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
_UNETS: dict[str, dict[str, Any]] = {"sd15": _SD15_UNET, "sdxl": _SDXL_UNET}
_CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_CLIP_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
}
_TOWERS = {
    1280: {"intermediate_size": 5120, "num_hidden_layers": 32, "projection_dim": 1024},  # ViT-H/14
    1664: {"intermediate_size": 8192, "num_hidden_layers": 48, "projection_dim": 1280},  # ViT-bigG/14
}


def unet_of(base: str | Path) -> Any:
    """The UNet of "sd15", "sdxl" or a diffusers folder, on the meta device.

    Raises: InputError for anything else.
    """
    from diffusers import UNet2DConditionModel

    config: dict[str, Any] = _UNETS.get(str(base)) or _config(base, "unet")
    with torch.device("meta"):
        kind: Any = UNet2DConditionModel
        return kind.from_config(config)


def vae_of(base: str | Path) -> Any:
    """The autoencoder, likewise."""
    from diffusers import AutoencoderKL

    from likeness.diffusion.patch_autoencoder import PatchAutoencoderKL

    if str(base) in _UNETS:
        blocks = {
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
        }
        config: dict[str, Any] = {
            **blocks,
            "block_out_channels": (128, 256, 512, 512),
            "layers_per_block": 2,
            "latent_channels": 4,
        }
    else:
        config = _config(base, "vae")
    kind: Any = PatchAutoencoderKL if config.get("_class_name") == "PatchAutoencoderKL" else AutoencoderKL
    with torch.device("meta"):
        return kind.from_config(config)


def text_towers_of(base: str | Path) -> list[Any]:
    """The text encoders, likewise."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    with torch.device("meta"):
        if str(base) == "sd15":
            return [CLIPTextModel(CLIPTextConfig(**_CLIP_L))]
        if str(base) == "sdxl":
            return [
                CLIPTextModel(CLIPTextConfig(**_CLIP_L)),
                CLIPTextModelWithProjection(CLIPTextConfig(**_CLIP_G)),
            ]
        return [CLIPTextModel(CLIPTextConfig(**_config(base, "text_encoder")))]


def image_tower_of(base: str | Path, width: int) -> Any:
    """A CLIP vision tower: the one in a folder, or the OpenCLIP of that width, ViT-H/14 or ViT-bigG/14."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    if str(base) in _UNETS:
        config = {"hidden_size": width, "num_attention_heads": 16, "patch_size": 14, **_TOWERS[width]}
    else:
        config = _config(base, "image_encoder")
    with torch.device("meta"):
        return CLIPVisionModelWithProjection(CLIPVisionConfig(**config))


def _config(base: str | Path, part: str) -> dict[str, Any]:
    file = Path(base) / part / "config.json"
    try:
        found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{base} has no {part}/config.json: give mini, sd15, sdxl or a folder.") from error
    return found
