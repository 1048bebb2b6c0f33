"""The mini pack's adapter is trained, kept and exported by the method's own recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from likeness.catalog import adapter_recipe
from likeness.diffusion.load import load_base
from likeness.methods.consistentid import recipe
from likeness.methods.consistentid.weights import load_adapter
from likeness.packs import read_card
from likeness.packs.recipes import RECIPES
from tests.toy_shop import toy_shop


def test_it_learns_on_a_frozen_base_and_describes_references_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = toy_shop(tmp_path, monkeypatch)
    monkeypatch.setattr(recipe, "BATCH", 4)
    for part in ("autoencoder", "clip", "recogniser", "unet"):
        RECIPES[part](shop)
    before = load_file(shop.pack / "unet" / "diffusion_pytorch_model.safetensors")

    assert adapter_recipe("consistentid")(shop).finished
    first = load_file(shop.pack / "adapters" / "consistentid" / "model.safetensors")
    monkeypatch.setattr(recipe, "describe", lambda *_: pytest.fail("described twice"))
    shop.steps = 6
    assert adapter_recipe("consistentid")(shop).finished
    again = load_file(shop.pack / "adapters" / "consistentid" / "model.safetensors")

    moved = [name for name in first if not torch.equal(first[name], again[name])]
    assert len(moved) > len(first) / 2
    base = load_base(shop.pack)
    adapter, record = load_adapter(shop.pack / "adapters" / "consistentid", base)
    assert (adapter.sizes.text_width, adapter.sizes.image_width, adapter.sizes.family) == (32, 32, "mini")
    assert all(torch.equal(before[name].float(), tensor) for name, tensor in base.unet.state_dict().items())
    card = read_card(shop.pack).parts["adapters/consistentid"]
    assert (card.steps, card.people, list(card.sha256.values())) == (6, shop.people, [record.sha256])

    shop.further, shop.steps = True, 1
    monkeypatch.setattr(recipe, "LEARNING_RATE", 0.0)
    assert adapter_recipe("consistentid")(shop).finished
    unmoved = load_file(shop.pack / "adapters" / "consistentid" / "model.safetensors")
    assert all(torch.equal(again[name], unmoved[name]) for name in again)
    assert read_card(shop.pack).parts["adapters/consistentid"].steps == 7
