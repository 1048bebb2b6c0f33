"""Distance fields: how far a point is from each part of a sitter.

Each `*_field` takes a point and returns head units, negative inside. They are bounds rather than
exact distances (soft unions, displacement), so the marcher steps short (`trace.STEP`). Formulas
hold no branches: a branch would keep LLVM from turning the loops into vector code. Frames: `x, y,
z` head frame unless a name starts with `b` (body frame).
"""

from __future__ import annotations

from likeness.sitters.renderer.body import ear_field, head_field, mouth_field, neck_field, torso_field
from likeness.sitters.renderer.hair import beard_field, hair_field
from likeness.sitters.renderer.kernel import kernel
from likeness.sitters.renderer.shapes import norm3, soft_min, to_body, to_head
from likeness.sitters.renderer.worn import (
    earring_field,
    frame_field,
    garment_field,
    hat_field,
    jacket_field,
    lens_shape,
    necklace_field,
    scarf_field,
)


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
