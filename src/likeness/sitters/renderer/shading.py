"""From hits to colour: materials under key, fill, rim and ambient light, and the camera's rays."""

from __future__ import annotations

import math

import numpy as np

from likeness.sitters.renderer import materials
from likeness.sitters.renderer.background import background, noise
from likeness.sitters.renderer.field import distance
from likeness.sitters.renderer.kernel import kernel
from likeness.sitters.renderer.shapes import mix, norm3, ramp, swing, to_body, to_head
from likeness.sitters.renderer.trace import march, normals, openness, shadows
from likeness.sitters.renderer.worn import lens_shape


@kernel
def sky_reflection(nx, ny, nz, vx, vy, vz, s):
    """What a smooth surface mirrors: a bright window above, the ground below."""
    nv = nx * vx + ny * vy + nz * vz
    ry = 2.0 * nv * ny - vy
    rx = 2.0 * nv * nx - vx
    k = 0.06 + 0.55 * ramp(0.15, 0.55, ry) * ramp(0.9, 0.2, abs(rx - 0.2))
    return k * (s.above_r + s.above_g + s.above_b) * 0.5


@kernel
def lens(ox, oy, oz, dx, dy, dz, t_hit, g, s):
    """Light added by a clear lens crossed before t_hit (0 where there is none)."""
    hx, hy, hz = to_head(ox, oy, oz, g)
    ex, ey, ez = to_head(ox + dx, oy + dy, oz + dz, g)
    dx = ex - hx
    dy = ey - hy
    dz = ez - hz
    if dz > -0.05:
        return np.float32(0.0)
    t = (g.glass_z - hz) / dz
    for _ in range(3):
        x = hx + dx * t
        t = (g.glass_z - 0.22 * x * x - hz) / dz
    if t > t_hit:
        return np.float32(0.0)
    x = hx + dx * t
    y = hy + dy * t
    edge, _ = lens_shape(x, y, hz + dz * t, g)
    if edge > 0.0:
        return np.float32(0.0)
    u = abs(x) - g.glass_x
    streak = ramp(0.05, 0.0, abs(u * 0.8 + y * 0.6 - 0.06) - 0.03) * 0.12
    streak += ramp(0.03, 0.0, abs(u * 0.8 + y * 0.6 + 0.05) - 0.008) * 0.08
    glint = ramp(-0.06, 0.10, y) * 0.05 + 0.025
    return (streak + glint) * (0.35 + 0.4 * (s.above_r + s.above_g + s.above_b))


