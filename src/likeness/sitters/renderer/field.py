"""Distance fields: how far a point is from each part of a sitter.

Each `*_field` takes a point and returns head units, negative inside. They are bounds rather than
exact distances (soft unions, displacement), so the marcher steps short (`trace.STEP`). Formulas
hold no branches: a branch would keep LLVM from turning the loops into vector code. Frames: `x, y,
z` head frame unless a name starts with `b` (body frame).
"""

from __future__ import annotations

import numpy as np

from likeness.sitters.renderer.kernel import inline_kernel, kernel

PIVOT_Y = np.float32(-0.75)
PIVOT_Z = np.float32(-0.20)


@inline_kernel
def soft_min(a, b, k):
    """Union rounded over the width k."""
    h = max(k - abs(a - b), 0.0) / k
    return min(a, b) - h * h * k * 0.25


@inline_kernel
def soft_max(a, b, k):
    """Intersection rounded over the width k."""
    h = max(k - abs(a - b), 0.0) / k
    return max(a, b) + h * h * k * 0.25


@inline_kernel
def ramp(a, b, x):
    """0 at a, 1 at b, smooth between (Hermite)."""
    t = min(max((x - a) / (b - a), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@inline_kernel
def mix(a, b, t):
    """a at t=0, b at t=1."""
    return a + (b - a) * t


@inline_kernel
def norm3(x, y, z):
    """Length of a vector."""
    return np.sqrt(x * x + y * y + z * z)


@inline_kernel
def ellipsoid(x, y, z, rx, ry, rz):
    """Bound on the distance to an ellipsoid at the origin."""
    ix = 1.0 / rx
    iy = 1.0 / ry
    iz = 1.0 / rz
    a = x * ix
    b = y * iy
    c = z * iz
    k0 = np.sqrt(a * a + b * b + c * c)
    a *= ix
    b *= iy
    c *= iz
    k1 = np.sqrt(a * a + b * b + c * c) + 1e-5
    return k0 * (k0 - 1.0) / k1


@inline_kernel
def capsule(x, y, z, ax, ay, az, bx, by, bz, ra, rb):
    """Distance to a segment a-b thickened from ra to rb."""
    px = x - ax
    py = y - ay
    pz = z - az
    dx = bx - ax
    dy = by - ay
    dz = bz - az
    h = min(max((px * dx + py * dy + pz * dz) / (dx * dx + dy * dy + dz * dz), 0.0), 1.0)
    return norm3(px - dx * h, py - dy * h, pz - dz * h) - (ra + (rb - ra) * h)


@inline_kernel
def swing(x):
    """A smooth wave in [-1, 1] of period 1, without a sine."""
    t = abs(x - np.floor(x) - 0.5) * 2.0
    return t * t * (6.0 - 4.0 * t) - 1.0


@inline_kernel
def to_head(x, y, z, g):
    """World point -> head frame."""
    Y = y - PIVOT_Y
    Z = z - PIVOT_Z
    return (
        g.r00 * x + g.r10 * Y + g.r20 * Z,
        g.r01 * x + g.r11 * Y + g.r21 * Z + PIVOT_Y,
        g.r02 * x + g.r12 * Y + g.r22 * Z + PIVOT_Z,
    )


@inline_kernel
def to_body(x, y, z, g):
    """World point -> body frame (the shoulders' turn)."""
    return g.body_cos * x - g.body_sin * z, y, g.body_sin * x + g.body_cos * z


@inline_kernel
def eye_frame(x, y, g):
    """Coordinates on the face along and across one eye's slit; u points outwards."""
    side = 1.0 if x > 0.0 else -1.0
    u = abs(x) - g.eye_x
    v = y - g.eye_offset * side
    return u * g.tilt_cos + v * g.tilt_sin, -u * g.tilt_sin + v * g.tilt_cos


@inline_kernel
def eye_slit(x, y, g):
    """Distance on the face to the slit between the lids, and height below the upper lid."""
    u, v = eye_frame(x, y, g)
    upper = g.upper_right if x > 0.0 else g.upper_left
    lower = g.lower_right if x > 0.0 else g.lower_left
    s = u / g.eye_w
    s2 = max(1.0 - s * s, -1.5)
    top = upper * s2 * (1.0 - 0.22 * s)
    bottom = -lower * s2 * (1.0 + 0.2 * s)
    return max(max(v - top, bottom - v), abs(u) - g.eye_w * 1.03) * 0.75, top - v


@inline_kernel
def brow_field(x, y, g):
    """Distance on the face to an eyebrow."""
    side = 1.0 if x > 0.0 else -1.0
    u = (abs(x) - g.eye_x - 0.01) / g.brow_w
    middle = g.brow_y + g.brow_arch * (1.0 - (u - 0.25) * (u - 0.25)) + g.brow_tilt * u + g.brow_offset * side
    thick = g.brow_t * (1.10 - 0.32 * u - 0.25 * u * u - 0.45 * u * u * u * u)
    return max(abs(y - middle) - thick, (abs(u) - 1.0) * 0.2)


@inline_kernel
def mouth_frame(x, y, z, g):
    """Height over the line between the lips, and depth along the lips' own curve."""
    curve = x * x
    v = y - g.mouth_y - g.smile * (0.75 * curve / (g.mouth_w + 0.12) - 0.02) - (g.smirk + g.mouth_slant) * x
    return v, z - g.mouth_z + 0.85 * curve


@inline_kernel
def scalp_field(x, y, z, g):
    """Skull and upper face without features: what hair grows on."""
    d = ellipsoid(x, y - 0.28, z + 0.08, g.head_w, g.head_h, g.head_d)
    return soft_min(d, ellipsoid(x, y + 0.36, z - 0.16, g.face_w, 0.80, 0.62), 0.25)


@inline_kernel
def nostril_field(x, y, z, g):
    """The two holes under the nose."""
    nx = x - g.nose_bend
    return ellipsoid(
        abs(nx) - g.wing_x * 0.60, y - g.nose_y + 0.085, z - g.nose_z + 0.055, g.wing_x * 0.36, 0.030, 0.05
    )


@inline_kernel
def ear_field(x, y, z, g):
    """Both ears: a shell with a hollow, a rim and a lobe."""
    ax = abs(x)
    ex = ax - g.ear_x - (y + 0.05) * 0.12
    ey = y + 0.05
    ez = z + 0.05 - ey * 0.15
    a = ex + ez * g.ear_angle
    d = ellipsoid(a, ey, ez, 0.080, 0.25 * g.ear_size, 0.16 * g.ear_size)
    d = soft_max(
        d, -ellipsoid(a - 0.07, ey - 0.04, ez - 0.015, 0.055, 0.165 * g.ear_size, 0.10 * g.ear_size), 0.03
    )
    tragus = norm3(a - 0.02, ey + 0.02, ez - 0.09 * g.ear_size) - 0.045
    return soft_min(d, tragus, 0.04)


@inline_kernel
def head_field(x, y, z, g):
    """Head skin: (distance, before nose and lips, nose, upper lip, lower lip, ear, mouth opening)."""
    gape = g.mouth_open * 0.9
    low = ramp(-0.25, -0.8, y)
    x = x - g.jaw_shift * low
    ax = abs(x)
    d = scalp_field(x, y, z, g)
    # jaw line, chin, cheekbones, flesh of the lower cheek
    d = soft_min(
        d,
        capsule(
            ax, y, z, g.jaw_w, g.jaw_y - gape * 0.3, 0.04, g.chin_w, g.chin_y + 0.04 - gape, g.chin_z - 0.1,
            g.jaw_r, g.jaw_r,
        ),
        0.26,
    )  # fmt: skip
    d = soft_min(d, norm3(max(ax - g.chin_w, 0.0), y - g.chin_y - 0.05 + gape, z - g.chin_z) - g.chin_r, 0.16)
    d = soft_min(
        d, norm3(ax - 0.40, y - g.cheek_y - g.smile * 0.07, z - 0.47) - g.cheek_r - g.smile * 0.02, 0.24
    )
    d = soft_min(d, ellipsoid(ax - 0.33, y + 0.55, z - 0.32, 0.24, 0.30, 0.26) - g.flesh, 0.25)
    # muzzle under the nose, brow ridge, eye sockets, lids
    d = soft_min(
        d, ellipsoid(x, y - g.mouth_y - 0.02 + gape * 0.4, z - g.mouth_z + 0.21, 0.33, 0.27, 0.21), 0.16
    )
    ridge = capsule(ax, y, z, 0.0, 0.20, 0.72, g.eye_x + 0.1, 0.22, 0.58, g.brow_r, g.brow_r)
    d = soft_min(d, ridge, 0.14)
    d = soft_max(d, 0.21 - norm3((ax - g.eye_x) * 0.85, y, z - g.eye_z - 0.38), 0.16)
    side = 1.0 if x > 0.0 else -1.0
    ball = norm3(ax - g.eye_x, y - g.eye_offset * side, z - g.eye_z) - g.eye_r
    d = soft_min(d, ball - 0.028, 0.07)
    hairs = max(1.0 - max(brow_field(x, y, g) + 0.02, 0.0) * 22.0, 0.0) * (1.0 if z > 0.2 else 0.0)
    d -= g.brow_volume * hairs * hairs
    before = d
    # nose
    bend = g.nose_bend * ramp(0.10, -0.30, y)
    nx = x - bend
    anx = abs(nx)
    mid_y = g.nose_y * 0.5
    mid_z = (g.bridge_z + g.nose_z) * 0.5 + g.nose_bump
    nose = capsule(nx, y, z, 0.0, 0.05, g.bridge_z, 0.0, mid_y, mid_z, g.bridge_r, g.bridge_r)
    nose = soft_min(
        nose, capsule(nx, y, z, 0.0, mid_y, mid_z, 0.0, g.nose_y, g.nose_z, g.bridge_r, g.tip_r), 0.05
    )
    nose = soft_min(
        nose,
        ellipsoid(anx - g.wing_x, y - g.nose_y + 0.03, z - g.nose_z + 0.12, g.wing_r, g.wing_r * 0.9, 0.10),
        0.07,
    )
    d = soft_min(d, nose, 0.11)
    d = soft_max(d, -nostril_field(x, y, z, g), 0.035)
    # lips, philtrum and the opening between the lips
    v, w = mouth_frame(x, y, z, g)
    s2 = max(1.0 - (x / g.mouth_w) * (x / g.mouth_w), 0.0)
    bow = max(1.0 - ax * 12.0, 0.0)
    gap = g.mouth_open * 0.45 * s2
    upper = ellipsoid(
        x,
        v - g.lip_u * 0.62 - gap + bow * bow * g.lip_u * 0.35,
        w + 0.02,
        g.mouth_w,
        g.lip_u,
        0.07 + g.lip_u * 0.4,
    )
    lower = ellipsoid(
        x, v + g.lip_l * 0.62 + gap * 1.3, w + 0.03, g.mouth_w * 0.90, g.lip_l, 0.07 + g.lip_l * 0.4
    )
    d = soft_min(d, upper, 0.045)
    d = soft_min(d, lower, 0.045)
    groove = max(abs(x) - 0.018, 0.0) + max(abs(v - g.lip_u - 0.11) - 0.06, 0.0) + abs(w + 0.01)
    d += 0.016 * max(1.0 - groove * 14.0, 0.0)
    c2 = max(1.0 - (x / (g.mouth_w * 0.96)) * (x / (g.mouth_w * 0.96)), 0.0)
    opening = max(abs(v + gap * 0.15) - (0.007 + g.mouth_open * 0.5) * c2, ax - g.mouth_w * 0.94)
    opening = max(opening, abs(w) - 0.22) * 0.8
    d = soft_max(d, -opening, 0.022)
    slit, _ = eye_slit(x, y, g)
    d = soft_max(d, -max(slit, g.eye_z + 0.03 - z), 0.022)
    ear = ear_field(x, y, z, g)
    d = soft_min(d, ear, 0.05)
    return d, before, nose, upper, lower, ear, opening


@inline_kernel
def mouth_field(x, y, z, g):
    """What is seen through the opening: (nearest, teeth, tongue, cavity)."""
    v, w = mouth_frame(x, y, z, g)
    arch = ellipsoid(x, v - g.mouth_open * 0.26 - 0.018, w + 0.10, g.mouth_w * 0.90, 0.060, 0.055)
    lower_arch = ellipsoid(x, v + g.mouth_open * 0.62 + 0.055, w + 0.12, g.mouth_w * 0.70, 0.045, 0.05)
    teeth = min(arch, lower_arch)
    tongue = ellipsoid(x, v + g.mouth_open * 0.42, w + 0.17, g.mouth_w * 0.55, 0.06, 0.13) + 9.0 * (
        1.0 - g.tongue_on
    )
    cavity = ellipsoid(x, v, w + 0.27, g.mouth_w, 0.10 + g.mouth_open * 0.7, 0.13)
    return min(min(teeth, tongue), cavity), teeth, tongue, cavity


@inline_kernel
def torso_field(bx, by, bz, g):
    """Shoulders and chest in the body frame."""
    ax = abs(bx)
    d = ellipsoid(ax, by + 2.75, bz + 0.35, g.shoulder_w, 0.85, 0.62)
    d = soft_min(
        d, capsule(ax, by, bz, 0.12, -1.42, -0.44, g.shoulder_w * 0.72, -1.93, -0.40, 0.20, 0.30), 0.30
    )
    d = soft_min(d, ellipsoid(ax - g.shoulder_w * 0.8, by + 2.35, bz + 0.38, 0.36, 0.42, 0.36), 0.2)
    return soft_min(d, ellipsoid(bx, by + 3.2, bz + 0.3, g.shoulder_w * 0.86, 1.3, 0.62), 0.3)


@inline_kernel
def neck_field(bx, by, bz, g):
    """Neck between head and chest, with its two tendons and the hollow between them."""
    ax = abs(bx - g.neck_x * ramp(-1.7, -0.9, by))
    d = capsule(bx, by, bz, g.neck_x, g.neck_y, g.neck_z, 0.0, -1.75, -0.34, g.neck_r * 0.96, g.neck_r * 1.06)
    tendon = capsule(ax, by, bz, g.neck_r * 0.88, -0.75, -0.16, 0.10, -1.62, -0.04, 0.05, 0.04)
    return soft_min(d, tendon, 0.22)


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


# -- loops over points: one a group of parts, so that absent parts cost nothing ----------------


@kernel
def body_loop(X, Y, Z, g, D, M):
    """Skin, eyes, mouth and garment: always there, so this loop sets D and M."""
    for i in range(D.size):
        x, y, z = to_head(X[i], Y[i], Z[i], g)
        bx, by, bz = to_body(X[i], Y[i], Z[i], g)
        skin, _, _, _, _, _, _ = head_field(x, y, z, g)
        torso = torso_field(bx, by, bz, g)
        neck = neck_field(bx, by, bz, g)
        d = soft_min(skin, soft_min(neck, torso, 0.16), 0.10)
        m = 0.0
        side = 1.0 if x > 0.0 else -1.0
        eye = norm3(abs(x) - g.eye_x, y - g.eye_offset * side, z - g.eye_z) - g.eye_r
        m = 1.0 if eye < d else m
        d = min(d, eye)
        mouth, _, _, _ = mouth_field(x, y, z, g)
        m = 2.0 if mouth < d else m
        d = min(d, mouth)
        cloth = garment_field(bx, by, bz, torso, neck, g)
        m = 3.0 if cloth < d else m
        D[i] = min(d, cloth)
        M[i] = m


@kernel
def hair_loop(X, Y, Z, g, D, M):
    """Head hair."""
    for i in range(D.size):
        near = D[i]
        m = M[i]
        x, y, z = to_head(X[i], Y[i], Z[i], g)
        bx, by, bz = to_body(X[i], Y[i], Z[i], g)
        d = hair_field(x, y, z, bx, by, bz, g)
        d = max(d, min(0.03 - ear_field(x, y, z, g), 0.05))
        m = 4.0 if d < near else m
        near = min(d, near)
        D[i] = near
        M[i] = m


@kernel
def beard_loop(X, Y, Z, g, D, M):
    """Beard and moustache."""
    for i in range(D.size):
        near = D[i]
        m = M[i]
        x, y, z = to_head(X[i], Y[i], Z[i], g)
        _, before, _, upper, lower, _, _ = head_field(x, y, z, g)
        d = beard_field(x, y, z, before, upper, lower, g)
        m = 5.0 if d < near else m
        near = min(d, near)
        D[i] = near
        M[i] = m


@kernel
def jacket_loop(X, Y, Z, g, D, M):
    """Jacket."""
    for i in range(D.size):
        near = D[i]
        m = M[i]
        bx, by, bz = to_body(X[i], Y[i], Z[i], g)
        torso = torso_field(bx, by, bz, g)
        d = jacket_field(bx, by, bz, torso, neck_field(bx, by, bz, g), g)
        m = 6.0 if d < near else m
        near = min(d, near)
        D[i] = near
        M[i] = m


@kernel
def glasses_loop(X, Y, Z, g, D, M):
    """Frame, and dark lenses where worn."""
    for i in range(D.size):
        near = D[i]
        m = M[i]
        x, y, z = to_head(X[i], Y[i], Z[i], g)
        d = frame_field(x, y, z, g)
        m = 7.0 if d < near else m
        near = min(d, near)
        s, w = lens_shape(x, y, z, g)
        d = max(s, abs(w) - 0.012) * 0.9 + 9.0 * (1.0 - g.lens_on)
        m = 8.0 if d < near else m
        near = min(d, near)
        D[i] = near
        M[i] = m


@kernel
def hat_loop(X, Y, Z, g, D, M):
    """Hat and its brim or bobble."""
    for i in range(D.size):
        near = D[i]
        m = M[i]
        x, y, z = to_head(X[i], Y[i], Z[i], g)
        d, trim = hat_field(x, y, z, g)
        m = 9.0 if d < near else m
        near = min(d, near)
        m = 10.0 if trim < near else m
        near = min(trim, near)
        D[i] = near
        M[i] = m


@kernel
def jewellery_loop(X, Y, Z, g, D, M):
    """Earrings and necklace."""
    for i in range(D.size):
        near = D[i]
        m = M[i]
        x, y, z = to_head(X[i], Y[i], Z[i], g)
        bx, by, bz = to_body(X[i], Y[i], Z[i], g)
        d = earring_field(x, y, z, g) + 9.0 * (1.0 - g.earring_on)
        m = 11.0 if d < near else m
        near = min(d, near)
        bare = soft_min(neck_field(bx, by, bz, g), torso_field(bx, by, bz, g), 0.16)
        d = necklace_field(bx, by, bz, bare, g) + 9.0 * (1.0 - g.necklace_on)
        m = 12.0 if d < near else m
        near = min(d, near)
        D[i] = near
        M[i] = m


@kernel
def scarf_loop(X, Y, Z, g, D, M):
    """Scarf."""
    for i in range(D.size):
        near = D[i]
        m = M[i]
        bx, by, bz = to_body(X[i], Y[i], Z[i], g)
        d = scarf_field(bx, by, bz, g)
        m = 13.0 if d < near else m
        near = min(d, near)
        D[i] = near
        M[i] = m


@kernel
def distance(X, Y, Z, n, g, D, M):
    """Nearest distance D and material M (index into `MATERIALS`) of n points of the world."""
    start = 0
    while start < n:  # blocks that stay in the first-level cache
        stop = min(start + 512, n)
        x = X[start:stop]
        y = Y[start:stop]
        z = Z[start:stop]
        d = D[start:stop]
        m = M[start:stop]
        body_loop(x, y, z, g, d, m)
        if g.hair_on > 0.5:
            hair_loop(x, y, z, g, d, m)
        if g.beard_on + g.moustache_on > 0.5:
            beard_loop(x, y, z, g, d, m)
        if g.jacket_on > 0.5:
            jacket_loop(x, y, z, g, d, m)
        if g.glasses_on > 0.5:
            glasses_loop(x, y, z, g, d, m)
        if g.hat_on > 0.5:
            hat_loop(x, y, z, g, d, m)
        if g.earring_on + g.necklace_on > 0.5:
            jewellery_loop(x, y, z, g, d, m)
        if g.scarf_on > 0.5:
            scarf_loop(x, y, z, g, d, m)
        start = stop
