"""What each part is made of: linear colour, gloss and part label at a point that was hit.

Every function returns `(red, green, blue, specular strength, specular exponent, label)`; labels are
indices into `LABELS`. Points are in the head or body frame, as in `field`.
"""

from __future__ import annotations

import math

import numpy as np

from likeness.sitters.renderer.background import bump, noise
from likeness.sitters.renderer.body import (
    brow_field,
    eye_frame,
    eye_slit,
    head_field,
    mouth_field,
    nostril_field,
)
from likeness.sitters.renderer.hair import beard_border, curls, hair_border
from likeness.sitters.renderer.kernel import kernel
from likeness.sitters.renderer.shapes import mix, norm3, ramp, swing

LABELS = (
    "background", "skin", "left brow", "right brow", "left eye", "right eye", "nose", "upper lip",
    "lower lip", "mouth", "left ear", "right ear", "neck", "hair", "beard", "garment", "jacket", "glasses",
    "dark lenses", "hat", "earring", "necklace", "scarf",
)  # fmt: skip


@kernel
def skin(x, y, z, g, s):
    """Skin of the head with everything drawn on it: blush, lashes, brows, lips, lines, stubble."""
    _, before, nose, upper, lower, ear, opening = head_field(x, y, z, g)
    ax = abs(x)
    right = x > 0.0
    side = np.float32(1.0 if right else -1.0)
    front = z > 0.1
    label = 1
    if before > 0.02 and nose > 0.05 and min(upper, lower) > 0.05 and ear > 0.03:
        label = 12
    if nose < before - 0.004 and z > 0.5:
        label = 6
    if ear < 0.02 and ax > 0.55:
        label = 11 if right else 10
    r = s.skin_r
    g_ = s.skin_g
    b = s.skin_b
    spec = mix(0.12, 0.13, s.darkness)
    gloss = np.float32(14.0)
    patchy = noise(x * 7.0, y * 7.0, z * 7.0) - 0.5
    fine = noise(x * 38.0, y * 38.0, z * 38.0) - 0.5
    r *= 1.0 + 0.05 * patchy + 0.03 * fine
    g_ *= 1.0 + 0.08 * patchy + 0.04 * fine
    b *= 1.0 + 0.08 * patchy + 0.04 * fine
    # blood: cheeks, nose tip, chin, ears; cooler under the eyes
    red = 0.8 * ramp(0.06, -0.02, ear)
    if front:
        red += bump(norm3(ax - 0.42, y + 0.33, 0.0 * x), 0.25)
        red += 0.8 * bump(norm3(x - g.nose_bend, y - g.nose_y, (z - g.nose_z) * 0.7), 0.17)
        red += 0.25 * bump(norm3(x, y - g.chin_y, 0.0 * x), 0.15)
    red *= s.blush
    r *= 1.0 - 0.03 * red
    g_ *= 1.0 - 0.26 * red
    b *= 1.0 - 0.24 * red
    if front:
        slit, _ = eye_slit(x, y, g)
        u, v = eye_frame(x, y, g)
        upper_lid = g.upper_right if right else g.upper_left
        lower_lid = g.lower_right if right else g.lower_left
        if z > 0.40:
            across = ramp(1.4, 1.0, abs(u / g.eye_w))
            tint = bump(norm3(u, v - upper_lid * 0.9 - 0.03, 0.0 * x), 0.13) * s.eyeshadow
            r = mix(r, s.shadow_r, tint * 0.75)
            g_ = mix(g_, s.shadow_g, tint * 0.75)
            b = mix(b, s.shadow_b, tint * 0.75)
            lash = bump(slit - 0.006, 0.021) * ramp(-0.015, 0.02, v + lower_lid * 0.6) * across * s.lashes
            lash = max(lash, bump(slit - 0.004, 0.013) * 0.40 * across)
            r *= 1.0 - 0.88 * lash
            g_ *= 1.0 - 0.92 * lash
            b *= 1.0 - 0.92 * lash
            crease = bump(slit - 0.058, 0.017) * ramp(0.0, 0.05, v) * across * 0.28
            r *= 1.0 - 0.45 * crease
            g_ *= 1.0 - 0.9 * crease
            b *= 1.0 - 0.9 * crease
            bag = bump(norm3(u * 0.7, v + lower_lid + 0.07, 0.0 * x), 0.08) * (0.08 + 0.42 * s.age)
            r *= 1.0 - 0.6 * bag
            g_ *= 1.0 - bag
            b *= 1.0 - 0.8 * bag
        hole = ramp(0.010, -0.012, nostril_field(x, y, z, g)) * 0.70
        r *= 1.0 - 0.72 * hole
        g_ *= 1.0 - 0.9 * hole
        b *= 1.0 - 0.9 * hole
        # lines that come with age, and with a smile
        lines = bump(ax - (0.17 + 0.55 * max(g.nose_y - y, 0.0)), 0.028)
        lines *= ramp(g.nose_y + 0.05, g.nose_y - 0.06, y) * ramp(g.mouth_y - 0.12, g.mouth_y + 0.06, y)
        lines *= 0.03 + 0.75 * s.age + 0.20 * max(g.smile, 0.0)
        if y > 0.34:
            wavy = 0.5 + 0.5 * np.float32(
                math.sin(y * 58.0 + 2.5 * noise(x * 3.0, y * 2.0, 0.0 * x) + 3.0 * x * x)
            )
            wavy = wavy * wavy * wavy
            lines += s.age * 0.62 * wavy * ramp(0.34, 0.44, y) * ramp(0.80, 0.62, y) * ramp(0.5, 0.28, ax)
        corner = bump(norm3(ax - g.eye_x - g.eye_w - 0.10, y, 0.0 * x), 0.09)
        if corner > 0.01:
            slope = y + 0.35 * (ax - 0.5) * (1.0 if y > 0.0 else -1.0)
            fan = 0.5 + 0.5 * np.float32(math.sin(slope * 95.0))
            lines += (s.age * 0.80 + 0.12 * max(g.smile, 0.0)) * corner * fan
        frown = bump(abs(ax - 0.045) + 0.3 * abs(y - 0.22), 0.018) * (
            0.25 * s.age + 3.0 * max(g.brow_tilt - 0.01, 0.0)
        )
        lines += frown * (1.0 if z > 0.5 else 0.0)
        marionette = bump(ax - g.mouth_w - 0.05 - 0.15 * (g.mouth_y - y), 0.02) * ramp(
            0.02, -0.05, y - g.mouth_y
        )
        lines += 0.6 * s.age * marionette * ramp(-0.30, -0.18, y - g.mouth_y)
        lines = min(lines, 0.65)
        r *= 1.0 - 0.45 * lines
        g_ *= 1.0 - 0.62 * lines
        b *= 1.0 - 0.62 * lines
        if s.freckles > 0.01:
            f = noise(x * 42.0, y * 42.0, z * 42.0) * 0.75 + noise(x * 23.0, y * 23.0, z * 23.0) * 0.25
            f = ramp(0.62, 0.74, f) * s.freckles * bump(y + 0.24, 0.28) * ramp(0.8, 0.4, ax)
            r *= 1.0 - 0.30 * f
            g_ *= 1.0 - 0.48 * f
            b *= 1.0 - 0.58 * f
        if s.age > 0.05:
            spots = s.age * s.age * ramp(0.70, 0.82, noise(x * 9.0 + 3.0, y * 9.0, z * 9.0)) * 0.25
            r *= 1.0 - 0.35 * spots
            g_ *= 1.0 - 0.5 * spots
            b *= 1.0 - 0.5 * spots
        mole = ramp(s.mole_r + 0.007, s.mole_r - 0.007, norm3(x - s.mole_x, y - s.mole_y, 0.0 * x))
        mole = mole if s.mole_r > 0.001 else 0.0 * x
        mole2 = ramp(s.mole2_r + 0.007, s.mole2_r - 0.007, norm3(x - s.mole2_x, y - s.mole2_y, 0.0 * x))
        mole = max(mole, mole2) if s.mole2_r > 0.001 else mole
        r *= 1.0 - 0.72 * mole
        g_ *= 1.0 - 0.80 * mole
        b *= 1.0 - 0.80 * mole
        if s.stubble > 0.01:
            grain = 0.55 + 0.9 * noise(x * 85.0, y * 85.0, z * 85.0)
            m = ramp(-0.04, 0.16, beard_border(x, y, z, upper, lower, g)) * s.stubble * grain
            m = min(m, 0.62)
            r = mix(r, min(s.beard_r, s.skin_r * 0.62), m)
            g_ = mix(g_, min(s.beard_g, s.skin_g * 0.62), m)
            b = mix(b, min(s.beard_b, s.skin_b * 0.66), m)
        brow = brow_field(x, y, g)
        if z > 0.2 and brow < 0.06:
            hairs = noise(x * 68.0 + y * 25.0 * side, y * 22.0 - ax * 30.0, np.float32(1.0)) - 0.5
            m = ramp(0.020, -0.022, brow + hairs * 0.03) * 0.90
            if brow < 0.0:
                label = 3 if right else 2
            r = mix(r, s.brow_r * (0.9 + 0.6 * hairs), m)
            g_ = mix(g_, s.brow_g * (0.9 + 0.6 * hairs), m)
            b = mix(b, s.brow_b * (0.9 + 0.6 * hairs), m)
            spec *= 1.0 - m * 0.7
        lips = min(upper, lower)
        if lips < 0.05 and z > 0.4:
            crinkle = 0.93 + 0.14 * noise(x * 52.0, y * 6.0, 0.0 * x)
            m = ramp(0.014, -0.004, lips) * 0.85
            r = mix(r, s.lip_r * crinkle, m)
            g_ = mix(g_, s.lip_g * crinkle, m)
            b = mix(b, s.lip_b * crinkle, m)
            spec = mix(spec, s.lip_gloss, m)
            gloss = mix(gloss, 38.0, m)
            if lips < 0.004:
                label = 7 if upper < lower else 8
        seam = bump(opening, 0.015) * (1.0 if g.mouth_open < 0.02 else 0.30) * ramp(1.12, 0.9, ax / g.mouth_w)
        r *= 1.0 - 0.55 * seam
        g_ *= 1.0 - 0.72 * seam
        b *= 1.0 - 0.70 * seam
    if g.hair_on > 0.5:  # roots of the hair darken the skin along the hairline
        inside = hair_border(x, y, z, g)
        roots = noise(x * 26.0, y * 9.0, z * 26.0)
        m = ramp(-0.09, 0.05, inside + 0.06 * (roots - 0.5)) * 0.9 * ramp(0.02, 0.05, ear)
        m = m if y > -0.6 and y < g.hat_cut else 0.0 * x
        r = mix(r, s.hair_r, m)
        g_ = mix(g_, s.hair_g, m)
        b = mix(b, s.hair_b, m)
        spec *= 1.0 - m
    return r, g_, b, spec, gloss, label


