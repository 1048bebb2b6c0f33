"""From a scene's named parameters to the geometry the renderer reads; colours and light are in `look`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from likeness.sitters.look import look
from likeness.sitters.parameters import Expression, Hairstyle, Identity, Scene
from likeness.sitters.renderer.geometry import Geometry, geometry
from likeness.sitters.renderer.surface import Surface, surface

__all__ = ["PIVOT", "build", "head_rotation"]

Values = dict[str, float]
PIVOT = np.array([0.0, -0.75, -0.20])  # the head turns about the top of the neck


def head_rotation(scene: Scene) -> NDArray[np.float64]:
    """(3, 3) rotation from the head frame to the world."""
    yaw, pitch, roll = (
        math.radians(v) for v in (scene.pose.yaw_deg, -scene.pose.pitch_deg, -scene.pose.roll_deg)
    )
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
    colours = look(scene)
    toward = rotation.T @ np.array([0.0, 0.0, 1.0])  # the camera, in the head frame
    expression = scene.expression
    slit = (shape["upper_right"] + shape["upper_left"] - shape["lower_right"] - shape["lower_left"]) / 2
    colours["gaze_x"] = float(np.clip(toward[0] * 0.8 + expression.gaze_right, -0.5, 0.5))
    colours["gaze_y"] = float(
        np.clip(toward[1] * 0.8 + expression.gaze_up + 0.5 * slit / shape["eye_r"], -0.3, 0.4)
    )
    return geometry(**shape), surface(**colours)


SMILES = {
    "smiling": 0.45, "grinning": 0.62, "laughing": 0.66, "frowning": -0.30, "sad": -0.45, "winking": 0.40,
    "eyes closed": 0.10, "smirking": 0.18,
}  # fmt: skip


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
    smile = SMILES.get(kind, 0.02)
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
        "buzz cut": {"hair_t": 0.018, "crown_t": 0.028, "lock": 0.0, "edge": 0.22, "fringe_on": 0,
                     "nape_y": -0.3},
        "short hair": {"hair_t": 0.05 + 0.03 * length, "crown_t": 0.10 + 0.10 * size, "lock": 0.020,
                       "edge": 0.16,
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
                      "curtain_rx": w + 0.11 + 0.08 * size, "curtain_rz": 0.95,
                      "curtain_y": -1.5 - 1.0 * length,
                      "curtain_gap": 0.54, "curtain_front": -0.05, "curtain_flare": 0.08 * size,
                      "part_depth": 0.03},
        "wavy hair": {"hair_t": 0.13, "crown_t": 0.14, "lock": 0.020, "curtain_on": 1,
                      "curtain_rx": w + 0.14 + 0.10 * size, "curtain_rz": 0.98,
                      "curtain_y": -1.2 - 1.0 * length,
                      "curtain_gap": 0.55, "curtain_front": -0.04, "curtain_flare": 0.04 + 0.08 * size,
                      "part_depth": 0.03, "wave": 0.05 + 0.05 * max(hair.wave, 0.3),
                      "wave_f": 1.0 + 0.5 * length},
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
        "goatee": {
            "beard_on": 1.0,
            "moustache_on": 1.0,
            "beard_x": 0.26,
            "beard_t": 0.05 + 0.10 * hair.beard_length,
        },
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
        "hoodie": {"roll_on": 1, "roll_y": -1.56, "roll_r": 0.17, "roll_ring": 0.52, "cloth_t": 0.07},
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
            "glass_z": max(
                0.92,
                shape["bridge_z"] + 0.24,
                eye_front + 0.16,
                shape["bridge_z"] + shape["nose_bump"] + 0.2,
            ),
            "glass_t": 0.020 if a.glasses == "round glasses" else 0.024,
        }
    hats: dict[str, Values] = {
        "none": {},
        "cap": {"hat_y": 0.42, "hat_tilt": -0.12, "hat_t": 0.12, "hat_h": 0.98, "brim_z": 1.02,
                "brim_rx": 0.62,
                "brim_rz": 0.74, "brim_t": 0.035, "brim_bend": 0.22, "fold_h": 0.01, "hat_cut": 0.46},
        "beanie": {"hat_y": 0.40, "hat_tilt": -0.18, "hat_t": 0.13, "hat_h": 1.10, "fold_h": 0.15, "knit": 1,
                   "hat_cut": 0.48},
        "bobble hat": {"hat_y": 0.40, "hat_tilt": -0.18, "hat_t": 0.13, "hat_h": 1.10, "fold_h": 0.15,
                       "knit": 1, "hat_cut": 0.48, "bobble_r": 0.2},
        "sun hat": {"hat_y": 0.46, "hat_tilt": -0.15, "hat_t": 0.10, "hat_h": 1.05, "brim_z": -0.05,
                    "brim_rx": 1.40, "brim_rz": 1.40, "brim_t": 0.035, "brim_bend": -0.05, "fold_h": 0.06,
                    "hat_cut": 0.48},
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
