"""Every recipe trains real classes at toy width on a handful of pictures, stops, resumes and exports."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
from contextlib import suppress
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import BrokenBarrierError

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from likeness.diffusion.load import load_base
from likeness.diffusion.text_to_image import paint_text
from likeness.errors import InputError, MissingWeightsError
from likeness.packs import check_garments, data, known_words, mini_path, nano, read_card, unknown_words
from likeness.packs.check import check_pack, verification_scores
from likeness.packs.data import Pictures, load_pictures, split_folder
from likeness.packs.recipes import RECIPES, landmarks, vit
from likeness.packs.recipes.landmarks import LandmarksPhase
from likeness.packs.targets import TARGETS, Target, targets_of
from likeness.packs.workshop import Workshop
from likeness.sitters import LABELS
from likeness.training.phase import Batch
from tests.toy_shop import toy_shop

NEED_MANY = {"right_of_100", "over_90_percent", "all"}
"""Measures that a toy has too few pictures for."""


def test_a_target_is_a_bound() -> None:
    assert Target(31).reached_by(31) and not Target(31).reached_by(30.9)
    assert Target(5, at_most=True).reached_by(5) and not Target(5, at_most=True).reached_by(5.1)
    assert not Target(5, at_most=True).reached_by(float("nan"))


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    return toy_shop(tmp_path, monkeypatch)


def test_all_parts_are_built_in_order_and_entered_in_the_card(shop: Workshop) -> None:
    for part, recipe in RECIPES.items():
        assert recipe(shop).finished, part
    card = read_card(shop.pack)
    folders = {
        "vae", "text_encoder", "image_encoder", "landmarks", "recogniser", "judge_recogniser", "parser",
        "attributes", "vit", "unet", "guide",
    }  # fmt: skip
    assert set(card.parts) == folders
    assert card.bytes == sum(f.stat().st_size for f in shop.pack.rglob("*.safetensors"))
    assert card.parts["judge_recogniser"].first_seed != card.parts["recogniser"].first_seed
    for folder in folders:
        config = json.loads((shop.pack / folder / "config.json").read_text())
        assert "_name_or_path" not in config
        weights = next((shop.pack / folder).glob("*.safetensors"))
        kinds = {t.dtype for t in load_file(weights).values() if t.is_floating_point()}
        assert kinds <= {torch.float16, torch.float32} and torch.float16 in kinds, folder
        assert (kinds == {torch.float16}) == (folder != "guide"), "scales of int8 are fp32"
    assert card.parts["text_encoder"].steps == 6, "captions, then instructions"
    assert (shop.pack / "scheduler" / "scheduler_config.json").is_file()
    assert "hat" in known_words(shop.pack)
    said = "A red hat by Banksy, Banksy! In 1990 someone made the king turn."
    assert unknown_words(shop.pack, said) == ["banksy", "1990", "made", "king"]
    table = check_pack(shop.pack, shop.pictures("held_out"))
    assert set(table) == {*RECIPES} - {"decoder", "guide"}
    counted = {part: row["n"] for part, row in table.items()}
    assert counted["parser"] == shop.held_out_people > counted["unet"], "people counted even are painted"
    assert all(0 < count <= counted["parser"] for count in counted.values())
    for part, targets in TARGETS.items():
        assert set(targets_of(part, table[part])) == set(targets) - NEED_MANY, part
    with pytest.raises(MissingWeightsError, match="has no calibration to check"):
        check_pack(shop.pack, shop.pictures("held_out"), ("parser", "calibration"))
    base = load_base(shop.pack)
    assert base.guide.config.block_out_channels != base.unet.config.block_out_channels
    assert 0 <= table["parser"]["mean_iou"] <= 1
    assert 0 < table["attributes"]["light_error_deg"] < 180
    assert 5 < table["autoencoder"]["psnr_db"] < 60
    assert 0 <= table["autoencoder"]["jewellery_right_still"] <= 1


def test_a_part_resumes_and_one_that_stands_on_others_says_so(shop: Workshop) -> None:
    with pytest.raises(MissingWeightsError, match="no vae yet"):
        RECIPES["unet"](shop)
    shop.minutes, shop.steps = 1e-9, 5
    assert RECIPES["autoencoder"](shop).stopped_by == "minutes"
    assert not (shop.pack / "vae").exists()
    shop.minutes, shop.resume = None, True
    result = RECIPES["autoencoder"](shop)
    assert result.finished and result.step == 5
    assert (shop.pack / "vae" / "config.json").is_file()


def test_heatmaps_of_landmarks_are_never_in_half_precision(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained in it they came out worse the longer it took."""
    seen = []

    class Watched(LandmarksPhase):
        def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
            hook = self.trainable.fuse.register_forward_hook(lambda _, given, maps: seen.append(maps.dtype))
            with hook:
                return super().loss(batch, generator)

    monkeypatch.setattr(landmarks, "LandmarksPhase", Watched)
    RECIPES["landmarks"](shop)
    assert seen and set(seen) == {torch.float32}


