"""Draws sitters: who they are, and everything around them.

Every factor of a scene has its own random stream, made of the seed and the factor's name, so a
change to how one factor is drawn leaves all others as they were. A scene drawn from a seed is the
same everywhere and forever: `sample_scene(seed)`.

Seeds are split once, here. Training draws people from `TRAINING_SEEDS` only; `HELD_OUT_SEEDS` are
never trained on by anything; `JUDGE_SEEDS` train the recogniser that judges likeness and nothing
that it judges.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Collection
from typing import Literal, get_args

import numpy as np

from likeness.errors import InputError
from likeness.sitters.factors import (
    draw_accessories,
    draw_background,
    draw_camera,
    draw_clothes,
    draw_expression,
    draw_hair,
    draw_light,
    draw_makeup,
    draw_pose,
)
from likeness.sitters.parameters import Identity, Scene
from likeness.sitters.people import sample_person

__all__ = [
    "EDITABLE",
    "FACTORS",
    "HELD_OUT_SEEDS",
    "JUDGE_SEEDS",
    "TRAINING_SEEDS",
    "PairKind",
    "edited",
    "partner",
    "sample_identity",
    "sample_scene",
    "split_of",
    "straightened",
    "with_other_light",
    "with_other_view",
    "with_same_person",
    "with_same_scene",
]

TRAINING_SEEDS = range(8_000_000)
JUDGE_SEEDS = range(8_000_000, 10_000_000)
HELD_OUT_SEEDS = range(10_000_000, 10_010_000)

PairKind = Literal["view", "light", "everything"]
"""What differs between the two pictures of a pair of one person."""

EDITABLE = ("hair", "expression", "clothes", "accessories", "makeup", "background", "light")
"""Factors of `edited`: what an instruction may change of a portrait whose person and pose stay."""

FACTORS = tuple(f.name for f in dataclasses.fields(Scene) if f.name not in ("identity", "seed"))
"""Everything in a scene but the person, in the order of `Scene`."""


def split_of(seed: int) -> str:
    """ "training", "judge" or "held out": which range a person's seed lies in; "other" for none."""
    ranges = {"training": TRAINING_SEEDS, "judge": JUDGE_SEEDS, "held out": HELD_OUT_SEEDS}
    return next((name for name, seeds in ranges.items() if seed in seeds), "other")


def stream(seed: int, factor: str) -> np.random.Generator:
    """The random stream of one factor of the scene with this seed."""
    # A seed past 32 bits fills several words; the factor's word, never 0, keeps lists apart.
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(factor.encode()) | 1]))


def sample_identity(seed: int) -> Identity:
    """The person with this seed: wide in shape, with the correlations that people have."""
    return sample_person(stream(_checked(seed), "identity"))


def sample_scene(seed: int, identity: Identity | None = None) -> Scene:
    """The whole scene with this seed, of its own person or of the given one.

    Raises InputError for a negative seed.
    """
    person = sample_identity(seed) if identity is None else identity
    _checked(seed)
    hair = draw_hair(stream(seed, "hair"), person)
    clothes = draw_clothes(stream(seed, "clothes"))
    background = draw_background(stream(seed, "background"), clothes, hair)
    return Scene(
        identity=person,
        hair=hair,
        expression=draw_expression(stream(seed, "expression")),
        pose=draw_pose(stream(seed, "pose")),
        camera=draw_camera(stream(seed, "camera")),
        light=draw_light(stream(seed, "light"), background),
        clothes=clothes,
        accessories=draw_accessories(stream(seed, "accessories"), person, clothes, hair),
        makeup=draw_makeup(stream(seed, "makeup"), person),
        background=background,
        seed=seed,
    )


def with_same_person(scene: Scene, seed: int, keep: Collection[str] = ()) -> Scene:
    """Another picture of the scene's person: everything else new, but the factors in `keep`.

    Two people given the same seed get different pictures. The new scene's `seed` is
    `sample_scene`'s for this person: `sample_scene(new.seed, new.identity) == new` when nothing
    is kept. Raises InputError naming an unknown factor.
    """
    unknown = sorted(set(keep) - set(FACTORS))
    if unknown:
        raise InputError(f"There is no factor {unknown[0]!r} to keep; there are: {', '.join(FACTORS)}.")
    new = sample_scene(_picture_seed(scene.identity, seed), scene.identity)
    return dataclasses.replace(new, **{name: getattr(scene, name) for name in keep})


