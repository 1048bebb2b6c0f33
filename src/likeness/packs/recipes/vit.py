"""Recipe of the self-supervised ViT: what looks alike, learned without a word or a label of what it is.

Two views of one spot of a picture, cut, turned, lit and blurred differently, are to be told from those
of all other spots in the batch: SimCLR (Chen et al. 2020). Spots lie on the sitter four times of five.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from likeness.packs import mini
from likeness.training import cosine

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from likeness.packs.workshop import Workshop
    from likeness.training import Moment, Schedule, TrainResult
    from likeness.training.phase import Batch

__all__ = ["Contrast", "VitPhase", "cut", "train_vit"]

BATCH = 128
TEMPERATURE = 0.1
ON_SITTER = 0.8
SIDES_PX = (14.0, 64.0)
"""Sides of the spots: an earring to a whole garment."""


class Contrast(nn.Module):
    """The ViT and the projection head that is dropped afterwards."""

    def __init__(self, vit: Any) -> None:
        super().__init__()
        width = vit.config.hidden_size
        self.vit = vit
        self.head = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, 128))

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B, 128) of unit length."""
        return F.normalize(self.head(self.vit(pixel_values=pixels).last_hidden_state[:, 0]).float(), dim=-1)


@dataclass
class VitPhase:
    """NT-Xent: each view picks its partner among all other views of the batch."""

    trainable: Contrast
    learning_rate: float | Schedule = field(default_factory=lambda: cosine(1e-3, warmup_steps=100))
    name: str = "vit"
    every: int = 1

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """batch: pixels (B, 3, H, W) uint8, spots (B, 3): centre x and y and side, px."""
        size = self.trainable.vit.config.image_size
        pictures = mini.to_unit(batch["pixels"])
        views = [
            relight(cut(pictures, moved(batch["spots"], generator), size, generator), generator) for _ in "ab"
        ]
        found = self.trainable(torch.cat(views))
        count = len(pictures)
        logits = found @ found.T / TEMPERATURE
        logits.fill_diagonal_(-math.inf)
        partner = torch.arange(2 * count, device=logits.device).roll(count)
        return {
            "contrast": F.cross_entropy(logits, partner),
            "_right": (logits.argmax(1) == partner).float().mean(),
        }


def moved(spots: Tensor, generator: Generator) -> Tensor:
    """The same spots a little aside, nearer or farther: (B, 3) px."""
    shift = 0.3 * (torch.rand(len(spots), 2, generator=generator) - 0.5).to(spots)
    zoom = 1.5 ** (2 * torch.rand(len(spots), generator=generator) - 1).to(spots)
    side = spots[:, 2] * zoom
    return torch.cat([spots[:, :2] + shift * spots[:, 2:], side[:, None]], dim=1)


def cut(pictures: Tensor, spots: Tensor, size: int, generator: Generator | None = None) -> Tensor:
    """Squares (B, 3, size, size) around `spots` (B, 3) px; with a generator turned and mirrored by chance.

    Past the picture's border its last pixels go on.
    """
    count, side_px = len(pictures), pictures.shape[-1]
    half = spots[:, 2] / side_px
    angle, mirror = torch.zeros(count), torch.ones(count)
    if generator is not None:
        angle = (torch.rand(count, generator=generator) - 0.5) * math.radians(40)
        mirror = 1.0 - 2.0 * (torch.rand(count, generator=generator) < 0.5).float()
    angle, mirror = angle.to(spots), mirror.to(spots)
    centre = 2 * spots[:, :2] / side_px - 1
    across = torch.stack([half * angle.cos() * mirror, -half * angle.sin(), centre[:, 0]], dim=1)
    down = torch.stack([half * angle.sin() * mirror, half * angle.cos(), centre[:, 1]], dim=1)
    grid = F.affine_grid(torch.stack([across, down], dim=1), [count, 3, size, size], align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def relight(pictures: Tensor, generator: Generator) -> Tensor:
    """Other brightness, contrast and colour of light, half of them blurred; (B, 3, S, S) in [-1, 1]."""
    count = len(pictures)

    def draw(low: float, high: float, channels: int = 1) -> Tensor:
        share = torch.rand(count, channels, 1, 1, generator=generator).to(pictures)
        return low + (high - low) * share

    out = (pictures + 1) / 2
    out = out.clamp_min(1e-4) ** draw(0.75, 1.35) * draw(0.65, 1.3) * draw(0.9, 1.1, channels=3)
    mean = out.mean(dim=(1, 2, 3), keepdim=True)
    out = mean + (out - mean) * draw(0.75, 1.25)
    blurred = F.avg_pool2d(F.pad(out, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return (torch.where(draw(0, 1) < 0.5, blurred, out) * 2 - 1).clamp(-1, 1)


def draw_spots(labels: Tensor, generator: Generator) -> Tensor:
    """Centres and sides of one spot on each of (B, H, W) part labels: (B, 3) px."""
    count, height, width = labels.shape
    chance = torch.rand(count, height * width, generator=generator)
    on_sitter = torch.rand(count, 1, generator=generator) < ON_SITTER
    chance = chance + (on_sitter & (labels.view(count, -1) > 0)).float()
    place = chance.argmax(dim=1)
    low, high = (math.log(side) for side in SIDES_PX)
    side = (low + (high - low) * torch.rand(count, generator=generator)).exp()
    return torch.stack([place % width + 0.5, place // width + 0.5, side], dim=1)


def train_vit(shop: Workshop) -> TrainResult:
    """See `check_garments.garments`."""
    from likeness.training.loop import seeded

    pictures = shop.pictures("train")
    torch.manual_seed(shop.seed + 4)
    model = Contrast(shop.preset.vit()).to(shop.device)
    shop.begin(model.vit, "vit")

    def batches(moment: Moment) -> Batch:
        rows = pictures.indices(moment.draw, BATCH, shop.seed + 4)
        spots = draw_spots(pictures.labels[rows], seeded(shop.seed, moment.draw, 63))
        return {"pixels": pictures.pixels[rows], "spots": spots}

    result = shop.train([VitPhase(model)], batches, "vit", weight_decay=0.05)
    if result.finished:
        averaged: Any = result.emas["vit"].module
        shop.export("vit", "vit", averaged.vit)
        shop.preset.vit_processor().save_pretrained(shop.pack / "vit")
    return result
