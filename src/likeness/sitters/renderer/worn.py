"""Distance fields of clothes, glasses, hats and jewellery (see `field` for what a field is)."""

from __future__ import annotations

import numpy as np

from likeness.sitters.renderer.hair import curls
from likeness.sitters.renderer.kernel import inline_kernel
from likeness.sitters.renderer.shapes import capsule, ellipsoid, norm3, ramp, soft_max, soft_min, swing


@inline_kernel
def garment_field(bx, by, bz, torso, neck, g):
    """Shirt or top: torso grown by the cloth's thickness, cut at the neckline; rolls and collars."""
    ax = abs(bx)
    folds = swing(bx * 1.3 + by * 2.1 + 0.3 * swing(by * 1.7)) * ramp(0.2, 0.8, ax)
    d = soft_min(torso, neck, 0.10) - g.cloth_t - 0.012 * folds
    cut = ellipsoid(bx, by - g.neckline_y, bz + 0.12, g.neckline_r, g.neckline_h, 0.62)
    cut = min(cut, max((ax - (by - g.vee_y) * g.vee_slope) * 0.8, -0.1 - bz))
    d = soft_max(d, -cut, 0.03)
    d = max(d, by - g.cloth_top)
    r = np.sqrt(bx * bx + (bz + 0.30) * (bz + 0.30))
    t = by - g.roll_y + 0.22 * (bz + 0.3)
    roll = np.sqrt((r - g.roll_ring) * (r - g.roll_ring) + t * t * 0.6) - g.roll_r + 9.0 * (1.0 - g.roll_on)
    d = soft_min(d, roll, 0.08)
    cr = g.neck_r + 0.10 + 0.45 * max(g.collar_y - by, 0.0)
    collar = abs(r - cr) - 0.028
    collar = soft_max(
        collar * 0.85,
        max(by - g.collar_y, g.collar_y - 0.32 - 0.18 * ramp(-0.2, 0.3, bz) - by),
        0.03,
    )
    opening = (min(0.05 + 0.75 * (g.collar_y - by) - ax, 1.0)) * 0.7 if bz > -0.3 else -1.0
    return min(d, max(collar, opening) + 9.0 * (1.0 - g.collar_on))


@inline_kernel
def jacket_field(bx, by, bz, torso, neck, g):
    """An open jacket over the garment."""
    d = soft_min(torso, neck, 0.14) - g.cloth_t - 0.055
    vee = max((abs(bx) - (by - g.jacket_vee) * 0.45) * 0.8, -0.1 - bz)
    return soft_max(d, -min(ellipsoid(bx, by + 1.55, bz + 0.15, 0.52, 0.40, 0.62), vee), 0.03)


@inline_kernel
def lens_shape(x, y, z, g):
    """Distance on the lens surface to the lens' rim, and depth before that surface."""
    u = abs(x) - g.glass_x
    bu = abs(u) - g.glass_w + g.glass_r
    bv = abs(y + 0.02) - g.glass_h + g.glass_r
    out = np.sqrt(max(bu, 0.0) * max(bu, 0.0) + max(bv, 0.0) * max(bv, 0.0))
    return out + min(max(bu, bv), 0.0) - g.glass_r, z - g.glass_z + 0.22 * x * x


@inline_kernel
def frame_field(x, y, z, g):
    """Spectacle frame: rims, bridge and temples."""
    ax = abs(x)
    s, w = lens_shape(x, y, z, g)
    d = np.sqrt(s * s + w * w) - g.glass_t
    inner = g.glass_x - g.glass_w
    d = min(
        d,
        capsule(
            ax,
            y,
            z,
            0.0,
            0.03,
            g.glass_z + 0.015,
            inner,
            0.01,
            g.glass_z - 0.22 * inner * inner,
            g.glass_t,
            g.glass_t,
        ),
    )
    outer = g.glass_x + g.glass_w
    return min(
        d,
        capsule(
            ax,
            y,
            z,
            outer,
            0.03,
            g.glass_z - 0.22 * outer * outer,
            g.ear_x - 0.01,
            0.11,
            -0.03,
            g.glass_t,
            g.glass_t,
        ),
    )


