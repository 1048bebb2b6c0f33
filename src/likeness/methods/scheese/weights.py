"""SCheese's weights on disk: a folder with `config.json` and one file of tensors, and where they begin."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from likeness.diffusion.load import HUB_NAMES
from likeness.diffusion.parts import load_part
from likeness.errors import IncompatibleWeightsError, MissingWeightsError
from likeness.files.images import write_json
from likeness.files.int8 import INT8_FILE, read_int8, write_int8
from likeness.files.provenance import record_weights
from likeness.files.weights import read_metadata, read_safetensors, write_safetensors
from likeness.methods.scheese.config import SIZES, SCheeseSizes
from likeness.methods.scheese.model import SCheese

if TYPE_CHECKING:
    from likeness.diffusion.image_encoder import ImageEncoder
    from likeness.diffusion.load import Base
    from likeness.types import WeightsRecord

__all__ = ["begin_from_ip_adapter", "load_adapter", "load_inpainting", "new_adapter", "save_adapter"]

KIND = "SCheese"
WEIGHTS = "model.safetensors"


def save_adapter(
    adapter: SCheese,
    folder: Path,
    *,
    dtype: torch.dtype = torch.float16,
    licence: str = "Apache-2.0",
    int8: bool = False,
    start: Path | None = None,
) -> None:
    """Write what `load_adapter` reads, the config last. licence: of the weights, told in the file.

    int8: half as large as fp16; what lay there in the other form is removed. start: folder of the base's
    UNet, from which offsets are then written.
    """
    tensors = adapter.state_dict()
    told = {"format": "pt", "licence": licence}
    file, other = (INT8_FILE, WEIGHTS) if int8 else (WEIGHTS, INT8_FILE)
    if int8:
        write_int8(tensors, folder / file, told, start=start, begun_as=adapter.begun_as)
    else:
        write_safetensors({key: tensor.to(dtype) for key, tensor in tensors.items()}, folder / file, told)
    (folder / other).unlink(missing_ok=True)
    write_json(folder / "config.json", {"_class_name": KIND, **adapter.sizes.to_dict()})


def load_adapter(path: Path | str, base: Base) -> tuple[SCheese, WeightsRecord]:
    """An adapter on the base's device and dtype, frozen, and the record of its weights.

    Raises: MissingWeightsError when `path` is no whole adapter folder; IncompatibleWeightsError when it is
    another method's or another base's, naming the right partner.
    """
    folder = Path(path).expanduser()
    config = folder / "config.json"
    file = next((folder / name for name in (INT8_FILE, WEIGHTS) if (folder / name).is_file()), None)
    if not config.is_file() or file is None:
        raise MissingWeightsError(f"{folder} is no adapter of SCheese: it needs config.json and {WEIGHTS}.")
    try:
        values: dict[str, Any] = json.loads(config.read_text("utf-8"))
    except ValueError as error:
        raise IncompatibleWeightsError(f"{config} is not JSON ({error}).") from error
    kind = values.get("_class_name")
    if kind != KIND:
        raise IncompatibleWeightsError(
            f"{folder} holds a {kind or 'model of unknown kind'}, not an adapter of SCheese."
        )
    sizes = SCheeseSizes.from_dict(values)
    if sizes.family != base.family:
        raise IncompatibleWeightsError(
            f"The adapter {folder.name} is for {sizes.family} but the base {base.name} is {base.family}: "
            f"use it with {HUB_NAMES.get(sizes.family, f'a base of the {sizes.family} family')}."
        )
    adapter = SCheese(sizes, base.unet)
    try:
        if file.name == INT8_FILE:
            tensors = read_int8(file, base.folder / "unet" if base.folder else None)
        else:
            tensors = read_safetensors(file)
        adapter.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise IncompatibleWeightsError(
            f"The adapter {folder.name} does not fit the base {base.name}: {reason[:200]}"
        ) from error
    licence = read_metadata(file).get("licence", "not declared")
    record = record_weights(file, "adapter", licence, folder.name)
    return adapter.to(base.device, base.dtype).eval().requires_grad_(False), record


def new_adapter(
    base: Base, encoder: ImageEncoder, variant: str = "scheese", consistency: Any = None
) -> SCheese:
    """An untrained adapter for a base and an image encoder; its attention begins as the base's.

    consistency: the UNet that ConsistencyNet begins as (`load_inpainting`), by default the base's.
    Raises: IncompatibleWeightsError for a name that is no variant.
    """
    sizes = replace(SIZES[base.family], variant=variant)
    if base.family == "mini":  # packs of that family differ in widths; the published bases do not
        sizes = replace(
            sizes,
            text_width=base.text_width,
            words_width=base.text_width,
            image_width=encoder.width,
            dim=encoder.width,
            heads=max(1, encoder.width // 64),
        )
    return SCheese(sizes, base.unet, consistency)


def load_inpainting(path: Path | str, base: Base) -> Any:
    """The UNet of an inpainting model on the base's device, in single precision: ConsistencyNet's start.

    path: its folder, or the model's with `unet/` in it.
    Raises: MissingWeightsError when it is not there; IncompatibleWeightsError when its layers, but for the
    first's channels, are not the base's.
    """
    from diffusers import UNet2DConditionModel

    folder = Path(path).expanduser()
    folder = folder / "unet" if (folder / "unet").is_dir() else folder
    unet = load_part(folder, UNet2DConditionModel, torch.float32)
    own, theirs = (
        {name: t.shape for name, t in one.state_dict().items() if name != "conv_in.weight"}
        for one in (base.unet, unet)
    )
    if own != theirs:
        raise IncompatibleWeightsError(
            f"The UNet in {folder} has other layers than {base.name}'s: give an inpainting model made from "
            f"{HUB_NAMES.get(base.family, 'that pack')}."
        )
    return unet.to(base.device)


def begin_from_ip_adapter(adapter: SCheese, file: Path) -> None:
    """Give an adapter the weights of a published IP-Adapter-plus (.safetensors), where training begins.

    The resampler and the new keys and values are taken; what only SCheese has stays as it is.
    Raises: IncompatibleWeightsError when it is none, or one of other sizes.
    """
    tensors = read_safetensors(file)
    image = {
        key.removeprefix("image_proj."): t for key, t in tensors.items() if key.startswith("image_proj.")
    }
    # Numbered as the UNet's processors are, of which every second has weights.
    numbers = sorted({int(key.split(".")[1]) for key in tensors if key.startswith("ip_adapter.")})
    if not image or len(numbers) != len(adapter.cross):
        raise IncompatibleWeightsError(
            f"{file} is no IP-Adapter-plus for {adapter.sizes.family}: it has {len(numbers)} attention "
            f"layers, and {len(adapter.cross)} are needed."
        )
    try:
        adapter.fusion.image_proj.load_state_dict(image)
        for number, layer in zip(numbers, adapter.cross, strict=True):
            layer.load_state_dict(
                {
                    name: tensors[f"ip_adapter.{number}.{name}"]
                    for name in ("to_k_ip.weight", "to_v_ip.weight")
                }
            )
    except (RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise IncompatibleWeightsError(
            f"{file} is an IP-Adapter of other sizes: {reason[:200]}; it needs the image encoder "
            f"{adapter.sizes.image_encoder}."
        ) from error
