"""Reading and writing ConsistentID's trained weights.

Our own form is a folder `config.json` + `model.safetensors`. Also read: the published
`ConsistentID-v1.bin` and `ConsistentID_SDXL-v1.bin`, files of the same layout from the authors'
training script (`image_proj_model` for `image_proj`), and either flattened to one .safetensors
with the dictionary's name as prefix.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from likeness.diffusion.load import HUB_NAMES
from likeness.errors import IncompatibleWeightsError, InputError, MissingWeightsError
from likeness.files.images import write_json
from likeness.files.weights import (
    convert_pickle_once,
    is_offline,
    read_metadata,
    read_safetensors,
    sha256_of,
    write_safetensors,
)
from likeness.methods.consistentid.attention import attention_processors, partner
from likeness.methods.consistentid.config import SIZES, ConsistentIDSizes
from likeness.methods.consistentid.model import ConsistentIDAdapter
from likeness.types import WeightsRecord

if TYPE_CHECKING:
    from torch import Tensor

    from likeness.diffusion.load import Base

__all__ = ["load_adapter", "new_adapter", "published_adapter", "save_adapter"]

PUBLISHED_REPO = "JackAILab/ConsistentID"
PUBLISHED_FILES = {"sd15": "ConsistentID-v1.bin", "sdxl": "ConsistentID_SDXL-v1.bin"}

_GROUPS = ("FacialEncoder", "image_proj", "adapter_modules")


def new_adapter(base: Base, sizes: ConsistentIDSizes | None = None) -> ConsistentIDAdapter:
    """An untrained adapter for `base`; `sizes` default to those of its family."""
    sizes = sizes or SIZES[base.family]
    return ConsistentIDAdapter(sizes, attention_processors(base.unet, sizes))


def save_adapter(
    adapter: ConsistentIDAdapter, folder: Path | str, *, dtype: torch.dtype = torch.float16
) -> None:
    """Write `config.json` and `model.safetensors` into `folder`, the config last."""
    folder = Path(folder)
    tensors = {key: tensor.to(dtype) for key, tensor in adapter.state_dict().items()}
    write_safetensors(tensors, folder / "model.safetensors", {"format": "pt"})
    write_json(folder / "config.json", {"_class_name": "ConsistentIDAdapter", **adapter.sizes.to_dict()})


def load_adapter(path: Path | str, base: Base) -> tuple[ConsistentIDAdapter, WeightsRecord]:
    """An adapter on the base's device and dtype, frozen, and the record of its weights.

    Raises: MissingWeightsError when `path` is not there; IncompatibleWeightsError when it holds no
    ConsistentID adapter or one for another base, naming the right partner.
    """
    path = Path(path).expanduser()
    sizes, tensors, file = _read_folder(path) if path.is_dir() else _read_file(path, base)
    if sizes.family != base.family or sizes.text_width != base.text_width:
        wanted = HUB_NAMES.get(sizes.family, f"a base of the {sizes.family} family")
        raise IncompatibleWeightsError(
            f"The adapter {path} is for {sizes.family} (text width {sizes.text_width}) but the base "
            f"{base.name} is {base.family} (text width {base.text_width}): use it with {wanted}, "
            f"or give this base {partner(base.text_width)}."
        )
    adapter = ConsistentIDAdapter(sizes, attention_processors(base.unet, sizes))
    try:
        adapter.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise IncompatibleWeightsError(
            f"The adapter {path} does not fit the base {base.name}: {reason[:200]}"
        ) from error
    licence = (
        "Apache-2.0"
        if sizes.pairing == "names"
        else "MIT, conditioned on InsightFace embeddings (research only)"
    )
    # the folder it lay in is nobody else's business: recipes travel with the pictures
    record = WeightsRecord(path.name, "adapter", licence, sha256_of(file), file.name)
    return adapter.to(base.device, base.dtype).eval().requires_grad_(False), record


def published_adapter(family: str) -> Path:
    """The authors' checkpoint for "sd15" or "sdxl", from the hub's cache or the hub.

    Raises: MissingWeightsError when it is neither here nor reachable.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    name = PUBLISHED_FILES[family]
    try:
        return Path(hf_hub_download(PUBLISHED_REPO, name, local_files_only=is_offline()))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError) as error:
        raise MissingWeightsError(
            f"The ConsistentID weights {name} are not in the hub cache and cannot be fetched: "
            f"download them from https://huggingface.co/{PUBLISHED_REPO} and pass the file as the adapter."
        ) from error