def with_same_scene(scene: Scene, seed: int) -> Scene:
    """The same picture with another person in it, hair as worn included.

    The person comes from `sample_identity` of the first of seed, seed + 1 000 000 007 ... who would wear this
    scene's beard or bald head. `seed` of the new scene is None: no single seed makes it.
    """
    manly = scene.hair.beard != "none" or scene.hair.kind == "bald"
    person = sample_identity(seed)
    for attempt in range(1, 64):
        if not manly or person.masculinity > 0.6:
            break
        person = sample_identity(seed + attempt * 1_000_000_007)
    return dataclasses.replace(scene, identity=person, seed=None)


def with_other_view(scene: Scene, seed: int) -> Scene:
    """The same moment seen from elsewhere: only pose and camera are new."""
    return with_same_person(scene, seed, keep=[name for name in FACTORS if name not in ("pose", "camera")])


def straightened(scene: Scene) -> Scene:
    """The same moment as a studio portrait: head nearly straight, centred, at nearly one size, no glasses.

    What differs between pictures is kept at a fraction, so yaw stays within 15 degrees. `seed` of the new
    scene is None: no single seed makes it.
    """
    pose, camera = scene.pose, scene.camera
    return dataclasses.replace(
        scene,
        pose=dataclasses.replace(
            pose, yaw_deg=0.3 * pose.yaw_deg, pitch_deg=0.4 * pose.pitch_deg, roll_deg=0.4 * pose.roll_deg
        ),
        camera=dataclasses.replace(
            camera,
            field_of_view_deg=22 + 0.25 * (camera.field_of_view_deg - 22),
            zoom=1.05 + 0.25 * (camera.zoom - 1),
            shift_x=0.15 * camera.shift_x,
            shift_y=0.2 * camera.shift_y,
            elevation_deg=1 + 0.3 * (camera.elevation_deg - 1),
        ),
        accessories=dataclasses.replace(scene.accessories, glasses="none"),
        seed=None,
    )


def edited(scene: Scene, seed: int, factors: int = 1) -> Scene:
    """The same person in the same pose with that many of `EDITABLE` drawn anew, chosen by `seed`.

    `seed` of the new scene is None: no single seed makes it.
    Raises InputError for more factors than there are, or none.
    """
    if not 1 <= factors <= len(EDITABLE):
        raise InputError(f"An edit changes 1 to {len(EDITABLE)} factors, not {factors}.")
    chosen = stream(_checked(seed), "edit").choice(len(EDITABLE), factors, replace=False)
    other = with_same_person(scene, seed)
    changes = {EDITABLE[index]: getattr(other, EDITABLE[index]) for index in chosen}
    return dataclasses.replace(scene, **changes, seed=None)


def with_other_light(scene: Scene, seed: int) -> Scene:
    """The same moment in another light of a kind that fits the place: only the light is new."""
    picture_seed = _picture_seed(scene.identity, seed)
    light = draw_light(stream(picture_seed, "light"), scene.background, unlike=scene.light.kind)
    return dataclasses.replace(scene, light=light, seed=picture_seed)


def partner(scene: Scene, seed: int, kind: PairKind) -> Scene:
    """The other half of a pair of pictures of one person. Raises InputError for an unknown kind."""
    if kind == "view":
        return with_other_view(scene, seed)
    if kind == "light":
        return with_other_light(scene, seed)
    if kind == "everything":
        return with_same_person(scene, seed)
    raise InputError(f"A pair differs by {' or '.join(get_args(PairKind))}, not by {kind!r}.")


def _checked(seed: int) -> int:
    if seed < 0:
        raise InputError(f"A sitter's seed is {seed}, but must be 0 or more.")
    return seed


def _picture_seed(identity: Identity, seed: int) -> int:
    """Seed of a further picture: over 2^52, where no first picture's is, and exact in JSON (2^53)."""
    person = zlib.crc32(repr(dataclasses.astuple(identity)).encode())
    words = np.random.SeedSequence([_checked(seed), person | 1]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(12)) | 1 << 52
