"""From a scene's named parameters to the colours and lights the renderer reads."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from likeness.sitters import palette
from likeness.sitters.parameters import Identity, Scene

__all__ = ["look"]

Values = dict[str, float]


def look(scene: Scene) -> Values:
    """Every field of `renderer.surface.Surface` but the gaze, which needs the head's geometry."""
    colours: Values = _skin(scene)
    colours.update(_hair_colours(scene))
    colours.update(_cloth_colours(scene))
    colours.update(_background(scene))
    colours.update(_light(scene, colours))
    return colours


def _rgb(prefix: str, colour: NDArray[np.float64]) -> Values:
    return dict(zip((f"{prefix}_r", f"{prefix}_g", f"{prefix}_b"), (float(c) for c in colour), strict=True))


def _skin_colour(p: Identity) -> NDArray[np.float64]:
    position = p.skin_tone * (len(palette.SKIN) - 1)
    i = min(int(position), len(palette.SKIN) - 2)
    ends = [
        palette.linear(palette.SKIN[i][k]) * (1 - position + i)
        + palette.linear(palette.SKIN[i + 1][k]) * (position - i)
        for k in (0, 1)
    ]
    olive = (p.skin_undertone + 1) / 2
    return np.asarray((ends[0] * (1 - olive) + ends[1] * olive) * 0.86)


def _skin(scene: Scene) -> Values:
    p, m = scene.identity, scene.makeup
    skin = _skin_colour(p)
    lips = skin * np.array([0.84, 0.46, 0.46]) + np.array([0.06, 0.0, 0.01])
    lips = (
        lips * (1 - 0.85 * m.lipstick)
        + palette.linear(palette.LIPSTICK[m.lipstick_colour]) * 0.85 * m.lipstick
    )
    return {
        **_rgb("skin", skin),
        **_rgb("lip", lips),
        **_rgb("shadow", palette.linear(palette.EYESHADOW[m.eyeshadow_colour])),
        **_rgb("iris", palette.linear(palette.EYES[p.eye_colour]) * 1.35),
        "darkness": p.skin_tone,
        "blush": p.blush * (1 - 0.5 * p.skin_tone),
        "freckles": p.freckles,
        "mole_x": p.mole_x,
        "mole_y": p.mole_y,
        "mole_r": p.mole_size,
        "mole2_x": p.second_mole_x,
        "mole2_y": p.second_mole_y,
        "mole2_r": p.second_mole_size,
        "age": max(p.age_years - 28, 0) / 57,
        "stubble": 0.8 if scene.hair.beard in ("stubble", "short beard", "full beard") else 0.0,
        "lip_gloss": 0.26 + 0.3 * m.lipstick,
        "eyeshadow": m.eyeshadow,
        "lashes": 0.95 - 0.45 * p.masculinity,
        "iris_size": p.iris_size,
        "pupil": 0.38,
    }


def _hair_colours(scene: Scene) -> Values:
    hair = scene.hair
    colour = palette.linear(palette.HAIR[hair.colour])
    natural = palette.linear(palette.HAIR[scene.identity.hair_colour])
    brow = natural * 0.55 if scene.identity.hair_colour not in ("white", "grey") else natural * 0.45
    return {
        **_rgb("hair", colour),
        **_rgb("beard", natural if hair.colour in palette.DYES else colour),
        **_rgb("brow", brow),
        "hair_grey": hair.grey,
        "hair_shine": 0.55 if hair.kind not in ("curls", "afro", "buzz cut") else 0.25,
        "hair_show": 0.35 if hair.kind == "buzz cut" else 0.0,
    }


def _cloth_colours(scene: Scene) -> Values:
    c, a = scene.clothes, scene.accessories
    patterns = ("plain", "striped", "pinstriped", "checked", "polka-dot", "camouflage")
    jacket = c.garment == "jacket"
    return {
        **_rgb("cloth", palette.linear(palette.CLOTH[c.inner_colour if jacket else c.colour])),
        **_rgb("cloth2", palette.linear(palette.CLOTH[c.pattern_colour])),
        **_rgb("jacket", palette.linear(palette.CLOTH[c.colour])),
        "pattern": 0 if jacket else patterns.index(c.pattern),
        "pattern_f": c.pattern_scale,
        "logo": c.logo if c.pattern == "plain" and not jacket else 0,
        "knitted": float(c.garment == "turtleneck"),
        "buttons": float(c.garment == "shirt"),
        **_rgb("frame", palette.linear(palette.FRAMES[a.glasses_colour])),
        **_rgb("hat", palette.linear(palette.CLOTH[a.hat_colour])),
        **_rgb("trim", palette.linear(palette.CLOTH[a.hat_trim_colour])),
        **_rgb("metal", palette.linear(palette.METAL[a.metal])),
        **_rgb("scarf", palette.linear(palette.CLOTH[a.scarf_colour])),
    }


SKIES = {  # light kind -> (colour at the horizon, colour overhead), linear
    "sunset": ((0.98, 0.48, 0.20), (0.30, 0.20, 0.42)),
    "noon": ((0.66, 0.80, 0.92), (0.10, 0.30, 0.75)),
    "soft": ((0.74, 0.80, 0.84), (0.42, 0.54, 0.68)),
    "cool": ((0.42, 0.52, 0.66), (0.16, 0.24, 0.42)),
}