def _read_folder(folder: Path) -> tuple[ConsistentIDSizes, dict[str, Tensor], Path]:
    config, file = folder / "config.json", folder / "model.safetensors"
    if not config.is_file() or not file.is_file():
        raise MissingWeightsError(
            f"{folder} is not an adapter folder: it needs config.json and model.safetensors."
        )
    try:
        values: dict[str, Any] = json.loads(config.read_text("utf-8"))
    except ValueError as error:
        raise IncompatibleWeightsError(f"{config} is not JSON ({error}).") from error
    kind = values.get("_class_name")
    if kind != "ConsistentIDAdapter":
        raise IncompatibleWeightsError(
            f"{folder} holds a {kind or 'model of unknown kind'}, not a ConsistentID adapter."
        )
    return ConsistentIDSizes.from_dict(values), read_safetensors(file), file


def _read_file(path: Path, base: Base) -> tuple[ConsistentIDSizes, dict[str, Tensor], Path]:
    if not path.is_file():
        raise MissingWeightsError(
            f"There is no adapter {path}: give a folder, a .safetensors or a .bin file."
        )
    if path.suffix not in (".safetensors", ".bin", ".pt", ".pth", ".ckpt"):
        raise InputError(f"{path} is not a weights file: give a folder, a .safetensors or a .bin file.")
    file = convert_pickle_once(path)
    tensors = {}
    for key, tensor in read_safetensors(file).items():
        group, _, rest = key.partition(".")
        group = "image_proj" if group == "image_proj_model" else group
        if group in _GROUPS:
            tensors[f"{group}.{rest}"] = tensor
    missing = [group for group in _GROUPS if not any(key.startswith(f"{group}.") for key in tensors)]
    if missing:
        raise IncompatibleWeightsError(
            f"{path} is no ConsistentID checkpoint: it lacks {', '.join(missing)}. Published ones are "
            f"{' and '.join(PUBLISHED_FILES.values())}."
        )
    try:
        sizes = _sizes_of(tensors, base.family, read_metadata(file))
    except KeyError as error:
        raise IncompatibleWeightsError(
            f"{path} is no whole ConsistentID checkpoint: it lacks {error}."
        ) from error
    return sizes, tensors, path


def _sizes_of(tensors: dict[str, Tensor], family: Any, metadata: dict[str, str]) -> ConsistentIDSizes:
    """Sizes of a file without a config, read off its tensors.

    Files of this layout come from the authors' code, whose crops and words are paired as
    "published" and whose unconditional picture is an all-zero one; metadata that says names are paired tells
    a file of ours.
    """
    ours = metadata.get("pairing") == "names"
    width = tensors["image_proj.norm.weight"].shape[0]
    family = {768: "sd15", 2048: "sdxl"}.get(width, family)
    part = tensors["FacialEncoder.visual_projection.latents"].shape[-1]
    resampler = "FacialEncoder.visual_projection.layers."
    id_resampler = "image_proj.perceiver_resampler.layers."

    def depth(prefix: str) -> int:
        return len({key[len(prefix) :].split(".")[0] for key in tensors if key.startswith(prefix)})

    return ConsistentIDSizes(
        family=family,
        text_width=width,
        image_width=tensors["FacialEncoder.visual_projection.proj_in.weight"].shape[1],
        id_width=tensors["image_proj.proj.0.weight"].shape[1],
        part_width=part,
        part_depth=depth(resampler),
        part_heads=max(part // 64, 1),
        id_tokens=tensors["image_proj.proj.2.weight"].shape[0] // width,
        id_depth=depth(id_resampler),
        id_heads=max(width // 64, 1),
        ff_mult=tensors[f"{resampler}0.1.1.weight"].shape[0] // part,
        lora_rank=tensors["adapter_modules.0.to_q_lora.down.weight"].shape[0],
        shortcut=family == "sdxl",
        null_image="zeros" if ours else "zero_picture",
        pairing="names" if ours else "published",
    )
