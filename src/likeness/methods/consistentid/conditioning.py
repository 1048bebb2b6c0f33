"""From reference pictures to tensors, in the same way for training and for painting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from likeness.faces.align import align_arcface, portrait_crop
from likeness.faces.detect import find_one_face
from likeness.faces.parts import part_crops
from likeness.methods.consistentid.config import PARTS

if TYPE_CHECKING:
    from likeness.diffusion.image_encoder import ImageEncoder
    from likeness.faces.detect import FaceDetector
    from likeness.faces.embed import FaceEncoder
    from likeness.types import Face

__all__ = ["Identity", "identity_of", "identity_of_faces", "order_crops"]

PORTRAIT_MARGIN = 0.5
"""Room around the face in the whole picture shown to the image encoder, as a share of the face."""


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
