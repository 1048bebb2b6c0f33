"""Training IC-Portrait on one's own pictures: both nets on views of people, a UNet for one person."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from likeness import finetune
from likeness.cli.main import main
from likeness.data.build import build, sidecar
from likeness.data.manifest import Dataset
from likeness.diffusion.load import load_base
from likeness.errors import IncompatibleWeightsError, InputError
from likeness.evaluation.judge import Judge
from likeness.files.images import write_png
from likeness.methods.ic_portrait.config import NETS, Training
from likeness.methods.ic_portrait.model import Nets, control_net
from likeness.methods.ic_portrait.own_data import NEVER, PersonTraining, ViewsTraining, load_training
from likeness.methods.ic_portrait.weights import load_nets, save_nets
from likeness.packs import mini_path
from likeness.sitters import HELD_OUT_SEEDS, sample_scene, straightened, with_other_view
from likeness.sitters.render import render
from likeness.training import Budget, Moment
from likeness.training.options import TrainingOptions
from tests import tiny
from tests.methods.toys import MiddleDetector, PixelEncoder, ToyIcPortrait, picture

SETTINGS = Training(batch_size=2, learning_rate=1e-3, person_rate=1e-3)


def dataset(folder: Path, people: dict[str, int]) -> Dataset:
    for number, (person, count) in enumerate(people.items()):
        for view in range(count):
            write_png(picture(10 * number + view), folder / "photos" / person / f"{view}.png")
    return build(
        folder / "photos", folder / "set", detector=MiddleDetector(), encoder=PixelEncoder(),
        encoder_sha256="", captions=sidecar("man"),
    )  # fmt: skip


@pytest.fixture
def toy(tmp_path: Path) -> ToyIcPortrait:
    return ToyIcPortrait(tiny.write_mini(tmp_path / "mini"))


@pytest.fixture(autouse=True)
def one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetune, "VALIDATION", 1)


def test_nets_that_read_an_identity_learn_with_it(toy: ToyIcPortrait, tmp_path: Path) -> None:
    data = dataset(tmp_path, {"anna": 2, "ben": 2})
    pipeline = toy.pipeline()
    assert "identity" not in ViewsTraining(
        data, range(4), pipeline, SETTINGS, size_px=64  # type: ignore[arg-type]
    ).batches(Moment(0, 0.0, 0))  # fmt: skip
    settings = dataclasses.replace(toy.nets.settings, identity_encoder="pixels")
    pipeline = pipeline.with_nets(dataclasses.replace(toy.nets, settings=settings))  # type: ignore[attr-defined]
    pipeline.face_encoder = PixelEncoder()
    batch = ViewsTraining(data, range(4), pipeline, SETTINGS, size_px=64).batches(Moment(0, 0.0, 0))
    assert batch["identity"].shape == (2, 48)
    assert torch.allclose(batch["identity"].norm(dim=1), torch.ones(2), atol=1e-5)


def test_nets_learn_from_people_seen_twice(toy: ToyIcPortrait, tmp_path: Path) -> None:
    data = dataset(tmp_path, {"anna": 2, "ben": 1, "carl": 3})
    training = ViewsTraining(
        data, range(6), toy.pipeline(), SETTINGS, size_px=64, from_nothing=True  # type: ignore[arg-type]
    )  # fmt: skip
    assert training.rows.people == [[0, 1], [3, 4, 5]], "of ben there is one picture only"
    batch = training.batches(Moment(0, 0.0, 0))
    again = training.batches(Moment(0, 0.9, 0))
    assert all(torch.equal(batch[key], again[key]) for key in batch)
    assert not any(
        torch.equal(a, b) for a, b in zip(batch["pixels_target"], batch["pixels_profile"], strict=True)
    )

    now = training.rows.pipeline.nets
    parameters = [*now.appearance.parameters(), *now.matching.parameters()]
    before = [one.detach().clone() for one in parameters]
    training.save(now.appearance, tmp_path / "meanwhile")
    same = [torch.equal(a, b) for a, b in zip(before, parameters, strict=True)]
    assert all(same), "what is written in fp16 at a checkpoint goes on being trained as it was"

    _, matching = training.phases
    assert matching.learning_rate(0, 0.0) == 1e-3 and matching.every == 1  # type: ignore[operator]
    assert matching.learning_rate(199, 0.5) == 1e-3 and matching.every == NEVER  # type: ignore[operator]
    assert matching.learning_rate(200, 0.5) == 0.0  # type: ignore[operator]
    matching.every = 1  # type: ignore[misc]
    validation = finetune.validation_of(data, [0, 1], Judge())
    found = finetune.finetune(training, tmp_path / "run", Budget(steps=2), validation, settings={})
    assert found["steps"] == 2
    assert training.resolved == {
        "batch_size": SETTINGS.batch_size, "learning_rate": SETTINGS.learning_rate, "size": 64,
        "pixels": SETTINGS.pixels, "drop": SETTINGS.drop,
    }  # fmt: skip
    nets, _ = load_nets(tmp_path / "run" / "adapter", toy.base)
    assert nets.settings == toy.nets.settings
    assert (tmp_path / "run" / "validation" / "00000002.png").is_file()
    with pytest.raises(InputError, match="one picture of each person"):
        ViewsTraining(data, [0, 2, 3], toy.pipeline(), SETTINGS, size_px=64)  # type: ignore[arg-type]


def test_a_person_gets_a_unet_of_their_own(toy: ToyIcPortrait, tmp_path: Path) -> None:
    data = dataset(tmp_path, {"anna": 3})
    pipeline = toy.pipeline()
    training = PersonTraining(data, range(3), pipeline, SETTINGS, size_px=64)  # type: ignore[arg-type]
    before = {key: tensor.clone() for key, tensor in toy.base.unet.state_dict().items()}
    validation = finetune.validation_of(data, [0, 1, 2], Judge())
    found = finetune.finetune(training, tmp_path / "run", Budget(steps=3), validation, settings={})
    assert found["steps"] == 3
    told = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert (told["learning_rate"], told["size"]) == (SETTINGS.person_rate, 64)
    assert all(torch.equal(tensor, before[key]) for key, tensor in toy.base.unet.state_dict().items())
    customised = toy.loaded(tmp_path / "run" / "adapter")
    after = customised.base.unet.state_dict()  # type: ignore[attr-defined]
    assert sum(not torch.equal(after[key], before[key].half().float()) for key in before) > len(before) / 2
    [result] = customised([toy.request(1)])
    assert result.provenance.recipe["person"] == "anna"
    assert np.asarray(result.image).std() > 0


@pytest.mark.skipif(
    not (mini_path() / "pack.json").exists(), reason="the mini pack is not in this source tree"
)
def test_views_are_built_from_a_folder_for_each_person(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = straightened(sample_scene(HELD_OUT_SEEDS[3]))
    other = straightened(sample_scene(HELD_OUT_SEEDS[4]))
    for name, one in (("anna/0", scene), ("anna/1", with_other_view(scene, 1)), ("ben/0", other)):
        write_png(Image.fromarray(render(one, 128).rgb), tmp_path / "in" / f"{name}.png")
    words = ["dataset", "build", "views", str(tmp_path / "in"), "-o", str(tmp_path / "set"), "--sitters"]
    with pytest.raises(SystemExit) as stop:
        main(words)
    out, err = capsys.readouterr()
    assert not stop.value.code, err
    assert "3 pictures of 2 people" in out and "one view only, nothing is learned of them: ben" in out
    words[3] = str(tmp_path / "in" / "anna")
    words[5] = str(tmp_path / "other")
    for mistake, told in (
        (words, "one picture of each person"),
        (["dataset", "build", "fish", ".", "-o", "x"], "fish"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(mistake)
        assert stop.value.code == 2 and told in capsys.readouterr().err


@pytest.mark.skipif(
    not (mini_path() / "pack.json").exists(), reason="the mini pack is not in this source tree"
)
def test_a_person_is_learned_beside_nets_that_are_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unet = load_base(mini_path()).unet
    save_nets(Nets(control_net(unet), control_net(unet), NETS["mini"]), tmp_path / "nets")
    scene = straightened(sample_scene(HELD_OUT_SEEDS[3]))
    for view in range(3):
        write_png(
            Image.fromarray(render(with_other_view(scene, view), 128).rgb), tmp_path / "in" / f"{view}.png"
        )
    words = [
        "train",
        "ic-portrait",
        "--person",
        str(tmp_path / "in"),
        "-o",
        str(tmp_path / "run"),
        "--dry-run",
    ]
    with pytest.raises(SystemExit) as stop:
        main([*words, "--adapter", str(tmp_path / "nets"), "--sitters"])
    out, err = capsys.readouterr()
    assert not stop.value.code, err
    assert "parameters are trained on" in out


def test_a_family_or_size_that_the_nets_have_not_is_told(tmp_path: Path) -> None:
    data = dataset(tmp_path, {"anna": 2, "ben": 2})
    options = TrainingOptions(from_nothing=True, device="cpu")
    with pytest.raises(IncompatibleWeightsError, match="runs on sd15 and mini, not on sdxl"):
        load_training(data, range(4), tiny.write_sdxl(tmp_path / "sdxl"), options)
    with pytest.raises(InputError, match="size_px must be multiples of"):
        base = tiny.write_sd15(tmp_path / "sd15")
        load_training(data, range(4), base, dataclasses.replace(options, size_px=36))
