"""The nano size: a small base at 64 px, for tests and for ablations.

The same classes and recipes as the mini pack's, on close-ups, in which a face has pixels enough to be known.
What only looks at finished pictures (recognisers, landmarks, ViT) is borrowed from the mini pack, which sees
them enlarged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from likeness.packs import mini
from likeness.packs.mini import (
    attribute_net,
    judge_recogniser,
    landmark_net,
    parser,
    recogniser,
    scheduler,
    vit,
    vit_processor,
)

if TYPE_CHECKING:
    from likeness.diffusion.patch_autoencoder import PatchAutoencoderKL

__all__ = [
    "BORROWED",
    "MINUTES",
    "NAME",
    "SIZE_PX",
    "attribute_net",
    "autoencoder",
    "guide",
    "image_encoder",
    "image_processor",
    "judge_recogniser",
    "landmark_net",
    "parser",
    "recogniser",
    "scheduler",
    "text_encoder",
    "unet",
    "vit",
    "vit_processor",
]

NAME = "nano"
SIZE_PX = 64
WIDTH = 96
LATENT_CHANNELS = 32
BORROWED = ("landmarks", "recogniser", "judge_recogniser", "vit")
"""Folders of the mini pack that are copied beside the base."""
MINUTES = {"autoencoder": 2.0, "clip": 3.0, "instructions": 3.0, "unet": 30.0, "guide": 3.0}
"""On two cores with bf16."""


def autoencoder(**sizes: Any) -> PatchAutoencoderKL:
    """f8, 32 latent channels: 64 px -> 32 x 8 x 8. With 16, close-ups came back blurred: 25 dB."""
    return mini.autoencoder(**{"sample_size": SIZE_PX, "latent_channels": LATENT_CHANNELS, **sizes})


def text_encoder(vocabulary: int = mini.VOCABULARY, **sizes: Any) -> Any:
    """CLIPTextModel: (B, 77) ids -> last_hidden_state (B, 77, 96), pooler_output (B, 96)."""
    return mini.text_encoder(vocabulary, **{**_tower(), **sizes})


def image_encoder(**sizes: Any) -> Any:
    """CLIPVisionModelWithProjection: (B, 3, 64, 64) -> image_embeds (B, 96), 64 + 1 tokens of 96."""
    return mini.image_encoder(**{**_tower(), "image_size": SIZE_PX, "patch_size": 8, **sizes})


def image_processor() -> Any:
    """What turns a PIL picture into `image_encoder`'s input: 64 px, [-1, 1]."""
    return mini.image_processor(SIZE_PX)


def unet(**sizes: Any) -> Any:
    """UNet2DConditionModel over 32 x 8 x 8 latents with text states of 96."""
    small = {
        "sample_size": SIZE_PX // 8,
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "block_out_channels": (160, 192),
        "down_block_types": ("CrossAttnDownBlock2D",) * 2,
        "up_block_types": ("CrossAttnUpBlock2D",) * 2,
        "cross_attention_dim": WIDTH,
    }
    return mini.unet(**{**small, **sizes})


def guide(**sizes: Any) -> Any:
    """What guidance leads away from: `unet` with less than half its width."""
    small = {
        "block_out_channels": (64, 64),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    return unet(**{**small, **sizes})


def _tower() -> dict[str, int]:
    return {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "projection_dim": WIDTH,
    }
