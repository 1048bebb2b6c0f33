"""YuNet, a face detector for photos, run by onnxruntime with our own steps before and after.

Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023;
weights of the OpenCV model zoo, MIT licence. The file's input is fixed at 640 x 640 px, so a
picture is laid on such a canvas at several scales, and large pictures are also cut into tiles.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from likeness.errors import IncompatibleWeightsError
from likeness.faces.align import invert_affine, transform_points, warp
from likeness.faces.detect import Detection, box_iou, suppress_overlaps
from likeness.types import Face

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["YUNET_NAME", "YUNET_SHA256", "YUNET_SIZE", "YUNET_URL", "YuNet"]

YUNET_NAME = "face_detection_yunet_2023mar.onnx"
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
YUNET_SIZE = 232_589
YUNET_URL = "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/" + YUNET_NAME

CANVAS_PX = 640
STRIDES = (8, 16, 32)
# Scales at which the whole picture is tried: its longer side in px on the canvas. The small
# ones find faces that fill the picture, which are larger than any the network was trained on.
WHOLE_PX = (608, 320, 160)
TILED_PX = (1216, 2432)
TILE_OVERLAP_PX = 96
# A found face is looked at again with its box of these sizes, where the landmarks are most
# exact; so they do not depend on the scale at which it happened to be found.
REFINE_PX = (144, 192)
# Lean in radians below which a look is not repeated.
STRAIGHT = math.radians(3)
# Upright faces nearly always score above this, lying ones below.
SURE = 0.91
# Next to a sure face a doubtful one is nearly always a pattern on clothes or behind it.
BESIDE_A_SURE_FACE = 0.75


class YuNet:
    """FaceDetector for photos; finds nearly all rendered sitters too.

    path: the ONNX file. threshold: lowest confidence kept, in [0, 1].
    """

    name = "yunet"
    licence = "MIT"

    def __init__(self, path: Path, threshold: float = 0.6) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise IncompatibleWeightsError(
                f"{path} cannot be read as an ONNX model; provide {YUNET_NAME} of the OpenCV model zoo."
            ) from error
        outputs = {output.name for output in self._session.get_outputs()}
        wanted = {f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES}
        if outputs != wanted:
            raise IncompatibleWeightsError(
                f"{path} is not a YuNet face detector; provide {YUNET_NAME} of the OpenCV model zoo."
            )
        self._input = self._session.get_inputs()[0].name
        self.threshold = threshold

    @classmethod
    def from_cache(cls, threshold: float = 0.6) -> YuNet:
        """With the pinned file: out of LIKENESS_MODELS, the cache, or fetched once into the cache.

        Raises:
            MissingWeightsError: it is neither there nor reachable.
        """
        from likeness.files.weights import cached_file

        return cls(cached_file(YUNET_NAME, YUNET_SHA256, YUNET_SIZE, url=YUNET_URL), threshold)

    def __call__(self, image: Image.Image) -> list[Face]:
        """Faces, largest first."""
        return self.search(image).faces

    def search(self, image: Image.Image) -> Detection:
        """Upright at several scales; when that is not sure of a face, quarter turns as well.

        The network finds many lying faces too, with landmarks in wrong places and less surely,
        so a turn wins only where it makes the face sure, or shows one at all.
        """
        image = image.convert("RGB")
        tried: list[str] = []
        faces = self._all_scales(image, tried, 0)
        turned_degrees = 0
        if _sureness(faces) < SURE:
            for degrees in (90, 270, 180):
                again = self._all_scales(image.rotate(degrees, expand=True), tried, degrees)
                wins = _sureness(again) >= SURE and _sureness(again) > _sureness(faces) + 0.02
                if again and (wins or not faces):
                    faces = [_turn_back(face, degrees, image.size) for face in again]
                    turned_degrees = degrees
        if _sureness(faces) >= 0.85:
            faces = [face for face in faces if face.score >= BESIDE_A_SURE_FACE]
        return Detection(faces, tuple(tried), turned_degrees)

    def _all_scales(self, image: Image.Image, tried: list[str], degrees: int) -> list[Face]:
        """Largest first; appends what was done to `tried`."""
        label = f", turned by {degrees} degrees" if degrees else ""
        longest = max(image.size)
        found: list[Face] = []
        for long_px in WHOLE_PX:
            found += self._tile(image, (0, 0, *image.size), long_px / longest)
        tried.append(f"{self.name} at {', '.join(map(str, WHOLE_PX))} px{label}")
        for long_px in TILED_PX:
            # the finest tiles are slow, and only wanted when nothing larger is there
            if long_px / 2 >= longest or (long_px != TILED_PX[0] and found):
                break
            scale = min(1.0, long_px / longest)
            for box in _tiles(image.size, scale):
                found += self._tile(image, box, scale)
            tried.append(f"{self.name} in tiles at {round(scale * longest)} px{label}")
        faces = suppress_overlaps(found)
        return suppress_overlaps([self._refine(image, face) for face in faces])

    def _tile(self, image: Image.Image, box: tuple[int, int, int, int], scale: float) -> list[Face]:
        """Faces of one part of the picture, in px of the whole picture.

        Faces that a tile's own edge cuts, inside the picture, are left to the neighbouring tile.
        """
        x0, y0, x1, y1 = box
        size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
        part = image.resize(size, Image.Resampling.BOX if scale < 0.5 else Image.Resampling.BILINEAR, box=box)
        ratio = np.array([size[0] / (x1 - x0), size[1] / (y1 - y0)])
        # centred: a face at the picture's border then has room around it
        offset = np.array([(CANVAS_PX - size[0]) // 2, (CANVAS_PX - size[1]) // 2])
        canvas = np.zeros((CANVAS_PX, CANVAS_PX, 3), np.uint8)
        canvas[offset[1] : offset[1] + size[1], offset[0] : offset[0] + size[0]] = np.asarray(part)
        faces = []
        for face in self.on_canvas(canvas):
            moved = _move(face, -offset, 1 / ratio, np.array([x0, y0]))
            a, b, c, d = moved.box_xyxy
            near = 4 / scale
            cut = (
                (a < x0 + near and x0 > 0)
                or (b < y0 + near and y0 > 0)
                or (c > x1 - near and x1 < image.width)
                or (d > y1 - near and y1 < image.height)
            )
            if not cut:
                faces.append(moved)
        return faces

    def _refine(self, image: Image.Image, face: Face) -> Face:
        """The same face as the mean of four looks, two sizes each plain and mirrored.

        The network draws leaning faces more upright than they are, so each look is repeated
        with the lean seen so far taken out, until little is left.
        """
        lean = 0.0
        for _ in range(3):
            face, found = self._four_looks(image, face, lean)
            across = face.landmarks_px[1] - face.landmarks_px[0]
            seen = math.atan2(float(across[1]), float(across[0]))
            if not found or abs(seen - lean) < STRAIGHT:
                break
            lean = seen
        return face

    def _four_looks(self, image: Image.Image, face: Face, lean: float) -> tuple[Face, bool]:
        """Look again with the picture turned by -lean (radians) around the face.

        The looks share one canvas, a quarter each. Returns the face as it was, and False, when
        none of them finds it again.
        """
        half = CANVAS_PX // 2
        centre = np.array(face.box_xyxy).reshape(2, 2).mean(0)
        turn = np.array([[math.cos(lean), math.sin(lean)], [-math.sin(lean), math.cos(lean)]])
        canvas = np.zeros((CANVAS_PX, CANVAS_PX, 3), np.uint8)
        looks = []
        for index, wanted_px in enumerate(REFINE_PX):
            matrix = turn * (wanted_px / max(face.size_px, 1.0))
            affine = np.concatenate([matrix, (half / 2 - matrix @ centre)[:, None]], 1)
            tile = _black_outside(image, affine, half)
            for mirrored in (False, True):
                x, y = half * mirrored, half * index
                canvas[y : y + half, x : x + half] = tile[:, ::-1] if mirrored else tile
                looks.append((np.array([x, y]), affine, mirrored))
        seen = self.on_canvas(canvas)
        again: list[Face] = []
        for corner, affine, mirrored in looks:
            for candidate in seen:
                local = _move(candidate, -corner, np.ones(2), np.zeros(2))
                local = _through(_mirror(local, half) if mirrored else local, invert_affine(affine))
                if box_iou(local.box_xyxy, face.box_xyxy) > 0.4:
                    again.append(local)
                    break
        if not again:
            return face, False
        box = np.mean([found.box_xyxy for found in again], 0)
        mean = Face(
            (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
            np.mean([found.landmarks_px for found in again], 0).astype(np.float32),
            float(np.mean([found.score for found in again])),
        )
        return mean, True

    def on_canvas(self, canvas: NDArray[np.uint8]) -> list[Face]:
        """Faces of one 640 x 640 RGB uint8 canvas, in its px, surest first, overlaps removed."""
        blob = canvas[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)  # BGR, 0..255
        names = [f"{kind}_{stride}" for stride in STRIDES for kind in ("cls", "obj", "bbox", "kps")]
        outputs = self._session.run(names, {self._input: blob})
        faces: list[Face] = []
        for level, stride in enumerate(STRIDES):
            faces += _decode(outputs[4 * level : 4 * level + 4], stride, self.threshold)
        return suppress_overlaps(faces)


def _sureness(faces: list[Face]) -> float:
    """The highest score, 0 for none."""
    return max((face.score for face in faces), default=0.0)


def _decode(outputs: list[Any], stride: int, threshold: float) -> list[Face]:
    """Faces of one stride. Anchors are the cells' top left corners; sizes are exponents."""
    cls, obj, bbox, kps = (np.asarray(output)[0] for output in outputs)
    score = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
    cells = CANVAS_PX // stride
    faces = []
    for index in np.flatnonzero(score >= threshold):
        corner = np.array([index % cells, index // cells])
        centre = (corner + bbox[index, :2]) * stride
        half = np.exp(bbox[index, 2:]) * stride / 2
        points = (corner + kps[index].reshape(5, 2)) * stride
        (x0, y0), (x1, y1) = centre - half, centre + half
        box = (float(x0), float(y0), float(x1), float(y1))
        faces.append(Face(box, points.astype(np.float32), float(score[index])))
    return faces


def _tiles(size: tuple[int, int], scale: float) -> list[tuple[int, int, int, int]]:
    """Boxes in picture px that cover it with overlap, each at most the canvas at `scale`."""
    spans = []
    for length in size:
        tile = CANVAS_PX / scale
        step = (CANVAS_PX - TILE_OVERLAP_PX) / scale
        count = max(1, int(np.ceil((length - tile) / step)) + 1)
        starts = np.linspace(0, max(0.0, length - tile), count)
        spans.append([(int(s), min(length, int(s + tile))) for s in starts])
    return [(x0, y0, x1, y1) for y0, y1 in spans[1] for x0, x1 in spans[0]]


def _black_outside(image: Image.Image, affine: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """(side, side, 3): the picture through the affine, black beyond its border as in the first look."""
    tile = np.asarray(warp(image, affine, (side, side))).copy()
    columns, rows = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    places = transform_points(invert_affine(affine), np.stack([columns.ravel(), rows.ravel()], 1))
    outside = ((places < 0) | (places > np.array(image.size))).any(1)
    tile.reshape(-1, 3)[outside] = 0
    return tile


def _through(face: Face, affine: NDArray[np.float64]) -> Face:
    """The face through a similarity; its box keeps its proportions and stays upright."""
    low, high = np.array(face.box_xyxy).reshape(2, 2)
    centre = transform_points(affine, (low + high)[None] / 2)[0]
    half = (high - low) / 2 * math.sqrt(abs(float(np.linalg.det(affine[:, :2]))))
    box = (
        float(centre[0] - half[0]),
        float(centre[1] - half[1]),
        float(centre[0] + half[0]),
        float(centre[1] + half[1]),
    )
    points = transform_points(affine, face.landmarks_px).astype(np.float32)
    return replace(face, box_xyxy=box, landmarks_px=points)


def _move(
    face: Face, first: NDArray[np.floating], scale: NDArray[np.floating], then: NDArray[np.floating]
) -> Face:
    """The face with every point p at (p + first) * scale + then."""
    box = (np.array(face.box_xyxy).reshape(2, 2) + first) * scale + then
    points = (face.landmarks_px + first) * scale + then
    (x0, y0), (x1, y1) = box
    return replace(
        face,
        box_xyxy=(float(x0), float(y0), float(x1), float(y1)),
        landmarks_px=points.astype(np.float32),
    )


def _mirror(face: Face, width: int) -> Face:
    """The face of a picture mirrored left to right; left and right landmarks change names."""
    x0, y0, x1, y1 = face.box_xyxy
    points = face.landmarks_px[[1, 0, 2, 4, 3]] * np.array([-1, 1]) + np.array([width, 0])
    return replace(face, box_xyxy=(width - x1, y0, width - x0, y1), landmarks_px=points.astype(np.float32))


def _turn_back(face: Face, degrees: int, size: tuple[int, int]) -> Face:
    """Undo `Image.rotate(degrees, expand=True)` for a face; size is that of the unturned picture."""
    if degrees == 0:
        return face
    width, height = size

    def back(points: NDArray[np.floating]) -> NDArray[np.float32]:
        x, y = points[:, 0], points[:, 1]
        turned = {90: (width - y, x), 180: (width - x, height - y), 270: (y, height - x)}[degrees]
        return np.stack(turned, 1).astype(np.float32)

    box = back(np.array(face.box_xyxy).reshape(2, 2))
    (x0, y0), (x1, y1) = box.min(0), box.max(0)
    return replace(
        face,
        box_xyxy=(float(x0), float(y0), float(x1), float(y1)),
        landmarks_px=back(face.landmarks_px),
    )
