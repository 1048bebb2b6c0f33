"""How each factor of a scene is drawn: which hair, clothes and light, how often, and what goes with what."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar, get_args

import numpy as np

from likeness.errors import InputError
from likeness.sitters.palette import BACKDROP, CLOTH, DYES, EYESHADOW, FRAMES, LIPSTICK
from likeness.sitters.parameters import (
    Accessories,
    Background,
    BackgroundKind,
    BeardKind,
    Camera,
    Clothes,
    Expression,
    ExpressionKind,
    GarmentKind,
    GlassesKind,
    HairKind,
    Hairstyle,
    HatKind,
    Identity,
    Light,
    LightKind,
    Makeup,
    NecklaceKind,
    PatternKind,
    Pose,
)

__all__ = [
    "COVERS_EARS",
    "LIGHTS_OF",
    "draw_accessories",
    "draw_background",
    "draw_camera",
    "draw_clothes",
    "draw_expression",
    "draw_hair",
    "draw_light",
    "draw_makeup",
    "draw_pose",
]

COVERS_EARS = ("bob", "long hair", "wavy hair", "curls")
"""Hairstyles under which no earring shows."""

Choice = TypeVar("Choice", bound=str)


def choose(rng: np.random.Generator, weights: Mapping[Choice, float]) -> Choice:
    """One key, drawn with its weight. Always takes exactly one number from the stream."""
    possible = {key: weight for key, weight in weights.items() if weight > 0}
    u = float(rng.random()) * sum(possible.values())
    *first, last = possible
    for key in first:
        u -= possible[key]
        if u < 0:
            return key
    return last


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A float in [low, high). Always takes exactly one number from the stream."""
    return float(rng.uniform(low, high))


def colour_unlike(rng: np.random.Generator, table: Collection[str], *avoid: str) -> str:
    """A colour of the table that is none of `avoid`."""
    names: list[str] = list(table)
    for i in map(int, rng.permutation(len(names))):
        if names[i] not in avoid:
            return names[i]
    raise InputError(f"No colour is left besides {', '.join(avoid)}.")


def draw_hair(rng: np.random.Generator, person: Identity) -> Hairstyle:
    """A hairstyle this person may wear, with its fringe, dye and beard."""
    man = person.masculinity
    curly = 0.5 + 2.0 * person.skin_tone**1.5
    by_kind: dict[HairKind, float] = {
        "bald": 0.08 if man > 0.6 else 0.0,
        "buzz cut": 0.02 + 0.09 * man + 0.05 * man * person.skin_tone,
        "short hair": 0.06 + 0.16 * man,
        "side part": 0.03 + 0.15 * man,
        "quiff": 0.02 + 0.12 * man,
        "bob": 0.03 + 0.14 * (1 - man),
        "long hair": 0.04 + 0.16 * (1 - man),
        "wavy hair": 0.04 + 0.16 * (1 - man),
        "bun": 0.03 + 0.10 * (1 - man),
        "ponytail": 0.02 + 0.10 * (1 - man),
        "pigtails": 0.07 * (1 - man) * (1.2 if person.age_years < 45 else 0.5),
        "curls": 0.07 * curly,
        "afro": 0.05 * curly,
    }
    kind = choose(rng, by_kind)
    dyed, dye = rng.random() < 0.07 and kind != "bald", choose(rng, dict.fromkeys(DYES, 1.0))
    fringe, fringe_depth = rng.random(), uniform(rng, 0.35, 1.0)
    fringe_share = {
        "bob": 0.6, "long hair": 0.35, "pigtails": 0.4, "short hair": 0.4, "wavy hair": 0.2, "curls": 0.2,
        "bun": 0.15, "ponytail": 0.25,
    }.get(kind, 0.0)  # fmt: skip
    parting = uniform(rng, 0.12, 0.36) * (1 if rng.random() < 0.5 else -1)
    wave = {"wavy hair": uniform(rng, 0.5, 1.0), "long hair": uniform(rng, 0.0, 0.3)}.get(
        kind, uniform(rng, 0.0, 0.4)
    )
    bearded = rng.random() < 0.45
    beards: dict[BeardKind, float] = {
        "stubble": 0.3, "moustache": 0.14, "goatee": 0.14, "short beard": 0.22, "full beard": 0.2,
    }  # fmt: skip
    beard = choose(rng, beards)
    return Hairstyle(
        kind=kind,
        colour=dye if dyed else person.hair_colour,
        grey=0.0 if dyed else person.greying,
        length=uniform(rng, 0, 1),
        volume=uniform(rng, 0, 1),
        wave=wave,
        parting=parting,
        fringe=fringe_depth if fringe < fringe_share else 0.0,
        beard=beard if bearded and man > 0.6 else "none",
        beard_length=uniform(rng, 0, 1),
    )


