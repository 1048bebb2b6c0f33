"""What a face detector is, which one to use, and the one face a reference must have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np

from likeness.errors import (
    FaceCutOffError,
    InputError,
    MissingWeightsError,
    NoFaceError,
    SeveralFacesError,
)
from likeness.types import Face

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

__all__ = [
    "Detection",
    "DetectorName",
    "FaceDetector",
    "box_iou",
    "cut_share",
    "face_in_box",
    "find_detector",
    "find_one_face",
    "main_faces",
    "suppress_overlaps",
]

DetectorName = Literal["yunet", "sitters"]

# Share of the face box beyond the picture's border from which a face counts as cut off.
CUT_SHARE = 0.02
# A second face this small beside the largest (by side length) is taken for a passer-by.
PASSER_BY = 0.45


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """faces: largest first. tried: every attempt in order. turned_degrees: how far the picture
    had to be turned anticlockwise before a face was found (0 nearly always); the faces are in
    the coordinates of the picture as given."""

    faces: list[Face]
    tried: tuple[str, ...]
    turned_degrees: int = 0


@runtime_checkable
class FaceDetector(Protocol):
    """Finds faces in RGB pictures. `licence` is that of its weights."""

    @property
    def name(self) -> str:
        """As in `find_detector`."""
        ...

    @property
    def licence(self) -> str:
        """Of the weights, an SPDX name."""
        ...

    def __call__(self, image: Image.Image) -> list[Face]:
        """Faces, largest first; an empty list when there are none."""
        ...

    def search(self, image: Image.Image) -> Detection:
        """The same with an account of what was tried."""
        ...


def find_detector(prefer: DetectorName | None = None, sitters_path: Path | None = None) -> FaceDetector:
    """A detector ready to use.

    prefer: "yunet" for photos, "sitters" for synthetic people only; None takes YuNet and, where
    its file cannot be had, the sitters' network. sitters_path: the folder of that network (the
    mini pack's `landmarks`), needed for "sitters" and for the fallback.

    Raises:
        MissingWeightsError: the wanted weights cannot be had; the message says how to get them.
        InputError: an unknown name, or "sitters" without its folder.
    """
    if prefer not in (None, "yunet", "sitters"):
        raise InputError(f'There is no face detector "{prefer}"; choose "yunet" or "sitters".')
    if prefer != "sitters":
        from likeness.faces.yunet import YuNet

        try:
            return YuNet.from_cache()
        except MissingWeightsError:
            fallback = sitters_path is not None and (sitters_path / "config.json").is_file()
            if prefer == "yunet" or not fallback:
                raise
    if sitters_path is None:
        raise InputError(
            'The "sitters" detector needs its folder of weights; '
            "pass sitters_path (the mini pack's landmarks)."
        )
    from likeness.faces.sitter_detector import SitterDetector

    return SitterDetector(sitters_path)


def find_one_face(
    image: Image.Image, detector: FaceDetector, box: tuple[float, float, float, float] | None = None
) -> Face:
    """The one face of a reference photo.

    box: (x0, y0, x1, y1) px by hand, the way out when detection fails or finds several.

    Raises:
        NoFaceError, SeveralFacesError, FaceCutOffError: with `tried`.
    """
    if box is not None:
        return face_in_box(image, detector, box)[0]
    found = detector.search(image)
    if not found.faces:
        raise NoFaceError(no_face_sentence(detector, found), found.tried)
    mains = main_faces(found.faces)
    if len(mains) > 1:
        where = "; ".join(",".join(str(round(v)) for v in face.box_xyxy) for face in mains)
        raise SeveralFacesError(
            f"The picture has {len(mains)} faces of similar size and one is needed: crop it, or choose "
            f"one with a box x0,y0,x1,y1 out of {where}.",
            found.tried,
        )
    share = cut_share(mains[0], image.size)
    if share > CUT_SHARE:
        raise FaceCutOffError(
            f"The face leaves the picture ({share:.0%} of it lies outside): use a photo that shows the "
            "whole face, or accept what is visible with a box x0,y0,x1,y1 inside the picture.",
            found.tried,
        )
    return mains[0]


def no_face_sentence(detector: FaceDetector, found: Detection) -> str:
    """One sentence for a picture without a face: what was tried and what to do."""
    if detector.name == "sitters":
        return (
            "No sitter's face was found, and the detector at hand knows synthetic sitters only: for a photo, "
            "provide YuNet (face_detection_yunet_2023mar.onnx of the OpenCV model zoo) in a folder named by "
            "LIKENESS_MODELS, or give a box x0,y0,x1,y1."
        )
    return (
        f"No face was found (tried {', '.join(found.tried)}): use a photo with a clear, larger face, "
        "or give a box x0,y0,x1,y1."
    )


def main_faces(faces: Sequence[Face]) -> list[Face]:
    """The faces that could be meant: the largest and those not much smaller."""
    if not faces:
        return []
    largest = max(face.size_px for face in faces)
    return [face for face in faces if face.size_px >= PASSER_BY * largest]


def cut_share(face: Face, size_px: tuple[int, int]) -> float:
    """Share of the face box outside the picture, in [0, 1]. size_px: (width, height).

    A box that merely touches the border counts by its landmarks too: one landmark outside, or
    within 4 % of the face's size of the border, is a cut of at least 5 %.
    """
    x0, y0, x1, y1 = face.box_xyxy
    width, height = size_px
    inside = max(0.0, min(x1, width) - max(x0, 0)) * max(0.0, min(y1, height) - max(y0, 0))
    area = max((x1 - x0) * (y1 - y0), 1e-6)
    share = 1 - inside / area
    near = 0.04 * face.size_px
    points = face.landmarks_px
    if (points < near).any() or (points[:, 0] > width - near).any() or (points[:, 1] > height - near).any():
        share = max(share, 0.05)
    return share


def face_in_box(
    image: Image.Image, detector: FaceDetector, box: tuple[float, float, float, float]
) -> tuple[Face, str]:
    """A face for a box drawn by hand, and where its landmarks come from.

    The detector is asked first with the neighbourhood of the box; when it sees no face there,
    the landmarks are those of an average frontal face in the box.

    Raises:
        InputError: the box is empty, not finite or outside the picture.
    """
    x0, y0, x1, y1 = box
    if not np.isfinite(box).all() or x1 - x0 < 8 or y1 - y0 < 8:
        raise InputError(
            f"The box {x0:g},{y0:g},{x1:g},{y1:g} is empty or under 8 px; "
            "give x0,y0,x1,y1 with x1 > x0 and y1 > y0."
        )
    if x0 < 0 or y0 < 0 or x1 > image.width or y1 > image.height:
        raise InputError(
            f"The box {x0:g},{y0:g},{x1:g},{y1:g} leaves the picture of {image.width} x {image.height} px; "
            "keep it inside."
        )
    margin = 0.3 * max(x1 - x0, y1 - y0)
    left, top = max(0, int(x0 - margin)), max(0, int(y0 - margin))
    right, bottom = min(image.width, int(x1 + margin)), min(image.height, int(y1 + margin))
    for face in detector(image.crop((left, top, right, bottom))):
        a, b, c, d = face.box_xyxy
        moved = replace(
            face,
            box_xyxy=(a + left, b + top, c + left, d + top),
            landmarks_px=(face.landmarks_px + np.array([left, top])).astype(np.float32),
        )
        if box_iou(moved.box_xyxy, box) > 0.3:
            return replace(moved, box_xyxy=box, score=1.0), detector.name
    return Face(box, average_landmarks(box), 1.0), "average face"


def average_landmarks(box: tuple[float, float, float, float]) -> NDArray[np.float32]:
    """(5, 2) landmarks of an average frontal face that fills the box (YuNet's idea of a box)."""
    x0, y0, x1, y1 = box
    share = np.array([[0.31, 0.42], [0.69, 0.42], [0.5, 0.60], [0.35, 0.77], [0.65, 0.77]])
    points = np.array([x0, y0]) + share * np.array([x1 - x0, y1 - y0])
    return points.astype(np.float32)  # type: ignore[no-any-return]


def box_iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def suppress_overlaps(faces: Sequence[Face], iou: float = 0.3) -> list[Face]:
    """Greedy non-maximum suppression: of faces that overlap by more than `iou`, the surest stays.

    A box mostly inside a surer one is dropped as well: at several scales a detector sees parts
    of a large face as small faces. Returned largest first.
    """
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: f.score, reverse=True):
        if all(box_iou(face.box_xyxy, k.box_xyxy) <= iou and not _nested(face, k) for k in kept):
            kept.append(face)
    return sorted(kept, key=lambda f: f.size_px, reverse=True)


def _nested(a: Face, b: Face) -> bool:
    """Does the smaller of the two boxes lie for 70 % or more inside the larger?"""
    p, q = a.box_xyxy, b.box_xyxy
    width = min(p[2], q[2]) - max(p[0], q[0])
    height = min(p[3], q[3]) - max(p[1], q[1])
    smaller = min((p[2] - p[0]) * (p[3] - p[1]), (q[2] - q[0]) * (q[3] - q[1]))
    return width > 0 and height > 0 and width * height >= 0.7 * smaller
