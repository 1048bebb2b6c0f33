"""The mini pack's adapter is trained, kept and exported by the method's own recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from likeness.catalog import adapter_recipe
from likeness.diffusion.image_encoder import load_image_encoder
from likeness.diffusion.load import load_base
from likeness.methods.consistentid import recipe
from likeness.methods.consistentid.config import ABLATIONS
from likeness.methods.consistentid.weights import load_adapter, save_adapter
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

    shop.further, shop.steps = False, 2
    monkeypatch.setattr(recipe, "LEARNING_RATE", 1e-2)
    still = {
        "whole": (),
        "not localised": (),
        "overall": ("FacialEncoder",),
        "parts": ("image_proj", "to_k_ip", "to_v_ip"),
        "IP-Adapter": ("FacialEncoder", "lora.down"),
    }
    for name, ablation in ABLATIONS.items():
        (start, _, _), (end, _, _) = (
            _after(shop, monkeypatch, rate, lambda a=ablation: recipe.train_variant(shop, a, "variant"))
            for rate in (0.0, 1e-2)
        )
        moved = {
            key
            for key, value in end.state_dict().items()
            if not torch.equal(value, start.state_dict()[key]) and ".norm" not in key and "bias" not in key
        }
        assert len(moved) > 5
        assert not [key for key in moved if any(part in key for part in still[name])], name
        for part in ("FacialEncoder", "image_proj", "to_k_ip", "lora.down"):
            assert any(part in key for key in moved) == (part not in still[name]), (name, part)
        save_adapter(end, tmp_path / "variant")
        again, _ = load_adapter(tmp_path / "variant", base)
        assert again.sizes.identity == ablation.identity
    encoder = load_image_encoder(shop.part("image_encoder"), device="cpu", dtype=torch.float32)
    pixels = torch.randn(2, 3, encoder.size_px, encoder.size_px)
    assert torch.allclose(encoder.embeds_of(encoder.states(pixels)), encoder.embeds(pixels), atol=1e-6)
    assert again.image_proj(torch.zeros(2, 1), encoder.embeds(pixels)[:, None]).shape == (
        2,
        4,
        base.text_width,
    )


def _after(shop: Any, monkeypatch: pytest.MonkeyPatch, rate: float, train: Callable[[], Any]) -> Any:
    monkeypatch.setattr(recipe, "LEARNING_RATE", rate)
    return train()
