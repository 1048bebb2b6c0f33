"""The models metrics look through: CLIP and DINO, from a pack, a folder or a name on the hub."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from likeness.diffusion.parts import quiet
from likeness.errors import IncompatibleWeightsError, MissingWeightsError
from likeness.packs import read_card

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["Clip", "Dino", "ImageEmbedder", "load_clip", "load_dino", "loaded"]

BATCH = 32


class ImageEmbedder(Protocol):
    """Pictures -> unit vectors."""

    @property
    def name(self) -> str:
        """For records of scores."""
        ...

    @property
    def licence(self) -> str:
        """Of the weights, an SPDX name."""
        ...

    def images(self, images: Sequence[Image.Image]) -> NDArray[np.float64]:
        """RGB pictures of any size -> (N, D) of unit length."""
        ...


class Clip:
    """CLIP's two towers (arXiv 2103.00020): pictures and texts in one space.

    image_rows: pixels (B, 3, H, W), as the processor makes them, -> (B, D). text_rows: ids (B, tokens)
    -> (B, D). tokens: the text tower's length.
    """

    def __init__(
        self,
        image_rows: Callable[[Tensor], Tensor],
        text_rows: Callable[[Tensor], Tensor],
        tokens: int,
        tokenizer: Any,
        processor: Any,
        name: str,
        licence: str,
    ) -> None:
        self._image_rows, self._text_rows, self._tokens = image_rows, text_rows, tokens
        self._tokenizer, self._processor = tokenizer, processor
        self.name, self.licence = name, licence

    def images(self, images: Sequence[Image.Image]) -> NDArray[np.float64]:
        """See `ImageEmbedder`."""
        return _embed(images, lambda part: self._image_rows(_pixels(self._processor, part)))

    def texts(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Texts, cut at the tower's length, -> (N, D) of unit length."""
        return _embed(texts, lambda part: self._text_rows(self._ids(part)))

    def _ids(self, texts: Sequence[str]) -> Tensor:
        ids: Tensor = self._tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=self._tokens, return_tensors="pt"
        )["input_ids"]
        return ids


class Dino:
    """A vision transformer's class token: DINO (arXiv 2104.14294), DINOv2 (arXiv 2304.07193), any ViT."""

    def __init__(self, model: Any, processor: Any, name: str, licence: str) -> None:
        self._model, self._processor = model.eval(), processor
        self.name, self.licence = name, licence

    def images(self, images: Sequence[Image.Image]) -> NDArray[np.float64]:
        """See `ImageEmbedder`."""
        return _embed(
            images,
            lambda part: self._model(pixel_values=_pixels(self._processor, part)).last_hidden_state[:, 0],
        )


def load_clip(source: str | Path, licence: str = "not declared") -> Clip:
    """CLIP from a pack, a folder of transformers' CLIPModel, or its name on the hub.

    licence: of the weights; a pack's own say it themselves.
    Raises: MissingWeightsError where there is none.
    """
    from transformers import (
        CLIPImageProcessor,
        CLIPModel,
        CLIPTextModel,
        CLIPTokenizer,
        CLIPVisionModelWithProjection,
    )

    if (Path(source) / "pack.json").is_file():
        pack = Path(source)
        text = loaded(CLIPTextModel, pack / "text_encoder", dtype=torch.float32).eval()
        image = loaded(CLIPVisionModelWithProjection, pack / "image_encoder", dtype=torch.float32).eval()
        return Clip(
            lambda pixels: image(pixel_values=pixels).image_embeds,
            lambda ids: text(input_ids=ids).pooler_output,  # a pack has no projection of texts
            text.config.max_position_embeddings,
            loaded(CLIPTokenizer, pack / "tokenizer"),
            loaded(CLIPImageProcessor, pack / "image_encoder"),
            f"{pack.name} pack's CLIP",
            read_card(pack).licence,
        )
    model = loaded(CLIPModel, source, dtype=torch.float32).eval()
    return Clip(
        lambda pixels: model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output),
        lambda ids: model.text_projection(model.text_model(input_ids=ids).pooler_output),
        model.config.text_config.max_position_embeddings,
        loaded(CLIPTokenizer, source),
        loaded(CLIPImageProcessor, source),
        str(source),
        licence,
    )


def load_dino(source: str | Path, licence: str = "not declared") -> Dino:
    """A vision transformer from a pack, a folder of transformers' or a name on the hub.

    Raises: MissingWeightsError where there is none; IncompatibleWeightsError for a model without tokens.
    """
    from transformers import MODEL_MAPPING, AutoConfig, AutoImageProcessor, AutoModel

    pack = (Path(source) / "pack.json").is_file()
    folder = Path(source) / "vit" if pack else source
    kind: Any = AutoModel
    with suppress(OSError, ValueError):  # then there is no model either, as `loaded` will say
        kind = MODEL_MAPPING.get(type(AutoConfig.from_pretrained(str(folder))), AutoModel)
    # A ViT's pooler is not asked; without weights of its own it would be made up, with a warning.
    plain = {"add_pooling_layer": False} if "add_pooling_layer" in signature(kind.__init__).parameters else {}
    model = loaded(kind, folder, dtype=torch.float32, **plain)
    if not hasattr(model.config, "patch_size") or model.main_input_name != "pixel_values":
        raise IncompatibleWeightsError(
            f"{source} holds a {type(model).__name__}, not a vision transformer; give DINO, DINOv2 or a ViT."
        )
    name = f"{Path(source).name} pack's ViT" if pack else str(source)
    return Dino(
        model, loaded(AutoImageProcessor, folder), name, read_card(Path(source)).licence if pack else licence
    )


def loaded(kind: Any, source: str | Path, **settings: Any) -> Any:
    """A model or processor of transformers'. Raises: MissingWeightsError where there is none."""
    try:
        with quiet():
            return kind.from_pretrained(str(source), **settings)
    except (OSError, ValueError) as error:
        raise MissingWeightsError(
            f"{source} has no {kind.__name__} that can be loaded; give a folder of transformers' or a name "
            "on the hub."
        ) from error


def _pixels(processor: Any, images: Sequence[Image.Image]) -> Tensor:
    found = processor(images=[image.convert("RGB") for image in images], return_tensors="pt")
    pixels: Tensor = found["pixel_values"]
    return pixels


@torch.inference_mode()
def _embed(rows: Sequence[Any], model: Callable[[Sequence[Any]], Tensor]) -> NDArray[np.float64]:
    """In batches, each row scaled to unit length."""
    if not len(rows):
        return np.zeros((0, 0))
    parts = [model(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]
    unit: NDArray[np.float64] = F.normalize(torch.cat(parts).double(), dim=-1).numpy()
    return unit
