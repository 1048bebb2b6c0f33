"""From a picture to a face in a standard place, and back.

Coordinates are continuous: the centre of the top left pixel is (0.5, 0.5). An affine is a
(2, 3) float64 matrix that maps picture px to crop px: `crop = A[:, :2] @ picture + A[:, 2]`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from likeness.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likeness.types import Face

__all__ = [
    "ARCFACE_TEMPLATE",
    "align_arcface",
    "invert_affine",
    "paste_back",
    "portrait_crop",
    "similarity",
    "transform_points",
    "warp",
]

# Where ArcFace (arXiv 1801.07698) and its successors expect the five landmarks in a 112 px
# square: eye left, eye right, nose tip, mouth left, mouth right.
ARCFACE_TEMPLATE: NDArray[np.float64] = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def similarity(source: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """Least-squares rotation, scale and shift that take `source` to `target`, both (N, 2).

    Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", 1991, equations 40 to 42. No reflection. Returns (2, 3).

    Raises:
        InputError: fewer than two distinct points.
    """
    a, b = np.asarray(source, np.float64), np.asarray(target, np.float64)
    mean_a, mean_b = a.mean(0), b.mean(0)
    da, db = a - mean_a, b - mean_b
    variance = (da**2).sum() / len(a)
    if len(a) < 2 or variance < 1e-12:
        raise InputError("The face's landmarks lie on one point; give other landmarks or a box.")
    u, d, vt = np.linalg.svd(db.T @ da / len(a))
    sign = np.array([1.0, 1.0 if np.linalg.det(u) * np.linalg.det(vt) > 0 else -1.0])
    rotation = (u * sign) @ vt
    scale = float((d * sign).sum() / variance)
    return np.concatenate([scale * rotation, (mean_b - scale * rotation @ mean_a)[:, None]], 1)


def invert_affine(affine: NDArray[np.floating]) -> NDArray[np.float64]:
    """The (2, 3) affine that undoes this one."""
    inverse = np.linalg.inv(np.asarray(affine, np.float64)[:, :2])
    return np.concatenate([inverse, (-inverse @ affine[:, 2])[:, None]], 1)


def transform_points(affine: NDArray[np.floating], points: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, 2) points through a (2, 3) affine."""
    moved: NDArray[np.float64] = np.asarray(points, np.float64) @ affine[:, :2].T + affine[:, 2]
    return moved


def warp(image: Image.Image, affine: NDArray[np.floating], size_px: tuple[int, int]) -> Image.Image:
    """The picture seen through `affine`, `size_px` = (width, height).

    When the picture shrinks, it is first resized with an anti-aliasing filter, so that fine
    texture does not turn into false detail. Beyond the border the edge pixels repeat.
    """
    width, height = size_px
    back = invert_affine(affine)
    corners = transform_points(back, np.array([[0, 0], [width, 0], [0, height], [width, height]]))
    scale = math.sqrt(abs(float(np.linalg.det(np.asarray(affine)[:, :2]))))
    border = 3 / min(scale, 1.0)
    x0, y0 = np.floor(corners.min(0) - border).astype(int)
    x1, y1 = np.ceil(corners.max(0) + border).astype(int)
    region = _crop_with_edges(image, int(x0), int(y0), int(x1), int(y1))
    # a crop px -> region px affine, so that only the needed part is filtered
    back[:, 2] -= (x0, y0)
    if scale < 1:
        wanted = (max(1, round(region.width * scale)), max(1, round(region.height * scale)))
        ratio = np.array([wanted[0] / region.width, wanted[1] / region.height])
        region = region.resize(wanted, Image.Resampling.LANCZOS)
        back = back * ratio[:, None]
    data = tuple(float(v) for v in back.reshape(-1))
    return region.transform((width, height), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)


def _crop_with_edges(image: Image.Image, x0: int, y0: int, x1: int, y1: int) -> Image.Image:
    """Crop that may reach over the border; there the edge pixels repeat."""
    cx0, cy0 = min(max(x0, 0), image.width - 1), min(max(y0, 0), image.height - 1)
    cx1, cy1 = max(min(x1, image.width), cx0 + 1), max(min(y1, image.height), cy0 + 1)
    inner = image.crop((cx0, cy0, cx1, cy1))
    if (cx0, cy0, cx1, cy1) == (x0, y0, x1, y1):
        return inner
    array = np.asarray(inner)
    rows = np.clip(np.arange(y0, y1), cy0, cy1 - 1) - cy0
    columns = np.clip(np.arange(x0, x1), cx0, cx1 - 1) - cx0
    return Image.fromarray(array[rows][:, columns])


def align_arcface(image: Image.Image, face: Face, size_px: int = 112) -> Image.Image:
    """The face in ArcFace's place: what every `FaceEncoder` takes. Square RGB of `size_px`."""
    affine = similarity(face.landmarks_px, ARCFACE_TEMPLATE * (size_px / 112))
    return warp(image, affine, (size_px, size_px))


def portrait_crop(
    image: Image.Image, face: Face, size_px: int, margin: float = 0.5
) -> tuple[Image.Image, NDArray[np.float64]]:
    """An upright square around the face, and the affine that made it.

    margin: room on each side as a share of the face's larger side; 0 is the bare box. The
    square is moved up a little, for hair takes more room than the chin. The affine maps
    picture px to crop px; `paste_back` undoes it.
    """
    x0, y0, x1, y1 = face.box_xyxy
    side = max(x1 - x0, y1 - y0) * (1 + 2 * margin)
    if side <= 0:
        raise InputError(f"The face box {face.box_xyxy} is empty; give x0,y0,x1,y1 with x1 > x0 and y1 > y0.")
    centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2 - 0.06 * side * min(margin, 1.0)
    scale = size_px / side
    affine = np.array(
        [[scale, 0, size_px / 2 - scale * centre_x], [0, scale, size_px / 2 - scale * centre_y]], np.float64
    )
    return warp(image, affine, (size_px, size_px)), affine


def paste_back(
    image: Image.Image, crop: Image.Image, affine: NDArray[np.floating], feather: float = 0.1
) -> Image.Image:
    """The picture with the crop laid back where `affine` took it from.

    feather: width of the soft rim as a share of the crop's side; 0 is a hard edge. Pixels
    outside the crop stay bit for bit.
    """
    x = _rim(crop.width, feather)
    y = _rim(crop.height, feather)
    mask = Image.fromarray(np.round(255 * np.minimum.outer(y, x)).astype(np.uint8))
    back = invert_affine(affine)
    place = warp(crop.convert("RGB"), back, image.size)
    inside = mask.transform(
        image.size,
        Image.Transform.AFFINE,
        tuple(float(v) for v in np.asarray(affine).reshape(-1)),
        Image.Resampling.BILINEAR,
        fillcolor=0,
    )
    return Image.composite(place, image, inside)


def _rim(length: int, feather: float) -> NDArray[np.float64]:
    """(length,) weight rising from the ends to 1 over `feather` of the length."""
    if feather <= 0:
        return np.ones(length)
    position = (np.arange(length) + 0.5) / length
    return np.clip(np.minimum(position, 1 - position) / feather, 0, 1)
