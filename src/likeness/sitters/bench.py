"""How fast sitters are painted, and whether the distance field still runs on vectors.

A compiler that stops vectorising one of the field's loops says nothing: pictures stay the same and
take several times as long. So each loop is timed alone, per point, against a ceiling that every
vectorised build stays under and a scalar one does not.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from likeness.sitters.sample import sample_scene

__all__ = ["CEILING_NS", "bench"]

# ns a point on one core: about twice what a current core takes with AVX2 and four times what it takes
# with AVX-512, and about a third less than without vectors.
CEILING_NS = {
    "body_loop": 100.0,
    "hair_loop": 30.0,
    "beard_loop": 25.0,
    "jacket_loop": 11.0,
    "glasses_loop": 5.5,
    "hat_loop": 11.0,
    "jewellery_loop": 14.0,
    "scarf_loop": 4.5,
}
POINTS = 16384  # many, so that handing over the arguments does not count


def bench(seconds: float = 6.0, workers: int | None = None) -> dict[str, Any]:
    """Images a second and ns a point, warm: compiling is done before the clocks start.

    seconds: about how long each size is painted for. workers: threads, all cores when None.
    Returns `{"images_per_s": {"128": ..., "256": ...}, "field_ns": {loop: ...}, "ceiling_ns": ...,
    "vectorised": whether every loop is under its ceiling, "cores": ..., "machine": ...}`. Pictures
    are the training set's, anti-aliased, with all of their ground truth.
    """
    from likeness.sitters.render import render

    render(sample_scene(0), 32)
    field = {name: round(_loop_ns(name), 2) for name in CEILING_NS}
    return {
        "images_per_s": {str(size): round(_images_per_s(size, seconds, workers), 1) for size in (128, 256)},
        "field_ns": field,
        "ceiling_ns": dict(CEILING_NS),
        "vectorised": all(field[name] <= ceiling for name, ceiling in CEILING_NS.items()),
        "cores": workers or os.cpu_count() or 1,
        "machine": platform.machine(),
    }


def _images_per_s(size_px: int, seconds: float, workers: int | None) -> float:
    from likeness.sitters.render import render_many

    painted, seed = 0, 0
    start = time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds or painted == 0:
        rate = painted / spent if painted else 16.0 * (128 / size_px) ** 2
        count = max(int(rate * min(seconds - spent, seconds) * 0.5), 16)
        painted += sum(
            1 for _ in render_many((sample_scene(seed + i) for i in range(count)), size_px, workers=workers)
        )
        seed += count
    return painted / (time.perf_counter() - start)


def _loop_ns(name: str) -> float:
    """Best of several runs of one loop of the field over points around the head."""
    from likeness.sitters.figure import build
    from likeness.sitters.renderer import field

    loop: Callable[..., None] = getattr(field, name)
    shape, _ = build(sample_scene(1))
    rng = np.random.default_rng(0)
    x, y, z = (rng.uniform(-1.2, 1.2, POINTS).astype(np.float32) for _ in range(3))
    near, material = np.full(POINTS, 9, np.float32), np.zeros(POINTS, np.float32)
    loop(x, y, z, shape, near, material)
    best = float("inf")
    for _ in range(30):
        start = time.perf_counter_ns()
        for _ in range(20):
            loop(x, y, z, shape, near, material)
        best = min(best, (time.perf_counter_ns() - start) / 20)
    return best / POINTS
