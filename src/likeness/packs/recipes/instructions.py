"""Recipe of the text encoder's second lesson: what an instruction asks for.

Captions teach it words, and of a caption hardly "left" from "right". Editors read instructions, so here the
rows of one have to tell what is asked of each kind of attribute. The rows of captions stay where they are:
what was trained on them goes on as before. So does the one row that is compared with pictures (CLIP's pooled
output), of instructions too. No picture is needed, only what sitters would look like.
"""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field
from itertools import permutations
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from likeness.faces.attributes import NOT_SHOWN
from likeness.packs import mini
from likeness.packs.data import CAPTIONS, collection_views, edited_views, free_views
from likeness.packs.recipes.clip import caption_ids
from likeness.training import cosine
from likeness.training.loop import seeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Generator, Tensor

    from likeness.packs.workshop import Workshop
    from likeness.sitters import Scene
    from likeness.training import Moment, Schedule, TrainResult
    from likeness.training.phase import Batch

__all__ = ["Asked", "InstructionsPhase", "Reader", "asked_of", "train_instructions"]

BATCH, CAPTIONS_A_BATCH = 128, 64
VIEWS = 3
"""Pictures of each person in each of three kinds of sets; any two of a set are an instruction."""
NEW = 2
"""Factors that are new in each picture of mixed sets. All at once would take more words than are read."""
STAY = 30.0
"""What rows weigh that are to stay and move, as a share of their length, squared."""
RATE = 8e-4
REACH = 3.0
"""Length of the reading directions (`Reader`). With 1 many kinds asked at once cannot all be told."""
ASKED_WEIGHT = 3.0
"""Of a kind that is asked for, beside the many that are not."""


@dataclass(frozen=True)
class Asked:
    """Instructions and what they ask for.

    kinds: the values of each kind of attribute; wanted (N, K): index of the value asked for, the number of
    values where the kind is not spoken of, -100 where the words may or may not name it.
    """

    texts: list[str]
    kinds: dict[str, list[str]]
    wanted: Tensor

    def ids(self, tokenizer: Any) -> Tensor:
        """(N, 77) int32."""
        found = tokenizer(self.texts, padding="max_length", truncation=True, max_length=mini.TOKENS)
        return torch.tensor(found["input_ids"], dtype=torch.int32)


class Reader(nn.Module):
    """The text encoder, and what reads from a row what is asked: one direction of length `REACH` a value.

    As the directions cannot grow, it is the rows that have to differ.
    """

    def __init__(self, text: nn.Module, kinds: Sequence[int], width: int) -> None:
        super().__init__()
        self.text = text
        self.kinds = tuple(count + 1 for count in kinds)  # the last: not spoken of
        self.directions = nn.Parameter(torch.randn(sum(self.kinds), width) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(sum(self.kinds)))

    def rows(self, ids: Tensor) -> Tensor:
        """(B, T) ids -> (B, T, D) float32."""
        states: Tensor = self.text(input_ids=ids).last_hidden_state
        return states.float()

    def asked(self, rows: Tensor) -> list[Tensor]:
        """Rows (B, D) -> for each kind (B, values + 1)."""
        found = rows @ (REACH * F.normalize(self.directions, dim=1)).T + self.bias
        return list(found.split(self.kinds, dim=1))


@dataclass
class InstructionsPhase:
    """Cross-entropy of what is asked, from the mean of all rows but the pooled one.

    before: the text encoder as it was. Captions' rows and the pooled rows of instructions stay at its.
    """

    trainable: Reader
    before: nn.Module
    learning_rate: float | Schedule = field(default_factory=lambda: cosine(RATE, warmup_steps=50))
    name: str = "instructions"
    every: int = 1

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """batch: ids (B, 77) and wanted (B, K) of instructions, end (B,) of their words; captions (C, 77)."""
        reader = self.trainable
        rows = reader.rows(batch["ids"])
        each = torch.arange(len(rows), device=rows.device)
        pooled = rows[each, batch["end"]]
        others = (rows.sum(1) - pooled) / (rows.shape[1] - 1)
        losses, right = [], []
        for found, wanted, count in zip(reader.asked(others), batch["wanted"].T, reader.kinds, strict=True):
            weight = found.new_full((count,), ASKED_WEIGHT)
            weight[-1] = 1.0
            if (wanted >= 0).any():
                losses.append(F.cross_entropy(found, wanted, weight))
            spoken = (wanted >= 0) & (wanted < count - 1)
            right.append((found.argmax(1) == wanted)[spoken].float())
        with torch.no_grad():
            old_pooled = self.before(input_ids=batch["ids"]).last_hidden_state.float()[each, batch["end"]]
            old: Tensor = self.before(input_ids=batch["captions"]).last_hidden_state.float()
        new = reader.rows(batch["captions"])
        moved = (new - old).square().sum((1, 2)) / old.square().sum((1, 2))
        astray = (pooled - old_pooled).square().sum(1) / old_pooled.square().sum(1)
        return {
            "asked": torch.stack(losses).mean(),
            "captions": STAY * moved.mean(),
            "pooled": STAY * astray.mean(),
            "_astray": astray.sqrt().mean().detach(),
            "_right": torch.cat(right).mean(),
            "_moved": moved.sqrt().mean().detach(),
        }