def test_the_guide_learns_from_pictures_of_its_own(shop: Workshop) -> None:
    """Not from what was kept of the UNet's, whose labels and rows are others."""
    for part in ("autoencoder", "clip", "unet", "guide"):
        RECIPES[part](shop)
    kept = {file.name.rsplit("-", 2)[0] for file in (shop.work / "kept").rglob("*.npy")}
    assert kept == {f"{what}-{split}" for what in ("latents", "text") for split in ("portraits", "train")}


def test_the_unet_of_a_pack_can_be_trained_further(shop: Workshop) -> None:
    for part in ("autoencoder", "clip", "unet"):
        RECIPES[part](shop)
    file = shop.pack / "unet" / "diffusion_pytorch_model.safetensors"
    first = load_file(file)
    wider = shop.preset.unet(out_channels=20)
    assert not shop.begin(wider, "unet")
    shop.further = True
    assert shop.begin(wider, "unet")
    for name, tensor in wider.state_dict().items():
        known = tensor[: len(first[name])] if name.startswith("conv_out.") else tensor
        assert torch.equal(known, first[name].float()), name
    shop.steps = 1
    assert RECIPES["unet"](shop).finished
    assert read_card(shop.pack).parts["unet"].steps == 4
    # one step of the warm-up moves a weight by a few millionths; a new net would be far away
    assert max((load_file(file)[n] - t).abs().max() for n, t in first.items()) < 0.01


def test_other_parts_can_be_trained_further_too(shop: Workshop) -> None:
    parts = {"clip": ("text_encoder", "image_encoder"), "landmarks": ("landmarks",), "vit": ("vit",)}
    parts |= {"recogniser": ("recogniser",), "parser": ("parser",)}
    for part in parts:
        RECIPES[part](shop)
    words = (shop.pack / "tokenizer" / "tokenizer.json").read_text()
    shop.further, shop.steps = True, 1
    for part, folders in parts.items():
        first = {f: load_file(next((shop.pack / f).glob("*.safetensors"))) for f in folders}
        RECIPES[part](shop)
        for folder in folders:
            again = load_file(next((shop.pack / folder).glob("*.safetensors")))
            weights = {n: t.float() for n, t in first[folder].items() if n.endswith("weight")}
            apart = [(again[n].float() - t).abs().max() for n, t in weights.items()]
            assert 0 < max(apart) < 0.1, folder
            assert read_card(shop.pack).parts[folder].steps == 4
    assert (shop.pack / "tokenizer" / "tokenizer.json").read_text() == words


def test_a_spot_is_cut_where_it_lies() -> None:
    """A white square on black fills its own crop, lies in the corner of one moved by half a side."""
    picture = torch.full((1, 3, 128, 128), -1.0)
    picture[..., 40:60, 80:100] = 1.0
    own = vit.cut(picture, torch.tensor([[90.0, 50.0, 20.0]]), 16)
    assert own.mean() > 0.95
    aside = vit.cut(picture, torch.tensor([[100.0, 60.0, 20.0]]), 16)[0, 0]
    assert aside[:7, :7].min() == 1 and aside[9:].max() == aside[:, 9:].max() == -1
    labels = torch.zeros(64, 128, 128, dtype=torch.uint8)
    labels[:, 30:34, 90:94] = 5
    spots = vit.draw_spots(labels, torch.Generator().manual_seed(0))
    on = ((spots[:, 0] - 92).abs() < 2) & ((spots[:, 1] - 32).abs() < 2)
    assert 0.6 < on.float().mean() < 0.95
    found, shown = vit.spots_of(labels[:2], (LABELS[5],))
    assert shown.all() and found[0, :2].tolist() == [92.0, 32.0]
    assert not vit.spots_of(labels[:2], ("hat",))[1].any()


