"""The mini pack's editors are trained, in their stages, and exported by the method's own recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from likeness.catalog import adapter_recipe
from likeness.diffusion.load import load_base
from likeness.methods.instant_portrait import recipe
from likeness.methods.instant_portrait.pipeline import load
from likeness.methods.instant_portrait.weights import load_editor
from likeness.packs import read_card
from likeness.packs.data import edited_views
from likeness.packs.recipes import RECIPES
from likeness.sitters.phrases import NOTHING
from likeness.training.loop import Moment
from likeness.types import PortraitRequest
from tests.methods.toys import picture
from tests.toy_shop import toy_shop


def test_both_stages_are_trained_and_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = toy_shop(tmp_path, monkeypatch)
    monkeypatch.setattr(recipe, "BATCH", 4)
    for part in ("autoencoder", "clip", "recogniser", "vit", "unet"):
        RECIPES[part](shop)
    shop.steps = 8
    assert adapter_recipe("instant-portrait")(shop).finished
    base = load_base(shop.pack)
    teacher, settings, _ = load_editor(shop.pack / recipe.IDE_NET, base)
    assert (settings.stage, settings.steps, settings.taught_by) == ("ide-net", 20, "likeness recogniser")
    student, settings, record = load_editor(shop.pack / recipe.IP_NET, base)
    assert (settings.stage, settings.steps) == ("ipnet", 1)
    moved = [key for key, t in student.state_dict().items() if not torch.equal(t, teacher.state_dict()[key])]
    assert len(moved) > len(student.state_dict()) / 2
    card = read_card(shop.pack).parts["adapters/instant-portrait"]
    assert card.people == shop.people
    [result] = load(base)([PortraitRequest("wearing a red hat", (picture(0),), seed=1)])
    assert result.provenance.recipe["steps"] == 1
    assert record.sha256 in {one.sha256 for one in result.provenance.weights}
    assert isinstance(result.image, Image.Image)

    pictures = shop.pictures("edits")
    batches = recipe.pair_batches(shop, base, pictures)
    batch = batches(Moment(3, 0.5, 3))
    again = batches(Moment(3, 0.1, 3))
    assert all(torch.equal(batch[key], again[key]) for key in batch)
    assert batch["image_latents"].abs().mean() > 0
    before, after = batch["pixels_before"], batch["pixels_after"]
    assert before.shape == after.shape == (4, 3, 128, 128)
    assert not torch.equal(before, after)
    # the toy's people differ by their mean
    assert torch.allclose(before.mean((1, 2, 3)), after.mean((1, 2, 3)), atol=0.01)


def test_edits_of_a_person_keep_person_and_pose() -> None:
    first, *others = edited_views(7, 4)
    for scene in others:
        assert (scene.identity, scene.pose, scene.camera) == (first.identity, first.pose, first.camera)
        assert scene != first
    texts = np.array(recipe.instructions_of(7, 4)).reshape(4, 4)
    assert all(texts[i, i].lower().rstrip(".") in NOTHING for i in range(4))
    assert len(set(texts[0, 1:])) > 1
    assert texts[0, 1] != texts[1, 0], "there and back are told differently"