def draw_expression(rng: np.random.Generator) -> Expression:
    """What the face does, and how strongly."""
    kinds: dict[ExpressionKind, float] = {
        "neutral": 22, "smiling": 24, "grinning": 14, "laughing": 8, "surprised": 7, "frowning": 7,
        "sad": 5, "winking": 4, "eyes closed": 4, "smirking": 5,
    }  # fmt: skip
    kind = choose(rng, kinds)
    strength = uniform(rng, 0.5, 1)
    away = rng.random() < 0.4
    # Well off the camera or at it: a gaze between the two is neither in words nor to the eye.
    angle, reach = uniform(rng, 0, 2 * np.pi), uniform(rng, 0.55, 1)
    eye = "left" if rng.random() < 0.5 else "right"
    return Expression(
        kind=kind,
        strength=strength,
        gaze_right=0.35 * reach * float(np.cos(angle)) if away else 0.0,
        gaze_up=0.2 * reach * float(np.sin(angle)) if away else 0.0,
        winking_eye="left" if eye == "left" else "right",
    )


def draw_pose(rng: np.random.Generator) -> Pose:
    """Where head and gaze are turned."""
    wide = rng.random() < 0.15
    side = 1 if rng.random() < 0.5 else -1
    usual, tail = uniform(rng, 0, 35), uniform(rng, 35, 50)
    return Pose(
        yaw_deg=side * (tail if wide else usual),
        pitch_deg=float(np.clip(rng.normal(0, 6.5), -20, 20)),
        roll_deg=float(np.clip(rng.normal(0, 4.5), -15, 15)),
        body_follow=uniform(rng, 0.1, 0.7),
    )


def draw_camera(rng: np.random.Generator) -> Camera:
    """How the head is framed."""
    return Camera(
        field_of_view_deg=uniform(rng, 14, 32),
        zoom=uniform(rng, 0.85, 1.12),
        shift_x=uniform(rng, -0.1, 0.1),
        shift_y=uniform(rng, -0.08, 0.08),
        elevation_deg=uniform(rng, -7, 10),
    )


LIGHTS_OF: Mapping[BackgroundKind, Mapping[LightKind, float]] = {
    "studio": {"studio": 0.4, "soft": 0.4, "rim": 0.2},
    "room": {"window": 0.6, "soft": 0.4},
    "beach": {"sunset": 0.4, "noon": 0.35, "soft": 0.25},
    "forest": {"soft": 0.6, "noon": 0.4},
    "city": {"noon": 0.3, "cool": 0.25, "sunset": 0.25, "soft": 0.2},
    "lights": {"neon": 0.45, "rim": 0.3, "cool": 0.25},
}
"""Which light belongs to which place, with its share."""

# Ranges of |azimuth| and elevation in degrees.
LIGHT_ANGLES: Mapping[LightKind, tuple[float, float, float, float]] = {
    "soft": (5, 45, 25, 55), "window": (40, 78, 15, 40), "sunset": (25, 75, 7, 22), "noon": (5, 55, 48, 70),
    "rim": (30, 75, 20, 45), "cool": (10, 65, 20, 55), "studio": (20, 55, 25, 50), "neon": (35, 78, 10, 35),
}  # fmt: skip


def draw_light(rng: np.random.Generator, background: Background, unlike: LightKind | None = None) -> Light:
    """A light that fits the place, of another kind than `unlike`."""
    kinds = {kind: share for kind, share in LIGHTS_OF[background.kind].items() if kind != unlike}
    kind = choose(rng, kinds)
    near, far, low, high = LIGHT_ANGLES[kind]
    side = 1 if rng.random() < 0.5 else -1
    return Light(
        kind=kind,
        azimuth_deg=side * uniform(rng, near, far),
        elevation_deg=uniform(rng, low, high),
        strength=uniform(rng, 0.8, 1.2),
    )


# Pattern and ground that can be told apart at 128 px.
CONTRAST: Mapping[str, tuple[str, ...]] = {
    "red": ("white", "navy", "yellow", "black"), "orange": ("white", "navy", "brown", "black"),
    "yellow": ("white", "navy", "red", "green", "black"), "green": ("white", "yellow", "navy", "black"),
    "teal": ("white", "navy", "orange", "yellow"), "blue": ("white", "yellow", "orange", "black"),
    "navy": ("white", "red", "pink", "yellow", "beige"), "purple": ("white", "yellow", "pink", "black"),
    "pink": ("white", "red", "navy", "purple"), "brown": ("white", "beige", "orange", "yellow"),
    "beige": ("brown", "navy", "red", "green"), "grey": ("white", "black", "red", "navy"),
    "black": ("white", "red", "yellow", "grey"), "white": ("black", "red", "blue", "green", "navy"),
}  # fmt: skip


def draw_clothes(rng: np.random.Generator) -> Clothes:
    """A garment with its colours and pattern."""
    garments: dict[GarmentKind, float] = dict.fromkeys(get_args(GarmentKind), 1.0)
    garment = choose(rng, garments)
    colour = choose(rng, dict.fromkeys(CLOTH, 1.0))
    patterned = rng.random() < 0.5
    patterns: dict[PatternKind, float] = dict.fromkeys(
        ("striped", "pinstriped", "checked", "polka-dot", "camouflage"), 1.0
    )
    pattern = choose(rng, patterns)
    plain_only = garment in ("hoodie", "jacket")
    pattern_colour = choose(rng, dict.fromkeys(CONTRAST[colour], 1.0))
    inner = colour_unlike(rng, CLOTH, colour, pattern_colour)
    scale = uniform(rng, 2.2, 4.6)
    logo = 1 + int(rng.integers(3)) if rng.random() < 0.25 else 0
    plain = plain_only or not patterned
    return Clothes(
        garment=garment,
        colour=colour,
        pattern="plain" if plain else pattern,
        pattern_colour=pattern_colour,
        pattern_scale=scale,
        inner_colour=inner,
        logo=logo if plain and garment in ("t-shirt", "hoodie") else 0,
    )