def test_pairs_are_two_pictures_of_the_same_thing(shop: Workshop) -> None:
    """Rows 0 and 1, 2 to 4 show a hat of theirs; row 5 is alone with one, row 6 shows too little of it."""
    labels = torch.zeros(8, 128, 128, dtype=torch.uint8)
    labels[:7, 10:20, 40:60] = LABELS.index("hat")
    labels[6, 10:20, 41:60] = 0
    labels[6, 11:, :] = 0
    person = torch.tensor([0, 0, 1, 1, 1, 2, 2, 3])
    pictures = dataclasses.replace(shop.pictures("train"), labels=labels, person=person)
    worn = vit.Worn.find(pictures, vit.WORN["hat"])
    assert [group.tolist() for group in worn.groups] == [[0, 1], [2, 3, 4]]
    for number in range(20):
        rows = worn.draw(5, torch.Generator().manual_seed(number))
        assert rows.shape == (2, 2) and (rows[:, 0] != rows[:, 1]).all()
        assert (person[rows[:, 0]] == person[rows[:, 1]]).all() and len(person[rows[:, 0]].unique()) == 2


def test_twenty_way_trials_of_an_eye_that_knows_and_one_that_does_not() -> None:
    which = [(str(i % 40),) for i in range(120)]
    generator = torch.Generator().manual_seed(0)
    right, rows = check_garments.trials(torch.eye(120), which, generator)
    assert right.tolist() == [1.0] * 120 and rows.tolist() == list(range(120))
    blind, _ = check_garments.trials(torch.rand(120, 120, generator=generator), which, generator)
    assert blind.mean() < 0.2
    assert len(check_garments.trials(torch.eye(120), [("one",)] * 120, generator)[0]) == 0


def test_a_smaller_size_draws_close_ups_and_borrows_what_looks_at_them(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "SHARD_PEOPLE", 6)
    small = dataclasses.replace(shop, preset=nano, pack=shop.work / "nano")
    pictures = small.pictures("train")
    assert pictures.pixels.shape == (12, 3, 64, 64) and pictures.labels.shape == (12, 64, 64)
    far = data.draw_people(range(6), 2, 64)
    heights = torch.tensor([float(np.ptp(one.landmarks[:, 1])) for one in far])
    near = pictures.landmarks[..., 1].amax(1) - pictures.landmarks[..., 1].amin(1)
    assert (near > 1.1 * heights).all()
    sittings = list(data.picture_rows(small.pictures("collections")))
    assert (
        len({row["record"]["camera"]["zoom"] for row in sittings}) == 12
    )  # framing is what tells them apart
    for part in nano.MINUTES:
        assert RECIPES[part](small).finished, part
    small.borrow()
    small.borrow()
    card, source = read_card(small.pack), read_card(mini_path())
    assert (card.name, card.size_px) == ("nano", 64)
    assert card.parts["recogniser"] == source.parts["recogniser"]
    base = load_base(small.pack)
    assert (base.family, base.size_px, base.text_width) == ("mini", 64, nano.WIDTH)
    assert paint_text(base, ["a red hat"], [0], steps=2).shape == (1, 3, 64, 64)


def test_a_budget_is_shared_out_and_the_builds_own_stays(shop: Workshop) -> None:
    asked = dataclasses.replace(shop, minutes=10.0, steps=None)
    assert asked.budgeted(90.0).minutes == 10.0
    unasked = dataclasses.replace(shop, minutes=None, steps=None)
    assert unasked.budgeted(90.0).part_of(0.25).minutes == 22.5
    assert unasked.minutes is None
    counted = dataclasses.replace(shop, minutes=None, steps=3)
    assert (counted.budgeted(90.0).minutes, counted.part_of(0.1).steps, counted.steps) == (None, 1, 3)