@kernel
def eye(x, y, z, g, s):
    """Eyeball: white, iris with rim and rays, pupil; shaded under the upper lid."""
    side = np.float32(1.0 if x > 0.0 else -1.0)
    ix = (x - side * g.eye_x) / g.eye_r
    iy = (y - g.eye_offset * side) / g.eye_r
    iz = (z - g.eye_z) / g.eye_r
    gx = s.gaze_x - side * 0.05
    gy = s.gaze_y
    gz = np.sqrt(max(1.0 - gx * gx - gy * gy, 0.0))
    ca = ix * gx + iy * gy + iz * gz
    rr = np.sqrt(max(1.0 - ca * ca, 0.0)) / s.iris_size
    edge = ramp(0.25, 0.95, abs(ix))
    r = np.float32(0.86)
    g_ = 0.84 * (1.0 - 0.10 * edge)
    b = 0.82 * (1.0 - 0.11 * edge)
    if ca > 0.0:
        m = ramp(1.06, 0.94, rr)
        angle = np.float32(math.atan2(iy - gy, ix - gx))
        rays = 0.78 + 0.44 * noise(angle * 7.0, rr * 2.0, np.float32(0.5))
        depth = 0.62 + 0.8 * ramp(0.35, -0.55, (iy - gy) / s.iris_size)
        rim = 1.0 - 0.78 * ramp(0.72, 1.0, rr)
        glow = ramp(0.75, 0.40, rr) * 0.35
        pupil = 1.0 - 0.96 * ramp(s.pupil + 0.08, s.pupil - 0.06, rr)
        k = rays * depth * rim * pupil
        r = mix(r, (s.iris_r + glow * 0.22) * k, m)
        g_ = mix(g_, (s.iris_g + glow * 0.16) * k, m)
        b = mix(b, (s.iris_b + glow * 0.05) * k, m)
    _, below = eye_slit(x, y, g)
    lid = 0.55 + 0.45 * ramp(-0.01, 0.07, below)
    return r * lid, g_ * lid, b * lid, np.float32(1.2), np.float32(600.0), 5 if x > 0.0 else 4


