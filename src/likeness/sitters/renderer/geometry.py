"""The numbers the compiled field reads: one named tuple of 32-bit floats.

Names ending in `_on` are 1 or 0. Everything else is a length in head units, a slope, or a
frequency in waves per head unit. Defaults describe nobody: `likeness.sitters.figure` sets them all
from a scene.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["MATERIALS", "Geometry", "geometry"]

MATERIALS = (
    "skin", "eye", "mouth", "garment", "hair", "beard", "jacket", "frame", "lens", "hat", "hat trim",
    "earring", "necklace", "scarf",
)  # fmt: skip


class Geometry(NamedTuple):
    """Shape of one sitter in one pose."""

    # head rotation (row-major, head to world) about the pivot, body turn, neck's upper end in the world
    r00: float = 1.0
    r01: float = 0.0
    r02: float = 0.0
    r10: float = 0.0
    r11: float = 1.0
    r12: float = 0.0
    r20: float = 0.0
    r21: float = 0.0
    r22: float = 1.0
    body_cos: float = 1.0
    body_sin: float = 0.0
    neck_x: float = 0.0
    neck_y: float = -0.7
    neck_z: float = -0.2
    # skull, jaw, cheeks
    head_w: float = 0.74
    head_h: float = 0.86
    head_d: float = 0.90
    face_w: float = 0.58
    jaw_w: float = 0.45
    jaw_y: float = -0.58
    jaw_r: float = 0.16
    jaw_shift: float = 0.0
    chin_w: float = 0.07
    chin_y: float = -1.0
    chin_z: float = 0.58
    chin_r: float = 0.13
    cheek_r: float = 0.2
    cheek_y: float = -0.24
    flesh: float = 0.0
    brow_r: float = 0.08
    # eyes: opening per eye (right and left as seen in the picture), lids' tilt as cosine and sine
    eye_x: float = 0.30
    eye_z: float = 0.55
    eye_r: float = 0.20
    eye_w: float = 0.185
    eye_offset: float = 0.0
    tilt_cos: float = 1.0
    tilt_sin: float = 0.0
    upper_right: float = 0.115
    upper_left: float = 0.115
    lower_right: float = 0.075
    lower_left: float = 0.075
    brow_y: float = 0.24
    brow_w: float = 0.22
    brow_t: float = 0.035
    brow_arch: float = 0.04
    brow_tilt: float = 0.0
    brow_offset: float = 0.0
    brow_volume: float = 0.02
    # nose
    nose_y: float = -0.34
    nose_z: float = 0.98
    bridge_z: float = 0.70
    bridge_r: float = 0.06
    tip_r: float = 0.085
    nose_bump: float = 0.0
    nose_bend: float = 0.0
    wing_x: float = 0.095
    wing_r: float = 0.065
    # mouth
    mouth_y: float = -0.66
    mouth_z: float = 0.80
    mouth_w: float = 0.24
    mouth_slant: float = 0.0
    lip_u: float = 0.045
    lip_l: float = 0.055
    smile: float = 0.0
    smirk: float = 0.0
    mouth_open: float = 0.0
    tongue_on: float = 0.0
    # ears
    ear_x: float = 0.76
    ear_size: float = 1.0
    ear_angle: float = 0.35
    # neck and torso
    neck_r: float = 0.33
    shoulder_w: float = 1.30
    # hair
    hair_on: float = 1.0
    hair_t: float = 0.10
    crown_t: float = 0.10
    top_x: float = 0.0
    top_y: float = 0.9
    top_z: float = 0.2
    top_rx: float = 0.1
    top_ry: float = 0.1
    top_rz: float = 0.1
    hairline_y: float = 0.72
    hairline_curve: float = 0.3
    recede: float = 0.0
    temple_z: float = 0.44
    sideburn_y: float = -0.10
    nape_y: float = -0.40
    edge: float = 0.16
    fringe_on: float = 0.0
    fringe_y: float = 0.4
    fringe_slope: float = 0.0
    fringe_lock: float = 0.03
    part_x: float = 0.2
    part_depth: float = 0.0
    curtain_on: float = 0.0
    curtain_rx: float = 0.9
    curtain_rz: float = 0.95
    curtain_y: float = -1.0
    curtain_gap: float = 0.55
    curtain_front: float = 0.0
    curtain_flare: float = 0.05
    wave: float = 0.0
    wave_f: float = 1.2
    tail_on: float = 0.0
    bun_x: float = 0.0
    bun_y: float = 0.5
    bun_z: float = -0.9
    bun_r: float = 0.1
    tail_x: float = 0.0
    tail_len: float = 0.05
    tail_r: float = 0.05
    lock: float = 0.012
    lock_f: float = 5.0
    curl: float = 0.0
    curl_f: float = 3.5
    hat_cut: float = 9.0
    hat_tilt: float = -0.15
    hair_step: float = 0.8
    # beard
    beard_on: float = 0.0
    beard_t: float = 0.06
    beard_y: float = -0.35
    beard_x: float = 9.0
    moustache_on: float = 0.0
    # clothes
    cloth_t: float = 0.05
    neckline_y: float = -1.5
    neckline_r: float = 0.47
    neckline_h: float = 0.30
    vee_y: float = -1.5
    vee_slope: float = 0.5
    cloth_top: float = -1.25
    roll_on: float = 0.0
    roll_y: float = -1.6
    roll_ring: float = 0.5
    roll_r: float = 0.17
    collar_on: float = 0.0
    collar_y: float = -1.28
    jacket_on: float = 0.0
    jacket_vee: float = -2.9
    # glasses
    glasses_on: float = 0.0
    lens_on: float = 0.0
    glass_x: float = 0.33
    glass_z: float = 0.94
    glass_w: float = 0.21
    glass_h: float = 0.16
    glass_r: float = 0.08
    glass_t: float = 0.022
    # hat
    hat_on: float = 0.0
    hat_t: float = 0.12
    hat_h: float = 1.0
    hat_y: float = 0.40
    brim_z: float = 0.0
    brim_rx: float = 0.1
    brim_rz: float = 0.1
    brim_t: float = 0.03
    brim_bend: float = 0.0
    fold_h: float = 0.01
    knit: float = 0.0
    bobble_r: float = -1.0
    # jewellery and scarf
    earring_on: float = 0.0
    stud_r: float = -9.0
    hoop_r: float = 0.1
    hoop_on: float = 0.0
    necklace_on: float = 0.0
    beads: float = 0.0
    pendant_r: float = -9.0
    scarf_on: float = 0.0


def geometry(**values: float) -> Geometry:
    """A Geometry of `np.float32`, which is the only type the kernels are compiled for."""
    whole = Geometry(**values)
    return Geometry._make(np.float32(v) for v in whole)
