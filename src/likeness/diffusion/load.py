"""Loading a base: the frozen diffusion model that a method adds a person to.

A base is a diffusers folder (a model pack is one), a name on the Hugging Face hub, one of the
short names "sd15" and "sdxl", or a single .safetensors file. Which family it is, is read from
what is in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from likeness.diffusion.openvino import OPENVINO, OpenVinoUnet, OpenVinoVae, require_openvino
from likeness.diffusion.parts import load_part, weights_files
from likeness.errors import IncompatibleWeightsError, InputError, MissingWeightsError
from likeness.files.weights import is_offline, sha256_of
from likeness.types import WeightsRecord

__all__ = ["HUB_NAMES", "Base", "fetched", "load_base"]

Family = Literal["mini", "sd15", "sdxl"]

HUB_NAMES = {
    "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
}
"""The short names and what they stand for on the hub."""

_HUB_LICENCES = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "CreativeML OpenRAIL-M",
    "stabilityai/stable-diffusion-xl-base-1.0": "CreativeML Open RAIL++-M",
}
_PARTS = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "guide", "scheduler")
_SIZES_PX: dict[Family, int] = {"mini": 128, "sd15": 512, "sdxl": 1024}


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """A loaded base model, all parts in evaluation mode and frozen.

    text_encoders, tokenizers: one each for SD1.5 and mini, two for SDXL. size_px: the side of the
    square pictures it paints best. folder: where it lies when it is a diffusers folder.
    runtime: what runs the UNet and the autoencoder, "torch" or "openvino". guide: a weaker UNet that
    guidance leads away from (`diffusion.guidance`), beside the UNet itself, or None.
    """

    name: str
    family: Family
    vae: Any
    text_encoders: tuple[Any, ...]
    tokenizers: tuple[Any, ...]
    unet: Any
    scheduler: Any
    weights: tuple[WeightsRecord, ...]
    size_px: int
    device: torch.device
    dtype: torch.dtype
    folder: Path | None = None
    runtime: str = "torch"
    guide: Any = None

    @property
    def downscale(self) -> int:
        """Picture pixels per latent pixel: 8 for every base so far."""
        return int(2 ** (len(self.vae.config.get("block_out_channels", (0,) * 4)) - 1))

    @property
    def unit_px(self) -> int:
        """What the sides of pictures must be multiples of."""
        return int(self.downscale * 2 ** (len(self.unet.config.block_out_channels) - 1))

    @property
    def text_width(self) -> int:
        """D, the width of the text rows the UNet attends to."""
        return int(self.unet.config.cross_attention_dim)

    def encode(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures (B, 3, H, W) in [-1, 1] -> mean and deviation of their scaled latents, fp32."""
        vae = self.vae
        if vae.config.get("force_upcast") and self.dtype == torch.float16:
            vae.to(torch.float32)  # SDXL's autoencoder overflows in fp16
            found = vae.encode(pixels.float().to(self.device)).latent_dist
            vae.to(self.dtype)
        else:
            found = vae.encode(pixels.to(self.device, vae.dtype)).latent_dist
        scale, shift = vae.config.scaling_factor, vae.config.get("shift_factor") or 0.0
        return ((found.mean - shift) * scale).float(), (found.std * scale).float()

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Scaled latents (B, C, h, w) -> pictures (B, 3, H, W) in about [-1, 1]; gradients go through."""
        vae = self.vae
        raw = latents / vae.config.scaling_factor + (vae.config.get("shift_factor") or 0.0)
        if vae.config.get("force_upcast") and self.dtype == torch.float16:
            vae.to(torch.float32)  # SDXL's autoencoder overflows in fp16
            pixels = vae.decode(raw.float()).sample
            vae.to(self.dtype)
        else:
            pixels = vae.decode(raw.to(vae.dtype)).sample
        return pixels  # type: ignore[no-any-return]


def load_base(
    name_or_path: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    offline: bool | None = None,
) -> Base:
    """Load a base from a diffusers folder, hub name, "sd15", "sdxl" or single .safetensors file.

    device: as torch names it, or "openvino": the CPU, with UNet and autoencoder compiled for painting.
    offline: never ask the network; by default what LIKENESS_OFFLINE or HF_HUB_OFFLINE say.
    Raises: MissingWeightsError when the base is not here and cannot be fetched,
    IncompatibleWeightsError when what is there is not a base this package can use, InputError for
    a device or a name that does not exist.
    """
    if str(device) == OPENVINO:
        return _through_openvino(load_base(name_or_path, dtype=torch.float32, offline=offline))
    device = _device(device)
    name = str(name_or_path)
    path = Path(name).expanduser()
    if path.is_file():
        return _from_file(path, device, dtype)
    if path.is_dir():
        return _from_folder(path, path.name, _folder_licence(path), device, dtype)
    hub_name = HUB_NAMES.get(name, name)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", hub_name) or name.startswith((".", "/", "~")):
        raise InputError(
            f"There is no base {name!r}: give mini, sd15, sdxl, a diffusers folder, a .safetensors file "
            "or a name on the Hugging Face hub such as owner/model."
        )
    folder = _from_hub(hub_name, is_offline() if offline is None else offline)
    return _from_folder(
        folder, name, _HUB_LICENCES.get(hub_name, f"see {hub_name} on the hub"), device, dtype
    )


def _device(given: torch.device | str) -> torch.device:
    try:
        device = torch.device(given)
    except RuntimeError:
        raise InputError(f"There is no device {given!r}: give cpu, cuda or openvino.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no GPU that torch can use here: give --device cpu or openvino.")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"This torch has no device {str(device)!r}: give cpu, cuda or openvino.") from None
    return device


def _through_openvino(base: Base) -> Base:
    require_openvino()
    guide = None if base.guide is None else OpenVinoUnet(base.guide)
    unet, vae = OpenVinoUnet(base.unet), OpenVinoVae(base.vae)
    return replace(base, unet=unet, vae=vae, guide=guide, runtime=OPENVINO)


def _folder_licence(folder: Path) -> str:
    """What a pack's `pack.json` declares; other folders declare nothing that a program can read."""
    card = folder / "pack.json"
    if card.is_file():
        return str(json.loads(card.read_text(encoding="utf-8")).get("licence", "not declared"))
    return "see the folder's own licence"


