"""Which pixel of one picture shows what a pixel of another shows: exact, from the geometry.

The head is rigid: a point seen on it in one picture is turned back into the head's own frame, from there into
the other picture's, and projected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from likeness.errors import InputError
from likeness.sitters.figure import PIVOT, head_rotation
from likeness.sitters.parameters import Scene
from likeness.sitters.render import LABELS, render, view_of

__all__ = ["Correspondence", "correspondence"]

RIGID = ("identity", "hair", "expression", "accessories")
"""Factors that shape the head; two pictures that differ in one of them show no common points."""
OF_THE_BODY = ("background", "neck", "garment", "jacket", "necklace", "scarf")
HIDDEN = 0.06
"""Head units that a surface must lie in front of a point to hide it: more than the marching's error."""


@dataclass(frozen=True, slots=True, eq=False)
class Correspondence:
    """For every pixel of a target picture, where its point of the head is in the source picture.

    source_px: (H, W, 2) float32, x and y px; a pixel's centre is at a half. known: (H, W) bool, the pixel
    shows the head. visible: (H, W) bool, and the source shows that very point.
    """

    source_px: NDArray[np.float32]
    known: NDArray[np.bool_]
    visible: NDArray[np.bool_]


def correspondence(target: Scene, source: Scene, size_px: int = 128) -> Correspondence:
    """From pixels of `target` to `source`, both `size_px` large: one head in two poses, views or lights.

    Raises: InputError where the heads differ in shape.
    """
    for factor in RIGID:
        if getattr(target, factor) != getattr(source, factor):
            raise InputError(f"The two pictures differ in {factor}, so their heads have no common points.")
    one, other = render(target, size_px, antialias=False), render(source, size_px, antialias=False)
    known = (one.depth > 0) & ~np.isin(one.labels, [LABELS.index(name) for name in OF_THE_BODY])
    world = view_of(target).points(one.depth)
    head = (world - PIVOT) @ head_rotation(target) + PIVOT
    there = (head - PIVOT) @ head_rotation(source).T + PIVOT
    view = view_of(source)
    source_px = view.project(there.reshape(-1, 3), size_px).reshape(size_px, size_px, 2)
    depth = (there - view.position) @ view.axes[2]
    x, y = (np.clip(source_px[..., i].astype(int), 0, size_px - 1) for i in (0, 1))
    inside = ((source_px >= 0) & (source_px < size_px)).all(-1)
    seen = other.depth[y, x]
    # At an outline the pixel's centre may lie beside the point: then its neighbours tell.
    visible = known & inside & (seen > 0) & (np.abs(seen - depth) < HIDDEN)
    return Correspondence(source_px.astype(np.float32), known, visible)
