"""SPF-Portrait learns from a data set of attributes: batches, both stages, resuming, command, recipe."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from likeness import finetune
from likeness.catalog import adapter_recipe, training_stages
from likeness.cli.main import main
from likeness.data.attributes import AttributeSet
from likeness.data.build_attributes import build_attributes, columns
from likeness.diffusion.load import Base, load_base
from likeness.errors import IncompatibleWeightsError, InputError, MissingWeightsError
from likeness.files.deltas import DELTA, delta_file
from likeness.files.images import read_image
from likeness.files.weights import read_safetensors
from likeness.methods.spf_portrait import own_data, recipe
from likeness.methods.spf_portrait.clip import load_clip_space, pooled_text
from likeness.methods.spf_portrait.config import ABLATIONS, STAGES, fitted
from likeness.methods.spf_portrait.own_data import AttributeTraining, load_training
from likeness.methods.spf_portrait.pipeline import load
from likeness.methods.spf_portrait.weights import DeltaCard, load_delta, save_delta
from likeness.packs import read_card
from likeness.packs.data import picture_rows
from likeness.packs.recipes import RECIPES
from likeness.packs.recipes.unet import rows_without
from likeness.sitters import Scene, attributes
from likeness.training import Budget, Moment, TrainingOptions
from tests import tiny
from tests.data.test_attributes import write_rows
from tests.toy_shop import toy_shop


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> AttributeSet:
    source = write_rows(tmp_path_factory.mktemp("data") / "pictures", 6)
    return build_attributes(source, source.parent / "set", words=columns(source), licence="CC0-1.0")


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_mini(tmp_path_factory.mktemp("toy") / "mini")


@pytest.fixture(scope="module")
def base(pack: Path) -> Base:
    return load_base(pack)


def training(dataset: AttributeSet, base: Base, stage: str = "contrastive", **more: Any) -> AttributeTraining:
    ablation = more.pop("ablation", None)
    options = TrainingOptions(**{"batch_size": 4, "size_px": 64, "learning_rate": 3e-3, **more})
    return load_training(dataset, range(6), base, options, stage=stage, ablation=ablation)  # type: ignore[arg-type]


def test_a_batch_is_of_its_draw_alone(
    dataset: AttributeSet, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = training(dataset, base)
    first = one.batches(Moment(3, 0.1, 7))
    one.batches(Moment(4, 0.2, 8))
    monkeypatch.setattr(own_data, "KEPT_BYTES", 0)
    again = training(dataset, base).batches(Moment(0, 0.0, 7))
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first), "also where nothing is remembered"
    assert first["latents"].shape == (4, 8, 8, 8) and first["phrases"].shape[:1] == (4,)
    assert first["similarity"].shape == first["phrases"].shape[:2]
    assert torch.allclose(first["wanted"].norm(dim=1), torch.ones(4)) and first["target"].shape == (4, 32)
    assert (first["base_text"] != first["full_text"]).any()
    count = first["base_tokens"].sum(1)
    for row, tokens in enumerate(count.tolist()):  # a causal encoder: T_tar behind changes nothing before it
        assert torch.allclose(first["base_text"][row, :tokens], first["full_text"][row, :tokens], atol=1e-5)
    assert set(training(dataset, base, "naive").batches(Moment(0, 0.0, 7))) == {
        "latents",
        "full_text",
        "target_tokens",
    }
    behind = first["target_tokens"]
    assert torch.equal(behind, ~first["base_tokens"] & (torch.arange(77) > 0)), "all but start and base"


def test_both_stages_learn_and_the_second_goes_on(dataset: AttributeSet, base: Base, tmp_path: Path) -> None:
    """The loss falls; the delta is the cross-attention's alone and says where it comes from."""
    adapter: Path | None = None
    for stage in STAGES:
        one = training(dataset, base, stage, adapter=adapter)
        [phase] = one.phases
        batch = one.batches(Moment(0, 0.0, 0))

        def loss() -> float:
            with torch.no_grad():
                terms = [phase.loss(batch, torch.Generator().manual_seed(s)) for s in range(4)]  # noqa: B023
            return float(np.mean([sum(float(v) for k, v in t.items() if k[0] != "_") for t in terms]))

        if adapter is not None:
            begun, _, _ = load_delta(adapter, base)
            found = phase.trainable.delta(base.unet)  # type: ignore[operator]
            assert all(torch.allclose(found[name], begun[name].float(), atol=1e-4) for name in begun)
        before = loss()
        done = finetune.finetune(
            one, tmp_path / stage, Budget(steps=30), one.validation([0]), settings={"stage": stage}
        )
        assert done["stopped_by"] == "finished" and done["score"] is None
        assert loss() < before, stage
        adapter = tmp_path / stage / "adapter"
    assert read_image(tmp_path / "contrastive" / "validation" / "00000030.png").width > 4 * 64
    delta, card, record = load_delta(tmp_path / "contrastive", base)
    assert delta and all(".attn2." in name for name in delta)
    assert card.licence == record.licence == "CC0-1.0" and card.targets == ("a red hat",)
    assert card.training["naive"]["steps"] == card.training["contrastive"]["steps"] == 30
    assert card.training["contrastive"]["att"] == 10 * 0.2, "ten times the paper's on a pack"
    assert card.training["data"]["pictures"] == 6
    whole = sum(p.numel() for p in base.unet.parameters())
    assert sum(t.numel() for t in read_safetensors(delta_file(tmp_path / "contrastive")).values()) < whole / 2


