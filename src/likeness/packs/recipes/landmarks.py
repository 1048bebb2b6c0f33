"""Recipe of the landmark network: where a sitter's face is, and which of its points can be seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from likeness.faces.align import ARCFACE_TEMPLATE, invert_affine, similarity
from likeness.faces.landmarks import LandmarkTarget, landmark_loss, random_views
from likeness.packs import mini
from likeness.training import cosine

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from likeness.faces.landmarks import LandmarkNet
    from likeness.packs.data import Pictures
    from likeness.packs.workshop import Workshop
    from likeness.training import Moment, Schedule, TrainResult
    from likeness.training.phase import Batch

__all__ = ["LandmarksPhase", "face_affines", "face_boxes", "landmark_errors", "train_landmarks"]

BATCH = 48


@dataclass
class LandmarksPhase:
    """The losses of `faces.landmarks` on pictures moved, turned, resized and sometimes emptied."""

    trainable: LandmarkNet
    learning_rate: float | Schedule = field(default_factory=lambda: cosine(1e-3, warmup_steps=100))
    name: str = "landmarks"
    every: int = 1

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """batch: pixels (B, 3, 128, 128) uint8, box (B, 4), landmarks (B, K, 2), visible (B, K)."""
        known = LandmarkTarget(
            torch.ones(len(batch["pixels"])), batch["box"], batch["landmarks"], batch["visible"].float()
        )
        mirror = tuple(self.trainable.config.mirror)
        with torch.autocast("cpu", enabled=False):
            pictures, target = random_views(mini.to_unit(batch["pixels"]), known, generator, mirror)
        found = self.trainable(pictures.to(memory_format=torch.channels_last))
        return landmark_loss(type(found)(*(part.float() for part in found)), target)


def face_boxes(landmarks: Tensor) -> Tensor:
    """(N, K, 2) all landmarks of sitters -> (N, 4) boxes: forehead to chin, ear to ear."""
    low, high = landmarks.amin(1), landmarks.amax(1)
    forehead = 0.25 * (high - low)[:, 1:]
    return torch.cat([low[:, :1], low[:, 1:] - forehead, high], dim=1)


def face_affines(landmarks: Tensor) -> Tensor:
    """(N, L, 2) px, eyes, nose and mouth first -> (N, 2, 3) float32: aligned face px to picture px."""
    affines = [invert_affine(similarity(five, ARCFACE_TEMPLATE)) for five in landmarks[:, :5].numpy()]
    return torch.from_numpy(np.stack(affines).astype(np.float32))


def train_landmarks(shop: Workshop) -> TrainResult:
    """See `check.landmark_error`."""
    pictures = shop.pictures("train")
    torch.manual_seed(shop.seed)
    model = shop.preset.landmark_net(pictures.landmarks.shape[1]).to(memory_format=torch.channels_last)
    shop.begin(model, "landmarks")
    boxes = face_boxes(pictures.landmarks)

    def batches(moment: Moment) -> Batch:
        rows = pictures.indices(moment.draw, BATCH, shop.seed)
        return {
            "pixels": pictures.pixels[rows],
            "box": boxes[rows],
            "landmarks": pictures.landmarks[rows],
            "visible": pictures.visible[rows],
        }

    # In bf16 the heatmaps' logits are too coarse: they grow, peak beside the place, and training gets worse.
    result = shop.train([LandmarksPhase(model)], batches, "landmarks", ema_decay=0.998, bf16=False)
    if result.finished:
        averaged = result.emas["landmarks"].module.to(memory_format=torch.contiguous_format)
        shop.export("landmarks", "landmarks", averaged)
    return result


@torch.no_grad()
def landmark_errors(model: Any, pictures: Pictures) -> tuple[Tensor, Tensor]:
    """Errors of the five landmarks where visible, in face sizes; and (N,) face found."""
    boxes = face_boxes(pictures.landmarks)
    size = ((boxes[:, 2] - boxes[:, 0]) + (boxes[:, 3] - boxes[:, 1])) / 2
    errors, found = [], []
    for rows in torch.arange(len(pictures)).split(64):
        out = model(mini.to_unit(pictures.pixels[rows]))
        miss = (out.landmarks_px[:, :5] - pictures.landmarks[rows, :5]).norm(dim=-1) / size[rows, None]
        errors.append(miss[pictures.visible[rows, :5]])
        found.append(out.score > 0)
    return torch.cat(errors), torch.cat(found)
