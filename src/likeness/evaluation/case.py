"""One row of an evaluation: a painted picture and everything it is measured against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from likeness.sitters.instruct import GROUPS

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Case", "Truth", "touched"]

FOLLOWS: Mapping[str, tuple[str, ...]] = {
    "hat": ("hair", "fringe", "earrings"),
    "hair": ("fringe", "greying", "earrings"),
    "glasses": ("eyes", "gaze", "eyeshadow", "expression"),
    "expression": ("eyes", "gaze"),
    "background": ("light", "light_side"),
    "garment": ("scarf", "necklace"),
}
"""What may change with something else without a fault: hair under a hat, light in another place."""


def touched(asked: Mapping[str, str]) -> set[str]:
    """The kinds of attribute that what is asked for takes along."""
    things = {thing for thing, kinds in GROUPS.items() if any(kind in asked for kind in kinds)}
    found = things | {other for thing in things for other in FOLLOWS.get(thing, ())}
    return {kind for thing in found for kind in GROUPS.get(thing, (thing,))} | found


@dataclass(frozen=True, slots=True)
class Truth:
    """What a picture of a sitter has to show, by kind of attribute (`sitters.attributes`).

    asked: what the words ask for. kept: what they leave as it was; None where that is whatever the source
    shows. A value of `NOT_SHOWN` (`faces.attributes`) is to be absent. pose_deg: yaw, pitch and roll of the
    head. light_deg: azimuth and elevation of the key light. None: nothing is asked of it.
    """

    asked: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] | None = field(default_factory=dict)
    pose_deg: tuple[float, float, float] | None = None
    light_deg: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A painted picture in its context; pictures are PIL RGB.

    id: unique in its evaluation. prompt: what was asked for. references: the pictures identity was
    taken from. profiles: further real pictures of the person, never shown to the method. source: the
    picture to be kept but for what was asked, the photo an edit began from or what the untuned model
    paints from the same seed. groups: what the person belongs to, such as {"skin tone": "dark"}, for
    the table by group. truth: what the picture has to show, where sitters make that known. person: whose
    pictures these are, where a person has several; they do not count as so many people.
    """

    id: str
    image: Image.Image
    prompt: str
    references: tuple[Image.Image, ...]
    profiles: tuple[Image.Image, ...] = ()
    source: Image.Image | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    truth: Truth | None = None
    person: str = ""
