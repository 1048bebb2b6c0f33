"""Numbers about one face in one picture: what the reference doctor judges by.

Each function measures one thing, in units that hold for photographs and for rendered sitters
alike. None needs weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from likeness.faces.align import ARCFACE_TEMPLATE, align_arcface
from likeness.faces.detect import cut_share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likeness.types import Face

__all__ = ["Angle", "FaceMeasures", "Light", "covered_parts", "head_angle", "light", "measure", "sharpness"]

# Five points of an average head, in units of half the distance between the eyes: x to the
# right of the picture, y down, z towards the viewer. Proportions of adult heads; the depth of
# the nose is what turns a shift of its tip into an angle.
_HEAD = np.array(
    [[-1.0, -0.62, 0.0], [1.0, -0.62, 0.0], [0.0, 0.62, 1.05], [-0.78, 1.62, 0.25], [0.78, 1.62, 0.25]]
)


@dataclass(frozen=True, slots=True)
class Angle:
    """Degrees. yaw > 0: the face looks to the right of the picture. pitch > 0: it looks up.
    roll > 0: the head leans clockwise in the picture."""

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, slots=True)
class Light:
    """bright: 95th percentile of the face's luma, median: its median, both in [0, 1]; burnt:
    share of the face at the top of the range; one_sided: luma difference of the face's halves
    over their mean, in [0, 2]."""

    bright: float
    median: float
    burnt: float
    one_sided: float


@dataclass(frozen=True, slots=True)
class FaceMeasures:
    """All that is measured of one face."""

    size_px: float
    sharpness: float
    light: Light
    angle: Angle
    covered: tuple[str, ...]
    cut_share: float


def measure(image: Image.Image, face: Face) -> FaceMeasures:
    """Every number of this module for one face of an RGB picture."""
    aligned = align_arcface(image, face)
    return FaceMeasures(
        size_px=face.size_px,
        sharpness=sharpness(image, face),
        light=light(aligned),
        angle=head_angle(face.landmarks_px),
        covered=covered_parts(aligned),
        cut_share=cut_share(face, image.size),
    )


def sharpness(image: Image.Image, face: Face) -> float:
    """Fine detail over coarse detail of the face, 0.03 (badly blurred) to 0.2 and more (crisp).

    The face is brought to 112 px, or left at its own size when that is smaller, so that
    megapixels do not count; then the deviation of the finest octave (picture minus its blur) is
    divided by that of all coarser ones up to the size of an eye, so that contrast does not count
    either. In sharp pictures octaves carry like energy (Field 1987, the 1/f law); blur empties
    the finest first. The rounding of 8 bits, a noise of known size, is taken off.
    """
    side = int(min(112, max(24, face.size_px * 1.1)))
    grey = _luma(align_arcface(image, face, side))
    mask = _oval(side)
    blurred = _blur(grey, 0.7)
    fine, coarse = (grey - blurred)[mask], (blurred - _blur(grey, 0.09 * side))[mask]
    rounding = 0.4 / 255
    return float(np.sqrt(max(fine.var() - rounding**2, 0.0)) / max(float(coarse.std()), 0.01))


def light(aligned: Image.Image) -> Light:
    """Light on an aligned face. Judged by its highlights, not its mean: skin tones differ, but
    eyes, teeth and sheen are bright on every well lit face."""
    grey = _luma(aligned)
    mask = _oval(aligned.width)
    inside = grey[mask]
    half = aligned.width // 2
    left = float(np.median(grey[:, :half][mask[:, :half]]))
    right = float(np.median(grey[:, -half:][mask[:, -half:]]))
    return Light(
        bright=float(np.percentile(inside, 95)),
        median=float(np.median(inside)),
        burnt=float((inside > 0.985).mean()),
        one_sided=abs(left - right) / max((left + right) / 2, 0.02),
    )


def head_angle(landmarks_px: NDArray[np.floating]) -> Angle:
    """Yaw, pitch and roll from five landmarks: weak-perspective pose of an average head.

    The least-squares 2 x 3 map from the head's points to the picture is replaced by the nearest
    scaled pair of orthonormal rows (its polar factor). Yaw is good to about 5
    degrees on average; pitch is only a hint, for long and short faces look like tilted ones.
    """
    points = np.asarray(landmarks_px, np.float64)
    centred = points - points.mean(0)
    head = _HEAD - _HEAD.mean(0)
    solution, *_ = np.linalg.lstsq(head, centred, rcond=None)
    u, _, vt = np.linalg.svd(solution.T, full_matrices=False)
    rows = u @ vt
    third = np.cross(rows[0], rows[1])
    # third: the head's own axes seen along the viewing direction
    yaw = math.degrees(math.asin(float(np.clip(rows[0, 2], -1, 1))))
    pitch = math.degrees(math.atan2(-float(rows[1, 2]), float(third[2])))
    roll = math.degrees(math.atan2(float(points[1, 1] - points[0, 1]), float(points[1, 0] - points[0, 0])))
    return Angle(yaw, pitch, roll)


def covered_parts(aligned: Image.Image) -> tuple[str, ...]:
    """Parts of an aligned 112 px face that look covered: "left eye", "right eye", "nose", "mouth".

    Left and right as seen in the picture. What it can see: opaque things that are unlike the
    face's own skin in colour or have no texture at all (dark glasses, a mask, a bar, hair over
    an eye). What it cannot see: a hand or another face, clear lenses, anything skin-coloured;
    a full beard may count as a covered mouth only when it hides the lips. A rough test, not a parser.
    """
    if aligned.size != (112, 112):
        aligned = aligned.resize((112, 112), Image.Resampling.LANCZOS)
    pixels = np.asarray(aligned.convert("RGB"), np.float64) / 255
    skin = _skin_colour(pixels)
    luma = pixels @ _LUMA
    ratio = luma / max(float(skin @ _LUMA), 0.02)
    chroma = pixels / np.maximum(pixels.sum(-1, keepdims=True), 0.05)
    distance = np.linalg.norm(chroma - skin / max(float(skin.sum()), 0.05), axis=-1)
    unlike = (distance > 0.13) | (ratio < 0.42) | (ratio > 2.6)
    x, y = np.meshgrid(np.arange(112) + 0.5, np.arange(112) + 0.5)
    mouth = ARCFACE_TEMPLATE[3:].mean(0)
    parts = {
        "left eye": (ARCFACE_TEMPLATE[0], 9.0, 6.5, 0.86),
        "right eye": (ARCFACE_TEMPLATE[1], 9.0, 6.5, 0.86),
        "nose": (ARCFACE_TEMPLATE[2], 8.0, 8.0, 0.82),
        "mouth": (mouth, 15.0, 7.0, 0.86),
    }
    covered = []
    for name, (centre, radius_x, radius_y, limit) in parts.items():
        place = ((x - centre[0]) / radius_x) ** 2 + ((y - centre[1]) / radius_y) ** 2 <= 1
        flat = float(luma[place].std()) < 0.008
        if float(unlike[place].mean()) > limit or flat:
            covered.append(name)
    return tuple(covered)


_LUMA = np.array([0.299, 0.587, 0.114])


def _skin_colour(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median colour of the cheeks and the bridge of the nose, the parts least often covered; of
    the three patches the middle one by brightness, so one covered patch does no harm."""
    patches = [pixels[62:76, 34:46], pixels[62:76, 66:78], pixels[44:58, 51:61]]
    medians = [np.median(patch.reshape(-1, 3), axis=0) for patch in patches]
    middle: NDArray[np.float64] = sorted(medians, key=lambda colour: float(colour @ _LUMA))[1]
    return middle


def _luma(image: Image.Image) -> NDArray[np.float64]:
    return np.asarray(image.convert("L"), np.float64) / 255


def _blur(grey: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Gaussian blur in floating point (Pillow's is 8 bits and rounds dark pictures flat)."""
    reach = math.ceil(3 * radius)
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * radius**2))
    weights /= weights.sum()
    padded = np.pad(grey, reach, mode="edge")
    rows = sum(w * padded[i : i + grey.shape[0]] for i, w in enumerate(weights))
    blurred: NDArray[np.float64] = sum(w * rows[:, i : i + grey.shape[1]] for i, w in enumerate(weights))
    return blurred


def _oval(side: int) -> NDArray[np.bool_]:
    """The inner face of an aligned picture: brows to lower lip, without the rim of hair."""
    position = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(position, position)
    inside: NDArray[np.bool_] = ((x - 0.5) / 0.32) ** 2 + ((y - 0.64) / 0.34) ** 2 <= 1
    return inside
