"""A face detector for synthetic sitters, over our own `LandmarkNet`. Not for photographs.

It was trained on rendered people alone, one to a picture. A photo it may take for a sitter or
not; three checks keep it from inventing faces: its own score, and whether it says the same of
the mirrored picture and of a closer look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from likeness.errors import MissingWeightsError
from likeness.faces.align import invert_affine, transform_points, warp
from likeness.faces.detect import Detection
from likeness.types import Face

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["SitterDetector"]


class SitterDetector:
    """FaceDetector for sitters: one face at most.

    path: folder of a `LandmarkNet` (the mini pack's `landmarks`). threshold: lowest score kept.
    """

    name = "sitters"
    licence = "Apache-2.0"

    def __init__(self, path: Path, threshold: float = 0.5) -> None:
        if not (path / "config.json").is_file():
            raise MissingWeightsError(
                f"{path} holds no landmark network (config.json and safetensors); install the mini pack "
                "again, or provide the YuNet detector in a folder named by LIKENESS_MODELS."
            )
        from likeness.faces.landmarks import load_landmark_net

        self._net = load_landmark_net(str(path))
        self.threshold = threshold

    def __call__(self, image: Image.Image) -> list[Face]:
        """The sitter's face, or an empty list."""
        return self.search(image).faces

    def search(self, image: Image.Image) -> Detection:
        """The whole picture first, then a closer look around what was found."""
        from likeness.faces.landmarks import INPUT_PX, letterbox

        image = image.convert("RGB")
        pixels, affine = letterbox(image)
        face = self._look(pixels, affine)
        tried = (f"{self.name} at {INPUT_PX} px",)
        if face.score < self.threshold:
            return Detection([], tried)
        x0, y0, x1, y1 = face.box_xyxy
        scale = 0.6 * INPUT_PX / max(face.size_px, 4.0)
        closer = np.array(
            [
                [scale, 0, INPUT_PX / 2 - scale * (x0 + x1) / 2],
                [0, scale, INPUT_PX / 2 - scale * (y0 + y1) / 2],
            ]
        )
        tile, _ = letterbox(warp(image, closer, (INPUT_PX, INPUT_PX)))
        again = self._look(tile, closer)
        # a sitter is seen alike from near and far; what merely resembles one is not
        differ = float(np.linalg.norm(again.landmarks_px - face.landmarks_px, axis=1).mean())
        if again.score < self.threshold or differ > 0.12 * again.size_px:
            return Detection([], (*tried, f"{self.name} close up"))
        return Detection([again], (*tried, f"{self.name} close up"))

    def _look(self, pixels: torch.Tensor, affine: NDArray[np.float64]) -> Face:
        """The network's opinion of a (3, 128, 128) picture, in px before `affine`.

        Score: the product of the face scores' mean and exp(-12 d), where d is the mean distance
        between the landmarks of the picture and of its mirror image, over the face's size.
        """
        import torch

        from likeness.faces.landmarks import INPUT_PX

        with torch.inference_mode():
            found = self._net(torch.stack([pixels, pixels.flip(-1)]))
        points = found.landmarks_px.double().numpy()
        box = found.box_xyxy.double().numpy()
        order = np.array(self._net.config.mirror)
        mirrored = np.stack([INPUT_PX - points[1, order, 0], points[1, order, 1]], 1)
        mirrored_box = np.array([INPUT_PX - box[1, 2], box[1, 1], INPUT_PX - box[1, 0], box[1, 3]])
        both_box = (box[0] + mirrored_box) / 2
        size = max(float((both_box[2:] - both_box[:2]).mean()), 1.0)
        differ = float(np.linalg.norm(points[0] - mirrored, axis=1).mean()) / size
        score = float(found.score.sigmoid().mean()) * float(np.exp(-12 * differ))
        back = invert_affine(affine)
        corners = transform_points(back, both_box.reshape(2, 2))
        landmarks = transform_points(back, (points[0] + mirrored)[:5] / 2).astype(np.float32)
        (x0, y0), (x1, y1) = corners
        return Face((float(x0), float(y0), float(x1), float(y1)), landmarks, score)