@kernel
def mouth(x, y, z, g, s):
    """Teeth with gaps between them, tongue, dark cavity."""
    _, teeth, tongue, cavity = mouth_field(x, y, z, g)
    if teeth <= min(tongue, cavity) + 0.002:
        t = x * 13.0
        gap = ramp(0.0, 0.10, abs(t - np.float32(math.floor(t)) - 0.5))
        k = 0.80 + 0.20 * gap
        k *= ramp(1.15, 0.35, abs(x) / g.mouth_w) * 0.55 + 0.45
        return 0.86 * k, 0.83 * k, 0.76 * k, np.float32(0.5), np.float32(60.0), 9
    if tongue < cavity:
        k = 0.8 + 0.2 * ramp(0.0, 0.03, abs(x))
        return 0.55 * k, 0.20 * k, 0.19 * k, np.float32(0.4), np.float32(30.0), 9
    return np.float32(0.16), np.float32(0.035), np.float32(0.035), np.float32(0.1), np.float32(10.0), 9


@kernel
def hair(x, y, z, g, s, beard):
    """Hair and beard: colour of the strand under the point; the last value is strand brightness."""
    around = np.float32(math.atan2(x - 0.4 * g.part_x * ramp(0.3, 1.0, y), z + 0.25)) * 5.0
    along = y + g.wave * 3.0 * swing(x * 1.2)
    bend = noise(y * 1.5, around * 0.4, np.float32(0.5))
    if g.curl > 0.015 or beard:
        f = 9.0 + 2.0 * g.curl_f
        a = noise(x * f * 0.5, y * f * 0.5, z * f * 0.5)
        c = noise(x * f * 1.3, y * f * 1.1, z * f * 1.3)
        fine = noise(x * 44.0, y * 20.0, z * 44.0)
        coil = curls(x, y, z, g.curl_f) if not beard else 0.0 * x
        tone = 0.42 + 0.35 * a + 0.35 * c + 0.25 * fine + 0.22 * coil
    else:
        a = noise(around * 3.0 + 1.2 * bend, along * 0.8, x)
        c = noise(around * 9.0 + 1.5 * bend, along * 1.2, np.float32(5.0))
        fine = noise(around * 22.0 + 2.0 * bend, along * 1.1, np.float32(7.0))
        tone = 0.38 + 0.48 * a + 0.42 * c + 0.40 * fine
    white = noise(around * 14.0, along * 0.7, np.float32(9.0))
    grey = s.hair_grey * ramp(0.9 - s.hair_grey, 1.1 - s.hair_grey, white + 0.2)
    r = mix(s.beard_r if beard else s.hair_r, 0.55, grey) * tone
    g_ = mix(s.beard_g if beard else s.hair_g, 0.55, grey) * tone
    b = mix(s.beard_b if beard else s.hair_b, 0.55, grey) * tone
    if s.hair_show > 0.0 and not beard:
        show = s.hair_show * (0.6 + 0.6 * fine)
        r = mix(r, s.skin_r * 0.75, show)
        g_ = mix(g_, s.skin_g * 0.75, show)
        b = mix(b, s.skin_b * 0.75, show)
    return r, g_, b, (c - 0.5) * 0.6 + (fine - 0.5) * 0.7, tone


