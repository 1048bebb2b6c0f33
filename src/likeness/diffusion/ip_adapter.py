"""IP-Adapter (arXiv 2308.06721): a picture as a prompt, by diffusers' own processors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from likeness.errors import IncompatibleWeightsError
from likeness.files.weights import read_safetensors

if TYPE_CHECKING:
    from likeness.diffusion.image_encoder import ImageEncoder
    from likeness.diffusion.load import Base

__all__ = ["IpAdapter", "attach_ip_adapter"]


class IpAdapter:
    """Attached to a base's UNet, which from then on reads a picture with every call (`conditions`)."""

    def __init__(self, base: Base, encoder: ImageEncoder) -> None:
        self._base, self._encoder = base, encoder

    def conditions(self, pictures: list[Image.Image] | None, count: int, scale: float) -> dict[str, Any]:
        """The UNet's `added_cond_kwargs` for `count` pictures to paint; None: none is shown, and the UNet
        paints what it painted before the adapter was attached. scale: how much the picture counts."""
        from diffusers.models.attention_processor import IPAdapterAttnProcessor, IPAdapterAttnProcessor2_0

        for processor in self._base.unet.attn_processors.values():
            if isinstance(processor, (IPAdapterAttnProcessor, IPAdapterAttnProcessor2_0)):
                processor.scale = [scale if pictures else 0.0]
        if pictures is None:
            width = self._encoder.model.config.projection_dim
            embeds = torch.zeros(count, width)
        else:
            embeds = self._encoder.embeds(torch.stack([self._encoder.pixels(one) for one in pictures]))
        return {"image_embeds": [embeds.to(self._base.device, self._base.dtype)[:, None]]}


def attach_ip_adapter(base: Base, file: Path, encoder: ImageEncoder) -> IpAdapter:
    """Load an IP-Adapter (safetensors, `image_proj.*` and `ip_adapter.*`) into the base's UNet, for good.

    encoder: the CLIP vision tower it was trained with, by its embedding.
    Raises: MissingWeightsError; IncompatibleWeightsError for a file that is none, or of other sizes.
    """
    tensors = read_safetensors(file)
    parts: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for key, tensor in tensors.items():
        part, _, name = key.partition(".")
        if part in parts:
            parts[part][name] = tensor
    if not all(parts.values()):
        raise IncompatibleWeightsError(f"{file} is no IP-Adapter: it has no image_proj or no ip_adapter.")
    try:
        base.unet._load_ip_adapter_weights(parts, low_cpu_mem_usage=False)
    except (KeyError, RuntimeError, ValueError) as error:
        raise IncompatibleWeightsError(
            f"The IP-Adapter {file} is not for {base.name}: {str(error).splitlines()[0]}"
        ) from error
    base.unet.to(base.device, base.dtype).eval().requires_grad_(False)
    return IpAdapter(base, encoder)