def test_sd15_learns_by_the_papers_settings() -> None:
    for preset in ABLATIONS.values():
        assert fitted(preset.naive, "sd15") == preset.naive
        assert fitted(preset.contrastive, "sd15") == preset.contrastive
    assert fitted(ABLATIONS["no-attention"].contrastive, "mini").att == 0.0  # type: ignore[union-attr]


def test_a_delta_that_goes_on_from_another_says_both(
    dataset: AttributeSet, base: Base, tmp_path: Path
) -> None:
    weights = {name: 0.01 * p for name, p in base.unet.named_parameters() if ".attn2.to_v." in name}
    card = DeltaCard("mini", "mini", "", ("glasses",), "CC-BY-NC-4.0")
    save_delta(weights, card, tmp_path / "glasses.safetensors")
    start = tmp_path / "glasses.safetensors"
    for folder in ("one", "two"):  # as both stages do
        on = training(dataset, base, "naive", adapter=start)
        on.save(on.phases[0].trainable, tmp_path / folder)
        start = tmp_path / folder
        card = load_delta(start, base)[1]
        assert card.targets == ("glasses", "a red hat")
        assert card.licence == "CC-BY-NC-4.0; CC0-1.0"


@pytest.mark.parametrize("ablation", ["spf", "adapter", "words"])
def test_a_stage_resumes_exactly(
    dataset: AttributeSet, base: Base, tmp_path: Path, ablation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(folder: str, stop_at: int | None = None, *, resume: bool = False) -> dict[str, torch.Tensor]:
        one = training(dataset, base, ablation=ablation)
        make = one.batches

        def batches(moment: Moment) -> Any:
            if moment.step == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return make(moment)

        monkeypatch.setattr(one, "batches", batches)
        looks = one.validation([])
        done = finetune.finetune(
            one, tmp_path / folder, Budget(steps=6), looks, settings={"steps": 6}, resume=resume
        )
        assert done["stopped_by"] == ("finished" if stop_at is None else "signal")
        return {key: tensor.clone() for key, tensor in one.phases[0].trainable.state_dict().items()}

    whole = run("whole")
    part = run("halves", stop_at=2)
    halves = run("halves", resume=True)
    assert all(torch.equal(whole[key], halves[key]) for key in whole)
    assert any(not torch.equal(part[key], whole[key]) for key in whole)


def test_a_run_stopped_in_its_second_stage_goes_on_there(
    dataset: AttributeSet, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def run(folder: str, *, stops: bool = False, resume: bool = False) -> dict[str, Any]:
        opened.clear()

        def open_stage(stage: str, adapter: Path | None) -> tuple[Any, Any]:
            opened.append(stage)
            one = training(dataset, base, stage, adapter=adapter)
            make = one.batches

            def batches(moment: Moment) -> Any:
                if stops and stage == "contrastive" and moment.step == 1:
                    os.kill(os.getpid(), signal.SIGTERM)
                return make(moment)

            monkeypatch.setattr(one, "batches", batches)
            return one, one.validation([])

        return finetune.finetune_stages(
            STAGES, open_stage, tmp_path / folder, Budget(steps=4), settings={"steps": 4}, resume=resume
        )

    assert run("whole")["stopped_by"] == "finished" and opened == list(STAGES)
    assert run("halves", stops=True)["stopped_by"] == "signal"
    assert not (tmp_path / "halves" / "adapter").exists(), "nothing half-made is given out"
    again = run("halves", resume=True)
    assert opened == ["contrastive"] and list(again["stages"]) == list(STAGES)
    files = [tmp_path / folder / "adapter" / DELTA for folder in ("whole", "halves")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_clip_space_has_gradients_and_unit_length(base: Base, pack: Path, tmp_path: Path) -> None:
    space = load_clip_space(base)
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    pixels.requires_grad_()
    seen = space.image(pixels)
    assert torch.allclose(seen.norm(dim=1), torch.ones(2), atol=1e-5)
    seen.sum().backward()
    assert pixels.grad is not None and pixels.grad.abs().sum() > 0
    assert torch.allclose(space.text(["a red hat"]), pooled_text(base, ["a red hat"]))
    other = tiny.write_mini(tmp_path / "other")
    tiny.write_image_encoder(other / "image_encoder", dim=16)
    with pytest.raises(IncompatibleWeightsError, match="two CLIP spaces"):
        load_clip_space(load_base(other))
    with pytest.raises(MissingWeightsError, match="give --clip"):
        load_clip_space(load_base(tiny.write_sd15(tmp_path / "sd15")))


def test_what_cannot_be_trained_is_named(dataset: AttributeSet, base: Base, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no ablation 'x'; there are spf, paper"):
        training(dataset, base, ablation="x")
    with pytest.raises(InputError, match="does not train with --checkpoint-gradients"):
        training(dataset, base, checkpoint_gradients=True)
    with pytest.raises(InputError, match="no weights of its own"):
        training(dataset, base, from_nothing=True)
    with pytest.raises(InputError, match="not on sdxl"):
        load_training(dataset, range(6), tiny.write_sdxl(tmp_path / "sdxl"), stage="naive")
    without = load_training(
        dataset, range(6), tiny.write_sd15(tmp_path / "sd15"), TrainingOptions(size_px=64),
        stage="contrastive", ablation="no-target",
    )  # fmt: skip
    terms = without.phases[0].loss(without.batches(Moment(0, 0.0, 0)), torch.Generator().manual_seed(0))
    assert set(terms) == {"noise", "_map", "attention", "features"}, "no CLIP is needed"


def test_the_command_runs_stage_after_stage(
    dataset: AttributeSet,
    pack: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(own_data, "VALIDATION", 1)
    assert training_stages("spf-portrait") == STAGES and training_stages("consistentid") == ()
    run = tmp_path / "run"
    words = ["train", "spf-portrait", "--data", str(dataset.folder), "--base", str(pack), "-o", str(run)]
    words += ["--size", "64", "--batch-size", "2", "--device", "cpu"]
    with pytest.raises(SystemExit) as stop:
        main([*words, "--steps", "2", "--hold-out", "1", "--json"])
    out, err = capsys.readouterr()
    assert not stop.value.code, err
    document = json.loads(out)
    assert list(document["stages"]) == list(STAGES) and document["adapter"] == str(run / "adapter")
    made = (run / "adapter" / DELTA).read_bytes()
    assert made == (run / "contrastive" / "adapter" / DELTA).read_bytes()
    naive, contrastive = (json.loads((run / one / "settings.json").read_text()) for one in STAGES)
    assert naive["held_out"] == 1 and not naive["sitters"] and not naive["checkpoint_gradients"]
    assert (naive["learning_rate"], contrastive["learning_rate"]) == (40 * 1e-5, 8 * 5e-5)
    assert (contrastive["batch_size"], contrastive["size"], contrastive["att"]) == (2, 64, 10 * 0.2)
    with pytest.raises(SystemExit) as stop:
        main([*words, "--steps", "2", "--hold-out", "1", "--resume"])
    assert not stop.value.code
    assert (run / "adapter" / DELTA).read_bytes() == made
    assert load(pack, run).deltas[0].card is not None, "the run's folder is enough"
    for mistake, told in (
        ([*words, "--steps", "2", "--stage", "third"], "its stages are naive and contrastive"),
        ([*words, "--steps", "2"], "holds a training; resume it"),
        (["train", "consistentid", *words[2:], "--steps", "1", "--ablation", "x"], "has no --ablation"),
        (["train", "consistentid", *words[2:], "--steps", "1", "--stage", "x"], "trained in one go"),
        (["train", "consistentid", *words[2:-6], "--base", "mini", "--steps", "1"], "of kind fgid"),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            main(mistake)
        assert stop.value.code in (2, 5) and told in capsys.readouterr().err, told


def test_what_the_second_stage_lacks_is_told_before_the_first(
    dataset: AttributeSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny.write_sd15(tmp_path / "sd15")
    words = ["train", "spf-portrait", "--data", str(dataset.folder), "--base", str(base), "--steps", "1"]
    with pytest.raises(SystemExit) as stop:
        main([*words, "--size", "64", "--device", "cpu", "-o", str(tmp_path / "run")])
    assert stop.value.code == MissingWeightsError.exit_code and "give --clip" in capsys.readouterr().err
    assert not (tmp_path / "run").exists(), "nothing was trained for it"


def test_the_recipe_teaches_a_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = toy_shop(tmp_path, monkeypatch)
    monkeypatch.setattr(recipe, "BATCH", 2)
    for part in ("autoencoder", "clip", "unet"):
        RECIPES[part](shop)
    shop.people, shop.steps = 2, 4
    assert adapter_recipe("spf-portrait")(shop).finished
    base = load_base(shop.pack)
    delta, card, _ = load_delta(shop.pack / recipe.FOLDER / DELTA, base)
    assert delta and len(card.targets) == len(recipe.GLASSES)
    assert [card.training[stage]["steps"] for stage in STAGES] == [3, 1]
    assert read_card(shop.pack).parts[recipe.FOLDER].pictures == card.training["data"]["pictures"] >= 4
    pictures = shop.pictures("portraits")
    assert len(rows_without(pictures, ())) == len(pictures)
    shown = [attributes(Scene.from_record(row["record"])).get("hair") for row in picture_rows(pictures)]
    common = next(kind for kind in shown if kind)
    left = rows_without(pictures, (f"hair={common}",)).tolist()
    assert left == [row for row, kind in enumerate(shown) if kind != common] and len(left) < len(shown)