@inline_kernel
def hat_field(x, y, z, g):
    """Hat: (crown with its fold, brim or bobble)."""
    yt = y - g.hat_tilt * z
    rx = g.head_w + g.hat_t
    rz = g.head_d + g.hat_t
    ribs = swing(x * 7.0 - z * 5.0)
    crown = (
        soft_max(ellipsoid(x, y - 0.28, z + 0.08, rx, g.hat_h, rz), g.hat_y - yt, 0.05)
        - 0.008 * g.knit * ribs
    )
    fold = ellipsoid(x, y - 0.28, z + 0.08, rx + 0.05, g.hat_h + 0.05, rz + 0.05)
    fold = soft_max(fold, abs(yt - g.hat_y - 0.1) - g.fold_h, 0.06) - 0.01 * swing(x * 6.0 - z * 6.0) * g.knit
    q = np.sqrt(
        (x / g.brim_rx) * (x / g.brim_rx) + ((z - g.brim_z) / g.brim_rz) * ((z - g.brim_z) / g.brim_rz)
    )
    brim = (q + 1e-3 - 1.0) * min(g.brim_rx, g.brim_rz)
    brim = soft_max(brim, abs(yt - g.hat_y - 0.02 + g.brim_bend * x * x) - g.brim_t, 0.03) * 0.85
    bobble = norm3(x, y - g.hat_h - 0.34, z + 0.1) - g.bobble_r + 0.03 * curls(x, y, z, 5.0)
    return min(crown, fold), min(brim, bobble)


@inline_kernel
def earring_field(x, y, z, g):
    """Studs or hoops at the ear lobes."""
    ax = abs(x)
    ey = y + 0.05 + 0.26 * g.ear_size
    ez = z + 0.02
    stud = norm3(ax - g.ear_x - 0.03, ey, ez) - g.stud_r
    q = np.sqrt((ey + g.hoop_r) * (ey + g.hoop_r) + ez * ez) - g.hoop_r
    hoop = np.sqrt(q * q + (ax - g.ear_x - 0.04) * (ax - g.ear_x - 0.04)) - 0.024 + 9.0 * (1.0 - g.hoop_on)
    return min(stud, hoop)


@inline_kernel
def necklace_field(bx, by, bz, bare, g):
    """Chain, beads or pendant lying on the skin (`bare`: distance to neck and torso)."""
    r = np.sqrt(bx * bx + (bz + 0.30) * (bz + 0.30))
    ny = by + 1.72 + 0.42 * (bz + 0.3)
    bead = 0.012 * swing((bx - bz) * 9.0) * g.beads
    ring = np.sqrt((r - 0.53) * (r - 0.53) + ny * ny) - 0.022 - bead - 0.012 * g.beads
    lying = abs(bare) * 0.7 + max(abs(ny) - 0.016, 0.0) * 0.7 - 0.024 - bead
    return min(min(ring, lying), norm3(bx, by + 1.93, bz - 0.12) - g.pendant_r)


@inline_kernel
def scarf_field(bx, by, bz, g):
    """A scarf wound around the neck with one end hanging."""
    r = np.sqrt(bx * bx + (bz + 0.30) * (bz + 0.30))
    sy = by + 1.42 + 0.25 * (bz + 0.3)
    d = np.sqrt((r - 0.47) * (r - 0.47) + sy * sy * 0.55) - 0.20 - 0.03 * swing(sy * 3.0 + bx * 0.8)
    return soft_min(d, capsule(bx, by, bz, 0.22, -1.6, 0.22, 0.30, -3.2, 0.42, 0.17, 0.22), 0.08) * 0.9
