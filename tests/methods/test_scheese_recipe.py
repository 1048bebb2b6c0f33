"""The mini pack's SCheese is trained in its two stages and exported by the method's own recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from likeness.catalog import adapter_recipe
from likeness.diffusion.image_encoder import load_image_encoder
from likeness.diffusion.load import load_base
from likeness.faces.embed import load_encoder
from likeness.files.int8 import INT8_FILE, begins_at
from likeness.methods.scheese import recipe
from likeness.methods.scheese.pipeline import load
from likeness.methods.scheese.weights import load_adapter
from likeness.packs import read_card
from likeness.packs.data import collection_views
from likeness.packs.recipes import RECIPES
from likeness.training.loop import Moment
from likeness.types import PortraitRequest
from tests.methods.toys import picture
from tests.toy_shop import toy_shop


def test_both_stages_are_trained_and_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = toy_shop(tmp_path, monkeypatch)
    monkeypatch.setattr(recipe, "BATCH", 4)
    for part in ("autoencoder", "clip", "recogniser", "unet"):
        RECIPES[part](shop)
    shop.steps = 8
    assert adapter_recipe("scheese")(shop).finished
    assert (shop.trained["scheese-first"].step, shop.trained["scheese"].step) == (2, 6)
    assert shop.steps == 8
    base = load_base(shop.pack)
    adapter, record = load_adapter(shop.pack / recipe.FOLDER, base)
    assert adapter.sizes.variant == "scheese"
    assert adapter.sizes.taught_by == load_encoder(shop.part("recogniser")).name, "who may not judge it"
    net = adapter.consistency_net.state_dict()  # type: ignore[union-attr]
    assert any(not torch.equal(net[key], t) for key, t in base.unet.state_dict().items()), "it was trained"
    card = read_card(shop.pack).parts["adapters/scheese"]
    assert (card.people, card.steps) == (shop.people, 6)
    [result] = load(base)([PortraitRequest("turn the head to the left", (picture(0),), seed=1, steps=2)])
    assert record.sha256 in {one.sha256 for one in result.provenance.weights}

    pictures = shop.pictures("collections")
    encoder = load_image_encoder(shop.part("image_encoder"), device="cpu", dtype=torch.float32)
    triplets = recipe.batches_of(shop, base, encoder, pictures, triplets=True)
    batch, again = triplets(Moment(3, 0.5, 3)), triplets(Moment(3, 0.1, 3))
    assert all(torch.equal(batch[key], again[key]) for key in batch)
    assert not torch.equal(batch["reference_states"], batch["target_states"])
    itself = recipe.batches_of(shop, base, encoder, pictures, triplets=False)(Moment(3, 0.5, 3))
    assert torch.equal(itself["reference_states"], itself["target_states"])

    file = shop.pack / recipe.FOLDER / INT8_FILE
    assert begins_at(file, shop.pack / "unet"), "it is written as offsets from the UNet it began as"
    shop.seed += 1
    RECIPES["unet"](shop)
    anew = load_base(shop.pack)
    assert any(not torch.equal(t, anew.unet.state_dict()[k]) for k, t in base.unet.state_dict().items())
    kept, again = load_adapter(shop.pack / recipe.FOLDER, anew)
    assert all(torch.equal(t, kept.state_dict()[key]) for key, t in adapter.state_dict().items())
    assert (
        read_card(shop.pack).parts["adapters/scheese"].sha256[f"{recipe.FOLDER}/{INT8_FILE}"] == again.sha256
    )


def test_a_sitting_keeps_what_is_worn_and_changes_the_view() -> None:
    first, *others = collection_views(7, 4)
    for scene in others:
        for stays in ("identity", "hair", "clothes", "accessories", "makeup", "background", "light"):
            assert getattr(scene, stays) == getattr(first, stays)
        assert (scene.pose, scene.camera) != (first.pose, first.camera)
    texts = recipe.instructions_of(7, 4)
    assert len(texts) == 16
    assert texts[1] != texts[4], "there and back are told differently"
    assert not any(word in text for text in texts for word in ("garment", "background", "hair"))
