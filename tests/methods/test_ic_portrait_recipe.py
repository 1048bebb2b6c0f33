"""The mini pack's nets are trained and exported by the method's own recipe, on people seen from sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from likeness.catalog import adapter_recipe
from likeness.diffusion.load import load_base
from likeness.files.int8 import INT8_FILE
from likeness.methods.ic_portrait import recipe
from likeness.methods.ic_portrait.weights import load_nets
from likeness.packs import read_card
from likeness.packs.data import shard_folder, stand_in_views, turned_views
from likeness.packs.recipes import RECIPES
from likeness.sitters.correspondence import RIGID
from likeness.training.loop import Moment
from tests.toy_shop import toy_shop


def test_matching_comes_first_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = toy_shop(tmp_path, monkeypatch)
    shard = shard_folder(tmp_path / "data" / "stand-ins", 0, shop.views)
    np.save(shard / "pixels.npy", np.zeros_like(np.load(shard / "pixels.npy")))
    monkeypatch.setattr(recipe, "BATCH", 4)
    for part in ("autoencoder", "clip", "recogniser", "unet"):
        RECIPES[part](shop)
    shop.steps = 20
    assert adapter_recipe("ic-portrait")(shop).finished
    assert shop.trained["ic-portrait-condition"].step == 2  # a tenth
    assert shop.trained["ic-portrait-matching"].step == 2
    assert shop.trained["ic-portrait"].step == 20

    base = load_base(shop.pack)
    nets, records = load_nets(shop.pack / recipe.FOLDER, base)
    assert [one.role for one in records] == ["appearance net", "matching net"]
    for net in (nets.appearance, nets.matching):
        assert net.controlnet_mid_block.weight.abs().sum() > 0, "it has learned"
        moved = base.unet.state_dict()["conv_in.weight"] != net.state_dict()["conv_in.weight"]
        assert moved.float().mean() > 0.5
    card = read_card(shop.pack).parts[recipe.FOLDER]
    assert (card.steps, card.people) == (20, shop.people)
    assert len(card.sha256) == 2

    shop.steps, shop.further = 1, True
    monkeypatch.setattr(recipe, "cosine", lambda rate, **_: 0.0)
    kept = load_file(shop.pack / recipe.FOLDER / "matching" / INT8_FILE)
    assert adapter_recipe("ic-portrait")(shop).finished
    again = load_file(shop.pack / recipe.FOLDER / "matching" / INT8_FILE)
    assert all(torch.allclose(kept[key], again[key], rtol=1e-6, atol=0) for key in kept)

    for share, stand_ins in ((1.0, 4), (0.0, 0)):
        monkeypatch.setattr(recipe, "STAND_INS", share)
        batches = recipe.view_batches(shop, base, shop.pictures("views"))
        black = (batches(Moment(3, 0.5, 3))["pixels_target"] == -1).flatten(1).all(dim=1)
        assert int(black.sum()) == stand_ins
    batch, twice = batches(Moment(3, 0.5, 3)), batches(Moment(3, 0.1, 3))
    assert all(torch.equal(batch[key], twice[key]) for key in batch)
    target, profile = batch["pixels_target"], batch["pixels_profile"]
    assert not torch.equal(target, profile)
    # the toy's people differ by their mean
    assert torch.allclose(target.mean((1, 2, 3)), profile.mean((1, 2, 3)), atol=0.01)
    assert batch["embedding"].shape == (4, base.text_width)
    # as the recogniser sees this very picture
    assert torch.allclose(batch["identity"].norm(dim=1), torch.ones(4), atol=1e-5)
    assert not torch.equal(batch["identity"], batch["id_embedding"])
    assert torch.allclose(batch["id_embedding"].norm(dim=1), torch.ones(4), atol=1e-5)
    assert batch["face_affine"].shape == (4, 2, 3)


def test_views_of_a_person_share_the_head_alone() -> None:
    first, *others = turned_views(7, 4)
    for number, scene in enumerate(others, start=1):
        assert all(getattr(scene, factor) == getattr(first, factor) for factor in RIGID)
        assert scene.pose != first.pose and scene.background != first.background
        for factor in ("light", "clothes"):
            assert (getattr(scene, factor) != getattr(first, factor)) == (number % 2 == 1)


def test_stand_ins_have_the_pose_and_light_of_whom_they_stand_for() -> None:
    for scene, stand_in in zip(turned_views(7, 4), stand_in_views(7, 4), strict=True):
        assert stand_in.identity != scene.identity and stand_in.hair != scene.hair
        for factor in ("pose", "camera", "light", "clothes", "background", "expression"):
            assert getattr(stand_in, factor) == getattr(scene, factor)
