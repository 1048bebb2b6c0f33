"""Distance fields of skin, eyes and mouth (see `field` for what a field is)."""

from __future__ import annotations

from likeness.sitters.renderer.kernel import inline_kernel
from likeness.sitters.renderer.shapes import capsule, ellipsoid, norm3, ramp, soft_max, soft_min


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
