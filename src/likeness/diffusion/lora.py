"""LoRAs of the base: low-rank changes that are added to its weights before anything is painted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from likeness.errors import IncompatibleWeightsError, MissingWeightsError
from likeness.files.provenance import record_weights
from likeness.files.weights import read_metadata, read_safetensors

if TYPE_CHECKING:
    from likeness.diffusion.load import Base
    from likeness.types import WeightsRecord

__all__ = ["lora_file", "merge_lora"]

_DOWN = re.compile(
    r"^(unet|text_encoder|text_encoder_2)\.(.+?)(?:_lora|\.lora|\.lora_linear_layer)?\.(?:lora_A|down)\.weight$"
)
_TEXT_NAMES = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
"""What diffusers calls the text encoder's layers in older files, and what they are called."""


@torch.no_grad()
def lora_file(given: str | Path) -> Path:
    """The file itself, or that in a folder as diffusers writes it."""
    path = Path(given).expanduser()
    inside = path / "pytorch_lora_weights.safetensors"
    return inside if inside.is_file() else path


def merge_lora(base: Base, file: str | Path, scale: float = 1.0) -> WeightsRecord:
    """Add a LoRA (arXiv 2106.09685: W + scale * alpha / rank * up down) to the base's weights, for good.

    file: .safetensors as diffusers, PEFT or kohya's trainers write them, for UNet and text encoders, or a
    folder of diffusers' with one. A base that is not to keep it is loaded anew.
    Raises: MissingWeightsError; IncompatibleWeightsError where it does not fit the base, which is then as it
    was.
    """
    path = lora_file(file)
    if not path.is_file():
        raise MissingWeightsError(f"There is no LoRA {path}: give a .safetensors file.")
    state, alphas = _in_diffusers_names(read_safetensors(path), base)
    told = json.loads(read_metadata(path).get("lora_adapter_metadata", "{}"))  # by PEFT
    parts: dict[str, Any] = {"unet": base.unet}
    parts |= {f"text_encoder{'_2' if i else ''}": encoder for i, encoder in enumerate(base.text_encoders)}
    changes: list[tuple[nn.Parameter, Tensor]] = []
    for key in sorted(key for key in state if key.endswith(("lora_A.weight", "down.weight"))):
        found, other = _DOWN.match(key), _up(key)
        if found is None or other not in state:
            raise IncompatibleWeightsError(f"The LoRA {path.name} has an entry {key} that is not known.")
        part, place = found.groups()
        weight = _weight(parts.get(part), place)
        down, up = state[key].float(), state[other].float()
        # diffusers' conversion names alphas after the weight, or, but for attention, after the layer.
        own = alphas.get(f"{key}.alpha", alphas.get(f"{key.split('.lora.')[0]}.alpha"))
        alpha = float(told.get(f"{part}.lora_alpha", len(down)) if own is None else own)
        change = (up.flatten(1) @ down.flatten(1)) * (scale * alpha / len(down))
        if weight is None or len(change) != len(weight) or change.numel() != weight.numel():
            raise IncompatibleWeightsError(
                f"The LoRA {path.name} is not for {base.name}: its {part}.{place} "
                f"{'is not there' if weight is None else 'has another shape'}; take one for {base.family}."
            )
        changes.append((weight, change.view_as(weight)))
    if not changes:
        raise IncompatibleWeightsError(f"{path.name} holds no LoRA for a UNet or a text encoder.")
    for weight, change in changes:
        weight.copy_((weight.float() + change.to(weight.device)).to(weight.dtype))
    return record_weights(path, "LoRA", "see its model card", f"scale {scale:g}")


def _in_diffusers_names(state: dict[str, Tensor], base: Base) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """Names as diffusers has them, whoever trained it, and the alphas."""
    from diffusers.loaders import StableDiffusionLoraLoaderMixin, StableDiffusionXLLoraLoaderMixin

    mixin: Any = StableDiffusionLoraLoaderMixin
    settings = {}
    if base.family == "sdxl":
        mixin, settings = StableDiffusionXLLoraLoaderMixin, {"unet_config": base.unet.config}
    try:
        found, alphas = mixin.lora_state_dict(state, **settings)
    except (ValueError, KeyError) as error:
        raise IncompatibleWeightsError(f"The LoRA's names are not understood: {error}.") from error
    return found, alphas or {}


def _up(down_key: str) -> str:
    return down_key.replace("lora_A.weight", "lora_B.weight").replace("down.weight", "up.weight")


def _weight(model: Any, place: str) -> nn.Parameter | None:
    """The weight of the layer that is called so in one of the ways files call it."""
    place = place.replace(".processor", "")
    head, _, last = place.rpartition(".")
    names = [place, f"{place}.0", f"{head}.{_TEXT_NAMES.get(last, last)}"]  # to_out is a list of two
    for name in (*names, *(name.removeprefix("text_model.") for name in names)):
        try:
            found = model.get_submodule(name).weight
        except AttributeError:
            continue
        if isinstance(found, nn.Parameter):
            return found
    return None
