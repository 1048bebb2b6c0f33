"""The nets on disk: a folder with our `config.json`, `appearance/` and `matching/`, diffusers' ControlNets.

A person's has `unet/` too, customised by DreamBooth.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from likeness.diffusion.control import unlike_size
from likeness.diffusion.load import fetched
from likeness.diffusion.parts import load_part, save_part
from likeness.errors import IncompatibleWeightsError, MissingWeightsError
from likeness.files.images import write_json
from likeness.files.provenance import record_weights
from likeness.methods.ic_portrait.config import NetSettings
from likeness.methods.ic_portrait.model import Nets

if TYPE_CHECKING:
    from likeness.diffusion.load import Base
    from likeness.types import WeightsRecord

__all__ = ["load_nets", "load_person", "save_nets"]

ROLES = {"appearance": "appearance net", "matching": "matching net", "unet": "customised UNet"}
LICENCE = "Apache-2.0"
COARSE = {"appearance": 3, "matching": 4}
"""How roughly offsets from the UNet are written: the matching net only points, and has moved little."""


def load_nets(name_or_path: str | Path, base: Base) -> tuple[Nets, list[WeightsRecord]]:
    """Both nets for `base`, frozen, and the records of their weights.

    Raises: MissingWeightsError; IncompatibleWeightsError for weights of another base or method.
    """
    from diffusers import ControlNetModel

    files = [f"{part}/*" for part in ROLES]
    folder = fetched(name_or_path, ("config.json", *files), what="IC-Portrait")
    own = folder / "config.json"
    if not own.is_file():
        raise MissingWeightsError(f"{folder} has no config.json: it holds no nets of IC-Portrait.")
    settings = NetSettings.from_dict(json.loads(own.read_text("utf-8")))
    nets: dict[str, Any] = {}
    for part in ("appearance", "matching"):
        begun = base.folder / "unet" if base.folder else None
        nets[part] = load_part(folder / part, ControlNetModel, base.dtype, begun).to(base.device)
        key = unlike_size(nets[part], base)
        if settings.family != base.family or key is not None:
            key = key or "cross_attention_dim"
            raise IncompatibleWeightsError(
                f"{name_or_path} is for {settings.family} ({key} {nets[part].config[key]}), and does not fit "
                f"the base {base.name} ({base.family}, {key} {base.unet.config[key]}): give weights trained "
                "for it."
            )
    blocks = len(base.unet.up_blocks)
    if not all(-blocks <= one < blocks for one in settings.descriptor_blocks):
        raise IncompatibleWeightsError(
            f"{own} takes its descriptors from up blocks {settings.descriptor_blocks}, and the UNet of "
            f"{base.name} has {blocks}."
        )
    records = [
        record_weights(folder / part, ROLES[part], LICENCE, Path(name_or_path).name)
        for part in ROLES
        if (folder / part).is_dir()
    ]
    return Nets(nets["appearance"], nets["matching"], settings), records


def load_person(name_or_path: str | Path, base: Base) -> Any | None:
    """The UNet beside the nets that was customised for one person, or None."""
    from diffusers import UNet2DConditionModel

    files = [f"{part}/*" for part in ROLES]
    folder = fetched(name_or_path, ("config.json", *files), what="IC-Portrait") / "unet"
    return load_part(folder, UNet2DConditionModel, base.dtype).to(base.device) if folder.is_dir() else None


def save_nets(
    nets: Nets,
    folder: Path,
    unet: Any | None = None,
    dtype: torch.dtype = torch.float16,
    *,
    int8: bool = False,
    start: Path | None = None,
) -> None:
    """Write what `load_nets` reads, and a person's UNet; the models keep their own dtype.

    int8, start: see `save_part`.
    """
    parts = {"appearance": nets.appearance, "matching": nets.matching, "unet": unet}
    for name, model in parts.items():
        if model is not None:
            save_part(model, folder / name, dtype, int8=int8, start=start, coarse=COARSE.get(name, 1))
    write_json(folder / "config.json", asdict(nets.settings))