def asked_of(first_seed: int, people: int, kinds: dict[str, list[str]] | None = None) -> Asked:
    """Every instruction between two pictures of a set: of one sitting, of edits, and of all kinds together.

    kinds: those of an earlier call; values that it never met are left out of the loss.
    """
    from likeness.sitters import attributes, instructions
    from likeness.sitters.instruct import GROUPS, changed_groups

    texts: list[str] = []
    asked: list[dict[str, str | None]] = []
    for seed in range(first_seed, first_seed + people):
        for views_of in (collection_views, edited_views, mixed_views):
            scenes = views_of(seed, VIEWS)
            told = [(attributes(one, hidden=True), attributes(one)) for one in scenes]
            for number, (one, other) in enumerate(permutations(range(VIEWS), 2)):
                texts += instructions(scenes[one], scenes[other], seed * VIEWS * VIEWS + number, 1)
                (whole, seen), (new_whole, new_seen) = told[one], told[other]
                wanted: dict[str, str | None] = {}
                for group in changed_groups((whole, new_whole), (seen, new_seen)):
                    for kind in GROUPS[group]:
                        changed = seen.get(kind) != new_seen.get(kind)
                        wanted[kind] = new_seen.get(kind, NOT_SHOWN) if changed else None
                    if group == "light":
                        wanted["light_side"] = new_seen.get("light_side", NOT_SHOWN)
                asked.append(wanted)
    spoken = [kind for names in GROUPS.values() for kind in names]
    if kinds is None:
        kinds = {kind: sorted({value for one in asked if (value := one.get(kind))}) for kind in spoken}
    index = {kind: {value: i for i, value in enumerate(values)} for kind, values in kinds.items()}
    wanted_ids = [
        [index[kind].get(one[kind] or "", -100) if kind in one else len(kinds[kind]) for kind in kinds]
        for one in asked
    ]
    return Asked(texts, kinds, torch.tensor(wanted_ids))


def mixed_views(seed: int, views: int) -> list[Scene]:
    """A person, then pictures of the person in which `NEW` factors of any kind are new."""
    from likeness import sitters

    first, choice = sitters.sample_scene(seed), random.Random(f"mixed {seed}")
    kept = len(sitters.FACTORS) - NEW
    return [
        first,
        *(
            sitters.with_same_person(first, view, keep=choice.sample(sitters.FACTORS, kept))
            for view in range(1, views)
        ),
    ]


def captions_of(first_seed: int, people: int) -> list[list[str]]:
    """Captions of `VIEWS` pictures of each person, as `Pictures.captions`."""
    from likeness.sitters import captions

    return [
        captions(scene, CAPTIONS, seed * VIEWS + view)
        for seed in range(first_seed, first_seed + people)
        for view, scene in enumerate(free_views(seed, VIEWS))
    ]


def train_instructions(shop: Workshop) -> TrainResult:
    """Teach the pack's text encoder instructions; needs its part "clip"."""
    from transformers import CLIPTextModel, CLIPTokenizer

    from likeness.packs.card import read_card

    folder = shop.part("text_encoder")
    tokenizer = CLIPTokenizer.from_pretrained(folder.parent / "tokenizer")
    known = caption_ids(tokenizer, captions_of(mini.first_seed("train"), shop.people)).flatten(0, 1)
    told = asked_of(mini.first_seed("train"), shop.people)
    ids = told.ids(tokenizer)
    end = (ids == len(tokenizer) - 1).int().argmax(1)
    before = CLIPTextModel.from_pretrained(folder, dtype=torch.float32)
    before = before.to(shop.device).eval().requires_grad_(False)
    torch.manual_seed(shop.seed)
    text = copy.deepcopy(before).requires_grad_(True)
    kinds = [len(values) for values in told.kinds.values()]
    reader = Reader(text, kinds, before.config.hidden_size).to(shop.device)
    nothing = torch.tensor(tokenizer([""], padding="max_length", max_length=mini.TOKENS)["input_ids"])

    def batches(moment: Moment) -> Batch:
        generator = seeded(shop.seed, moment.draw, 63)
        rows = torch.randint(len(ids), (BATCH,), generator=generator)
        captions = torch.randint(len(known), (CAPTIONS_A_BATCH,), generator=generator)
        return {
            "ids": ids[rows].long(),
            "end": end[rows],
            "wanted": told.wanted[rows],
            # Guidance leads away from the empty prompt: it stays too.
            "captions": torch.cat([known[captions].long(), nothing]),
        }

    result = shop.train(
        [InstructionsPhase(reader, before)], batches, "instructions", weight_decay=0.0, ema_decay=0.99
    )
    if result.finished:
        averaged: Any = result.emas["instructions"].module
        first = read_card(shop.pack).parts["text_encoder"]
        shop.export("instructions", "text_encoder", averaged.text)
        steps, hours = shop.spent("instructions", "text_encoder")
        shop.record(
            "text_encoder",
            "train",
            parameters=first.parameters,
            steps=first.steps + steps,
            hours=first.hours + hours,
            people=first.people,
            pictures=first.pictures,
        )
    return result
