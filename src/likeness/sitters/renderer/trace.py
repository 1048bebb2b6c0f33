"""Following rays to the sitter, and what is around each point that was hit.

All rays of a picture advance together and finished ones drop out, so every step is one call of
`field.distance` over a packed list. Tiles of pixels are first marched as cones, which skips most
of the empty space at once.
"""

from __future__ import annotations

import numpy as np

from likeness.sitters.renderer.field import distance
from likeness.sitters.renderer.kernel import kernel

STEP = np.float32(0.85)  # share of the distance bound that is safe to walk
NEAR = np.float32(0.006)  # head units: this close counts as a hit


@kernel
def march_cones(ox, oy, oz, DX, DY, DZ, T, far, slope, n, g):
    """Walk n cone axes from T until the cone (radius slope * t) may touch something.

    T becomes a distance at which every ray inside the cone is still in free space, or >= far.
    """
    idx = np.arange(n).astype(np.int32)
    X = np.empty(n, np.float32)
    Y = np.empty(n, np.float32)
    Z = np.empty(n, np.float32)
    D = np.empty(n, np.float32)
    M = np.empty(n, np.float32)
    m = n
    for _ in range(40):
        for j in range(m):
            i = idx[j]
            X[j] = ox + DX[i] * T[i]
            Y[j] = oy + DY[i] * T[i]
            Z[j] = oz + DZ[i] * T[i]
        distance(X, Y, Z, m, g, D, M)
        k = 0
        for j in range(m):
            i = idx[j]
            free = D[j] - slope * T[i]
            if free > 0.03:
                T[i] += free * STEP
                if T[i] < far:
                    idx[k] = i
                    k += 1
        m = k
        if m == 0:
            break


@kernel
def march(ox, oy, oz, DX, DY, DZ, T, far, HIT, n, g):
    """Walk n rays from T to the surface: T becomes the hit's distance and HIT 1, or HIT stays 0."""
    idx = np.empty(n, np.int32)
    m = 0
    for i in range(n):
        HIT[i] = 0
        if T[i] < far:
            idx[m] = i
            m += 1
    X = np.empty(n, np.float32)
    Y = np.empty(n, np.float32)
    Z = np.empty(n, np.float32)
    D = np.empty(n, np.float32)
    M = np.empty(n, np.float32)
    for _ in range(64):
        for j in range(m):
            i = idx[j]
            X[j] = ox + DX[i] * T[i]
            Y[j] = oy + DY[i] * T[i]
            Z[j] = oz + DZ[i] * T[i]
        distance(X, Y, Z, m, g, D, M)
        k = 0
        for j in range(m):
            i = idx[j]
            d = D[j]
            if d < NEAR:
                HIT[i] = 1
                T[i] += d
            else:
                T[i] += d * STEP
                if T[i] < far:
                    idx[k] = i
                    D[k] = d
                    k += 1
        m = k
        if m == 0:
            break
    for j in range(m):  # grazing rays that never came quite close enough
        if D[j] < NEAR * 3.0:
            HIT[idx[j]] = 1


@kernel
def normals(X, Y, Z, n, g, eps, NX, NY, NZ):
    """Unit normals by central differences on a tetrahedron of size eps."""
    A = np.empty(n, np.float32)
    B = np.empty(n, np.float32)
    C = np.empty(n, np.float32)
    D = np.empty(n, np.float32)
    M = np.empty(n, np.float32)
    NX[:n] = 0.0
    NY[:n] = 0.0
    NZ[:n] = 0.0
    for q in range(4):
        sx = np.float32(1.0 if q == 0 or q == 3 else -1.0)
        sy = np.float32(1.0 if q == 2 or q == 3 else -1.0)
        sz = np.float32(1.0 if q == 1 or q == 3 else -1.0)
        for j in range(n):
            A[j] = X[j] + eps * sx
            B[j] = Y[j] + eps * sy
            C[j] = Z[j] + eps * sz
        distance(A, B, C, n, g, D, M)
        for j in range(n):
            NX[j] += sx * D[j]
            NY[j] += sy * D[j]
            NZ[j] += sz * D[j]
    for j in range(n):
        r = 1.0 / (np.sqrt(NX[j] * NX[j] + NY[j] * NY[j] + NZ[j] * NZ[j]) + 1e-9)
        NX[j] *= r
        NY[j] *= r
        NZ[j] *= r


@kernel
def openness(X, Y, Z, NX, NY, NZ, n, g, OPEN):
    """Ambient occlusion: 1 in the open, 0 in a crevice, from four samples along the normal."""
    A = np.empty(n, np.float32)
    B = np.empty(n, np.float32)
    C = np.empty(n, np.float32)
    D = np.empty(n, np.float32)
    M = np.empty(n, np.float32)
    OPEN[:n] = 0.0
    weight = np.float32(1.0)
    height = np.float32(0.05)
    for _ in range(4):
        for j in range(n):
            A[j] = X[j] + NX[j] * height
            B[j] = Y[j] + NY[j] * height
            C[j] = Z[j] + NZ[j] * height
        distance(A, B, C, n, g, D, M)
        for j in range(n):
            OPEN[j] += max(height - D[j], 0.0) * weight / height
        weight *= 0.75
        height *= 2.0
    for j in range(n):
        OPEN[j] = max(1.0 - 0.36 * OPEN[j], 0.0)


@kernel
def shadows(X, Y, Z, NX, NY, NZ, n, lx, ly, lz, sharpness, g, LIT):
    """Share of the key light that reaches each point: 1 lit, 0 in shadow; sharpness sets the penumbra."""
    A = np.empty(n, np.float32)
    B = np.empty(n, np.float32)
    C = np.empty(n, np.float32)
    D = np.empty(n, np.float32)
    M = np.empty(n, np.float32)
    T = np.empty(n, np.float32)
    idx = np.empty(n, np.int32)
    m = 0
    for j in range(n):
        LIT[j] = 1.0
        T[j] = 0.06
        if NX[j] * lx + NY[j] * ly + NZ[j] * lz > -0.25:
            idx[m] = j
            m += 1
    for _ in range(12):
        for q in range(m):
            j = idx[q]
            t = T[j]
            A[q] = X[j] + NX[j] * 0.035 + lx * t
            B[q] = Y[j] + NY[j] * 0.035 + ly * t
            C[q] = Z[j] + NZ[j] * 0.035 + lz * t
        distance(A, B, C, m, g, D, M)
        k = 0
        for q in range(m):
            j = idx[q]
            d = D[q]
            LIT[j] = min(LIT[j], 0.5 + 0.5 * sharpness * d / T[j])
            T[j] += min(max(d, 0.06), 0.35)
            if LIT[j] > 0.0 and T[j] < 2.6:
                idx[k] = j
                k += 1
        m = k
        if m == 0:
            break
    for j in range(n):
        a = min(max(LIT[j], 0.0), 1.0)
        LIT[j] = a * a * (3.0 - 2.0 * a)
