"""Training on one's own data: what a batch holds, exact resuming, the run folder, a rehearsal."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import likeness
from likeness import finetune
from likeness.cli.main import main
from likeness.data.build import build, sidecar
from likeness.data.manifest import Dataset, read_dataset
from likeness.diffusion.load import load_base
from likeness.errors import IncompatibleWeightsError, InputError
from likeness.evaluation.judge import Judge
from likeness.faces.align import ARCFACE_TEMPLATE
from likeness.faces.parsing import CLASSES
from likeness.files.images import read_image, write_json, write_png
from likeness.methods.consistentid import own_data
from likeness.methods.consistentid.config import CAPTION, PARTS, ConsistentIDTraining
from likeness.methods.consistentid.own_data import OwnDataTraining, square_around
from likeness.methods.consistentid.weights import load_adapter
from likeness.packs import mini_path
from likeness.sitters import HELD_OUT_SEEDS, sample_scene, straightened, with_same_person
from likeness.sitters.render import render
from likeness.training import Budget, Moment, loop
from tests import tiny
from tests.methods.toys import MiddleDetector, PixelEncoder, ToyConsistentID, picture


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three people: of two pictures, of one, of two."""
    folder = tmp_path_factory.mktemp("people")
    for number, (person, count) in enumerate((("anna", 2), ("ben", 1), ("carl", 2))):
        for view in range(count):
            write_png(
                picture(10 * number + view).resize((120, 96)), folder / "photos" / person / f"{view}.png"
            )
    return build(
        folder / "photos", folder / "set", detector=MiddleDetector(), encoder=PixelEncoder(),
        encoder_sha256="", captions=sidecar("man"),
    )  # fmt: skip


@pytest.fixture
def toy(tmp_path: Path) -> ToyConsistentID:
    return ToyConsistentID(tiny.write_mini(tmp_path / "mini"))


def training(toy: ToyConsistentID, dataset: Dataset, rows: list[int] | None = None) -> OwnDataTraining:
    settings = ConsistentIDTraining(batch_size=4, face_weight=1.0)
    pipeline = toy.loaded(toy_adapter(toy))
    return OwnDataTraining(
        dataset,
        rows or list(range(5)),
        pipeline,
        settings,
        rate=1e-3,
        size_px=64,  # type: ignore[arg-type]
    )


def toy_adapter(toy: ToyConsistentID) -> Path:
    folder = toy.folder.parent / "adapter"
    toy.save(folder)
    return folder


def judge() -> Judge:
    return Judge([PixelEncoder("judge")], MiddleDetector())


