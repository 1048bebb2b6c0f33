"""ControlNets: a second network that reads a control picture and adds to the UNet's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from torch import Tensor

from likeness.diffusion.load import fetched
from likeness.diffusion.parts import load_part
from likeness.diffusion.pixels import to_levels
from likeness.errors import IncompatibleWeightsError, InputError
from likeness.files.provenance import record_weights

if TYPE_CHECKING:
    from likeness.diffusion.load import Base
    from likeness.types import WeightsRecord

__all__ = [
    "WHOLE",
    "ControlNet",
    "added_up",
    "control_pixels",
    "load_controlnet",
    "residuals",
    "unlike_size",
]


Share = tuple[float, float, float, float]
WHOLE: Share = (0.0, 0.0, 1.0, 1.0)
"""Of a picture, (x0, y0, x1, y1) in shares of its sides."""


@dataclass(frozen=True, slots=True, eq=False)
class ControlNet:
    """A loaded ControlNet (arXiv 2302.05543) of the base's family, frozen."""

    model: Any
    weights: WeightsRecord


def load_controlnet(name_or_path: str | Path, base: Base) -> ControlNet:
    """A ControlNet from its diffusers folder or hub name, for `base`.

    Raises: MissingWeightsError; IncompatibleWeightsError where it is none, or for another family; InputError
    where the base runs through OpenVINO, which compiles the UNet without it.
    """
    from diffusers import ControlNetModel

    if base.runtime != "torch":
        raise InputError("ControlNets do not run with --device openvino: take cpu or cuda.")
    folder = fetched(name_or_path, ("*.json", "diffusion_pytorch_model*.safetensors"), what="ControlNet")
    model = load_part(folder, ControlNetModel, base.dtype).to(base.device)
    key = unlike_size(model, base)
    if key is not None:
        raise IncompatibleWeightsError(
            f"The ControlNet {name_or_path} is not for {base.name}: its {key} is {model.config[key]}, "
            f"the base's {base.unet.config[key]}."
        )
    # Recipes are given away with pictures: they name no folder of this computer.
    source = folder.name if Path(name_or_path).is_dir() else str(name_or_path)
    return ControlNet(model, record_weights(folder, "ControlNet", "see its model card", source))


def control_pixels(
    pictures: Sequence[Image.Image], size_px: tuple[int, int], base: Base, share: Share = WHOLE
) -> list[Tensor]:
    """Control pictures, each brought to the size (width, height) that is painted: (1, 3, H, W) in [0, 1].

    share: (x0, y0, x1, y1) in [0, 1], the part of the picture that is painted, where it is not all of it.
    """
    found = []
    for picture in pictures:
        (x0, y0, x1, y1), (width, height) = share, picture.size
        box = (x0 * width, y0 * height, x1 * width, y1 * height)
        small = picture.convert("RGB").resize(size_px, Image.Resampling.LANCZOS, box=box)
        found.append(to_levels(small).to(base.device, base.dtype))
    return found


def residuals(
    nets: Sequence[ControlNet],
    pixels: Sequence[Tensor],
    scales: Sequence[float],
    latents: Tensor,
    timestep: Tensor,
    rows: Tensor,
    added: dict[str, Tensor] | None,
) -> dict[str, Any]:
    """What the nets add to the UNet's features, summed, as the UNet's arguments; {} without a net.

    pixels: one (1, 3, H, W) a net. latents: (B, C, h, w). rows: (B, T, D), text rows only.
    """
    down: list[Tensor] = []
    middle: Tensor | None = None
    for net, picture, scale in zip(nets, pixels, scales, strict=True):
        skips, last = net.model(
            latents,
            timestep,
            encoder_hidden_states=rows,
            controlnet_cond=picture.expand(len(latents), -1, -1, -1),
            conditioning_scale=scale,
            added_cond_kwargs=added,
            return_dict=False,
        )
        down = [a + b for a, b in zip(down, skips, strict=True)] if down else list(skips)
        middle = last if middle is None else middle + last
    if middle is None:
        return {}
    return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}


def added_up(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What two sources add to the UNet's features, as `residuals` gives it, together; {} adds nothing."""
    if not one or not other:
        return one or other
    down, middle = "down_block_additional_residuals", "mid_block_additional_residual"
    return {
        down: [a + b for a, b in zip(one[down], other[down], strict=True)],
        middle: one[middle] + other[middle],
    }


def unlike_size(net: Any, base: Base) -> str | None:
    """The first size in which a ControlNet is not the base's UNet's, None where it fits.

    Sizes read from a folder are lists, from a single file tuples.
    """

    def plain(value: Any) -> Any:
        return list(value) if isinstance(value, (list, tuple)) else value

    sizes = ("cross_attention_dim", "in_channels", "block_out_channels")
    return next((key for key in sizes if plain(net.config[key]) != plain(base.unet.config[key])), None)
