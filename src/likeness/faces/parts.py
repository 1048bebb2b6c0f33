"""Where the parts of a face are, by geometry alone: the fallback of a face parser.

Boxes follow from the five landmarks and the distances between them, in the order face, eyes,
ears, nose, mouth. They are generous: a part stays inside for usual proportions and turns of up
to about 45 degrees.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from likeness.faces.align import warp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likeness.types import Face

__all__ = ["PARTS", "ear_boxes", "head_mask", "part_boxes", "part_crops", "part_word"]

PARTS = ("face", "eyes", "ears", "nose", "mouth")
WORDS = {"eyes": ("eyes?",), "ears": ("ears?",), "mouth": ("mouth", "lips?")}
Box = tuple[float, float, float, float]


def part_word(part: str, text: str) -> re.Match[str] | None:
    """Where a text first names one of `PARTS`, in capitals or not, one eye or both; lips if no mouth."""
    found = (re.search(rf"\b{word}\b", text, re.IGNORECASE) for word in WORDS.get(part, (part,)))
    return next((one for one in found if one), None)


def part_boxes(face: Face) -> dict[str, Box]:
    """Box (x0, y0, x1, y1) px of each of `PARTS`, in that order; may reach over the border.

    "eyes" holds both eyes with the brows, "ears" the band from ear to ear, "mouth" both lips.
    """
    left, right, nose, mouth_left, mouth_right = np.asarray(face.landmarks_px, np.float64)
    eyes, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
    # the height from eyes to mouth hardly changes when the head turns; widths do
    unit = float(np.linalg.norm(mouth - eyes))
    ears = ear_boxes(face)
    known = [box for box in ears if box is not None]
    band = (
        min(box[0] for box in known),
        min(box[1] for box in known),
        max(box[2] for box in known),
        max(box[3] for box in known),
    )
    return {
        "face": face.box_xyxy,
        "eyes": _around(np.stack([left, right]), 0.42 * unit, 0.42 * unit),
        "ears": band,
        "nose": _around(np.stack([nose, eyes + 0.25 * (nose - eyes)]), 0.36 * unit, 0.16 * unit),
        "mouth": _around(np.stack([mouth_left, mouth_right]), 0.22 * unit, 0.34 * unit),
    }


def ear_boxes(face: Face) -> tuple[Box | None, Box | None]:
    """Boxes of the left and right ear as seen in the picture; None for the one turned away.

    At least one is given. Whether hair covers an ear, geometry cannot say.
    """
    left, right, nose, mouth_left, mouth_right = np.asarray(face.landmarks_px, np.float64)
    eyes, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
    unit = float(np.linalg.norm(mouth - eyes))
    across = (right - left) / max(float(np.linalg.norm(right - left)), 1e-6)
    down = (mouth - eyes) / max(unit, 1e-6)
    # share of the way from the left eye to the right at which the nose stands; 0.5 is frontal
    turn = float((nose - left) @ across) / max(float((right - left) @ across), 1e-6)
    x0, y0, x1, y1 = face.box_xyxy
    level = eyes + 0.45 * unit * down
    half = np.array([0.24 * unit, 0.45 * unit])
    reach_left = float((level - np.array([x0, y0])) @ np.array([1.0, 0.0]))
    reach_right = float((np.array([x1, y1]) - level) @ np.array([1.0, 0.0]))
    centre_left = level - across * (reach_left + 0.04 * unit)
    centre_right = level + across * (reach_right + 0.04 * unit)
    ear_left = (*(centre_left - half), *(centre_left + half))
    ear_right = (*(centre_right - half), *(centre_right + half))
    return (
        None if turn < 0.12 else _floats(ear_left),
        None if turn > 0.88 else _floats(ear_right),
    )


def part_crops(image: Image.Image, face: Face, size_px: int) -> dict[str, Image.Image | None]:
    """A square RGB crop of `size_px` for each of `PARTS`, in that order.

    None for a part that lies wholly or mostly outside the picture. The longer side of a part's
    box fills the square. "ears" shows the ears side by side, without the face between them.
    """
    crops: dict[str, Image.Image | None] = {}
    for name, box in part_boxes(face).items():
        crops[name] = (
            _ears(image, face, size_px) if name == "ears" else _square(image, box, (size_px, size_px))
        )
    return crops


def head_mask(face: Face, size_px: tuple[int, int]) -> Image.Image:
    """A picture's mask (L) with white where the head is, hair included: an ellipse about the face's box."""
    x0, y0, x1, y1 = face.box_xyxy
    width, height = x1 - x0, y1 - y0
    mask = Image.new("L", size_px, 0)
    box = (x0 - 0.35 * width, y0 - 0.45 * height, x1 + 0.35 * width, y1 + 0.2 * height)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    return mask


def _ears(image: Image.Image, face: Face, size_px: int) -> Image.Image | None:
    boxes = [box for box in ear_boxes(face) if box is not None]
    if len(boxes) == 1:
        return _square(image, boxes[0], (size_px, size_px))
    half = size_px // 2
    sides = [
        _square(image, box, (width, size_px))
        for box, width in zip(boxes, (half, size_px - half), strict=True)
    ]
    if sides[0] is None or sides[1] is None:
        whole = [box for box, side in zip(boxes, sides, strict=True) if side is not None]
        return _square(image, whole[0], (size_px, size_px)) if whole else None
    both = Image.new("RGB", (size_px, size_px))
    both.paste(sides[0], (0, 0))
    both.paste(sides[1], (half, 0))
    return both


def _square(image: Image.Image, box: Box, size_px: tuple[int, int]) -> Image.Image | None:
    """The box, grown to the wanted proportions around its centre; None when mostly outside."""
    x0, y0, x1, y1 = box
    width, height = max(x1 - x0, 1.0), max(y1 - y0, 1.0)
    inside = max(0.0, min(x1, image.width) - max(x0, 0)) * max(0.0, min(y1, image.height) - max(y0, 0))
    if inside < 0.4 * width * height:
        return None
    scale = min(size_px[0] / width, size_px[1] / height)
    shift = np.array(size_px) / 2 - scale * np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    return warp(image, np.array([[scale, 0, shift[0]], [0, scale, shift[1]]]), size_px)


def _around(points: NDArray[np.float64], dx: float, dy: float) -> Box:
    low, high = points.min(0), points.max(0)
    return _floats((low[0] - dx, low[1] - dy, high[0] + dx, high[1] + dy))


def _floats(box: tuple[float, ...]) -> Box:
    return float(box[0]), float(box[1]), float(box[2]), float(box[3])