@kernel
def shade(X, Y, Z, DX, DY, DZ, NX, NY, NZ, M, OPEN, LIT, i, j, g, s):
    """Linear colour and label of hit j, seen along ray i."""
    x = X[j]
    y = Y[j]
    z = Z[j]
    nx = NX[j]
    ny = NY[j]
    nz = NZ[j]
    vx = -DX[i]
    vy = -DY[i]
    vz = -DZ[i]
    hx, hy, hz = to_head(x, y, z, g)
    bx, by, bz = to_body(x, y, z, g)
    part = int(M[j])
    ao = OPEN[j]
    lit = LIT[j]
    spec = np.float32(0.06)
    gloss = np.float32(8.0)
    strand = np.float32(0.0)
    tone = np.float32(1.0)
    label = 1
    if part == 0:
        r, gr, b, spec, gloss, label = materials.skin(hx, hy, hz, g, s)
        if label == 12 and hy > -0.55:
            label = 1
    elif part == 1:
        r, gr, b, spec, gloss, label = materials.eye(hx, hy, hz, g, s)
        ao = 0.55 + 0.45 * ao
        lit = 0.30 + 0.70 * lit
    elif part == 2:
        r, gr, b, spec, gloss, label = materials.mouth(hx, hy, hz, g, s)
        ao = 0.35 + 0.65 * ao
        lit = 0.25 + 0.75 * lit
    elif part == 4 or part == 5:
        label = 13 if part == 4 else 14
        r, gr, b, tilt, tone = materials.hair(hx, hy, hz, g, s, part == 5)
        th = np.float32(math.atan2(hx, hz + 0.25))
        nx += np.float32(math.cos(th)) * tilt * 0.7
        nz -= np.float32(math.sin(th)) * tilt * 0.7
        k = 1.0 / norm3(nx, ny, nz)
        nx *= k
        ny *= k
        nz *= k
        strand = s.hair_shine if part == 4 else 0.5 * s.hair_shine
        ao *= 0.55 + 0.45 * min(tone, 1.1)
    elif part == 3:
        label = 15
        r, gr, b = materials.garment(bx, by, bz, s)
    elif part == 6:
        label = 16
        k = 0.9 + 0.2 * noise(bx * 42.0, by * 42.0, bz * 42.0)
        r = s.jacket_r * k
        gr = s.jacket_g * k
        b = s.jacket_b * k
    elif part == 7:
        label = 17
        r = s.frame_r
        gr = s.frame_g
        b = s.frame_b
        spec = np.float32(0.6)
        gloss = np.float32(60.0)
    elif part == 8:
        label = 18
        r = np.float32(0.02)
        gr = np.float32(0.02)
        b = np.float32(0.025)
        spec = np.float32(1.0)
        gloss = np.float32(120.0)
    elif part == 9 or part == 10:
        label = 19
        k = materials.wool(hx, hy, hz, g.knit)
        r = (s.hat_r if part == 9 else s.trim_r) * k
        gr = (s.hat_g if part == 9 else s.trim_g) * k
        b = (s.hat_b if part == 9 else s.trim_b) * k
    elif part == 11 or part == 12:
        label = 20 if part == 11 else 21
        r = s.metal_r
        gr = s.metal_g
        b = s.metal_b
        spec = np.float32(1.1)
        gloss = np.float32(50.0)
    else:
        label = 22
        k = 0.78 + 0.22 * swing(bx * 4.0 + by * 4.0) + 0.25 * (noise(bx * 40.0, by * 40.0, bz * 40.0) - 0.3)
        r = s.scarf_r * k
        gr = s.scarf_g * k
        b = s.scarf_b * k
    nl = nx * s.key_x + ny * s.key_y + nz * s.key_z
    nv = max(nx * vx + ny * vy + nz * vz, 0.0)
    if part == 0:
        # light that entered the skin leaves it elsewhere: soft, red edges of shadows (a cheap
        # stand-in for subsurface scattering), and shadows never fully dark
        soft = 0.16 + 0.84 * lit
        w0 = min(max((nl + 0.35) / 1.35, 0.0), 1.0)
        w1 = min(max((nl + 0.16) / 1.16, 0.0), 1.0)
        w2 = max(nl + 0.10, 0.0) / 1.10
        key_r = w0 * (0.30 + 0.70 * w0) * np.float32(math.sqrt(soft))
        key_g = w1 * mix(soft, lit, 0.35)
        key_b = w2 * mix(soft, lit, 0.5)
        ao = 0.22 + 0.78 * ao
        ao_r = np.float32(ao**0.65)
        ao_g = np.float32(ao**0.95)
        ao_b = ao
    else:
        k = max(nl, 0.0) * lit
        key_r = k
        key_g = k
        key_b = k
        ao_r = ao
        ao_g = ao
        ao_b = ao
    fill = max(nx * s.fill_x + ny * s.fill_y + nz * s.fill_z + 0.3, 0.0) / 1.3
    up = 0.5 + 0.5 * ny
    around_r = mix(s.below_r, s.above_r, up) + fill * s.fill_r
    around_g = mix(s.below_g, s.above_g, up) + fill * s.fill_g
    around_b = mix(s.below_b, s.above_b, up) + fill * s.fill_b
    fresnel = (1.0 - nv) * (1.0 - nv)
    fresnel = fresnel * fresnel * (1.0 - nv)
    rim = max(nx * s.rim_x + ny * s.rim_y + nz * s.rim_z, 0.0)
    rim *= (0.25 + 0.75 * (1.0 - nv) * (1.0 - nv)) * OPEN[j]
    out_r = r * (key_r * s.key_r + around_r * ao_r + rim * s.rim_r)
    out_g = gr * (key_g * s.key_g + around_g * ao_g + rim * s.rim_g)
    out_b = b * (key_b * s.key_b + around_b * ao_b + rim * s.rim_b)
    wx = s.key_x + vx
    wy = s.key_y + vy
    wz = s.key_z + vz
    k = 1.0 / (norm3(wx, wy, wz) + 1e-5)
    wx *= k
    wy *= k
    wz *= k
    nh = max(nx * wx + ny * wy + nz * wz, 0.0)
    power = (s.key_r + s.key_g + s.key_b) * 0.333
    shine = spec * np.float32(nh**gloss) * (0.35 + 0.65 * lit) * (1.0 if nl > -0.1 else 0.0) * power
    if part == 0:
        shine += spec * 0.5 * np.float32(nh ** (gloss * 4.0)) * lit * power
    shine += spec * fresnel * 0.6 * ao * (around_r + around_g + around_b) * 0.333
    if part == 1:
        shine = min(shine + 0.35 * sky_reflection(nx, ny, nz, vx, vy, vz, s), 1.4)
    elif part == 8:
        shine += sky_reflection(nx, ny, nz, vx, vy, vz, s)
    if strand > 0.0:
        # highlights across strands that run downwards (Kajiya and Kay 1989, eq. 14's specular term)
        tx = -nx * ny
        ty = 1.0 - ny * ny
        tz = -nz * ny
        k = 1.0 / (norm3(tx, ty, tz) + 1e-4)
        th = (tx * wx + ty * wy + tz * wz) * k + (tone - 1.0) * 0.25
        sn = np.sqrt(max(1.0 - th * th, 0.0))
        k1 = np.float32(sn**60.0) * 0.26
        k2 = np.float32(sn**14.0) * 0.35
        gleam = (0.12 + 0.88 * lit) * power * ramp(-0.2, 0.5, nl) * ao * strand
        out_r += gleam * (k1 * (0.25 + r) + k2 * r * 2.0)
        out_g += gleam * (k1 * (0.25 + gr) + k2 * gr * 2.0)
        out_b += gleam * (k1 * (0.25 + b) + k2 * b * 2.0)
    return (
        out_r + shine * s.key_r / (power + 1e-3),
        out_g + shine * s.key_g / (power + 1e-3),
        out_b + shine * s.key_b / (power + 1e-3),
        label,
    )


