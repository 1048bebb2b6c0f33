"""`render(scene)`: a picture of a sitter with its full ground truth."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likeness.errors import InputError
from likeness.sitters.figure import PIVOT, build, head_rotation
from likeness.sitters.landmarks import LANDMARKS, landmark_points
from likeness.sitters.parameters import Scene
from likeness.sitters.renderer.compiled import ensure_compiled
from likeness.sitters.renderer.materials import LABELS
from likeness.sitters.renderer.shading import render_rays
from likeness.sitters.renderer.trace import march_cones

__all__ = ["LABELS", "LANDMARKS", "Picture", "View", "render", "render_many", "view_of"]

TILE_PX = 8
EXPOSURE = 0.80
EDGE_CONTRAST = 0.07  # neighbours that differ by more are sampled again
NEIGHBOUR_DEPTH = 0.15  # head units that a surface may come nearer within one pixel
SUBPIXELS = ((0.125, 0.375), (0.625, 0.125), (0.375, 0.875), (0.875, 0.625))


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One rendered sitter.

    rgb: (H, W, 3) uint8. labels: (H, W) uint8, indices into `LABELS`, at pixel centres.
    depth: (H, W) float32, distance along the optical axis in head units, 0 for the background.
    normals: (H, W, 3) float32 unit vectors in camera axes (x right, y up, z towards the camera), 0 for
    the background. landmarks_px: (K, 2) float32 in the order of `LANDMARKS`. landmarks_visible:
    (K,) bool, false where turned away, covered or outside. record: the scene's parameters.
    """

    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    landmarks_px: NDArray[np.float32]
    landmarks_visible: NDArray[np.bool_]
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class View:
    """A pinhole camera: position, axes (rows: right, up, forward) and tangent of half its angle."""

    position: NDArray[np.float64]
    axes: NDArray[np.float64]
    tangent: float
    distance: float

    def directions(
        self, px: NDArray[np.float64], py: NDArray[np.float64], size_px: int
    ) -> list[NDArray[np.float32]]:
        """Unit vectors through picture points (px, py): three (N,) float32 arrays."""
        u = np.asarray((px / size_px * 2 - 1) * self.tangent, np.float32)
        v = np.asarray((1 - py / size_px * 2) * self.tangent, np.float32)
        scale = 1 / np.sqrt(1 + u * u + v * v)
        right, up, forward = self.axes.astype(np.float32)
        return [(u * right[i] + v * up[i] + forward[i]) * scale for i in range(3)]

    def project(self, points: NDArray[np.float64], size_px: int) -> NDArray[np.float64]:
        """World points (K, 3) -> pixels (K, 2)."""
        local = (points - self.position) @ self.axes.T
        uv = local[:, :2] / local[:, 2:] / self.tangent
        return np.stack([(uv[:, 0] + 1) / 2 * size_px, (1 - uv[:, 1]) / 2 * size_px], 1)

    def points(self, depth: NDArray[np.float32]) -> NDArray[np.float64]:
        """World points (H, W, 3) seen in the pixels' centres at `depth` (H, W) along the optical axis."""
        size = len(depth)
        middle = (np.arange(size) + 0.5) / size * 2 - 1
        right, up, forward = self.axes
        across = middle[None, :, None] * self.tangent * right
        down = -middle[:, None, None] * self.tangent * up
        return np.asarray(self.position + depth[..., None].astype(np.float64) * (across + down + forward))


def view_of(scene: Scene) -> View:
    """The camera of a scene."""
    camera = scene.camera
    tangent = math.tan(math.radians(camera.field_of_view_deg) / 2)
    distance = 1.62 / camera.zoom / tangent
    elevation = math.radians(camera.elevation_deg)
    target = np.array([camera.shift_x, -0.24 + camera.shift_y, 0.0])
    forward = np.array([0.0, -math.sin(elevation), -math.cos(elevation)])
    axes = np.stack(
        [np.array([1.0, 0, 0]), np.array([0, math.cos(elevation), -math.sin(elevation)]), forward]
    )
    return View(target - forward * distance, axes, tangent, distance)


