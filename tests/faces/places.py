"""Where the real photos and detector weights are, for tests that need them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from likeness.faces.yunet import YUNET_NAME, YuNet

SHARED = Path(__file__).resolve().parents[3] / "shared"
MODEL = SHARED / "models" / YUNET_NAME

needs_photos = pytest.mark.skipif(
    not (MODEL.is_file() and (SHARED / "photos").is_dir()),
    reason="needs the photos and the YuNet file in a folder `shared` beside the repository",
)


def photo(name: str) -> Image.Image:
    with Image.open(SHARED / "photos" / name) as image:
        return image.convert("RGB")


def yunet() -> YuNet:
    return YuNet(MODEL)
