"""From a scene's named parameters to the numbers of the renderer."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from likeness.sitters import palette
from likeness.sitters.parameters import Expression, Hairstyle, Identity, Scene
from likeness.sitters.renderer.geometry import Geometry, geometry
from likeness.sitters.renderer.surface import Surface, surface

__all__ = ["build", "head_rotation"]

Values = dict[str, float]
PIVOT = np.array([0.0, -0.75, -0.20])  # the head turns about the top of the neck


def head_rotation(scene: Scene) -> NDArray[np.float64]:
    """(3, 3) rotation from the head frame to the world."""
    yaw, pitch, roll = (math.radians(v) for v in (scene.pose.yaw_deg, -scene.pose.pitch_deg, -scene.pose.roll_deg))
    cy, sy, cp, sp, cr, sr = (f(v) for v in (yaw, pitch, roll) for f in (math.cos, math.sin))
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    lean = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(turn @ nod @ lean)


def build(scene: Scene) -> tuple[Geometry, Surface]:
    """Geometry and surface of one picture."""
    shape: Values = _bones(scene.identity)
    shape.update(_hair(scene.hair, scene.identity))
    _express(shape, scene.expression)
    shape.update(_clothes(scene))
    shape.update(_accessories(scene, shape))
    rotation = head_rotation(scene)
    for i in range(3):
        for j in range(3):
            shape[f"r{i}{j}"] = float(rotation[i, j])
    turn = math.radians(scene.pose.yaw_deg * scene.pose.body_follow)
    shape["body_cos"], shape["body_sin"] = math.cos(turn), math.sin(turn)
    base = rotation @ (np.array([0.0, -0.62, -0.22]) - PIVOT) + PIVOT
    shape["neck_x"] = float(math.cos(turn) * base[0] - math.sin(turn) * base[2])
    shape["neck_y"] = float(base[1])
    shape["neck_z"] = float(math.sin(turn) * base[0] + math.cos(turn) * base[2])
    colours: Values = _skin(scene)
    colours.update(_hair_colours(scene))
    colours.update(_cloth_colours(scene))
    colours.update(_background(scene))
    colours.update(_light(scene, colours))
    toward = rotation.T @ np.array([0.0, 0.0, 1.0])  # the camera, in the head frame
    expression = scene.expression
    slit = (shape["upper_right"] + shape["upper_left"] - shape["lower_right"] - shape["lower_left"]) / 2
    colours["gaze_x"] = float(np.clip(toward[0] * 0.8 + expression.gaze_right, -0.5, 0.5))
    colours["gaze_y"] = float(np.clip(toward[1] * 0.8 + expression.gaze_up + 0.5 * slit / shape["eye_r"], -0.3, 0.4))
    return geometry(**shape), surface(**colours)


def _bones(p: Identity) -> Values:
    tilt = math.radians(p.eye_tilt)
    old = max(p.age_years - 45, 0) / 40  # lids droop, cheeks sink, jowls hang, nose and ears grow
    nose_y = -p.nose_length
    # the mouth keeps clear of nose and chin whatever was drawn for it
    mouth_y = max(nose_y - p.mouth_drop, p.chin_height + 0.27)
    return {
        "head_w": p.head_width,
        "head_h": p.head_height,
        "head_d": p.head_depth,
        "face_w": p.face_width,
        "jaw_w": p.jaw_width,
        "jaw_y": p.jaw_height,
        "jaw_r": p.jaw_radius + 0.025 * old,
        "jaw_shift": p.jaw_shift,
        "chin_w": p.chin_width,
        "chin_y": p.chin_height,
        "chin_z": p.chin_depth,
        "chin_r": p.chin_radius,
        "cheek_r": p.cheekbone,
        "cheek_y": p.cheek_height,
        "flesh": p.flesh - 0.05 * old,
        "brow_r": p.brow_ridge,
        "eye_x": p.eye_spacing,
        "eye_z": 0.745 - p.eye_radius + p.eye_depth,
        "eye_r": p.eye_radius,
        "eye_w": p.eye_radius * p.eye_width,
        "eye_offset": p.eye_offset,
        "tilt_cos": math.cos(tilt),
        "tilt_sin": math.sin(tilt),
        "upper_right": p.eye_radius * p.upper_lid * (1 - 0.16 * old),
        "upper_left": p.eye_radius * p.upper_lid * (1 - 0.16 * old),
        "lower_right": p.eye_radius * p.lower_lid,
        "lower_left": p.eye_radius * p.lower_lid,
        "brow_y": p.brow_height + (p.eye_radius - 0.2) * 0.6,
        "brow_w": p.brow_width,
        "brow_t": p.brow_thickness,
        "brow_arch": p.brow_arch,
        "brow_tilt": p.brow_tilt,
        "brow_offset": p.brow_offset,
        "brow_volume": 0.012 + 0.3 * p.brow_thickness,
        "nose_y": nose_y,
        "nose_z": p.nose_depth,
        "bridge_z": p.nose_bridge,
        "bridge_r": p.bridge_width,
        "tip_r": p.nose_tip + 0.012 * old,
        "nose_bump": p.nose_bump,
        "nose_bend": p.nose_bend,
        "wing_x": p.nose_width,
        "wing_r": p.nostril_size,
        "mouth_y": mouth_y,
        "mouth_z": p.mouth_depth,
        "mouth_w": p.mouth_width,
        "mouth_slant": p.mouth_slant,
        "lip_u": p.upper_lip * (1 - 0.25 * old),
        "lip_l": p.lower_lip,
        "ear_x": p.head_width + 0.02,
        "ear_size": p.ear_size * (1 + 0.12 * old),
        "ear_angle": p.ear_angle,
        "neck_r": p.neck_width,
        "shoulder_w": p.shoulder_width,
        "hairline_y": p.forehead,
        "recede": 0.22 * p.masculinity * max(p.age_years - 25, 0) / 60,
    }


def _express(shape: Values, expression: Expression) -> None:
    """Move lids, brows and lips; lengths are added to the resting face."""
    k = expression.strength
    kind = expression.kind
    smile = {"smiling": 0.45, "grinning": 0.62, "laughing": 0.66, "frowning": -0.30, "sad": -0.45, "winking": 0.40,
             "eyes closed": 0.10, "smirking": 0.18}.get(kind, 0.02)  # fmt: skip
    shape["smile"] = smile * k
    shape["mouth_w"] += max(shape["smile"], 0.0) * 0.10
    shape["mouth_open"] = {"grinning": 0.09, "laughing": 0.22, "surprised": 0.20}.get(kind, 0.0) * k
    shape["tongue_on"] = float(kind == "laughing")
    shape["smirk"] = 0.22 * k if kind == "smirking" else 0.0
    lids = ("upper_right", "upper_left", "lower_right", "lower_left")
    if kind in ("smiling", "grinning", "winking"):
        for lid in lids:
            shape[lid] *= 1 - (0.32 if lid.startswith("lower") else 0.08) * k
    if kind == "laughing":
        for lid in lids:
            shape[lid] *= 1 - 0.42 * k
    if kind == "surprised":
        shape["brow_y"] += 0.08 * k
        shape["brow_arch"] += 0.03 * k
        shape["upper_right"] *= 1 + 0.2 * k
        shape["upper_left"] *= 1 + 0.2 * k
        shape["mouth_w"] *= 1 - 0.2 * k
    if kind == "frowning":
        shape["brow_tilt"] += 0.075 * k
        shape["brow_y"] -= 0.045 * k
        shape["upper_right"] *= 1 - 0.15 * k
        shape["upper_left"] *= 1 - 0.15 * k
    if kind == "sad":
        shape["brow_tilt"] -= 0.07 * k
        shape["upper_right"] *= 1 - 0.2 * k
        shape["upper_left"] *= 1 - 0.2 * k
    closed = {"eyes closed": ("right", "left"), "winking": (expression.winking_eye,)}.get(kind, ())
    for side in closed:
        shape[f"upper_{side}"] = -0.24 * shape["eye_r"]  # the upper lid comes down to the lower one
        shape[f"lower_{side}"] = 0.20 * shape["eye_r"]


def _hair(hair: Hairstyle, p: Identity) -> Values:
    """Shape of hair and beard. Lengths within a kind follow `length` and `volume`."""
    size, length = hair.volume, hair.length
    w = p.head_width
    fringe = hair.fringe
    base: Values = {
        "part_x": hair.parting,
        "sideburn_y": -0.05 - 0.30 * p.masculinity,
        "lock_f": 4.0 + 2.5 * size,
        "hairline_y": p.forehead,
        "fringe_on": float(fringe > 0.05),
        "fringe_y": 0.62 - 0.36 * fringe,
        "fringe_slope": 0.25 * hair.parting,
        "wave": 0.055 * hair.wave,
        "wave_f": 0.9 + 0.6 * size,
    }
    kind = hair.kind
    per_kind: dict[str, Values] = {
        "bald": {"hair_on": 0},
        "buzz cut": {"hair_t": 0.018, "crown_t": 0.028, "lock": 0.0, "edge": 0.22, "fringe_on": 0, "nape_y": -0.3},
        "short hair": {"hair_t": 0.05 + 0.03 * length, "crown_t": 0.10 + 0.10 * size, "lock": 0.020, "edge": 0.16,
                       "top_x": 0.5 * hair.parting, "top_y": 0.92, "top_z": 0.22, "top_rx": 0.55,
                       "top_ry": 0.22 + 0.10 * size, "top_rz": 0.58, "nape_y": -0.35, "fringe_lock": 0.05},
        "side part": {"hair_t": 0.05, "crown_t": 0.13 + 0.06 * size, "lock": 0.018, "edge": 0.14,
                      "top_x": -0.9 * hair.parting, "top_y": 0.94, "top_z": 0.28, "top_rx": 0.52,
                      "top_ry": 0.24 + 0.08 * size, "top_rz": 0.50, "part_depth": 0.05, "nape_y": -0.32,
                      "fringe_on": 0},
        "quiff": {"hair_t": 0.03, "crown_t": 0.10, "lock": 0.024, "edge": 0.18, "top_x": 0.1 * hair.parting,
                  "top_y": 1.0 + 0.05 * size, "top_z": 0.42, "top_rx": 0.46, "top_ry": 0.26 + 0.14 * size,
                  "top_rz": 0.42, "nape_y": -0.30, "fringe_on": 0},
        "bob": {"hair_t": 0.12, "crown_t": 0.12, "lock": 0.018, "curtain_on": 1,
                "curtain_rx": w + 0.15 + 0.09 * size, "curtain_rz": 0.98, "curtain_y": -0.55 - 0.40 * length,
                "curtain_gap": 0.54, "curtain_front": 0.0, "curtain_flare": 0.10 * size - 0.04},
        "long hair": {"hair_t": 0.11, "crown_t": 0.12, "lock": 0.016, "curtain_on": 1,
                      "curtain_rx": w + 0.11 + 0.08 * size, "curtain_rz": 0.95, "curtain_y": -1.5 - 1.0 * length,
                      "curtain_gap": 0.54, "curtain_front": -0.05, "curtain_flare": 0.08 * size,
                      "part_depth": 0.03},
        "wavy hair": {"hair_t": 0.13, "crown_t": 0.14, "lock": 0.020, "curtain_on": 1,
                      "curtain_rx": w + 0.14 + 0.10 * size, "curtain_rz": 0.98, "curtain_y": -1.2 - 1.0 * length,
                      "curtain_gap": 0.55, "curtain_front": -0.04, "curtain_flare": 0.04 + 0.08 * size,
                      "part_depth": 0.03, "wave": 0.05 + 0.05 * max(hair.wave, 0.3), "wave_f": 1.0 + 0.5 * length},
        "bun": {"hair_t": 0.06, "crown_t": 0.06, "lock": 0.010, "edge": 0.12, "tail_on": 1,
                "bun_y": 0.95 + 0.30 * length, "bun_z": -0.65 + 0.35 * length, "bun_r": 0.24 + 0.12 * size,
                "sideburn_y": -0.05},
        "ponytail": {"hair_t": 0.06, "crown_t": 0.06, "lock": 0.012, "edge": 0.12, "tail_on": 1,
                     "bun_y": 0.35 + 0.4 * size, "bun_z": -1.0, "bun_r": 0.15, "tail_x": 0.22,
                     "tail_len": 1.0 + 0.8 * length, "tail_r": 0.22, "sideburn_y": -0.05},
        "pigtails": {"hair_t": 0.08, "crown_t": 0.08, "lock": 0.014, "tail_on": 1, "bun_x": w + 0.06,
                     "bun_y": 0.35 - 0.5 * size, "bun_z": -0.2, "bun_r": 0.20, "tail_x": 0.18,
                     "tail_len": 0.4 + 0.9 * length, "tail_r": 0.20, "sideburn_y": -0.05},
        "curls": {"hair_t": 0.14 + 0.08 * size, "crown_t": 0.16 + 0.10 * size, "lock": 0.0, "curl": 0.045,
                  "curl_f": 2.6 + 1.0 * (1 - size), "curtain_on": 1, "curtain_rx": w + 0.15 + 0.13 * size,
                  "curtain_rz": 0.95, "curtain_y": -0.15 - 0.85 * length, "curtain_gap": 0.58,
                  "curtain_front": 0.02, "hair_step": 0.62, "fringe_lock": 0.06},
        "afro": {"hair_t": 0.22 + 0.20 * size, "crown_t": 0.28 + 0.24 * size, "lock": 0.0, "curl": 0.020,
                 "curl_f": 5.6, "hair_step": 0.62, "nape_y": -0.5, "edge": 0.14, "fringe_on": 0,
                 "sideburn_y": -0.12},
    }  # fmt: skip
    base.update(per_kind[kind])
    if base.get("curtain_on") or kind in ("bun", "ponytail", "pigtails", "afro", "curls"):
        base["recede"] = 0.0
    if base.get("curtain_on"):
        base["ear_x"] = w - 0.07  # falling hair presses the ears to the head
    bearded = {
        "moustache": {"moustache_on": 1.0},
        "goatee": {"beard_on": 1.0, "moustache_on": 1.0, "beard_x": 0.26, "beard_t": 0.05 + 0.10 * hair.beard_length},
        "short beard": {"beard_on": 1.0, "moustache_on": 1.0, "beard_t": 0.035 + 0.03 * hair.beard_length},
        "full beard": {"beard_on": 1.0, "moustache_on": 1.0, "beard_t": 0.12 + 0.20 * hair.beard_length},
    }
    base.update(bearded.get(hair.beard, {}))
    base["beard_y"] = -0.42 + 0.12 * hair.beard_length
    return base


def _clothes(scene: Scene) -> Values:
    garments: dict[str, Values] = {
        "t-shirt": {},
        "v-neck": {"vee_y": -2.20, "vee_slope": 0.5},
        "scoop top": {"neckline_r": 0.78, "neckline_h": 0.42, "neckline_y": -1.6},
        "turtleneck": {"neckline_y": 9, "vee_y": 9, "cloth_top": -1.12, "cloth_t": 0.07},
        "hoodie": {"roll_on": 1, "roll_y": -1.56, "roll_r": 0.17, "roll_R": 0.52, "cloth_t": 0.07},
        "shirt": {"collar_on": 1, "collar_y": -1.26, "vee_y": -1.85, "vee_slope": 0.45},
        "jacket": {"jacket_on": 1, "vee_y": -1.80, "vee_slope": 0.5, "collar_on": 1, "collar_y": -1.26},
    }
    return garments[scene.clothes.garment]


def _accessories(scene: Scene, shape: Values) -> Values:
    a = scene.accessories
    out: Values = {}
    if a.glasses != "none":
        dark = a.glasses == "sunglasses"
        width = min(a.glasses_width, scene.identity.eye_spacing - 0.045)
        height = a.glasses_height + (0.03 if dark else 0)
        round_ = min(width, height) - 0.01
        if a.glasses == "round glasses":
            height = width = min(width, 0.2)
            round_ = width - 0.005
        eye_front = shape["eye_z"] + shape["eye_r"]
        out = {
            "glasses_on": 1,
            "lens_on": float(dark),
            "glass_x": scene.identity.eye_spacing + 0.02,
            "glass_w": width,
            "glass_h": height,
            "glass_r": round_ if a.glasses == "round glasses" else min(round_, 0.09),
            "glass_z": max(0.92, shape["bridge_z"] + 0.24, eye_front + 0.16, shape["bridge_z"] + shape["nose_bump"] + 0.2),
            "glass_t": 0.020 if a.glasses == "round glasses" else 0.024,
        }
    hats: dict[str, Values] = {
        "none": {},
        "cap": {"hat_y": 0.42, "hat_tilt": -0.12, "hat_t": 0.12, "hat_h": 0.98, "brim_z": 1.02, "brim_rx": 0.62,
                "brim_rz": 0.74, "brim_t": 0.035, "brim_bend": 0.22, "fold_h": 0.01, "hat_cut": 0.46},
        "beanie": {"hat_y": 0.40, "hat_tilt": -0.18, "hat_t": 0.13, "hat_h": 1.10, "fold_h": 0.15, "knit": 1,
                   "hat_cut": 0.48},
        "bobble hat": {"hat_y": 0.40, "hat_tilt": -0.18, "hat_t": 0.13, "hat_h": 1.10, "fold_h": 0.15, "knit": 1,
                       "hat_cut": 0.48, "bobble_r": 0.2},
        "sun hat": {"hat_y": 0.46, "hat_tilt": -0.15, "hat_t": 0.10, "hat_h": 1.05, "brim_z": -0.05, "brim_rx": 1.40,
                    "brim_rz": 1.40, "brim_t": 0.035, "brim_bend": -0.05, "fold_h": 0.06, "hat_cut": 0.48},
    }  # fmt: skip
    if a.hat != "none":
        out.update(hats[a.hat], hat_on=1)
        out["hat_t"] += 0.05 * (scene.hair.kind in ("curls", "afro", "wavy hair"))
        out["hair_t"] = min(shape.get("hair_t", 0.1), 0.14)
        out["top_ry"] = 0.05
        if scene.hair.kind == "bun":
            out["tail_on"] = 0
        if scene.hair.kind == "ponytail":
            out["bun_y"] = 0.15
    if a.earrings != "none":
        out.update(earring_on=1, stud_r=0.048 if a.earrings == "studs" else -9.0)
        out.update(hoop_on=float(a.earrings == "hoops"), hoop_r=0.13)
    if a.necklace != "none":
        out.update(necklace_on=1, beads=float(a.necklace == "beads"))
        out.update(pendant_r=0.065 if a.necklace == "pendant" else -9.0)
    out["scarf_on"] = float(a.scarf)
    return out


def _rgb(prefix: str, colour: NDArray[np.float64]) -> Values:
    return dict(zip((f"{prefix}_r", f"{prefix}_g", f"{prefix}_b"), (float(c) for c in colour), strict=True))


def _skin_colour(p: Identity) -> NDArray[np.float64]:
    position = p.skin_tone * (len(palette.SKIN) - 1)
    i = min(int(position), len(palette.SKIN) - 2)
    ends = [
        palette.linear(palette.SKIN[i][k]) * (1 - position + i) + palette.linear(palette.SKIN[i + 1][k]) * (position - i)
        for k in (0, 1)
    ]
    olive = (p.skin_undertone + 1) / 2
    return np.asarray((ends[0] * (1 - olive) + ends[1] * olive) * 0.86)


def _skin(scene: Scene) -> Values:
    p, m = scene.identity, scene.makeup
    skin = _skin_colour(p)
    lips = skin * np.array([0.84, 0.46, 0.46]) + np.array([0.06, 0.0, 0.01])
    lips = lips * (1 - 0.85 * m.lipstick) + palette.linear(palette.LIPSTICK[m.lipstick_colour]) * 0.85 * m.lipstick
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
LIGHTS: dict[str, tuple[float, tuple[float, float, float], float, float, float, tuple[float, float, float], float]] = {
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
    fill_tint = np.array([0.5, 0.7, 1.1]) if light.kind == "neon" else 0.5 + 0.5 * above / max(above.max(), 1e-3)
    return {
        **dict(zip(("key_x", "key_y", "key_z"), _direction(light.azimuth_deg, light.elevation_deg), strict=True)),
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