def render(scene: Scene, size_px: int = 128, *, antialias: bool = True) -> Picture:
    """Paint one scene, square. Raises InputError for a size under 16 or over 4096 px."""
    if not 16 <= size_px <= 4096:
        raise InputError(f"A sitter cannot be rendered at {size_px} px; give a size from 16 to 4096.")
    ensure_compiled()
    shape, look = build(scene)
    view = view_of(scene)
    near, far = np.float32(max(view.distance - 2.4, 0.3)), np.float32(view.distance + 2.2)
    ox, oy, oz = (np.float32(v) for v in view.position)

    def trace(px: NDArray[np.float64], py: NDArray[np.float64], start: NDArray[np.float32]) -> Any:
        n = px.size
        out = (
            np.empty((n, 3), np.float32),
            np.empty(n, np.uint8),
            np.empty(n, np.float32),
            np.empty((n, 3), np.float32),
        )
        render_rays(*view.directions(px, py, size_px), start, ox, oy, oz, far, shape, look, *out)
        return out

    tiles = -(-size_px // TILE_PX)
    ty, tx = (a.ravel() for a in np.mgrid[0:tiles, 0:tiles])
    cones = view.directions((tx + 0.5) * TILE_PX, (ty + 0.5) * TILE_PX, size_px)
    tile_start = np.full(tx.size, near, np.float32)
    slope = np.float32(TILE_PX / size_px * view.tangent * math.sqrt(2) * 1.02)
    march_cones(ox, oy, oz, *cones, tile_start, far, slope, tx.size, shape)
    start = np.repeat(np.repeat(tile_start.reshape(tiles, tiles), TILE_PX, 0), TILE_PX, 1)[:size_px, :size_px]

    yy, xx = np.mgrid[0:size_px, 0:size_px]
    linear, label, depth, normal = trace(xx.ravel() + 0.5, yy.ravel() + 0.5, start.ravel())
    image = _tone(linear).reshape(size_px, size_px, 3)
    labels = label.reshape(size_px, size_px)
    if antialias:
        ey, ex = np.nonzero(_edges(image, labels))
        px = np.concatenate([ex + dx for dx, _ in SUBPIXELS])
        py = np.concatenate([ey + dy for _, dy in SUBPIXELS])
        nearer = _near_start(start, depth.reshape(size_px, size_px), labels)
        finer = trace(px, py, np.tile(nearer[ey, ex], len(SUBPIXELS)))[0]
        image[ey, ex] = _tone(finer).reshape(len(SUBPIXELS), -1, 3).mean(0)
    points, outward = landmark_points(shape)
    rotation = head_rotation(scene)
    world = (points - PIVOT) @ rotation.T + PIVOT
    pixels = view.project(world, size_px)
    ray_depth = depth.reshape(size_px, size_px)
    u, v = ((c + 0.5) / size_px * 2 - 1 for c in (xx, yy))
    cosine = 1 / np.sqrt(1 + (u * u + v * v) * view.tangent**2)
    return Picture(
        rgb=(image * 255 + 0.5).astype(np.uint8),
        labels=labels,
        depth=(ray_depth * cosine).astype(np.float32),
        normals=(normal.reshape(-1, 3) @ np.stack([view.axes[0], view.axes[1], -view.axes[2]]).T)
        .reshape(size_px, size_px, 3)
        .astype(np.float32),
        landmarks_px=pixels.astype(np.float32),
        landmarks_visible=_visible(pixels, world, outward @ rotation.T, view, ray_depth),
        record=scene.record(),
    )


def _visible(
    pixels: NDArray[np.float64],
    world: NDArray[np.float64],
    outward: NDArray[np.float64],
    view: View,
    ray_depth: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Facing the camera, inside the picture, and nothing nearer than itself in that pixel."""
    size = ray_depth.shape[0]
    to_camera = view.position - world
    distance = np.linalg.norm(to_camera, axis=1)
    facing = np.einsum("ij,ij->i", outward, to_camera) / distance > -0.15
    inside = ((pixels >= 0) & (pixels < size)).all(1)
    x, y = (np.clip(pixels[:, i].astype(int), 0, size - 1) for i in (0, 1))
    seen = ray_depth[y, x]
    clear = (seen == 0) | (seen > distance - 0.16)
    return np.asarray(facing & inside & clear)


def _tone(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """Filmic curve (Narkowicz 2015), then display gamma."""
    x = np.maximum(linear, 0) * EXPOSURE
    y = (x * (2.51 * x + 0.03)) / (x * (2.43 * x + 0.59) + 0.14)
    return np.asarray(np.clip(y, 0, 1) ** (1 / 2.2), np.float32)


def _near_start(
    start: NDArray[np.float32], depth: NDArray[np.float32], labels: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Where finer rays may begin: a little before the nearest hit among a pixel and its neighbours."""
    hit = np.pad(np.where(labels > 0, depth, np.inf), 1, constant_values=np.inf)
    size = len(start)
    nearest = np.min([hit[y : y + size, x : x + size] for y in range(3) for x in range(3)], axis=0)
    near = np.where(np.isfinite(nearest), np.maximum(nearest - NEIGHBOUR_DEPTH, start), start)
    return np.asarray(near, np.float32)


def _edges(image: NDArray[np.float32], labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels next to another part or to a sharp change of brightness."""
    edge = np.zeros(labels.shape, bool)
    brightness = image @ np.array([0.3, 0.5, 0.2], np.float32)
    for plane, step in ((labels.astype(np.float32), 0.0), (brightness, EDGE_CONTRAST)):
        across = np.abs(np.diff(plane, axis=1)) > step
        down = np.abs(np.diff(plane, axis=0)) > step
        edge[:, 1:] |= across
        edge[:, :-1] |= across
        edge[1:] |= down
        edge[:-1] |= down
    return edge


def render_many(
    scenes: Iterable[Scene], size_px: int = 128, *, workers: int | None = None
) -> Iterator[Picture]:
    """Pictures in order, painted by a pool of threads (the kernels release the interpreter lock)."""
    count = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(count) as pool:
        window: list[Any] = []
        for scene in scenes:
            window.append(pool.submit(partial(render, scene, size_px)))
            if len(window) > 4 * count:
                yield window.pop(0).result()
        for future in window:
            yield future.result()
