"""The text encoder learns what instructions ask for, and captions' rows stay where they are."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from likeness.packs import check_words, mini
from likeness.packs.check_words import instructions_read
from likeness.packs.data import CAPTIONS, Pictures, collection_views
from likeness.packs.recipes import instructions as recipe
from likeness.packs.recipes.instructions import InstructionsPhase, Reader, asked_of, captions_of
from likeness.packs.words import make_tokenizer
from likeness.sitters import attributes
from likeness.sitters.instruct import GROUPS
from likeness.training.loop import seeded


def test_what_is_asked_is_what_the_words_say() -> None:
    told = asked_of(0, 20)
    assert len(told.texts) == len(told.wanted) == 20 * 3 * recipe.VIEWS * (recipe.VIEWS - 1)
    column, values = list(told.kinds).index("turn"), told.kinds["turn"]
    asked = [values[one] if one in range(len(values)) else None for one in told.wanted[:, column].tolist()]
    sides = [(text.lower(), value) for text, value in zip(told.texts, asked, strict=True) if value]
    assert {value for _, value in sides} >= {"left", "right", "slightly left", "slightly right"}
    assert all(side in text for text, value in sides for side in ("left", "right") if side in value)
    quiet = told.wanted[:, column] == len(values)
    assert quiet.any()
    assert not any("turn" in text.lower() for text, one in zip(told.texts, quiet, strict=True) if one)


def test_what_did_not_change_is_not_asked() -> None:
    told = asked_of(3, 1)
    first, second = collection_views(3, recipe.VIEWS)[:2]
    before, after = attributes(first), attributes(second)
    for (kind, values), wanted in zip(told.kinds.items(), told.wanted[0].tolist(), strict=True):
        if wanted in range(len(values)):
            assert values[wanted] == after.get(kind, recipe.NOT_SHOWN) != before.get(kind, recipe.NOT_SHOWN)
        group = next(group for group, kinds in GROUPS.items() if kind in kinds)
        if all(before.get(one) == after.get(one) for one in GROUPS[group]) and group != "light_side":
            assert wanted == len(values), kind


TOLD = ("right", "moved", "astray")


@pytest.fixture
def lesson() -> tuple[Reader, torch.nn.Module, dict[str, torch.Tensor]]:
    """A narrow encoder, itself as it was, and a batch of instructions and captions."""
    torch.manual_seed(0)
    told = asked_of(0, 8)
    captions = [caption for group in captions_of(0, 8) for caption in group]
    assert len(captions) == 8 * recipe.VIEWS * CAPTIONS
    tokenizer = make_tokenizer([*captions, *told.texts], mini.VOCABULARY, mini.TOKENS)
    before = mini.text_encoder(
        len(tokenizer), hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=3
    ).eval()
    reader = Reader(copy.deepcopy(before), [len(values) for values in told.kinds.values()], 48)
    ids = told.ids(tokenizer).long()[:48]
    known = tokenizer(captions[:48], padding="max_length", truncation=True, max_length=mini.TOKENS)
    batch = {
        "ids": ids,
        "end": (ids == len(tokenizer) - 1).int().argmax(1),
        "wanted": told.wanted[:48],
        "captions": torch.tensor(known["input_ids"]),
    }
    return reader, before, batch


def test_instructions_are_learned_and_captions_stay(
    lesson: tuple[Reader, torch.nn.Module, dict[str, torch.Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, before, batch = lesson

    def taught(stay: float) -> tuple[float, ...]:
        monkeypatch.setattr(recipe, "STAY", stay)
        phase = InstructionsPhase(copy.deepcopy(reader), before)
        optimizer = torch.optim.AdamW(phase.trainable.parameters(), 3e-3)
        terms = first = phase.loss(batch, seeded(0, 0))
        for step in range(90):
            terms = phase.loss(batch, seeded(0, step))
            optimizer.zero_grad()
            (terms["asked"] + terms["captions"] + terms["pooled"]).backward()
            optimizer.step()
        return tuple(float(one) for one in (first["_right"], *(terms[f"_{x}"] for x in TOLD)))

    at_first, right, moved, astray = taught(30.0)
    _, _, moved_freely, astray_freely = taught(0.0)
    assert right > at_first + 0.3
    assert moved < 0.5 * moved_freely and astray < 0.5 * astray_freely


def test_a_reading_of_the_pack_s_rows_tells_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_words, "READ_PEOPLE", 60)
    people = torch.arange(20)
    empty = torch.zeros(20)
    pictures = Pictures(empty, empty, empty, empty, people, [])
    if not (mini.mini_path() / "text_encoder").is_dir():
        pytest.skip("the mini pack has not been built in this tree")
    table = instructions_read(mini.mini_path(), pictures)
    assert table["read"] > 0.5 and table["read_turn"] > 0.5
    fewer = instructions_read(mini.mini_path(), dataclasses.replace(pictures, person=people[:2]))
    assert fewer["read_interval"] > table["read_interval"]
