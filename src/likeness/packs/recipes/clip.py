"""Recipe of the text and image towers: captions and their pictures, told apart within a batch.

Contrast alone needs hundreds of millions of pairs. Sitters come with the truth, so both towers are
also asked what the picture shows, through one shared classifier a kind of attribute; that teaches
words and looks within minutes. The classifiers are dropped afterwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from likeness.packs import mini
from likeness.packs.recipes.attributes import attribute_truth
from likeness.packs.words import make_tokenizer, write_words
from likeness.training import cosine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Generator, Tensor

    from likeness.packs.workshop import Workshop
    from likeness.training import Moment, Schedule, TrainResult
    from likeness.training.phase import Batch

__all__ = ["ClipPhase", "Towers", "all_captions", "caption_ids", "train_clip"]

BATCH = 96
FACE_PARTS = "Detail:The person has one face, two ears, two eyes, one nose, and one mouth,"


class Towers(nn.Module):
    """Text and image encoder with CLIP's learned temperature."""

    def __init__(
        self, text: nn.Module, image: nn.Module, kinds: Sequence[int] = (), width: int = 192
    ) -> None:
        super().__init__()
        self.text, self.image = text, image
        self.kinds = tuple(kinds)  # how many values each kind of attribute has
        self.classify = nn.Linear(width, sum(self.kinds)) if self.kinds else None
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def embed_text(self, ids: Tensor) -> Tensor:
        """(B, T) ids -> (B, 192)."""
        embedding: Tensor = self.text(input_ids=ids).pooler_output.float()
        return embedding

    def embed_image(self, pixels: Tensor) -> Tensor:
        """(B, 3, 128, 128) in [-1, 1] -> (B, 192)."""
        embedding: Tensor = self.image(pixel_values=pixels).image_embeds.float()
        return embedding

    def attribute_loss(self, embedding: Tensor, shown: Tensor) -> Tensor:
        """Cross-entropy of every kind of attribute; shown: (B, kinds) index of the value shown."""
        if self.classify is None:
            return embedding.new_zeros(())
        parts = self.classify(embedding).float().split(self.kinds, dim=1)
        losses = [F.cross_entropy(part, target) for part, target in zip(parts, shown.T, strict=True)]
        return torch.stack(losses).mean()


@dataclass
class ClipPhase:
    """Radford et al. 2021, figure 3: symmetric cross-entropy over the batch's similarities; attributes."""

    trainable: Towers
    learning_rate: float | Schedule = field(default_factory=lambda: cosine(1e-3, warmup_steps=50))
    name: str = "clip"
    every: int = 1

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """batch: pixels (B, 3, 128, 128) uint8, ids (B, T), shown (B, kinds)."""
        towers = self.trainable
        image = towers.embed_image(mini.to_unit(batch["pixels"]))
        text = towers.embed_text(batch["ids"])
        scale = towers.logit_scale.clamp(max=math.log(100.0)).exp()
        logits = scale * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
        target = torch.arange(len(logits), device=logits.device)
        right = (logits.argmax(1) == target).float().mean()
        contrast = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        return {
            "contrast": contrast,
            "image_attributes": towers.attribute_loss(image, batch["shown"]),
            "text_attributes": towers.attribute_loss(text, batch["shown"]),
            "_right": right,
        }


def all_captions(captions: list[list[str]]) -> list[list[str]]:
    """Captions of each picture, and two of them once more beside a list of the face's parts.

    Identity methods add such a list to a prompt (ConsistentID, section 3.1), so a base has to paint
    the same picture with and without it.
    """
    return [[*own, f"{own[-1]}{FACE_PARTS}", f"{FACE_PARTS} Caption:{own[2]}"] for own in captions]


def caption_ids(tokenizer: Any, captions: list[list[str]]) -> Tensor:
    """Token ids of `all_captions`: (N, captions a picture, 77) int32; captions past 77 tokens are cut."""
    groups = all_captions(captions)
    flat = [caption for group in groups for caption in group]
    out = tokenizer(flat, padding="max_length", truncation=True, max_length=mini.TOKENS)
    return torch.tensor(out["input_ids"], dtype=torch.int32).view(len(groups), -1, mini.TOKENS)


def draw_captions(ids: Tensor, rows: Tensor, generator: Generator) -> Tensor:
    """One caption of each row: (B, 77) int64."""
    which = torch.randint(ids.shape[1], (len(rows),), generator=generator)
    return ids[rows, which].long()


def train_clip(shop: Workshop) -> TrainResult:
    """Learn the tokenizer, then both towers; see `check.retrieval`."""
    from transformers import CLIPTokenizer

    from likeness.training.loop import seeded

    pictures = shop.pictures("train")
    captions = [caption for group in all_captions(pictures.captions) for caption in group]
    if shop.further:
        tokenizer = CLIPTokenizer.from_pretrained(shop.part("text_encoder").parent / "tokenizer")
    else:
        tokenizer = make_tokenizer(captions, mini.VOCABULARY, mini.TOKENS)
    ids = caption_ids(tokenizer, pictures.captions)
    torch.manual_seed(shop.seed)
    truth = attribute_truth(pictures)
    kinds = [len(values) for values in truth.kinds.values()]
    image = shop.preset.image_encoder()
    towers = Towers(shop.preset.text_encoder(len(tokenizer)), image, kinds, image.config.projection_dim)
    shop.begin(towers.text, "text_encoder")
    shop.begin(towers.image, "image_encoder")
    towers = towers.to(shop.device)
    end = len(tokenizer) - 1

    def batches(moment: Moment) -> Batch:
        rows = pictures.indices(moment.draw, BATCH, shop.seed)
        drawn = draw_captions(ids, rows, seeded(shop.seed, moment.draw, 63))
        longest = int((drawn != end).sum(1).max()) + 1  # past the longest caption there is only padding
        return {"pixels": pictures.pixels[rows], "ids": drawn[:, :longest], "shown": truth.shown[rows]}

    result = shop.train([ClipPhase(towers)], batches, "clip", weight_decay=0.05)
    if result.finished:
        averaged: Any = result.emas["clip"].module
        tokenizer.save_pretrained(shop.pack / "tokenizer")
        write_words(shop.pack / "tokenizer", captions)
        shop.export("clip", "text_encoder", averaged.text)
        shop.export("clip", "image_encoder", averaged.image)
        shop.preset.image_processor().save_pretrained(shop.pack / "image_encoder")
    return result
