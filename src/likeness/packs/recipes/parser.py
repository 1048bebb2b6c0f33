"""Recipe of the face parser: sitters' part labels, renamed to CelebAMask's 19 classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from likeness.faces.parsing import CLASSES
from likeness.packs import mini
from likeness.packs.recipes.attributes import soften
from likeness.sitters.render import LABELS
from likeness.training import cosine

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from likeness.faces.parsing import ParserNet
    from likeness.packs.workshop import Workshop
    from likeness.training import Moment, Schedule, TrainResult
    from likeness.training.phase import Batch

__all__ = ["CLASS_OF_LABEL", "mirrored_classes", "parsing_of", "train_parser"]

BATCH = 32

CLASS_OF_LABEL: dict[str, str] = {
    "background": "background",
    "skin": "skin",
    "left brow": "l_brow",
    "right brow": "r_brow",
    "left eye": "l_eye",
    "right eye": "r_eye",
    "left ear": "l_ear",
    "right ear": "r_ear",
    "nose": "nose",
    "upper lip": "u_lip",
    "lower lip": "l_lip",
    "mouth": "mouth",
    "neck": "neck",
    "hair": "hair",
    "beard": "skin",  # CelebAMask has no beard: its annotators painted it as skin
    "garment": "cloth",
    "jacket": "cloth",
    "scarf": "cloth",
    "glasses": "eye_g",
    "dark lenses": "eye_g",
    "hat": "hat",
    "earring": "ear_r",
    "necklace": "neck_l",
}


def parsing_of(labels: Tensor) -> Tensor:
    """Sitters' labels (..., H, W) uint8 -> indices into `CLASSES`, same shape, int64."""
    table = torch.tensor([CLASSES.index(CLASS_OF_LABEL[label]) for label in LABELS])
    return table[labels.long()]


def mirrored_classes() -> Tensor:
    """(19,) int64: what each of `CLASSES` is called in a mirrored picture."""
    swap = {"l_": "r_", "r_": "l_"}
    swapped = [swap.get(name[:2], name[:2]) + name[2:] for name in CLASSES]
    # "l_lip" is the lower one: what has no other side keeps its name.
    names = [new if new in CLASSES else old for old, new in zip(CLASSES, swapped, strict=True)]
    return torch.tensor([CLASSES.index(name) for name in names])


@dataclass
class ParserPhase:
    """Cross-entropy over the pixels, rare classes counting more, and what the classes' overlap lacks: one
    less intersection over union, of shares instead of pixels."""

    trainable: ParserNet
    weights: Tensor
    learning_rate: float | Schedule = field(default_factory=lambda: cosine(3e-3, warmup_steps=100))
    name: str = "parser"
    every: int = 1

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """batch: pixels (B, 3, H, W) uint8, parsing (B, H, W) int64."""
        pictures = soften(mini.to_unit(batch["pixels"]), generator)
        logits = self.trainable(pictures.to(memory_format=torch.channels_last)).float()
        wanted = batch["parsing"]
        share = logits.softmax(1)
        truth = F.one_hot(wanted, len(CLASSES)).permute(0, 3, 1, 2).float()
        both = (share * truth).sum((0, 2, 3))
        present = truth.sum((0, 2, 3))
        overlap = both / (share.sum((0, 2, 3)) + present - both).clamp_min(1)
        return {
            "pixels": F.cross_entropy(logits, wanted, weight=self.weights.to(logits.device)),
            "overlap": 1 - overlap[present > 0].mean(),
            "_right": (logits.argmax(1) == wanted).float().mean(),
        }


def train_parser(shop: Workshop) -> TrainResult:
    """See `check.parsing_overlap`."""
    from likeness.training.loop import seeded

    pictures = shop.pictures("train")
    torch.manual_seed(shop.seed + 3)
    model = shop.preset.parser().to(shop.device, memory_format=torch.channels_last)
    shop.begin(model, "parser")
    some = parsing_of(pictures.labels[:: max(1, len(pictures) // 500)])
    share = torch.bincount(some.flatten(), minlength=len(CLASSES)).float()
    # Much heavier, and rare classes are seen where they are not: overlap counts both mistakes.
    weights = (share.sum() / (len(CLASSES) * share.clamp_min(1))).pow(0.25).clamp(0.5, 2)
    reverse = mirrored_classes()

    def batches(moment: Moment) -> Batch:
        rows = pictures.indices(moment.draw, BATCH, shop.seed + 3)
        pixels, parsing = pictures.pixels[rows], parsing_of(pictures.labels[rows])
        mirrored = torch.rand(len(rows), 1, 1, generator=seeded(shop.seed, moment.draw, 63)) < 0.5
        return {
            "pixels": torch.where(mirrored[..., None], pixels.flip(-1), pixels),
            "parsing": torch.where(mirrored, reverse[parsing].flip(-1), parsing),
        }

    result = shop.train([ParserPhase(model, weights)], batches, "parser", ema_decay=0.998)
    if result.finished:
        averaged = result.emas["parser"].module.to(memory_format=torch.contiguous_format)
        shop.export("parser", "parser", averaged)
    return result
