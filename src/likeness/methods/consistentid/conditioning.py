"""From reference pictures to tensors, in the same way for training and for painting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from likeness.faces.align import align_arcface, portrait_crop
from likeness.faces.detect import find_one_face
from likeness.faces.parts import part_crops
from likeness.methods.consistentid.config import PARTS

if TYPE_CHECKING:
    from likeness.faces.detect import FaceDetector
    from likeness.faces.embed import FaceEncoder
    from likeness.types import Face

__all__ = ["Identity", "ImageEncoder", "identity_of", "identity_of_faces", "order_crops"]

PORTRAIT_MARGIN = 0.5
"""Room around the face in the whole picture shown to the image encoder, as a share of the face."""


class ImageEncoder:
    """A CLIP vision tower read before its last layer (ViT-H/14 for SD1.5 and SDXL).

    model: transformers' CLIPVisionModelWithProjection or CLIPVisionModel. mean, std: of the
    pixels it was trained with, per channel, for pixels in [0, 1].
    """

    def __init__(self, model: Any, mean: Sequence[float], std: Sequence[float]) -> None:
        self.model = model
        self.size_px: int = model.config.image_size
        self.width: int = model.config.hidden_size
        self._mean = torch.tensor(mean).view(3, 1, 1)
        self._std = torch.tensor(std).view(3, 1, 1)

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Square pictures (others are centre-cropped) -> penultimate states (B, S, W)."""
        return self.states(torch.stack([self._pixels(picture) for picture in pictures]))

    @torch.no_grad()
    def states(self, pixels: Tensor) -> Tensor:
        """(B, 3, size_px, size_px) normalised -> (B, S, W)."""
        out = self.model(pixels.to(self.model.device, self.model.dtype), output_hidden_states=True)
        return out.hidden_states[-2]  # type: ignore[no-any-return]

    def zero_picture(self) -> Tensor:
        """States (1, S, W) of an all-zero input."""
        return self.states(torch.zeros(1, 3, self.size_px, self.size_px))

    def _pixels(self, picture: Image.Image) -> Tensor:
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        box = (left, top, left + side, top + side)
        small = picture.resize((self.size_px, self.size_px), Image.Resampling.BICUBIC, box=box)
        pixels = torch.from_numpy(np.asarray(small, np.float32).copy()).permute(2, 0, 1) / 255
        return (pixels - self._mean) / self._std


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """What ConsistentID knows of one person.

    crops: (5, S, W) image states of the face parts in the order of `PARTS`, zero where missing.
    valid: (5,) bool. states: (S, W) image states of the portrait. embedding: (E,) unit length.
    """

    crops: Tensor
    valid: Tensor
    states: Tensor
    embedding: Tensor
    faces: tuple[Face, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that were seen."""
        return tuple(part for part, valid in zip(PARTS, self.valid.tolist(), strict=True) if valid)


def identity_of(
    pictures: Sequence[Image.Image],
    detector: FaceDetector,
    face_encoder: FaceEncoder,
    image_encoder: ImageEncoder,
    box: tuple[float, float, float, float] | None = None,
) -> Identity:
    """Find the face on each picture of one person and describe it.

    box: (x0, y0, x1, y1) px of the face on the first picture, given by hand.
    Raises `FaceError` when a picture has no face, several, or one that leaves the picture.
    """
    faces = [find_one_face(picture, detector, box if i == 0 else None) for i, picture in enumerate(pictures)]
    return identity_of_faces(pictures, faces, face_encoder, image_encoder)


@torch.no_grad()
def identity_of_faces(
    pictures: Sequence[Image.Image],
    faces: Sequence[Face],
    face_encoder: FaceEncoder,
    image_encoder: ImageEncoder,
) -> Identity:
    """The same with known faces, one a picture.

    Each part comes from the largest face that shows it, the portrait from the largest face; the
    identity embedding is the normalised mean over all pictures.
    """
    embeddings = np.asarray(face_encoder([align_arcface(p, f) for p, f in zip(pictures, faces, strict=True)]))
    mean = torch.from_numpy(embeddings.astype(np.float32)).mean(0)
    ranked = sorted(zip(pictures, faces, strict=True), key=lambda pair: -pair[1].size_px)
    found: dict[str, Image.Image] = {}
    for picture, face in ranked:
        for part, crop in part_crops(picture, face, image_encoder.size_px).items():
            if crop is not None:
                found.setdefault(part, crop)
    portrait, _ = portrait_crop(*ranked[0], image_encoder.size_px, PORTRAIT_MARGIN)
    encoded = image_encoder([portrait, *found.values()]).float().cpu()
    crops = torch.zeros(len(PARTS), *encoded.shape[1:])
    for index, part in enumerate(found, start=1):
        crops[PARTS.index(part)] = encoded[index]
    return Identity(
        crops=crops,
        valid=torch.tensor([part in found for part in PARTS]),
        states=encoded[0],
        embedding=torch.nn.functional.normalize(mean, dim=0),
        faces=tuple(faces),
    )


def order_crops(crops: Tensor, parts: Sequence[str], pairing: str) -> tuple[Tensor, Tensor]:
    """Crops in the order in which the text names their parts, and which places are filled.

    crops: (5, S, W) in the order of `PARTS`. parts: named parts in text order, at most five.
    pairing: "names" pairs each word with its own part; "published" gives the words, from left to
    right, the parts in the order of `PARTS`, which swaps eyes and ears (see the folder's README).
    Returns (5, S, W) and (5,) bool.
    """
    named = list(parts) if pairing == "names" else sorted(parts, key=PARTS.index)
    ordered = torch.zeros_like(crops)
    for place, part in enumerate(named):
        ordered[place] = crops[PARTS.index(part)]
    return ordered, torch.arange(len(PARTS)) < len(named)
