"""Solids and blends that the distance fields are made of, and the frames they are written in."""

from __future__ import annotations

import numpy as np

from likeness.sitters.renderer.kernel import inline_kernel

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