def test_batches_visit_every_picture_once_an_epoch(shop: Workshop) -> None:
    pictures: Pictures = shop.pictures("train")
    seen = torch.cat([pictures.indices(step, 4, seed=3) for step in range(3)])
    assert sorted(seen.tolist()) == list(range(12))
    assert torch.equal(
        pictures.indices(7, 4, 3), load_pictures(shop.work / "data/train", people=6, views=2).indices(7, 4, 3)
    )


def test_the_order_of_pictures_is_of_its_seed(shop: Workshop) -> None:
    folder = shop.work / "data/train"
    shared, fresh = (load_pictures(folder, people=6, views=2) for _ in range(2))
    shared.indices(0, 12, seed=0)  # another part of the same process trained before
    assert torch.equal(shared.indices(0, 12, seed=1), fresh.indices(0, 12, seed=1))


def test_verification_scores_of_a_perfect_and_of_a_blind_recogniser() -> None:
    person = torch.arange(100).repeat_interleave(4)
    perfect = torch.eye(100)[person]
    blind = torch.nn.functional.normalize(
        torch.randn(400, 64, generator=torch.Generator().manual_seed(0)), dim=1
    )
    assert verification_scores(perfect, person)["accuracy"] == 1.0
    assert verification_scores(perfect, person)["tar_at_far_1e-3"] == 1.0
    assert verification_scores(blind, person)["accuracy"] < 0.56
    assert verification_scores(blind, person)["tar_at_far_1e-3"] < 0.02


def test_a_folder_that_is_no_pack(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a model pack"):
        read_card(tmp_path)


def test_what_a_frozen_part_makes_is_kept_until_weights_or_pictures_change(shop: Workshop) -> None:
    part = shop.pack / "vae"
    part.mkdir(parents=True)
    (part / "config.json").write_text("{}")
    (part / "model.safetensors").write_bytes(b"one")
    made: list[int] = []

    def build() -> torch.Tensor:
        made.append(1)
        return torch.full((2, 3), float(len(made)), dtype=torch.bfloat16)

    for _ in range(2):
        kept = shop.kept("latents", "vae", build)
        assert kept.dtype == torch.bfloat16 and kept.tolist() == [[1.0] * 3] * 2
    (part / "model.safetensors").write_bytes(b"two")
    assert shop.kept("latents", "vae", build).tolist() == [[2.0] * 3] * 2
    rows = next((shop.work / "data" / "portraits").rglob("rows.jsonl"))
    rows.write_text(rows.read_text().replace("hat", "cap"))  # drawn again by another rule
    assert shop.kept("latents", "vae", build).tolist() == [[3.0] * 3] * 2
    assert len(made) == 3
    assert len(list((shop.work / "kept").rglob("*.npy"))) == 1  # gigabytes: the old ones are gone


def keep(work: Path, ready: Barrier, both: Barrier) -> None:
    shop = Workshop(work=work, pack=work / "pack", people=6, views=2)
    ready.wait(100)

    def build() -> torch.Tensor:
        with suppress(BrokenBarrierError):
            both.wait(2)  # both are at it, unless one waits for the other
        return torch.ones(4000, 16, 16, 16, dtype=torch.bfloat16)

    assert (shop.kept("latents", None, build) == 1).all()


def test_two_processes_keep_the_same(shop: Workshop) -> None:
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    ready, both = context.Barrier(2), context.Barrier(2)
    processes = [context.Process(target=keep, args=(shop.work, ready, both)) for _ in range(2)]
    for one in processes:
        one.start()
    for one in processes:
        one.join(120)
    assert [one.exitcode for one in processes] == [0, 0]


def test_a_smaller_size_keeps_what_its_own_pictures_gave(shop: Workshop) -> None:
    shop.preset = nano
    (shop.work / "data" / "portraits").rename(split_folder(shop.work / "data", "portraits", size_px=64))
    assert shop.kept("parts", None, lambda: torch.ones(2)).tolist() == [1.0, 1.0]
    assert shop.kept("parts", None, lambda: torch.zeros(2)).tolist() == [1.0, 1.0]
    rows = next((shop.work / "data" / "portraits-64px").rglob("rows.jsonl"))
    rows.write_text(rows.read_text().replace("hat", "cap"))
    assert shop.kept("parts", None, lambda: torch.zeros(2)).tolist() == [0.0, 0.0]