def _from_folder(folder: Path, name: str, licence: str, device: torch.device, dtype: torch.dtype) -> Base:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    missing = [
        part
        for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
        if not (folder / part).is_dir()
    ]
    if missing:
        raise IncompatibleWeightsError(_not_a_base(folder, missing))
    unet = load_part(folder / "unet", UNet2DConditionModel, dtype)
    vae = load_part(folder / "vae", _vae_class(folder), dtype)
    encoders = [load_part(folder / "text_encoder", CLIPTextModel, dtype)]
    tokenizers = [CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)]
    if (folder / "text_encoder_2").is_dir():
        encoders.append(load_part(folder / "text_encoder_2", CLIPTextModelWithProjection, dtype))
        tokenizers.append(CLIPTokenizer.from_pretrained(folder / "tokenizer_2", local_files_only=True))
    records = tuple(
        WeightsRecord(
            f"{name}/{file.relative_to(folder)}", file.parent.name, licence, _sha256(file), str(name)
        )
        for part in _PARTS
        for file in weights_files(folder / part)
    )
    parts = {
        "unet": unet,
        "vae": vae,
        "text_encoders": tuple(encoders),
        "tokenizers": tuple(tokenizers),
        "scheduler": _scheduler(folder / "scheduler" / "scheduler_config.json"),
    }
    if (folder / "guide").is_dir():
        parts["guide"] = load_part(folder / "guide", UNet2DConditionModel, dtype)
    return _base(name, parts, records, device, dtype, folder)


def _from_file(path: Path, device: torch.device, dtype: torch.dtype) -> Base:
    from likeness.diffusion.single_file import load_single_file

    if path.suffix != ".safetensors":
        raise InputError(
            f"{path} is not a .safetensors file: pickled checkpoints can run code and are not read."
        )
    parts = load_single_file(path, dtype)
    parts.pop("family")
    record = WeightsRecord(path.name, "base", "see where the file came from", sha256_of(path), path.name)
    return _base(path.stem, parts, (record,), device, dtype, None)


def _base(
    name: str,
    parts: dict[str, Any],
    records: tuple[WeightsRecord, ...],
    device: torch.device,
    dtype: torch.dtype,
    folder: Path | None,
) -> Base:
    family = _family(name, parts["unet"].config, parts["vae"])
    guides = [parts["guide"]] if "guide" in parts else []
    for model in (parts["unet"], parts["vae"], *parts["text_encoders"], *guides):
        model.to(device)
    widths = [encoder.config.hidden_size for encoder in parts["text_encoders"]]
    if sum(widths) != parts["unet"].config.cross_attention_dim:
        raise IncompatibleWeightsError(
            f"{name}: the text encoders make rows of width {sum(widths)}, the UNet reads "
            f"{parts['unet'].config.cross_attention_dim}; its parts come from different bases."
        )
    for guide in guides:
        for size in ("in_channels", "out_channels", "cross_attention_dim", "addition_embed_type"):
            if guide.config[size] != parts["unet"].config[size]:
                raise IncompatibleWeightsError(
                    f"{name}: its guide has {size} {guide.config[size]}, its UNet "
                    f"{parts['unet'].config[size]}; a guide reads and predicts what the UNet does."
                )
    side = _SIZES_PX[family]
    if family == "mini":
        side = int(parts["vae"].config.get("sample_size", side))
    return Base(
        name, family, weights=records, size_px=side, device=device, dtype=dtype, folder=folder, **parts
    )


