"""A painter that takes its time and writes down what it paints; for tests that kill it."""

from __future__ import annotations

import random
import time
from pathlib import Path

from PIL import Image

from likeness.types import PortraitRequest, PortraitResult, Provenance, WeightsRecord


def picture(seed: int) -> Image.Image:
    drawn = random.Random(seed)
    return Image.frombytes("RGB", (24, 24), drawn.randbytes(24 * 24 * 3))


class Blot:
    """Noise by the request's seed, a tenth of a second each. log: one line a picture begun."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def __call__(self, requests: list[PortraitRequest], **_: object) -> list[PortraitResult]:
        return [self._paint(request) for request in requests]

    def _paint(self, request: PortraitRequest) -> PortraitResult:
        with self._log.open("a") as log:
            log.write(f"{request.seed}-{request.prompt.replace(' ', '_')}\n")
        time.sleep(0.1)
        weights = (WeightsRecord("blot", "painter", "none"),)
        image = picture(request.seed + len(request.prompt))
        made = Provenance("blot", "1", request.seed, weights, {"steps": 1})
        return PortraitResult(image, request, made, timings_s={"painting": 0.2})
