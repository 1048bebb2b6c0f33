"""From two pictures to what the nets read, in the same way for training and for painting."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from PIL import Image, ImageOps
from torch import Generator, Tensor

from likeness.diffusion.inpaint import Patch
from likeness.diffusion.pixels import to_pixels
from likeness.diffusion.prompts import encode_prompts
from likeness.faces.align import align_arcface
from likeness.faces.parts import head_mask
from likeness.methods.ic_portrait.pairs import joined, sample_pixels

if TYPE_CHECKING:
    from likeness.diffusion.image_encoder import ImageEncoder
    from likeness.diffusion.load import Base
    from likeness.faces.embed import FaceEncoder
    from likeness.types import Face

__all__ = [
    "Pair",
    "condition_of",
    "head_of",
    "identity_of",
    "pair_of",
    "rows_before",
    "rows_with",
    "told_rows",
    "without_person",
]

PROMPTED = ("mini",)
"""Families whose UNet reads the empty prompt's rows before the embedding: so small a one, that never read a
row standing alone, predicts noise much worse under one."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A target and a profile as both nets read them.

    pixels_target, pixels_profile: (B, 3, H, W) in [-1, 1]. latents_target, latents_profile: (B, C, h, w),
    scaled. rows: (B, R + 1, D), `rows_with` the profile's embedding in place of text. told: (B, S, D), what
    the appearance net reads in its place, `told_rows`.
    """

    pixels_target: Tensor
    pixels_profile: Tensor
    latents_target: Tensor
    latents_profile: Tensor
    rows: Tensor
    told: Tensor


def head_of(picture: Image.Image, face: Face, base: Base, size_px: tuple[int, int]) -> Image.Image:
    """A profile's head with what is around it, framed as its target is, `size_px` (width, height) large."""
    patch = Patch.around(picture, head_mask(face, picture.size), base.size_px, base.unit_px)
    return ImageOps.fit(patch.image, size_px, Image.Resampling.LANCZOS)


def rows_before(base: Base) -> Tensor:
    """What stands before the embedding, (1, R, D): nothing, or the empty prompt's rows (`PROMPTED`)."""
    if base.family in PROMPTED:
        return encode_prompts(base, [""]).rows
    return torch.zeros(1, 0, base.text_width, device=base.device, dtype=base.dtype)


def rows_with(before: Tensor, embedding: Tensor) -> Tensor:
    """(1, R, D) and (B, D) -> what the UNet reads in place of text, (B, R + 1, D)."""
    return torch.cat([before.to(embedding).expand(len(embedding), -1, -1), embedding[:, None]], dim=1)


def told_rows(rows: Tensor, identity: Tensor | None) -> Tensor:
    """What the appearance net reads: `rows`, or with an identity (B, E) the profile's embedding and that.

    The identity, of unit length, is cut into rows as wide as text and as large, which the net's own
    cross-attention learns to read, as that of InstantID's IdentityNet (arXiv 2401.07519) does. Among the rows
    of an empty prompt they would hardly be heard.
    """
    if identity is None:
        return rows
    length, width = identity.shape[1], rows.shape[2]
    own = identity.to(rows) * math.sqrt(length)
    own = torch.nn.functional.pad(own, (0, -length % width)).unflatten(1, (-1, width))
    return torch.cat([rows[:, -1:], own], dim=1)


def without_person(rows: Tensor) -> Tensor:
    """The same rows with an embedding of zeros, for classifier-free guidance."""
    return torch.cat([rows[:, :-1], torch.zeros_like(rows[:, -1:])], dim=1)


def identity_of(picture: Image.Image, face: Face, encoder: FaceEncoder) -> Tensor:
    """The embedding of a face on a picture, (E,) of unit length."""
    return torch.from_numpy(encoder([align_arcface(picture, face)])[0])


@torch.no_grad()
def pair_of(
    base: Base,
    encoder: ImageEncoder,
    target: Image.Image,
    profile: Image.Image,
    identity: Tensor | None = None,
) -> Pair:
    """Two pictures of one size, RGB, as a pair of one.

    identity: (E,) of the profile, where the nets read it.
    """
    pixels = [to_pixels(picture) for picture in (target, profile)]
    latents = [base.encode(one)[0].to(base.dtype) for one in pixels]
    embedding = encoder.embeds(encoder.pixels(profile)[None])
    rows = rows_with(rows_before(base), embedding.to(base.device, base.dtype))
    return Pair(
        pixels[0].to(base.device, base.dtype),
        pixels[1].to(base.device, base.dtype),
        latents[0],
        latents[1],
        rows,
        told_rows(rows, None if identity is None else identity[None]),
    )


def condition_of(
    pixels_target: Tensor,
    pixels_profile: Tensor,
    shares: Tensor,
    generator: Generator,
    swapped: Tensor | None = None,
) -> Tensor:
    """c of eq. 1, [F(z, n) | z'], as a control picture (B, 3, H, 2 W) in [0, 1]; pictures in [-1, 1]."""
    target, profile = ((pixels + 1) / 2 for pixels in (pixels_target, pixels_profile))
    return joined(sample_pixels(target, shares, generator), profile, swapped)