def validation(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> finetune.Validation:
    monkeypatch.setattr(finetune, "VALIDATION", 2)
    return finetune.validation_of(dataset, range(5), judge())


def test_a_batch_is_of_its_draw_alone_and_fits_the_pictures(
    toy: ToyConsistentID, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = training(toy, dataset)
    first = one.batches(Moment(3, 0.1, 7))
    one.batches(Moment(4, 0.2, 8))
    monkeypatch.setattr(own_data, "KEPT_BYTES", 0)
    again = training(toy, dataset).batches(Moment(0, 0.0, 7))
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first), "also where nothing is remembered"
    assert first["latents"].shape == (4, toy.base.unet.config.in_channels, 8, 8)
    assert first["part_masks"].shape == (4, 5, 8, 8) and first["part_masks"][:, 0].amax() == 1
    assert first["valid"].all(dim=1).any() and first["id_embedding"].shape == (4, 48)
    row = dataset.rows[0]
    assert square_around((120, 96), row) == (12, 0, 96)
    known = one._target(0)
    corners = (
        torch.from_numpy(ARCFACE_TEMPLATE).float() @ known["face_affine"][:, :2].T
        + known["face_affine"][:, 2]
    )
    wanted = (np.array(row.face.landmarks_px) - [12, 0]) * (64 / 96)
    assert np.abs(corners.numpy() - wanted).mean() < 4, "the face stands where it is in the square"


def test_backgrounds_are_removed_half_of_the_time(
    toy: ToyConsistentID, dataset: Dataset, tmp_path: Path
) -> None:
    """Where labels say what is background, and there only."""
    labels = np.full((96, 120), CLASSES.index("background"), np.uint8)
    labels[:, 40:80] = CLASSES.index("skin")
    Image.fromarray(labels).save(tmp_path / "labels.png")
    rows = tuple(row.model_copy(update={"parsing": str(tmp_path / "labels.png")}) for row in dataset.rows)
    one = training(toy, dataclasses.replace(dataset, rows=rows))
    seen: list[torch.Tensor] = []
    encode = one.base.vae.encode

    def listen(pixels: torch.Tensor) -> object:
        seen.append(pixels[0])
        return encode(pixels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one.base.vae, "encode", listen)
        whole, bare = one._target(0), one._bare_target(0)
    same = (seen[0] == seen[1]).all(dim=0)
    assert same[:, 24:40].all() and not same[:, :12].any() and seen[1][:, :, :12].abs().max() < 0.01
    assert torch.equal(whole["part_masks"], bare["part_masks"]) and not torch.equal(
        whole["mean"], bare["mean"]
    )
    for draw in range(4):
        one.batches(Moment(draw, 0.1, draw))
    made = [kind for kind, _ in one._kept._made]
    assert {"target", "bare target"} <= set(made)
    unlabelled = training(toy, dataset)
    unlabelled.batches(Moment(0, 0.1, 0))
    assert "bare target" not in {kind for kind, _ in unlabelled._kept._made}


def test_the_reference_is_another_picture_of_the_same_person(
    toy: ToyConsistentID, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, pairs = training(toy, dataset), []
    make = one._row
    monkeypatch.setattr(one, "_row", lambda t, r, g: pairs.append((t, r)) or make(t, r, g))
    for draw in range(12):
        one.batches(Moment(0, 0.0, draw))
    assert {target for target, _ in pairs} == set(range(5))
    for target, reference in pairs:
        assert dataset.rows[target].person == dataset.rows[reference].person
        assert (target == reference) == (dataset.rows[target].person == "ben"), (
            "who has one picture has no other"
        )
    part = training(toy, dataset, [0, 2])
    assert part._mates == {0: [0], 2: [2]}, "what is held out is no reference either"


def test_people_are_held_out_whole(dataset: Dataset) -> None:
    learned, held = finetune.split_people(dataset, 1)
    assert sorted(learned + held) == list(range(5))
    assert not {dataset.rows[row].person for row in learned} & {dataset.rows[row].person for row in held}
    assert finetune.split_people(dataset, 2) == (list(range(5)), list(range(5))), "too few people"


def test_the_split_says_who_is_learned_from(tmp_path: Path) -> None:
    """By their names' hash p9 is of the split "test", p1 and p132 are of "validation"."""
    people = ("p0", "p1", "p2", "p3", "p9", "p132")
    for number, person in enumerate(people):
        write_png(picture(number), tmp_path / "photos" / person / "0.png")
    how = {"detector": MiddleDetector(), "encoder": PixelEncoder(), "encoder_sha256": ""}
    made = build(tmp_path / "photos", tmp_path / "set", **how, captions=sidecar())  # type: ignore[arg-type]

    def split(dataset: Dataset, held_out: int) -> list[list[str]]:
        found = finetune.split_people(dataset, held_out)
        return [sorted(dataset.rows[row].person for row in rows) for rows in found]

    assert split(made, 5) == [["p0", "p2", "p3"], ["p1", "p132"]]
    learned, held = split(made, 1)
    assert learned == ["p0", "p2", "p3"] and len(held) == 1 and set(held) < {"p1", "p132"}
    assert split(made, 0) == [["p0", "p2", "p3"]] * 2

    def only(*names: str) -> Dataset:
        return replace(made, rows=tuple(row for row in made.rows if row.person in names))

    learned, held = split(only("p0", "p2", "p3", "p9"), 1)
    assert len(held) == 1 and sorted(learned + held) == ["p0", "p2", "p3"], "nobody of validation"
    assert split(only("p9"), 1) == [["p9"]] * 2, "one's own photos are learned from, whatever the name"

    manifest = tmp_path / "set" / "manifest.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert {line.pop("split") for line in lines} == {"train", "validation", "test"}
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    before = read_dataset(tmp_path / "set")
    assert split(before, 5) == [sorted(people)] * 2, "a set of before the split"
    learned, held = split(before, 1)
    assert sorted(learned + held) == sorted(people) and len(held) == 1


def run(
    toy: ToyConsistentID,
    dataset: Dataset,
    folder: Path,
    steps: int,
    checked: finetune.Validation,
    **more: Any,
) -> tuple[OwnDataTraining, dict[str, Any]]:
    one = training(toy, dataset)
    settings = {"steps": steps, "data": str(dataset.folder)}
    return one, finetune.finetune(
        one, folder, Budget(steps=steps), checked, settings=settings, log_every=2, **more
    )


def test_a_run_resumes_exactly_and_keeps_the_best(
    toy: ToyConsistentID, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = validation(dataset, monkeypatch)
    whole, result = run(toy, dataset, tmp_path / "whole", 6, checked)
    assert result["stopped_by"] == "finished" and result["scored_by"] == ["judge"]
    assert {path.name for path in (tmp_path / "whole").iterdir()} >= {
        "settings.json", "log.jsonl", "curves.svg", "validation", "adapter", "checkpoint-00000006",
    }  # fmt: skip
    assert read_image(tmp_path / "whole" / "validation" / "00000006.png").width > 200
    assert (tmp_path / "whole" / "curves.svg").read_text().count("<polyline") >= 1

    one = training(toy, dataset)
    make = one.batches

    def cut(moment: Moment) -> Any:
        if moment.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return make(moment)

    monkeypatch.setattr(one, "batches", cut)
    settings = {"steps": 6, "data": str(dataset.folder)}
    halves = tmp_path / "halves"
    stopped = finetune.finetune(one, halves, Budget(steps=6), checked, settings=settings)
    assert stopped["stopped_by"] == "signal" and stopped["steps"] == 4
    with pytest.raises(InputError, match="holds a training; resume it"):
        run(toy, dataset, halves, 6, checked)
    with pytest.raises(InputError, match="was begun with steps 6, not 9"):
        run(toy, dataset, halves, 9, checked, resume=True)
    resumed, _ = run(toy, dataset, halves, 6, checked, resume=True)
    for mine, theirs in zip(
        whole.pipeline.adapter.parameters(), resumed.pipeline.adapter.parameters(), strict=True
    ):
        assert torch.equal(mine, theirs)

    scores = [json.loads(line) for line in (halves / "validation" / "scores.jsonl").read_text().splitlines()]
    best = max(scores, key=lambda row: (row["score"], row["step"]))
    known = json.loads((halves / "settings.json").read_text())
    assert (known["best_step"], known["best_score"]) == (best["step"], best["score"])
    adapter, _ = load_adapter(halves / "adapter", load_base(toy.folder))
    assert adapter.sizes.family == "mini"


def test_a_run_says_what_it_is_trained_by_and_goes_on_with_that_alone(
    toy: ToyConsistentID, dataset: Dataset, tmp_path: Path
) -> None:
    looks, folder = finetune.Validation((), judge()), tmp_path / "run"

    def go(one: OwnDataTraining, **settings: Any) -> dict[str, Any]:
        asked = {"steps": 1, "adapter": None, "batch_size": None, "accumulate": 2, "processes": 1, **settings}
        return finetune.finetune(one, folder, Budget(steps=1), looks, settings=asked, resume=folder.is_dir())

    go(training(toy, dataset))
    about = folder / "settings.json"
    told = json.loads(about.read_text())
    assert {key: told[key] for key in ("batch_size", "learning_rate", "size", "face_weight")} == {
        "batch_size": 4, "learning_rate": 1e-3, "size": 64, "face_weight": 1.0
    }  # fmt: skip
    assert told["device"] == "cpu" and told["version"] == likeness.__version__
    go(training(toy, dataset))

    changed = training(toy, dataset)
    changed.settings = dataclasses.replace(changed.settings, face_weight=2.0)
    with pytest.raises(InputError, match=r"was begun with face_weight 1\.0, not 2\.0; resume it"):
        go(changed)
    others: list[tuple[dict[str, Any], str]] = [
        ({"adapter": "x"}, "adapter None, not 'x'"),
        ({"accumulate": 1}, "accumulate 2, not 1"),
        ({"processes": 2}, "processes 1, not 2"),
    ]
    for settings, refused in others:
        with pytest.raises(InputError, match=refused):
            go(training(toy, dataset), **settings)
    go(training(toy, dataset), accumulate=1, processes=2)  # a step has as many batches as before

    write_json(about, {**told, "version": "0.0.1", "device": "cuda"})
    go(training(toy, dataset))
    old = {key: told[key] for key in ("steps", "adapter", "accumulate", "processes")}
    write_json(about, {**old, "batch_size": None, "best_step": 1, "best_score": None})
    go(changed)
    with pytest.raises(InputError, match="steps 1, not 2"):
        go(changed, steps=2)


def test_a_data_set_of_another_encoder_is_refused(
    toy: ToyConsistentID, dataset: Dataset, tmp_path: Path
) -> None:
    other = Dataset(
        dataset.folder, dataset.about.model_copy(update={"encoder": "x"}), dataset.rows, dataset.embeddings
    )
    with pytest.raises(IncompatibleWeightsError, match=r"knows faces by x, the adapter by pixels"):
        training(toy, other)


def test_a_rehearsal_says_what_it_costs_and_keeps_nothing(toy: ToyConsistentID, dataset: Dataset) -> None:
    one = training(toy, dataset)
    cost = finetune.dry_run(one, accumulate=2)
    assert cost["parameters_trained"] == sum(p.numel() for p in one.pipeline.adapter.parameters())
    assert cost["seconds_a_step"] > 0 and cost["peak_memory_mib"]["process"] > 100


def test_any_description_that_names_parts_trains_them(toy: ToyConsistentID, dataset: Dataset) -> None:
    told = ["Left Ear, full Lips", "a long word, " * 60 + "One Eye.", "freckles", CAPTION, CAPTION]
    rows = [
        row.model_copy(update={"face_caption": text}) for row, text in zip(dataset.rows, told, strict=True)
    ]
    one = training(toy, Dataset(dataset.folder, dataset.about, tuple(rows), dataset.embeddings))
    named = [(one._row(n, n, torch.Generator())["part_tokens"] > 0).tolist() for n in range(5)]
    seen = [[part in row.parts for part in PARTS] for row in rows]
    spoken = [["ears", "mouth"], ["eyes"], [], PARTS, PARTS]
    assert named == [
        [part in words and there for part, there in zip(PARTS, row, strict=True)]
        for words, row in zip(spoken, seen, strict=True)
    ]
    assert any(named[0]) and any(named[1]) and all(named[3])
    assert one.warnings == ["1 of 5 pictures train without face parts: their face_caption names none."]
    assert finetune.warnings_of(training(toy, dataset)) == []


def test_a_rehearsal_does_not_count_the_checkpoint(
    toy: ToyConsistentID, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = loop.save_checkpoint

    def slow(*given: Any, **more: Any) -> Any:
        time.sleep(4)
        return saved(*given, **more)

    monkeypatch.setattr(loop, "save_checkpoint", slow)
    assert 0 < finetune.dry_run(training(toy, dataset))["seconds_a_step"] < 4


@pytest.mark.skipif(
    not (mini_path() / "pack.json").exists(), reason="the mini pack is not in this source tree"
)
def test_the_command_trains_on_ones_own_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune, "VALIDATION", 1)
    scene = straightened(sample_scene(HELD_OUT_SEEDS[3]))
    for view, one in enumerate((scene, straightened(with_same_person(scene, 1)))):
        write_png(Image.fromarray(render(one, 128).rgb), tmp_path / "me" / f"{view}.png")
    words = ["train", "consistentid", "--own", str(tmp_path / "me"), "-o", str(tmp_path / "run"), "--sitters"]
    words += ["--batch-size", "2"]
    with pytest.raises(SystemExit) as stop:
        main([*words, "--dry-run", "--steps", "100"])
    out, err = capsys.readouterr()
    assert not stop.value.code, err
    assert "M parameters are trained on 2 pictures" in out and "100 steps take" in out
    assert [one.name for one in tmp_path.iterdir()] == ["me"], "nothing is left of it"
    with pytest.raises(SystemExit) as stop:
        main([*words, "--steps", "2", "--json"])
    out, err = capsys.readouterr()
    assert not stop.value.code, err
    document = json.loads(out)
    assert document["steps"] == 2 and 0 <= document["score"] <= 1
    for row in read_dataset(tmp_path / "run" / "data").rows:
        assert row.parsing, "the pack's parser has looked at it"
        labels = np.asarray(Image.open(tmp_path / "run" / "data" / row.parsing))
        assert labels.shape == (128, 128) and {0, CLASSES.index("nose")} <= set(labels.flat)
    assert load_adapter(Path(document["adapter"]), load_base(mini_path()))[0].sizes.family == "mini"
    for mistake, told in (
        ([*words[:2], "-o", "x"], "either --data, a data set, or --own"),
        (words, "Say how long to train"),
        (
            ["train", "consistentid", "-o", "x", "--data", str(tmp_path), "--steps", "1"],
            "dataset.json: is missing",
        ),
        (["train", "consistentid", "-o", "x", "--own", "nowhere", "--steps", "1"], "nowhere is no folder"),
        (["train", "magic", "-o", "x", "--own", "nowhere", "--steps", "1"], "no method 'magic'"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(mistake)
        assert stop.value.code == 2 and told in capsys.readouterr().err


def test_a_run_killed_while_weights_change_places_keeps_those_it_had(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "model.safetensors").write_bytes(b"the best so far")
    with pytest.raises(FileNotFoundError):  # as far as a kill after the first of two renames
        finetune._put_in_place(tmp_path / "never-written", tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
    finetune._settle(tmp_path, {}, resume=True)
    assert (tmp_path / "adapter" / "model.safetensors").read_bytes() == b"the best so far"
    (tmp_path / "partial").mkdir()
    finetune._put_in_place(tmp_path / "partial", tmp_path / "adapter")
    assert {path.name for path in tmp_path.iterdir()} == {"adapter", "settings.json"}
    assert not list((tmp_path / "adapter").iterdir())