@kernel
def render_rays(DX, DY, DZ, START, ox, oy, oz, far, g, s, RGB, LABEL, DEPTH, NORMAL):
    """Colour, label, distance and normal for every ray; START is where each may begin to march."""
    n = DX.size
    T = START.copy()
    HIT = np.empty(n, np.uint8)
    march(ox, oy, oz, DX, DY, DZ, T, far, HIT, n, g)
    idx = np.empty(n, np.int32)
    m = 0
    for i in range(n):
        if HIT[i]:
            idx[m] = i
            m += 1
    X = np.empty(m, np.float32)
    Y = np.empty(m, np.float32)
    Z = np.empty(m, np.float32)
    for j in range(m):
        i = idx[j]
        X[j] = ox + DX[i] * T[i]
        Y[j] = oy + DY[i] * T[i]
        Z[j] = oz + DZ[i] * T[i]
    NX = np.empty(m, np.float32)
    NY = np.empty(m, np.float32)
    NZ = np.empty(m, np.float32)
    OPEN = np.empty(m, np.float32)
    LIT = np.empty(m, np.float32)
    MAT = np.empty(m, np.float32)
    NEAREST = np.empty(m, np.float32)
    normals(X, Y, Z, m, g, 0.006, NX, NY, NZ)
    openness(X, Y, Z, NX, NY, NZ, m, g, OPEN)
    shadows(X, Y, Z, NX, NY, NZ, m, s.key_x, s.key_y, s.key_z, s.sharpness, g, LIT)
    distance(X, Y, Z, m, g, NEAREST, MAT)
    clear = g.glasses_on > 0.5 and g.lens_on < 0.5
    for i in range(n):
        if not HIT[i]:
            r, gr, b = background(DX[i], DY[i], DZ[i], s)
            if clear:
                k = lens(ox, oy, oz, DX[i], DY[i], DZ[i], far, g, s)
                r += k
                gr += k
                b += k
            RGB[i, 0] = r
            RGB[i, 1] = gr
            RGB[i, 2] = b
            LABEL[i] = 0
            DEPTH[i] = 0.0
            NORMAL[i, 0] = 0.0
            NORMAL[i, 1] = 0.0
            NORMAL[i, 2] = 0.0
    for j in range(m):
        i = idx[j]
        r, gr, b, label = shade(X, Y, Z, DX, DY, DZ, NX, NY, NZ, MAT, OPEN, LIT, i, j, g, s)
        if clear:
            k = lens(ox, oy, oz, DX[i], DY[i], DZ[i], T[i], g, s)
            r = r * (1.0 - 0.04 * (1.0 if k > 0.0 else 0.0)) + k
            gr = gr * (1.0 - 0.02 * (1.0 if k > 0.0 else 0.0)) + k
            b += k
        RGB[i, 0] = r
        RGB[i, 1] = gr
        RGB[i, 2] = b
        LABEL[i] = label
        DEPTH[i] = T[i]
        NORMAL[i, 0] = NX[j]
        NORMAL[i, 1] = NY[j]
        NORMAL[i, 2] = NZ[j]