@kernel
def pattern(bx, by, bz, s):
    """How much of the pattern's colour shows at a point of the garment."""
    kind = int(s.pattern)
    f = s.pattern_f
    a = np.float32(math.atan2(bx, bz + 1.4)) * 1.7
    a += 0.04 * noise(bx * 3.0, by * 3.0, np.float32(1.0))
    q = 0.0 * bx
    if kind == 1:
        q = ramp(0.46, 0.54, abs(swing(by * f) * 0.5 + 0.5))
    elif kind == 2:
        q = ramp(0.60, 0.72, abs(swing(a * f * 1.5) * 0.5 + 0.5))
    elif kind == 3:
        q = 0.5 * ramp(0.4, 0.6, swing(by * f * 0.8) * 0.5 + 0.5) + 0.5 * ramp(
            0.4, 0.6, swing(a * f * 0.8) * 0.5 + 0.5
        )
    elif kind == 4:
        uu = a * f * 1.5
        vv = by * f * 1.5
        row = math.floor(vv)
        uu = uu + 0.5 * np.float32(row - 2.0 * math.floor(row * 0.5))
        du = np.float32(uu - math.floor(uu) - 0.5)
        dv = np.float32(vv - row - 0.5)
        q = ramp(0.32, 0.24, np.sqrt(du * du + dv * dv))
    elif kind == 5:
        q = ramp(0.52, 0.60, noise(a * f * 1.8, by * f * 1.8, np.float32(3.0)))
    if s.logo > 0.5 and bz > 0.0:
        du = bx
        dv = by + 2.42
        if s.logo < 1.5:
            q = ramp(0.02, -0.02, abs(np.sqrt(du * du + dv * dv) - 0.17) - 0.05)
        elif s.logo < 2.5:
            q = ramp(0.02, -0.02, max(abs(du), abs(dv)) - 0.16)
        else:
            q = ramp(0.02, -0.02, max(abs(du) * 1.7 + dv - 0.14, -dv - 0.14))
    return q


