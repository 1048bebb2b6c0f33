"""Distance fields of hair and beard (see `field` for what a field is)."""

from __future__ import annotations

import numpy as np

from likeness.sitters.renderer.body import mouth_frame, scalp_field
from likeness.sitters.renderer.kernel import inline_kernel
from likeness.sitters.renderer.shapes import capsule, ellipsoid, mix, norm3, ramp, soft_max, soft_min, swing


@inline_kernel
def curls(x, y, z, f):
    """Irregular coils in about [-1, 1]: two warped lattices at an angle, so that no grid shows."""
    u = x + 0.11 * swing(y * 1.7 + 0.3) + 0.07 * swing(z * 2.3)
    v = y + 0.11 * swing(z * 1.9 + 0.1) + 0.07 * swing(x * 2.1 + 0.4)
    w = z + 0.11 * swing(x * 1.5 + 0.7) + 0.07 * swing(y * 2.7)
    a = (
        swing((u + 0.6 * v) * f) * swing((w - 0.5 * u) * f + 0.2)
        + swing((v - 0.4 * w) * f * 0.93 + 0.4) * 0.7
    )
    b = swing((u + v + w) * f * 1.31 + 0.6) * 0.45
    return (a + b) * 0.6


@inline_kernel
def hair_border(x, y, z, g):
    """How far inside the hairy part of the scalp a point lies: forehead, temple, sideburn, ear, nape."""
    ax = abs(x)
    peak = g.recede * ramp(0.05, 0.40, ax)
    front = g.hairline_y - g.hairline_curve * x * x + peak + 0.015 * swing(x * 4.1 + 0.3)
    locks = 0.6 * swing(x * 2.3 + 0.2) + 0.4 * swing(x * 5.3 + 0.35 * y)
    fringe = g.fringe_y + g.fringe_slope * x + 0.35 * x * x + locks * g.fringe_lock
    front = mix(front, min(front, fringe), g.fringe_on)
    above = -soft_min(front - y, z - g.temple_z - 0.25 * (y - 0.2), 0.14)
    lower = y - mix(g.nape_y, g.sideburn_y, ramp(-0.45, 0.25, z))
    ear = norm3((y + 0.03) * 0.85, z + 0.07, 0.0 * x) - 0.20 * g.ear_size
    return soft_min(soft_min(above, lower, 0.10), ear + 9.0 * g.curtain_on, 0.08)


@inline_kernel
def hair_field(x, y, z, bx, by, bz, g):
    """Hair on the head: a layer that thins out towards the hairline, then falling hair and tails."""
    # low hair lies on the shoulders, so it turns with the body
    t = ramp(-0.55, -1.6, y)
    x = mix(x, bx, t)
    y = mix(y, by, t)
    z = mix(z, bz, t)
    ax = abs(x)
    scalp = scalp_field(x, y, z, g)
    inside = hair_border(x, y, z, g)
    thick = mix(g.hair_t, g.crown_t, ramp(0.2, 0.9, y))
    edge = mix(g.edge, 0.10, g.fringe_on * ramp(0.45, 0.62, z))
    layer = soft_max(scalp - thick, -inside * 0.9, edge)
    top = ellipsoid(x - g.top_x, y - g.top_y, z - g.top_z, g.top_rx, g.top_ry, g.top_rz)
    d = soft_min(layer, soft_max(top, -inside * 0.9, 0.12), 0.16)
    # falling hair around the back and the sides
    wav = swing(y * g.wave_f + 0.35 * x + 0.2 * swing(z * 1.1)) * g.wave
    k = 1.0 + g.curtain_flare * max(-y, 0.0)
    rx = g.curtain_rx * k + wav
    rz = g.curtain_rz * k + wav
    q = np.sqrt((x / rx) * (x / rx) + ((z + 0.14) / rz) * ((z + 0.14) / rz))
    fall = (q - 1.0) * min(rx, rz)
    ends = 0.10 * swing(x * 2.3 + z * 1.7) + 0.05 * swing(x * 5.1 - z * 3.3)
    fall = soft_max(fall, g.curtain_y - y + ends, 0.22)
    fall = soft_max(fall, y - 0.45, 0.3)
    gap = max(ax - g.curtain_gap - 0.1 * max(-y - 0.9, 0.0), g.curtain_front - z)
    fall = soft_max(fall, -gap, 0.16) + 9.0 * (1.0 - g.curtain_on)
    d = soft_min(d, fall, 0.10)
    # buns, ponytails, pigtails
    tail = norm3(ax - g.bun_x, y - g.bun_y, z - g.bun_z) - g.bun_r
    tail = soft_min(
        tail,
        capsule(
            ax, y, z, g.bun_x, g.bun_y, g.bun_z, g.bun_x + g.tail_x, g.bun_y - g.tail_len, g.bun_z - 0.12,
            g.tail_r, g.tail_r * 0.45,
        ),
        0.08,
    ) + 9.0 * (1.0 - g.tail_on)  # fmt: skip
    d = soft_min(d, tail, 0.06)
    # strands gathered into locks that run from the parting outwards, or coils
    zc = z + 0.25
    q0 = ax / (ax + abs(zc) + 0.02)
    around = q0 if zc > 0.0 else 2.0 - q0
    spread = min(max(2.2 - y * 1.2, 0.35), 1.0)
    lock = swing(around * g.lock_f + 0.30 * swing(y * 0.55 + 0.3) + 0.2 * x) * 0.55
    lock += swing(around * g.lock_f * 2.63 + 0.35 * swing(y * 0.8) + 0.1 * x) * 0.45
    free = max(
        ramp(0.0, 0.12, inside), ramp(0.0, 0.12, layer - min(fall, tail))
    )  # no relief where hair thins out
    d -= g.lock * lock * spread * free
    d -= g.curl * curls(x, y, z, g.curl_f) * free
    d += max(1.0 - abs(x - g.part_x) * 16.0, 0.0) * g.part_depth * ramp(0.6, 0.8, y)
    d = max(d, y - (g.hat_cut + g.hat_tilt * z))
    return d * g.hair_step


@inline_kernel
def beard_border(x, y, z, upper, lower, g):
    """How far inside the bearded part of the face a point lies; lips stay free."""
    ax = abs(x)
    border = g.beard_y - 0.40 * max(0.42 - ax, 0.0) + 0.9 * max(ax - 0.5, 0.0) - y
    border = min(border, z + 0.12)
    border = min(border, (g.beard_x - ax) * 0.8)
    return min(border, (min(upper, lower) - 0.01) * 1.5)


@inline_kernel
def beard_field(x, y, z, before, upper, lower, g):
    """Beard on chin and cheeks, and moustache; it thins out at its upper border."""
    ax = abs(x)
    border = beard_border(x, y, z, upper, lower, g)
    texture = 0.012 * curls(x, y, z, 4.3)
    full = g.beard_t * (0.35 + 0.65 * ramp(-0.3, -0.85, y))
    d = soft_max(before - full - texture * ramp(0.0, 0.1, border), -border * 0.9, 0.11)
    v, w = mouth_frame(x, y, z, g)
    tuft = ellipsoid(ax - 0.10, v - g.lip_u * 1.6 - 0.055 + 0.35 * ax, w - 0.03, 0.20, 0.058, 0.075)
    tuft -= 0.008 * curls(x, y, z, 5.0)
    return min(d * 0.8 + 9.0 * (1.0 - g.beard_on), tuft + 9.0 * (1.0 - g.moustache_on))
