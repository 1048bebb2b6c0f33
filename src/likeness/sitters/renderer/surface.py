"""The numbers the compiled shader reads: colours are linear light, directions are unit vectors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Surface", "surface"]


class Surface(NamedTuple):
    """Skin, hair, cloth, light and background of one picture."""

    skin_r: float = 0.6
    skin_g: float = 0.4
    skin_b: float = 0.3
    darkness: float = 0.2
    blush: float = 0.4
    freckles: float = 0.0
    mole_x: float = 0.2
    mole_y: float = -0.5
    mole_r: float = 0.0
    mole2_x: float = -0.3
    mole2_y: float = -0.3
    mole2_r: float = 0.0
    age: float = 0.0
    stubble: float = 0.0
    lip_r: float = 0.5
    lip_g: float = 0.2
    lip_b: float = 0.2
    lip_gloss: float = 0.3
    shadow_r: float = 0.3
    shadow_g: float = 0.2
    shadow_b: float = 0.3
    eyeshadow: float = 0.0
    lashes: float = 0.7
    iris_r: float = 0.2
    iris_g: float = 0.3
    iris_b: float = 0.4
    iris_size: float = 0.55
    pupil: float = 0.38
    gaze_x: float = 0.0
    gaze_y: float = 0.0
    hair_r: float = 0.1
    hair_g: float = 0.06
    hair_b: float = 0.04
    hair_grey: float = 0.0
    hair_shine: float = 0.5
    hair_show: float = 0.0  # skin seen through very short hair
    beard_r: float = 0.1
    beard_g: float = 0.06
    beard_b: float = 0.04
    brow_r: float = 0.08
    brow_g: float = 0.05
    brow_b: float = 0.04
    cloth_r: float = 0.2
    cloth_g: float = 0.3
    cloth_b: float = 0.6
    cloth2_r: float = 0.8
    cloth2_g: float = 0.8
    cloth2_b: float = 0.8
    jacket_r: float = 0.1
    jacket_g: float = 0.1
    jacket_b: float = 0.2
    pattern: float = 0.0
    pattern_f: float = 3.0
    logo: float = 0.0
    knitted: float = 0.0
    buttons: float = 0.0
    frame_r: float = 0.02
    frame_g: float = 0.02
    frame_b: float = 0.02
    hat_r: float = 0.5
    hat_g: float = 0.1
    hat_b: float = 0.1
    trim_r: float = 0.5
    trim_g: float = 0.1
    trim_b: float = 0.1
    metal_r: float = 0.8
    metal_g: float = 0.6
    metal_b: float = 0.2
    scarf_r: float = 0.5
    scarf_g: float = 0.1
    scarf_b: float = 0.1
    # key, fill and rim light; ambient from above and below
    key_x: float = 0.4
    key_y: float = 0.6
    key_z: float = 0.7
    key_r: float = 1.0
    key_g: float = 0.95
    key_b: float = 0.9
    sharpness: float = 8.0
    fill_x: float = -0.7
    fill_y: float = 0.1
    fill_z: float = 0.6
    fill_r: float = 0.2
    fill_g: float = 0.2
    fill_b: float = 0.2
    rim_x: float = -0.6
    rim_y: float = 0.4
    rim_z: float = -0.7
    rim_r: float = 0.5
    rim_g: float = 0.5
    rim_b: float = 0.5
    above_r: float = 0.5
    above_g: float = 0.5
    above_b: float = 0.6
    below_r: float = 0.3
    below_g: float = 0.27
    below_b: float = 0.22
    # background
    back_kind: float = 0.0
    back1_r: float = 0.4
    back1_g: float = 0.4
    back1_b: float = 0.4
    back2_r: float = 0.2
    back2_g: float = 0.2
    back2_b: float = 0.2
    sky_low_r: float = 0.8
    sky_low_g: float = 0.85
    sky_low_b: float = 0.9
    sky_high_r: float = 0.2
    sky_high_g: float = 0.4
    sky_high_b: float = 0.8
    back_seed: float = 1.0
    back_blur: float = 0.02
    horizon: float = 0.0


def surface(**values: float) -> Surface:
    """A Surface of `np.float32`, which is the only type the kernels are compiled for."""
    return Surface._make(np.float32(v) for v in Surface(**values))
