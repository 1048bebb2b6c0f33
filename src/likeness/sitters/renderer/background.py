"""The place behind a sitter, out of focus: a colour for each direction that hits nobody."""

from __future__ import annotations

import math

import numpy as np

from likeness.sitters.renderer.kernel import kernel
from likeness.sitters.renderer.shapes import mix, ramp


@kernel
def scatter(ix, iy, iz):
    """A repeatable pseudo-random number in [0, 1] for three integers."""
    h = (ix * 374761393 + iy * 668265263 + iz * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = h ^ (h >> 16)
    return np.float32((h & 0xFFFF) / 65535.0)


@kernel
def noise(x, y, z):
    """Value noise in [0, 1], one feature per unit."""
    fx = math.floor(x)
    fy = math.floor(y)
    fz = math.floor(z)
    ix = int(fx)
    iy = int(fy)
    iz = int(fz)
    u = np.float32(x - fx)
    v = np.float32(y - fy)
    w = np.float32(z - fz)
    u = u * u * (3.0 - 2.0 * u)
    v = v * v * (3.0 - 2.0 * v)
    w = w * w * (3.0 - 2.0 * w)
    a = mix(scatter(ix, iy, iz), scatter(ix + 1, iy, iz), u)
    b = mix(scatter(ix, iy + 1, iz), scatter(ix + 1, iy + 1, iz), u)
    c = mix(scatter(ix, iy, iz + 1), scatter(ix + 1, iy, iz + 1), u)
    d = mix(scatter(ix, iy + 1, iz + 1), scatter(ix + 1, iy + 1, iz + 1), u)
    return mix(mix(a, b, v), mix(c, d, v), w)


@kernel
def bump(x, width):
    """A bell of height 1."""
    q = x / width
    return np.float32(math.exp(-q * q))


@kernel
def studio(u, v, s):
    """A paper roll lit from behind the sitter."""
    t = min(max(0.5 + v * 0.9, 0.0), 1.0)
    glow = bump(u - 0.05, 0.36) * bump(v - 0.02, 0.42) * 0.42 + 0.74
    r = mix(s.back2_r, s.back1_r, t) * glow
    g = mix(s.back2_g, s.back1_g, t) * glow
    b = mix(s.back2_b, s.back1_b, t) * glow
    return r, g, b


@kernel
def room(u, v, s):
    """A wall with a window, pictures, a shelf and a lamp."""
    e = s.back_blur
    seed = int(s.back_seed)
    shade = 0.86 + 0.22 * u
    r = s.back1_r * shade
    g = s.back1_g * shade
    b = s.back1_b * shade
    wx = -0.26 + 0.52 * scatter(seed, 1, 2)
    pane = ramp(-e, e, 0.13 - abs(u - wx)) * ramp(-e, e, 0.19 - abs(v - 0.12))
    bar = 1.0 - ramp(0.004 - e * 0.4, 0.006 + e * 0.6, min(abs(u - wx), abs(v - 0.12))) * 0.85
    sky = mix(1.18, 0.62, bar)
    r = mix(r, sky * 0.96, pane)
    g = mix(g, sky, pane)
    b = mix(b, sky * 1.06, pane)
    for k in range(3):
        px = -0.46 + 0.92 * scatter(seed, k, 7)
        py = 0.06 + 0.22 * scatter(seed, k, 8)
        w = 0.03 + 0.045 * scatter(seed, k, 9)
        rim = (
            ramp(-e, e, w + 0.012 - abs(u - px)) * ramp(-e, e, w * 1.25 + 0.012 - abs(v - py)) * (1.0 - pane)
        )
        m = ramp(-e, e, w - abs(u - px)) * ramp(-e, e, w * 1.25 - abs(v - py)) * (1.0 - pane)
        r = mix(mix(r, 0.10, rim), 0.15 + 0.55 * scatter(seed, k, 3), m)
        g = mix(mix(g, 0.08, rim), 0.15 + 0.50 * scatter(seed, k, 4), m)
        b = mix(mix(b, 0.06, rim), 0.15 + 0.50 * scatter(seed, k, 5), m)
    shelf = ramp(-e, e, -0.20 - v)
    r = mix(r, s.back2_r, shelf)
    g = mix(g, s.back2_g, shelf)
    b = mix(b, s.back2_b, shelf)
    lamp_x = 0.42 if wx < 0.0 else -0.42
    glow = bump(u - lamp_x, 0.16) * bump(v - 0.10, 0.16) * 0.8
    return r + glow * 1.0, g + glow * 0.72, b + glow * 0.38


@kernel
def beach(u, v, s):
    """Sky with clouds, sea, sand."""
    e = s.back_blur
    seed = np.float32(s.back_seed)
    t = min(max(v * 1.7, 0.0), 1.0)
    r = mix(s.sky_low_r, s.sky_high_r, t)
    g = mix(s.sky_low_g, s.sky_high_g, t)
    b = mix(s.sky_low_b, s.sky_high_b, t)
    cloud = noise(u * 4.0 + seed, v * 11.0, 3.0) * 0.65 + noise(u * 9.0 + seed, v * 24.0, 7.0) * 0.35
    cloud = ramp(0.46, 0.80, cloud) * ramp(0.03, 0.20, v) * 0.75
    r = mix(r, s.sky_low_r * 0.4 + 0.62, cloud)
    g = mix(g, s.sky_low_g * 0.4 + 0.58, cloud)
    b = mix(b, s.sky_low_b * 0.4 + 0.56, cloud)
    sea = ramp(e * 0.4, -e * 0.4, v)
    wave = 0.82 + 0.36 * noise(u * 7.0 + seed, v * 70.0 + 3.0, 1.0)
    r = mix(r, (0.04 + 0.16 * s.sky_low_r) * wave, sea)
    g = mix(g, (0.20 + 0.20 * s.sky_low_g) * wave, sea)
    b = mix(b, (0.30 + 0.22 * s.sky_low_b) * wave, sea)
    foam = bump(v + 0.118 + 0.02 * noise(u * 8.0 + seed, 1.0, 2.0), 0.008 + e * 0.4) * 0.7
    r = mix(r, 0.85, foam)
    g = mix(g, 0.86, foam)
    b = mix(b, 0.84, foam)
    sand = ramp(e, -e, v + 0.135 + 0.02 * noise(u * 8.0 + seed, 1.0, 2.0))
    grain = 0.9 + 0.2 * noise(u * 20.0, v * 40.0, 4.0)
    warm = 0.55 + 0.45 * s.sky_low_r
    r = mix(r, 0.74 * warm * grain, sand)
    g = mix(g, 0.58 * warm * grain, sand)
    b = mix(b, 0.38 * warm * grain, sand)
    return r, g, b


@kernel
def forest(u, v, s):
    """Trunks and leaves with light falling through."""
    e = s.back_blur
    seed = int(s.back_seed)
    t = min(max(0.5 + v * 0.95, 0.0), 1.0)
    leaf = noise(u * 5.0 + seed, v * 5.0, 2.0) * 0.6 + noise(u * 13.0 + seed, v * 13.0, 5.0) * 0.4
    r = mix(0.035, 0.34, t * t) * (0.55 + 0.9 * leaf)
    g = mix(0.075, 0.46, t) * (0.55 + 0.9 * leaf)
    b = mix(0.025, 0.16, t * t) * (0.55 + 0.9 * leaf)
    for k in range(8):
        px = -0.72 + 1.44 * scatter(seed, k, 11)
        w = 0.010 + 0.034 * scatter(seed, k, 12)
        m = ramp(-e, e, w - abs(u - px + 0.06 * v * (scatter(seed, k, 14) - 0.5)))
        m *= 0.45 + 0.5 * scatter(seed, k, 13)
        side = 0.6 + 0.7 * ramp(-w, w, u - px)
        r = mix(r, 0.085 * side, m)
        g = mix(g, 0.060 * side, m)
        b = mix(b, 0.038 * side, m)
    for k in range(26):
        px = -0.8 + 1.6 * scatter(seed, k, 21)
        py = -0.30 + 0.9 * scatter(seed, k, 22)
        w = 0.015 + 0.045 * scatter(seed, k, 23)
        q = np.sqrt((u - px) * (u - px) + (v - py) * (v - py))
        m = ramp(w + e * 0.4, w - e * 0.4, q) * 0.32
        light = 0.25 + 1.0 * scatter(seed, k, 24) * (0.45 + py)
        r = mix(r, 0.58 * light, m)
        g = mix(g, 0.72 * light, m)
        b = mix(b, 0.22 * light, m)
    return r, g, b


@kernel
def city(u, v, s):
    """Two rows of houses with lit windows under the sky."""
    e = s.back_blur
    seed = int(s.back_seed)
    t = min(max(0.30 + v * 1.2, 0.0), 1.0)
    r = mix(s.sky_low_r, s.sky_high_r, t)
    g = mix(s.sky_low_g, s.sky_high_g, t)
    b = mix(s.sky_low_b, s.sky_high_b, t)
    for row in range(2):
        f = 6.0 + 3.5 * (1 - row)
        cell = math.floor(u * f + 3.7 * row)
        k = int(cell)
        across = np.float32(u * f + 3.7 * row - cell)
        height = -0.08 + 0.46 * scatter(k, seed, row) - 0.12 * row
        m = ramp(e, -e, v - height) * ramp(-e * 2.0, e * 4.0, min(across, 1.0 - across))
        stone = 0.16 + 0.26 * scatter(k, seed, 5 + row) - 0.05 * row
        dim = 0.35 + 0.65 * s.sky_low_g
        r = mix(r, stone * (0.85 + 0.3 * scatter(k, seed, 8)) * dim, m)
        g = mix(g, stone * 0.88 * dim, m)
        b = mix(b, stone * (0.85 + 0.3 * scatter(k, seed, 9)) * dim, m)
        i = math.floor(across * 5.0)
        j = math.floor(v * 32.0)
        wx = np.float32(abs(across * 5.0 - i - 0.5))
        wy = np.float32(abs(v * 32.0 - j - 0.5))
        soft = min(e * 8.0, 0.22)
        lit = m * ramp(0.30 + soft, 0.30 - soft, wx) * ramp(0.32 + soft, 0.32 - soft, wy)
        on = np.float32(1.0 if scatter(k * 7 + i, j, seed) > 0.58 else 0.0)
        r = mix(r, mix(0.10, 1.0, on), lit * 0.75)
        g = mix(g, mix(0.13, 0.76, on), lit * 0.75)
        b = mix(b, mix(0.18, 0.40, on), lit * 0.75)
    return r, g, b


@kernel
def lights(u, v, s):
    """Night with discs of coloured light."""
    seed = int(s.back_seed)
    t = min(max(0.5 + v * 0.9, 0.0), 1.0)
    r = mix(s.back2_r, s.back1_r, t) * 0.22
    g = mix(s.back2_g, s.back1_g, t) * 0.22
    b = mix(s.back2_b, s.back1_b, t) * 0.26
    for k in range(26):
        px = -0.7 + 1.4 * scatter(seed, k, 21)
        py = -0.42 + 0.9 * scatter(seed, k, 22)
        w = 0.016 + 0.045 * scatter(seed, k, 23)
        q = np.sqrt((u - px) * (u - px) + (v - py) * (v - py))
        m = ramp(w + 0.008, w - 0.004, q) * (0.12 + 0.42 * scatter(seed, k, 25))
        m *= 0.75 + 0.35 * ramp(w * 0.6, w, q)
        warm = scatter(seed, k, 26)
        r += m * (0.35 + 0.75 * warm)
        g += m * (0.25 + 0.45 * scatter(seed, k, 27))
        b += m * (1.0 - 0.8 * warm)
    return r, g, b


@kernel
def background(dx, dy, dz, s):
    """Linear colour seen along a direction; `s` is a `shading.Surface`."""
    depth = 1.0 / max(-dz, 0.15)
    u = dx * depth
    v = dy * depth - s.horizon
    kind = int(s.back_kind)
    if kind == 0:
        return studio(u, v, s)
    if kind == 1:
        return room(u, v, s)
    if kind == 2:
        return beach(u, v, s)
    if kind == 3:
        return forest(u, v, s)
    if kind == 4:
        return city(u, v, s)
    return lights(u, v, s)
