"""What SCheese takes on a base: parameters and memory, counted without any weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from likeness.diffusion.shapes import image_tower_of, text_towers_of, unet_of, vae_of
from likeness.methods.scheese.config import SIZES
from likeness.methods.scheese.model import SCheese
from likeness.packs.mini import pack_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

__all__ = ["memory_plan"]

GB = 1e9
FAMILIES = {768: "sd15", 2048: "sdxl"}
"""By the width of the text that a UNet reads; other widths are packs'."""
PAINT_BYTES = {"half": 2, "single": 4}
"""A number where it is painted: half precision on a GPU, single on a CPU (`packs.open_base`)."""
FROZEN_BYTES = 4
"""A frozen parameter in training, whose base is opened in fp32 (`own_data.load_training`)."""
TRAINED_BYTES = 20
"""A trained parameter in fp32: itself, its gradient, AdamW's two moments, and the running average."""


def memory_plan(base: str | Path = "mini") -> dict[str, Any]:
    """Parameters of every part, and GB to paint and to train, in the precision that either runs in here.

    Counted on torch's meta device, so nothing is loaded. Weights, gradients, optimizer, average and the
    features of one reference are in it; activations come on top. base: "mini", "sd15", "sdxl" or a folder.
    Raises: InputError.
    """
    where = base if str(base) in SIZES and str(base) != "mini" else pack_folder(base)
    unet = unet_of(where)
    family = FAMILIES.get(unet.config.cross_attention_dim, "mini")
    sizes = SIZES[family]
    others = where if family == "mini" else family  # a folder of SD1.5 or SDXL has its family's, but the UNet
    encoder = image_tower_of(others, sizes.image_width)
    if family == "mini":
        width = unet.config.cross_attention_dim
        image = encoder.config.hidden_size
        sizes = replace(sizes, text_width=width, words_width=width, image_width=image, dim=image)
    with torch.device("meta"):
        adapter = SCheese(sizes, unet)
    consistency: nn.Module = adapter.consistency_net  # type: ignore[assignment]
    trained = {
        "ConsistencyNet": _count([consistency]),
        "reference attention": _count([adapter.reference]),
        "Fusion IP-Adapter's projection": _count([adapter.fusion]),
        "Fusion IP-Adapter's attention": _count([adapter.cross]),
    }
    frozen = {
        "denoising net": _count([unet]),
        "text encoders": _count(text_towers_of(others)),
        "image encoder": _count([encoder]),
        "autoencoder": _count([vae_of(others)]),
    }
    features = _features(adapter, unet)
    every = sum(trained.values()) + sum(frozen.values())
    precision = "half" if torch.cuda.is_available() else "single"
    return {
        "base": str(base),
        "parameters": {**trained, **frozen},
        "parameters_trained": sum(trained.values()),
        "reference_features": features,
        "paint_gb": round((every + features) * PAINT_BYTES[precision] / GB, 3),
        "paint_precision": precision,
        "train_gb": round(
            (sum(trained.values()) * TRAINED_BYTES + sum(frozen.values()) * FROZEN_BYTES) / GB, 3
        ),
        "memory_gb": _free_gb(),
        "not_counted": "activations",
    }


def _count(modules: Iterable[nn.Module]) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def _features(adapter: SCheese, unet: Any) -> int:
    """Numbers that keys and values of one reference are, a square of the size the base paints best."""
    side, levels, numbers = int(unet.config.sample_size), len(unet.config.block_out_channels), 0
    for path in adapter.reference_paths:
        inner = unet.get_submodule(path).to_k.out_features
        numbers += 2 * (side >> _halvings(path, levels)) ** 2 * int(inner)
    return numbers


def _halvings(path: str, levels: int) -> int:
    """How often the picture was halved where a layer of the UNet lies."""
    kind, _, rest = path.partition(".")
    if kind == "mid_block":
        return levels - 1
    level = int(rest.split(".")[0])
    return level if kind == "down_blocks" else levels - 1 - level


def _free_gb() -> float | None:
    """Memory that is free where it would run: a GPU's where there is one, else the machine's."""
    if torch.cuda.is_available():
        return round(torch.cuda.mem_get_info()[0] / GB, 1)
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    except OSError:
        return None
    found = [line for line in lines if line.startswith("MemAvailable:")]
    return round(int(found[0].split()[1]) * 1024 / GB, 1) if found else None
