"""Editing UNets on disk: a folder with `config.json` (ours) and `unet/` (diffusers')."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from likeness.diffusion.load import fetched
from likeness.diffusion.parts import load_part, save_part
from likeness.errors import IncompatibleWeightsError
from likeness.files.images import write_json
from likeness.files.int8 import INT8_FILE
from likeness.files.provenance import record_weights
from likeness.methods.instant_portrait.config import EditSettings

if TYPE_CHECKING:
    from likeness.diffusion.load import Base
    from likeness.types import WeightsRecord

__all__ = ["PUBLISHED", "load_editor", "save_editor"]

PUBLISHED = EditSettings("sd15", "ide-net", steps=20, guidance=7.5, image_guidance=1.5)
"""How InstructPix2Pix's own weights are used, a diffusers folder without our `config.json`."""
FILES = (
    "config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model*.safetensors",
    f"unet/{INT8_FILE}",
)


def load_editor(name_or_path: str | Path, base: Base) -> tuple[Any, EditSettings, WeightsRecord]:
    """An editing UNet for `base`, frozen, what is known of it, and the record of its weights.

    name_or_path: a folder of ours, or InstructPix2Pix as diffusers has it, here or on the hub.
    Raises: MissingWeightsError; IncompatibleWeightsError for weights of another base or without an input.
    """
    from diffusers import UNet2DConditionModel

    folder = fetched(name_or_path, FILES, what="editing model")
    own = folder / "config.json"
    settings = EditSettings.from_dict(json.loads(own.read_text("utf-8"))) if own.is_file() else PUBLISHED
    begun = base.folder / "unet" if base.folder else None
    unet = load_part(folder / "unet", UNet2DConditionModel, base.dtype, begun).to(base.device)
    channels, width = unet.config.in_channels, unet.config.cross_attention_dim
    wanted = 2 * base.vae.config.latent_channels
    if settings.family != base.family or width != base.text_width or channels != wanted:
        raise IncompatibleWeightsError(
            f"{name_or_path} is for {settings.family} (text width {width}, {channels} input channels), and "
            f"does not fit the base {base.name} ({base.family}, {base.text_width}, {wanted}): give weights "
            "trained for it."
        )
    licence = "Apache-2.0" if own.is_file() else "MIT"
    return unet, settings, record_weights(folder / "unet", "editing UNet", licence, Path(name_or_path).name)


def save_editor(
    unet: Any,
    settings: EditSettings,
    folder: Path,
    dtype: torch.dtype = torch.float16,
    *,
    int8: bool = False,
    start: Path | None = None,
    coarse: int = 1,
) -> None:
    """Write what `load_editor` reads; `unet` keeps its own dtype. int8, start, coarse: see `save_part`."""
    save_part(unet, folder / "unet", dtype, int8=int8, start=start, coarse=coarse)
    write_json(folder / "config.json", asdict(settings))
