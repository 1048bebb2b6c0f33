"""Recipe of the self-supervised ViT: what looks alike, learned without a word or a label of what it is.

Two views of one thing are to be told from those of all other things in the batch: SimCLR (Chen et al. 2020).
Three times of four the views are two people, in two places and lights, who wear the same thing: the renderer
can do what cutting and colouring one picture cannot, and two cuts alone did not teach it to know a garment
again. The fourth time they are two such cuts of any spot, so that skin, hair and places are told apart too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from likeness.packs import mini
from likeness.sitters import LABELS
from likeness.training import cosine

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from likeness.packs.data import Pictures
    from likeness.packs.workshop import Workshop
    from likeness.training import Moment, Schedule, TrainResult
    from likeness.training.phase import Batch

__all__ = ["WORN", "Contrast", "VitPhase", "Worn", "cut", "spots_of", "train_vit"]

BATCH = 128
TEMPERATURE = 0.1
ON_SITTER = 0.8
SIDES_PX = (14.0, 64.0)
"""Sides of the spots: an earring to a whole garment."""

WORN = {
    "clothing": ("garment", "jacket"),
    "hat": ("hat",),
    "earrings": ("earring",),
    "necklace": ("necklace",),
}
"""The part labels that show each kind of thing worn."""
SHARES = {"clothing": 0.45, "hat": 0.12, "earrings": 0.08, "necklace": 0.1}
"""How many of the batches are of each kind; the rest are two cuts of one spot. A batch is of one kind, for a
hat is easily told from an earring."""
SMALLEST_PX = 12
"""Fewer pixels of a thing than this and it counts as hidden."""


class Contrast(nn.Module):
    """The ViT, by its first token. No projection head: what is trained is what is compared later."""

    def __init__(self, vit: Any) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B, W) of unit length."""
        return F.normalize(self.vit(pixel_values=pixels).last_hidden_state[:, 0].float(), dim=-1)


@dataclass
class VitPhase:
    """NT-Xent: each view picks its partner among all other views of the batch."""

    trainable: Contrast
    learning_rate: float | Schedule = field(default_factory=lambda: cosine(1e-3, warmup_steps=100))
    name: str = "vit"
    every: int = 1

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """batch: pixels (B, 2, 3, H, W) uint8, spots (B, 2, 3): centre x and y and side, px; worn (): whether
        the two are of two pictures of a thing, or else cuts of one picture."""
        size = self.trainable.vit.config.image_size
        worn = bool(batch["worn"])
        views = []
        for pixels, spots in zip(batch["pixels"].unbind(1), batch["spots"].unbind(1), strict=True):
            aside = moved(spots, generator, *((0.1, 1.15) if worn else (0.3, 1.5)))
            view = cut(mini.to_unit(pixels), aside, size, generator)
            views.append(view if worn else relight(view, generator))
        found = self.trainable(torch.cat(views))
        count = len(views[0])
        logits = found @ found.T / TEMPERATURE
        logits.fill_diagonal_(-math.inf)
        partner = torch.arange(2 * count, device=logits.device).roll(count)
        return {
            "contrast": F.cross_entropy(logits, partner),
            "_right": (logits.argmax(1) == partner).float().mean(),
        }


@dataclass(frozen=True)
class Worn:
    """Where things of one kind are seen: spots (N, 3) px, and groups of rows that show the same thing."""

    spots: Tensor
    groups: list[Tensor]

    @classmethod
    def find(cls, pictures: Pictures, parts: tuple[str, ...]) -> Worn:
        """In pictures in which the views of a "person" are people who wear the same."""
        spots, seen = spots_of(pictures.labels, parts)
        whose = pictures.person[seen]
        rows = seen.nonzero()[:, 0].split(torch.bincount(whose)[whose.unique()].tolist())
        return cls(spots, [group for group in rows if len(group) > 1])

    def draw(self, count: int, generator: Generator) -> Tensor:
        """Rows (B, 2), two of each of B different groups; as many as there are if fewer than `count`."""
        some = torch.randperm(len(self.groups), generator=generator)[:count].tolist()
        pairs = [self.groups[i][torch.randperm(len(self.groups[i]), generator=generator)[:2]] for i in some]
        return torch.stack(pairs)


def moved(spots: Tensor, generator: Generator, aside: float, nearer: float) -> Tensor:
    """The same spots up to half of `aside` sides away, up to `nearer` times nearer or farther: (B, 3) px."""
    shift = aside * (torch.rand(len(spots), 2, generator=generator) - 0.5).to(spots)
    zoom = nearer ** (2 * torch.rand(len(spots), generator=generator) - 1).to(spots)
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


def spots_of(labels: Tensor, parts: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Squares (N, 3) px around the largest extent of parts on (N, H, W) labels, and which show them."""
    wanted = torch.isin(labels, torch.tensor([LABELS.index(part) for part in parts], dtype=labels.dtype))
    spots = torch.zeros(len(labels), 3)
    for i, mask in enumerate(wanted):
        if mask.any():
            y, x = mask.nonzero().unbind(1)
            low_x, high_x, low_y, high_y = (float(v) for v in (x.min(), x.max(), y.min(), y.max()))
            side = max(high_x - low_x, high_y - low_y, 8.0) * 1.1 + 1
            spots[i] = torch.tensor([(low_x + high_x + 1) / 2, (low_y + high_y + 1) / 2, side])
    return spots, wanted.flatten(1).sum(1) >= SMALLEST_PX


def train_vit(shop: Workshop) -> TrainResult:
    """See `check_garments.garments`."""
    from likeness.training.loop import seeded

    pictures = shop.pictures("dressed")
    kinds = [Worn.find(pictures, parts) for parts in WORN.values()]
    shares = [SHARES[kind] if one.groups else 0.0 for kind, one in zip(WORN, kinds, strict=True)]
    ends = torch.tensor(shares).cumsum(0)
    torch.manual_seed(shop.seed + 4)
    model = Contrast(shop.preset.vit()).to(shop.device)
    shop.begin(model.vit, "vit")

    def batches(moment: Moment) -> Batch:
        generator = seeded(shop.seed, moment.draw, 63)
        kind = int((torch.rand((), generator=generator) >= ends).sum())
        if kind < len(kinds):
            rows = kinds[kind].draw(BATCH, generator)
            where = kinds[kind].spots[rows]
        else:
            rows = pictures.indices(moment.draw, BATCH, shop.seed + 4)[:, None].expand(-1, 2)
            where = draw_spots(pictures.labels[rows[:, 0]], generator)[:, None].expand(-1, 2, -1)
        return {"pixels": pictures.pixels[rows], "spots": where, "worn": torch.tensor(kind < len(kinds))}

    result = shop.train([VitPhase(model)], batches, "vit", weight_decay=0.05)
    if result.finished:
        averaged: Any = result.emas["vit"].module
        shop.export("vit", "vit", averaged.vit)
        shop.preset.vit_processor().save_pretrained(shop.pack / "vit")
    return result