@kernel
def garment(bx, by, bz, s):
    """Cloth with its pattern, weave, ribs and buttons."""
    q = pattern(bx, by, bz, s)
    r = mix(s.cloth_r, s.cloth2_r, q)
    g_ = mix(s.cloth_g, s.cloth2_g, q)
    b = mix(s.cloth_b, s.cloth2_b, q)
    weave = 0.90 + 0.20 * noise(bx * 42.0, by * 42.0, bz * 42.0)
    ribs = swing(np.float32(math.atan2(bx, bz + 0.3)) * 9.0) * 0.10 * s.knitted + 1.0
    k = weave * ribs
    if s.buttons > 0.5 and bz > 0.0:
        placket = bump(abs(bx) - 0.09, 0.012) * ramp(-1.6, -1.75, by) * 0.35
        k *= 1.0 - placket
        row = by * 2.6
        dy = np.float32(row - math.floor(row) - 0.5) / 2.6
        disc = ramp(0.034, 0.024, np.sqrt(bx * bx + dy * dy)) * ramp(-1.7, -1.8, by)
        r = mix(r, 0.75 + 0.0 * bx, disc * 0.8)
        g_ = mix(g_, 0.73 + 0.0 * bx, disc * 0.8)
        b = mix(b, 0.70 + 0.0 * bx, disc * 0.8)
    return r * k, g_ * k, b * k


@kernel
def wool(x, y, z, knit):
    """Brightness of felt or knitwear."""
    k = 0.86 + 0.28 * noise(x * 38.0, y * 38.0, z * 38.0)
    if knit > 0.5:
        k *= 0.80 + 0.35 * abs(swing(x * 7.0 - z * 5.0)) * (0.6 + 0.4 * abs(swing(y * 9.0)))
    return k
