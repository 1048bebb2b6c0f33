"""CLIP's space, in which pictures and words (eq. 12 to 14) and phrases (eq. 10) are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from likeness.diffusion.image_encoder import CLIP_MEAN, CLIP_STD, load_image_encoder
from likeness.diffusion.parts import load_part
from likeness.diffusion.prompts import token_ids
from likeness.errors import IncompatibleWeightsError, MissingWeightsError

if TYPE_CHECKING:
    from likeness.diffusion.load import Base

__all__ = ["ClipSpace", "load_clip_space", "pooled_text"]


@dataclass(frozen=True, slots=True, eq=False)
class ClipSpace:
    """image: pictures (B, 3, H, W) in [-1, 1] -> (B, E), with gradients; text: texts -> (N, E); both of
    unit length."""

    name: str
    image: Callable[[Tensor], Tensor]
    text: Callable[[Sequence[str]], Tensor]


@torch.no_grad()
def pooled_text(base: Base, texts: Sequence[str]) -> Tensor:
    """What the base's own text encoder makes of whole texts, (N, D) of unit length.

    A pack's is its CLIP's text tower; SD1.5's is CLIP's without the last projection.
    """
    ids = token_ids(base.tokenizers[0], list(texts)).to(base.device)
    return F.normalize(base.text_encoders[0](ids).pooler_output.float(), dim=-1)


def load_clip_space(base: Base, source: str | Path | None = None) -> ClipSpace:
    """The space of `source`, a folder of transformers' CLIPModel, or that of the base's pack.

    Raises: MissingWeightsError where there is neither; IncompatibleWeightsError for towers of two spaces.
    """
    if source is not None:
        return _of_model(Path(source), base)
    folder = base.folder / "image_encoder" if base.folder else None
    if folder is None or not (folder / "config.json").is_file():
        raise MissingWeightsError(
            f"{base.name} has no CLIP to see pictures with: give --clip, a folder of a CLIPModel such as "
            "openai/clip-vit-large-patch14, or train with --ablation no-target."
        )
    tower = load_image_encoder(folder, device=base.device, dtype=torch.float32)
    tower.model.eval().requires_grad_(False)
    see = _seen(lambda x: tower.model(x).image_embeds, tower.size_px, tower._mean, tower._std, base)
    if see(torch.zeros(1, 3, 64, 64, device=base.device)).shape[1] != pooled_text(base, ["a"]).shape[1]:
        raise IncompatibleWeightsError(
            f"{folder} and the text encoder of {base.name} are of two CLIP spaces."
        )
    return ClipSpace(f"{base.name} pack's CLIP", see, lambda texts: pooled_text(base, texts))


def _of_model(folder: Path, base: Base) -> ClipSpace:
    from transformers import CLIPModel, CLIPTokenizer

    model = load_part(folder, CLIPModel, torch.float32).to(base.device).requires_grad_(False)
    tokenizer = CLIPTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def read(texts: Sequence[str]) -> Tensor:
        pooled = model.text_model(token_ids(tokenizer, list(texts)).to(base.device)).pooler_output
        return F.normalize(model.text_projection(pooled), dim=-1)

    see = _seen(
        lambda x: model.visual_projection(model.vision_model(x).pooler_output),
        model.config.vision_config.image_size,
        CLIP_MEAN,
        CLIP_STD,
        base,
    )
    return ClipSpace(folder.name, see, read)


def _seen(
    embed: Callable[[Tensor], Tensor], size_px: int, mean: Any, std: Any, base: Base
) -> Callable[[Tensor], Tensor]:
    middle, spread = (torch.as_tensor(v).view(3, 1, 1).to(base.device) for v in (mean, std))

    def see(pixels: Tensor) -> Tensor:
        small = F.interpolate(pixels.float(), size=(size_px, size_px), mode="bilinear", antialias=True)
        return F.normalize(embed(((small + 1) / 2 - middle) / spread).float(), dim=-1)

    return see