def _family(name: str, config: Any, vae: Any) -> Family:
    """Read off what only one family has; refuse by name what is close but not supported."""
    if config.in_channels == 9:
        raise IncompatibleWeightsError(
            f"{name} is an inpainting model (9 input channels): give the model it was made from."
        )
    if config.get("addition_embed_type") == "text_time":
        if config.cross_attention_dim == 1280:
            raise IncompatibleWeightsError(f"{name} is the SDXL refiner: give the SDXL base instead.")
        return "sdxl"
    if config.cross_attention_dim == 1024:
        raise IncompatibleWeightsError(
            f"{name} is Stable Diffusion 2, which no method here supports: give sd15 or sdxl."
        )
    return "mini" if type(vae).__name__ == "PatchAutoencoderKL" else "sd15"


def _vae_class(folder: Path) -> Any:
    config = folder / "vae" / "config.json"
    if not config.is_file():
        raise MissingWeightsError(f"{folder / 'vae'} has no config.json: the model folder is not whole.")
    kind = json.loads(config.read_text("utf-8")).get("_class_name")
    if kind == "PatchAutoencoderKL":
        from likeness.diffusion.patch_autoencoder import PatchAutoencoderKL

        return PatchAutoencoderKL
    if kind == "AutoencoderKL":
        from diffusers import AutoencoderKL

        return AutoencoderKL
    raise IncompatibleWeightsError(
        f"{folder / 'vae'} is a {kind}; only AutoencoderKL and PatchAutoencoderKL are known."
    )


def _scheduler(config: Path) -> Any:
    import diffusers
    from diffusers import SchedulerMixin

    values = json.loads(config.read_text("utf-8")) if config.is_file() else {}
    kind = getattr(diffusers, str(values.get("_class_name")), None)
    if not (isinstance(kind, type) and issubclass(kind, SchedulerMixin)):
        raise IncompatibleWeightsError(
            f"{config} names no scheduler of diffusers: {values.get('_class_name')!r}."
        )
    scheduler: Any = kind
    return scheduler.from_config(values)


def _not_a_base(folder: Path, missing: list[str]) -> str:
    if (folder / "config.json").is_file():
        kind = json.loads((folder / "config.json").read_text("utf-8")).get("_class_name", "one part")
        return (
            f"{folder} is not a base but {kind} alone: give the folder "
            "that holds unet/, vae/ and text_encoder/."
        )
    return f"{folder} is not a base: it lacks {', '.join(f'{part}/' for part in missing)}."


def _from_hub(name: str, offline: bool) -> Path:
    files = ("*.json", "*.txt", "model*.safetensors", "diffusion_pytorch_model*.safetensors")
    patterns = ["model_index.json", *(f"{part}/{file}" for part in _PARTS for file in files)]
    return fetched(name, patterns, what="base", offline=offline)


def fetched(
    name_or_path: str | Path, patterns: Sequence[str], *, what: str, offline: bool | None = None
) -> Path:
    """A folder that is here, or a model's on the hub: its files that match `patterns`.

    what: what it is, for the message. offline: as for `load_base`.
    Raises: MissingWeightsError.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    name, path = str(name_or_path), Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    offline = is_offline() if offline is None else offline
    try:
        folder = snapshot_download(
            name,
            allow_patterns=list(patterns),
            ignore_patterns=["*.fp16.*", "*.non_ema.*", "*.ema.*"],
            local_files_only=offline,
        )
    except HFValidationError as error:
        raise MissingWeightsError(
            f"There is no folder {name}, and no {what} on the hub can be called so."
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        why = "offline mode is on" if offline else "the hub cannot be reached"
        raise MissingWeightsError(
            f"The {what} {name} is not in the hub cache and {why}: fetch it once "
            "with a network, or give a folder or a .safetensors file."
        ) from error
    except HfHubHTTPError as error:
        raise MissingWeightsError(
            f"The hub does not give out {name}: {str(error).splitlines()[0]}"
        ) from error
    return Path(folder)


def _sha256(file: Path) -> str:
    """The hub's cache names its files by their sha256, which saves reading gigabytes."""
    blob = file.resolve().name
    return blob if re.fullmatch(r"[0-9a-f]{64}", blob) else sha256_of(file)
