"""Words for sitters: what can be seen, captions of it, and instructions from one picture to another.

Left and right are always as seen in the picture: a head "turned to the left" shows its face
towards the picture's left edge. Words only tell what the picture shows: a haircut hidden under a
hat or eyes behind sunglasses are not spoken of.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Mapping
from functools import cache

from likeness.errors import InputError
from likeness.sitters import phrases as say
from likeness.sitters.describe import Length, describe
from likeness.sitters.factors import COVERS_EARS
from likeness.sitters.instruct import instruct
from likeness.sitters.palette import BACKDROP, CLOTH, EYES, EYESHADOW, FRAMES, HAIR, LIPSTICK, METAL
from likeness.sitters.parameters import Scene

__all__ = ["attributes", "captions", "instructions", "plain_words", "vocabulary"]

_LOGOS = ("", "ring", "square", "triangle")
_SHORT_UNDER_HAT = ("buzz cut", "short hair", "side part", "quiff")


def attributes(scene: Scene, hidden: bool = False) -> dict[str, str]:
    """What can be seen in the picture, as words by name, e.g. `{"hat": "beanie", "hat_colour": "red", ...}`.

    A name is absent when there is nothing to see (no beard, eyes behind sunglasses). With `hidden`,
    what is covered is listed too. Angles become words at 10 and 27 degrees of yaw and 7 of pitch and roll.
    """
    found = {**_person(scene), **_hair(scene, hidden), **_action(scene, hidden), **_worn(scene, hidden)}
    background = scene.background
    found["background"] = background.kind
    if background.kind in ("studio", "room"):
        found["background_colour"] = background.colour
    found["light"] = scene.light.kind
    if scene.light.kind not in ("rim", "neon") and abs(scene.light.azimuth_deg) > 22:
        found["light_side"] = "right" if scene.light.azimuth_deg > 0 else "left"
    zoom = scene.camera.zoom
    found["framing"] = "close-up" if zoom > 1.04 else "portrait" if zoom > 0.93 else "head and shoulders"
    return found


def _person(scene: Scene) -> dict[str, str]:
    man, age, tone = scene.identity.masculinity, scene.identity.age_years, scene.identity.skin_tone
    ages = ((30, "young"), (45, "adult"), (60, "middle-aged"), (72, "older"))
    tones = ((0.28, "light"), (0.5, "tan"), (0.74, "brown"))
    found = {
        "person": "woman" if man < 0.42 else "man" if man > 0.58 else "person",
        "age": next((word for end, word in ages if age < end), "elderly"),
        "skin": next((word for end, word in tones if tone < end), "dark"),
    }
    if scene.identity.freckles > 0.4:
        found["freckles"] = "freckles"
    return found


def _hair(scene: Scene, hidden: bool) -> dict[str, str]:
    hair, hat = scene.hair, scene.accessories.hat != "none" and not hidden
    found: dict[str, str] = {}
    if hair.kind != "bald":
        kind: str = hair.kind
        if hat and kind in _SHORT_UNDER_HAT:
            kind = "short hair"
        elif hat and kind == "bun":
            kind = "hair"
        found = {"hair": kind, "hair_colour": hair.colour}
        if hair.grey > 0.2:
            found["greying"] = "greying"
        if hair.fringe > 0 and not hat:
            found["fringe"] = "fringe"
    elif not hat:
        found["hair"] = "bald"
    if hair.beard != "none":
        found["beard"] = hair.beard
    return found


def _action(scene: Scene, hidden: bool) -> dict[str, str]:
    expression, pose = scene.expression, scene.pose
    found: dict[str, str] = {}
    shaded = scene.accessories.glasses == "sunglasses" and not hidden
    closed = expression.kind == "eyes closed"
    if not (shaded and expression.kind in ("winking", "eyes closed")):
        found["expression"] = expression.kind
        if expression.kind == "winking":
            found["winking_eye"] = expression.winking_eye
    if not shaded and not closed:
        found["eyes"] = scene.identity.eye_colour
        right, up = _gaze(scene)
        if max(abs(right), abs(up)) < 0.3:
            found["gaze"] = "camera"
        elif abs(right) > abs(up):
            found["gaze"] = "right" if right > 0 else "left"
        else:
            found["gaze"] = "up" if up > 0 else "down"
    side = "right" if pose.yaw_deg > 0 else "left"
    yaw = abs(pose.yaw_deg)
    found["turn"] = "camera" if yaw < 10 else f"slightly {side}" if yaw < 27 else side
    if abs(pose.pitch_deg) > 7:
        found["nod"] = "up" if pose.pitch_deg > 0 else "down"
    if abs(pose.roll_deg) > 7:
        found["tilt"] = "right" if pose.roll_deg > 0 else "left"
    return found


def _gaze(scene: Scene) -> tuple[float, float]:
    """How far the eyes look past the camera to the right and up, as shares of the most they are asked to.

    Eyes turn no further than the renderer lets them, so a head turned right cannot look far to the left.
    """
    expression, pose = scene.expression, scene.pose
    yaw, pitch, roll = (math.radians(v) for v in (pose.yaw_deg, pose.pitch_deg, pose.roll_deg))
    across, level = (
        -math.sin(yaw),
        -math.cos(yaw) * math.sin(pitch),
    )  # the camera's direction, before the roll
    toward_x = across * math.cos(roll) - level * math.sin(roll)
    toward_y = across * math.sin(roll) + level * math.cos(roll)
    x = min(max(0.8 * toward_x + expression.gaze_right, -0.5), 0.5) - max(min(0.8 * toward_x, 0.5), -0.5)
    y = min(max(0.8 * toward_y + expression.gaze_up, -0.3), 0.4) - max(min(0.8 * toward_y, 0.4), -0.3)
    return x / 0.35, y / 0.2


def _worn(scene: Scene, hidden: bool) -> dict[str, str]:
    clothes, worn, makeup = scene.clothes, scene.accessories, scene.makeup
    found: dict[str, str] = {
        "garment": clothes.garment,
        "garment_colour": clothes.colour,
        "pattern": clothes.pattern,
    }
    if clothes.pattern != "plain":
        found["pattern_colour"] = clothes.pattern_colour
    if clothes.garment == "jacket":
        found["inner_colour"] = clothes.inner_colour
    if clothes.logo:
        found["logo"] = _LOGOS[clothes.logo]
    if worn.glasses != "none":
        found |= {"glasses": worn.glasses, "glasses_colour": worn.glasses_colour}
    if worn.hat != "none":
        found |= {"hat": worn.hat, "hat_colour": worn.hat_colour}
        if worn.hat in say.TRIM and worn.hat_trim_colour != worn.hat_colour:
            found["hat_trim_colour"] = worn.hat_trim_colour
    if worn.earrings != "none" and (hidden or scene.hair.kind not in COVERS_EARS):
        found |= {"earrings": worn.earrings, "earrings_metal": worn.metal}
    if worn.necklace != "none":
        found |= {"necklace": worn.necklace, "necklace_metal": worn.metal}
    if worn.scarf:
        found["scarf"] = worn.scarf_colour
    if makeup.lipstick > 0:
        found["lipstick"] = makeup.lipstick_colour
    if makeup.eyeshadow > 0 and (hidden or worn.glasses != "sunglasses"):
        found["eyeshadow"] = makeup.eyeshadow_colour
    return found


def captions(scene: Scene, count: int, seed: int) -> list[str]:
    """`count` captions of one picture, of all lengths in turn: full, tags, long, short, medium, full ...

    "full" tells everything in `attributes`, in several sentences; tags are words between commas;
    the others tell part of it in one to three sentences. The same arguments give the same words.

    Raises InputError when count is under 1.
    """
    if count < 1:
        raise InputError(f"{count} captions were asked for, but it must be 1 or more.")
    order: tuple[Length, ...] = ("full", "tags", "long", "short", "medium")
    seen = attributes(scene)
    return [describe(seen, order[i % len(order)], random.Random(f"caption {seed} {i}")) for i in range(count)]


def instructions(before: Scene, after: Scene, seed: int, count: int) -> list[str]:
    """`count` wordings of how to get from one picture of a person to the other.

    Each names every change that can be seen, in a random order, and nothing else. Pictures that
    differ in nothing that has a word get "change nothing".

    Raises InputError for two different people, or when count is under 1.
    """
    if before.identity != after.identity:
        raise InputError(
            "Instructions lead from one picture to another of the same person, but these are two people."
        )
    if count < 1:
        raise InputError(f"{count} instructions were asked for, but it must be 1 or more.")
    whole = attributes(before, hidden=True), attributes(after, hidden=True)
    visible = attributes(before), attributes(after)
    return [instruct(whole, visible, random.Random(f"instruction {seed} {i}")) for i in range(count)]


def vocabulary() -> list[str]:
    """Every word, in small letters and sorted, that a caption or an instruction can hold."""
    colours = [CLOTH, BACKDROP, FRAMES, HAIR, LIPSTICK, EYESHADOW, EYES, METAL]
    tables = [value for name, value in vars(say).items() if name.isupper()]
    texts = [*_texts(tables), *(colour for table in colours for colour in table)]
    return sorted({word for text in texts for word in split_words(re.sub(r"\{\w+\}", " ", text))})


@cache
def plain_words() -> frozenset[str]:
    """`vocabulary` with hyphened words in their parts, as tokenizers read them."""
    return frozenset(part for word in vocabulary() for part in word.split("-"))


def split_words(text: str) -> list[str]:
    """The words of a text in small letters, hyphens kept: what `vocabulary` counts."""
    return re.findall(r"[a-z]+(?:-[a-z]+)*", text.lower())


def _texts(table: object) -> Iterator[str]:
    if isinstance(table, str):
        yield table
    elif isinstance(table, Mapping):
        for value in table.values():
            yield from _texts(value)
    elif isinstance(table, (tuple, list)):
        for value in table:
            yield from _texts(value)
