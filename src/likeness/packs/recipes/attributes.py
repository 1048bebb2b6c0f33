"""Recipe of the attribute judge: what a sitter's picture shows, from the scene it was drawn from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from likeness.faces.attributes import NOT_SHOWN, light_direction
from likeness.packs import mini
from likeness.training import cosine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Generator, Tensor

    from likeness.faces.attributes import AttributeNet
    from likeness.packs.data import Pictures
    from likeness.packs.workshop import Workshop
    from likeness.sitters import Scene
    from likeness.training import Moment, Schedule, TrainResult
    from likeness.training.phase import Batch

__all__ = ["Truth", "attribute_truth", "train_attributes", "truth_of"]

BATCH = 48
SWAP = {"left": "right", "right": "left"}
SHIFT_PX = 4
"""How far pictures are moved aside; with mirrors that helps, for 12,000 pictures were soon known by heart."""


@dataclass(frozen=True)
class Truth:
    """What N pictures show.

    kinds: the values of each kind, sorted; shown (N, K) index of the value; pose_deg (N, 3) yaw, pitch,
    roll; light (N, 3) unit vectors towards the key light.
    """

    kinds: dict[str, list[str]]
    shown: Tensor
    pose_deg: Tensor
    light: Tensor

    def mirrored(self) -> Truth:
        """What the same pictures show in a mirror."""
        shown = self.shown.clone()
        for column, values in enumerate(self.kinds.values()):
            other = [" ".join(SWAP.get(word, word) for word in value.split()) for value in values]
            if other != values:
                # A mirror image that no picture showed is left out of the loss.
                place = torch.tensor([values.index(one) if one in values else -100 for one in other])
                known = shown[:, column] >= 0
                shown[known, column] = place[shown[known, column]]
        pose, light = self.pose_deg * torch.tensor([-1.0, 1, -1]), self.light * torch.tensor([-1.0, 1, 1])
        return Truth(self.kinds, shown, pose, light)


def attribute_truth(pictures: Pictures, kinds: dict[str, list[str]] | None = None) -> Truth:
    """Read from the pictures' scenes. kinds: those of a finished judge; a value it never met becomes -100,
    the index that cross-entropy leaves out."""
    from likeness.packs.data import picture_rows
    from likeness.sitters import Scene

    return truth_of([Scene.from_record(row["record"]) for row in picture_rows(pictures)], kinds)


def truth_of(scenes: Sequence[Scene], kinds: dict[str, list[str]] | None = None) -> Truth:
    """What pictures of these scenes show; see `attribute_truth`."""
    from likeness.sitters import attributes

    found = [attributes(scene) for scene in scenes]
    if kinds is None:
        names = sorted({kind for one in found for kind in one})
        kinds = {kind: sorted({one.get(kind, NOT_SHOWN) for one in found}) for kind in names}
    index = {kind: {value: i for i, value in enumerate(values)} for kind, values in kinds.items()}
    shown = [[index[kind].get(one.get(kind, NOT_SHOWN), -100) for kind in kinds] for one in found]
    pose = [(s.pose.yaw_deg, s.pose.pitch_deg, s.pose.roll_deg) for s in scenes]
    angles = torch.tensor([(s.light.azimuth_deg, s.light.elevation_deg) for s in scenes])
    return Truth(kinds, torch.tensor(shown), torch.tensor(pose), light_direction(*angles.unbind(1)))


@dataclass
class AttributesPhase:
    """Cross-entropy of every kind, errors of head pose (in 10 degrees) and of the light's direction."""

    trainable: AttributeNet
    learning_rate: float | Schedule = field(default_factory=lambda: cosine(1.5e-3, warmup_steps=150))
    name: str = "attributes"
    every: int = 1

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """batch: pixels (B, 3, 128, 128) uint8, shown (B, K), pose_deg (B, 3), light (B, 3)."""
        pictures = soften(mini.to_unit(shifted(batch["pixels"], generator)), generator)
        found = self.trainable(pictures.to(memory_format=torch.channels_last))
        losses, right = [], []
        for logits, target in zip(found.logits.values(), batch["shown"].T, strict=True):
            losses.append(F.cross_entropy(logits.float(), target, label_smoothing=0.02))
            right.append((logits.argmax(-1) == target).float().mean())
        pose = F.smooth_l1_loss(found.pose_deg / 10, batch["pose_deg"] / 10)
        light = 1 - (found.light * batch["light"]).sum(-1)
        return {
            "kinds": torch.stack(losses).mean(),
            "pose": 0.5 * pose,
            "light": 0.5 * light.mean(),
            "_right": torch.stack(right).mean(),
        }


def shifted(pictures: Tensor, generator: Generator) -> Tensor:
    """Each moved by up to `SHIFT_PX` either way, its border going on; (B, 3, H, W) of any type."""
    height, width = pictures.shape[-2:]
    moves = torch.randint(-SHIFT_PX, SHIFT_PX + 1, (2, len(pictures), 1), generator=generator)
    down = (torch.arange(height) + moves[0]).clamp(0, height - 1).to(pictures.device)
    across = (torch.arange(width) + moves[1]).clamp(0, width - 1).to(pictures.device)
    every = torch.arange(len(pictures), device=pictures.device)
    moved = pictures.permute(0, 2, 3, 1)[every[:, None, None], down[:, :, None], across[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def soften(pictures: Tensor, generator: Generator) -> Tensor:
    """A third blurred, as painted pictures may be, and all with a little noise; (B, 3, H, W) in [-1, 1]."""
    count = len(pictures)
    small = F.avg_pool2d(pictures, 2)
    blurred = F.interpolate(small, size=pictures.shape[-2:], mode="bilinear", align_corners=False)
    soft = (torch.rand(count, generator=generator) < 0.33).view(-1, 1, 1, 1).to(pictures.device)
    noise = torch.randn(pictures.shape, generator=generator).to(pictures)
    strength = (0.06 * torch.rand(count, generator=generator)).view(-1, 1, 1, 1).to(pictures)
    return torch.where(soft, blurred, pictures) + strength * noise


def train_attributes(shop: Workshop) -> TrainResult:
    """See `check.attribute_accuracy`. It learns from the judge's people, whom no painter has met."""
    from likeness.training.loop import seeded

    pictures = shop.pictures("judge")
    truth = attribute_truth(pictures)
    reverse = truth.mirrored()
    torch.manual_seed(shop.seed + 2)
    model = shop.preset.attribute_net(truth.kinds).to(shop.device, memory_format=torch.channels_last)

    def batches(moment: Moment) -> Batch:
        rows = pictures.indices(moment.draw, BATCH, shop.seed + 2)
        mirrored = torch.rand(len(rows), 1, generator=seeded(shop.seed, moment.draw, 63)) < 0.5
        pixels = pictures.pixels[rows]
        return {
            "pixels": torch.where(mirrored[..., None, None], pixels.flip(-1), pixels),
            "shown": torch.where(mirrored, reverse.shown[rows], truth.shown[rows]),
            "pose_deg": torch.where(mirrored, reverse.pose_deg[rows], truth.pose_deg[rows]),
            "light": torch.where(mirrored, reverse.light[rows], truth.light[rows]),
        }

    result = shop.train([AttributesPhase(model)], batches, "attributes", ema_decay=0.998)
    if result.finished:
        averaged = result.emas["attributes"].module.to(memory_format=torch.contiguous_format)
        shop.export("attributes", "attributes", averaged, "judge")
    return result