def _background(scene: Scene) -> Values:
    b = scene.background
    kinds = ("studio", "room", "beach", "forest", "city", "lights")
    first = np.clip(palette.linear(palette.BACKDROP[b.colour]) * 0.80 + 0.035, 0, 1)
    second = np.clip(palette.linear(palette.BACKDROP[b.second_colour]) * 0.5 + 0.03, 0, 1)
    if b.kind == "studio":
        second = first * 0.5
    low, high = SKIES.get(scene.light.kind, SKIES["soft"])
    return {
        "back_kind": kinds.index(b.kind),
        **_rgb("back1", first),
        **_rgb("back2", second),
        **_rgb("sky_low", np.array(low)),
        **_rgb("sky_high", np.array(high)),
        "back_seed": b.seed % 1000,
        "back_blur": b.blur,
        "horizon": b.horizon,
    }


def _direction(azimuth_deg: float, elevation_deg: float) -> NDArray[np.float64]:
    a, e = math.radians(azimuth_deg), math.radians(elevation_deg)
    return np.array([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])


# kind -> key strength and colour, shadow sharpness, fill, rim strength and colour, ambient strength
LIGHTS: dict[
    str, tuple[float, tuple[float, float, float], float, float, float, tuple[float, float, float], float]
] = {
    "soft": (1.35, (1.0, 0.98, 0.95), 3.5, 0.30, 0.35, (1, 1, 1), 0.95),
    "window": (2.0, (1.0, 0.97, 0.92), 5.0, 0.16, 0.35, (1, 1, 1), 0.62),
    "sunset": (2.3, (1.12, 0.74, 0.42), 6.0, 0.16, 1.0, (1.0, 0.6, 0.3), 0.60),
    "noon": (2.5, (1.0, 0.97, 0.90), 14.0, 0.14, 0.4, (1, 1, 1), 0.70),
    "rim": (1.35, (1.0, 0.96, 0.92), 6.0, 0.24, 2.6, (0.85, 0.92, 1.15), 0.55),
    "cool": (1.6, (0.82, 0.94, 1.12), 5.0, 0.26, 0.7, (0.8, 0.9, 1.1), 0.72),
    "studio": (1.9, (1.0, 0.98, 0.96), 7.0, 0.34, 1.0, (1, 1, 1), 0.62),
    "neon": (1.5, (1.08, 0.72, 0.98), 6.0, 0.45, 1.8, (0.45, 0.75, 1.2), 0.60),
}


def _light(scene: Scene, colours: Values) -> Values:
    """Key from the light's kind; ambient, fill and bounce take the background's colours."""
    light = scene.light
    key, tint, sharpness, fill, rim, rim_tint, ambient = LIGHTS[light.kind]
    key *= light.strength
    low = np.array([colours[f"sky_low_{c}"] for c in "rgb"])
    high = np.array([colours[f"sky_high_{c}"] for c in "rgb"])
    wall = np.array([colours[f"back1_{c}"] for c in "rgb"])
    floor = np.array([colours[f"back2_{c}"] for c in "rgb"])
    places = {
        "studio": (np.array([0.62, 0.62, 0.64]), np.array([0.36, 0.34, 0.32])),
        "room": (0.45 + 0.3 * wall, 0.26 + 0.3 * floor),
        "beach": (0.35 * high + 0.35 * low, np.array([0.42, 0.36, 0.26])),
        "forest": (np.array([0.50, 0.54, 0.42]), np.array([0.20, 0.22, 0.15])),
        "city": (0.40 * high + 0.36 * low, np.array([0.28, 0.28, 0.30])),
        "lights": (np.array([0.26, 0.26, 0.36]), np.array([0.26, 0.20, 0.18])),
    }
    above, below = places[scene.background.kind]
    # places may be dark in the background but the sitter must stay legible: lift towards neutral
    above, below = 0.65 * above + 0.35 * 0.62, 0.65 * below + 0.35 * 0.34
    fill_tint = (
        np.array([0.5, 0.7, 1.1]) if light.kind == "neon" else 0.5 + 0.5 * above / max(above.max(), 1e-3)
    )
    return {
        **dict(
            zip(("key_x", "key_y", "key_z"), _direction(light.azimuth_deg, light.elevation_deg), strict=True)
        ),
        **_rgb("key", np.array(tint) * key),
        "sharpness": sharpness,
        **dict(
            zip(
                ("fill_x", "fill_y", "fill_z"),
                _direction(-light.azimuth_deg * 1.1 - 20 * math.copysign(1, light.azimuth_deg), 10),
                strict=True,
            )
        ),
        **_rgb("fill", fill_tint * fill),
        **dict(zip(("rim_x", "rim_y", "rim_z"), _direction(180 - light.azimuth_deg * 0.7, 30), strict=True)),
        **_rgb("rim", np.array(rim_tint) * rim),
        **_rgb("above", above * ambient),
        **_rgb("below", below * ambient),
    }
