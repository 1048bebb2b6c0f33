"""One row of an evaluation: a painted picture and everything it is measured against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Case"]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A painted picture in its context; pictures are PIL RGB.

    id: unique in its evaluation. prompt: what was asked for. references: the pictures identity was
    taken from. profiles: further real pictures of the person, never shown to the method. source: the
    picture to be kept but for what was asked, the photo an edit began from or what the untuned model
    paints from the same seed. groups: what the person belongs to, such as {"skin tone": "dark"}, for
    the table by group.
    """

    id: str
    image: Image.Image
    prompt: str
    references: tuple[Image.Image, ...]
    profiles: tuple[Image.Image, ...] = ()
    source: Image.Image | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