def draw_accessories(
    rng: np.random.Generator, person: Identity, clothes: Clothes, hair: Hairstyle
) -> Accessories:
    """Glasses, hat, earrings and necklace that fit the person and the clothes."""
    womanly = 1 - person.masculinity
    hats: dict[HatKind, float] = {
        "none": 0.78,
        "cap": 0.07,
        "beanie": 0.06,
        "bobble hat": 0.04,
        "sun hat": 0.05,
    }
    hat = choose(rng, hats)
    eyewear: dict[GlassesKind, float] = {
        "none": 0.65,
        "glasses": 0.16,
        "round glasses": 0.12,
        "sunglasses": 0.07,
    }
    glasses = choose(rng, eyewear)
    scarf = rng.random() < 0.09 and clothes.garment not in ("turtleneck", "hoodie")
    if scarf and hat != "none" and glasses == "sunglasses":
        scarf = False  # nothing of the person would be left to see
    frames = choose(rng, dict.fromkeys(FRAMES, 1.0))
    hat_colour = choose(rng, dict.fromkeys(CLOTH, 1.0))
    trim = hat_colour if rng.random() < 0.5 else colour_unlike(rng, CLOTH, hat_colour)
    covered = hair.kind in COVERS_EARS
    earring = rng.random() < 0.06 + 0.75 * womanly**1.5 and not covered
    hoops = rng.random() < 0.5
    necklaced = rng.random() < 0.05 + 0.4 * womanly**1.5
    necklaces: dict[NecklaceKind, float] = {"chain": 0.4, "beads": 0.25, "pendant": 0.35}
    necklace = choose(rng, necklaces)
    open_neck = clothes.garment in ("t-shirt", "v-neck", "scoop top") and not scarf
    return Accessories(
        glasses=glasses,
        glasses_colour=frames,
        glasses_width=uniform(rng, 0.19, 0.26),
        glasses_height=uniform(rng, 0.13, 0.21),
        hat=hat,
        hat_colour=hat_colour,
        hat_trim_colour=trim,
        earrings=("hoops" if hoops else "studs") if earring else "none",
        necklace=necklace if necklaced and open_neck else "none",
        metal="gold" if rng.random() < 0.6 else "silver",
        scarf=bool(scarf),
        scarf_colour=colour_unlike(rng, CLOTH, clothes.colour),
    )


def draw_makeup(rng: np.random.Generator, person: Identity) -> Makeup:
    """Lipstick and eyeshadow."""
    womanly = 1 - person.masculinity
    lipstick = rng.random() < 0.015 + 0.5 * womanly**1.5
    eyeshadow = rng.random() < 0.01 + 0.35 * womanly**1.5
    lip_strength, lid_strength = uniform(rng, 0.5, 1), uniform(rng, 0.5, 1)
    return Makeup(
        lipstick=lip_strength if lipstick else 0.0,
        lipstick_colour=choose(rng, dict.fromkeys(LIPSTICK, 1.0)),
        eyeshadow=lid_strength if eyeshadow else 0.0,
        eyeshadow_colour=choose(rng, dict.fromkeys(EYESHADOW, 1.0)),
    )


# Backdrops in which hair of a colour would be lost.
_SWALLOWS: Mapping[str, tuple[str, ...]] = {
    "black": ("black", "navy"), "dark brown": ("black", "brown"), "brown": ("brown",), "chestnut": ("brown",),
    "auburn": ("brown",), "red": ("orange",), "blond": ("beige", "yellow"), "light blond": ("beige", "white"),
    "grey": ("grey",), "white": ("white",), "blue": ("blue",), "pink": ("pink",), "green": ("green",),
    "purple": ("purple",),
}  # fmt: skip


def draw_background(rng: np.random.Generator, clothes: Clothes, hair: Hairstyle) -> Background:
    """A place in colours that clothes and hair stand out from."""
    kinds: dict[BackgroundKind, float] = {
        "studio": 0.28, "room": 0.18, "beach": 0.14, "forest": 0.13, "city": 0.14, "lights": 0.13,
    }  # fmt: skip
    kind = choose(rng, kinds)
    colour = colour_unlike(rng, BACKDROP, clothes.colour, *_SWALLOWS.get(hair.colour, ()))
    return Background(
        kind=kind,
        colour=colour,
        second_colour=colour_unlike(rng, BACKDROP, colour),
        seed=int(rng.integers(100_000)),
        blur=uniform(rng, 0.010, 0.032),
        horizon=uniform(rng, -0.06, 0.06),
    )
