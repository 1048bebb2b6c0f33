"""Training InstantPortrait on edit pairs as `likeness dataset import` makes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import ViTImageProcessor

from likeness.cli.main import main
from likeness.data.edit_pairs import PairImporter
from likeness.data.engine import build
from likeness.data.kinds import check, open_dataset
from likeness.errors import InputError
from likeness.files.images import write_png
from likeness.methods.instant_portrait import own_data
from likeness.methods.instant_portrait.config import STAGES
from likeness.methods.instant_portrait.own_data import load_training, stage_at
from likeness.methods.instant_portrait.pipeline import load
from likeness.packs import mini
from likeness.training.options import TrainingOptions
from likeness.types import PortraitRequest
from tests import tiny
from tests.methods.toys import MiddleDetector, picture


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    for n in range(3):
        (source / str(n)).mkdir(parents=True)
        (source / str(n) / "prompt.json").write_text(json.dumps({"edit": f"a red hat {n}"}))
        for side in (0, 1):
            picture(2 * n + side).save(source / str(n) / f"7_{side}.jpg")
    build(PairImporter(source), tmp_path / "set")
    return tmp_path / "set"


def test_check_reads_pairs_and_names_a_broken_shard(pairs: Path) -> None:
    assert open_dataset(pairs).about.kind == "pairs"
    assert check(pairs) == []
    [shard] = (pairs / "shards").glob("*.tar")
    data = bytearray(shard.read_bytes())
    data[512 : 512 + 400] = bytes(400)
    shard.write_bytes(bytes(data))
    [problem] = check(pairs)
    assert (problem.file, problem.line) == (f"shards/{shard.name}", 1)
    assert ".jpg" in problem.text or "picture" in problem.text


def test_rows_of_table_6_follow_each_other() -> None:
    assert [stage_at(STAGES, progress) for progress in (0.0, 0.6, 0.62, 0.97, 0.98, 1.0)] == [
        STAGES[0], STAGES[0], STAGES[1], STAGES[1], STAGES[2], STAGES[2],
    ]  # fmt: skip


def test_both_stages_train_and_their_weights_edit(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny.write_mini(tmp_path / "mini")
    mini.recogniser(width=8, dim=16).save_pretrained(base / "recogniser")
    tiny.backbone().model.save_pretrained(base / "vit")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(base / "vit")
    monkeypatch.setattr(own_data, "find_detector", lambda *_: MiddleDetector())
    run = tmp_path / "run"
    command = ["train", "instant-portrait", "--data", str(pairs), "--base", str(base), "-o", str(run),
               "--steps", "2", "--batch-size", "2", "--size", "64", "--device", "cpu", "--json"]  # fmt: skip
    told = json.loads(done(command, capsys))
    assert {name: one["steps"] for name, one in told["stages"].items()} == {"ide-net": 2, "ipnet": 2}
    assert json.loads(done([*command, "--resume"], capsys))["stages"].keys() == told["stages"].keys()
    for stage, one in told["stages"].items():
        kept = json.loads((run / stage / "settings.json").read_text())
        assert (kept["batch_size"], kept["size"], kept["stage"]) == (2, 64, stage)
        assert kept["learning_rate"] == own_data.RATES["mini"][stage]
        pipeline = load(base, one["adapter"])
        assert pipeline.settings.stage == stage
        [result] = pipeline([PortraitRequest("a red hat", (picture(1),), size_px=(64, 64), steps=1)])
        assert result.image.size == (64, 64)
    write_png(picture(1), tmp_path / "one.png")
    done(["edit", str(tmp_path / "one.png"), "-i", "a red hat", "--base", str(base), "--adapter",
          told["stages"]["ipnet"]["adapter"], "-o", str(tmp_path / "out"), "--json"], capsys)  # fmt: skip
    ide_net = Path(told["stages"]["ide-net"]["adapter"])
    options = TrainingOptions(adapter=ide_net, device="cpu", size_px=64)
    for ablation, margin in ((None, False), ("standard margin", True)):
        training = load_training(
            open_dataset(pairs), [0, 1, 2], base, options, stage="ipnet", ablation=ablation
        )
        assert training.phases[0].standard_margin == margin  # type: ignore[attr-defined]
    alone = load_training(open_dataset(pairs), [0], base, options, stage="ide-net", ablation="no identity")
    assert alone.phases[0].recogniser is None  # type: ignore[attr-defined]
    nothing = TrainingOptions(device="cpu", size_px=64)
    for words, said in (
        ({"ablation": "magic"}, "There is no ablation 'magic'"),
        ({}, "distilled from an IDE-Net"),
    ):
        with pytest.raises(InputError, match=said):
            assert load_training(open_dataset(pairs), [0], base, nothing, stage="ipnet", **words).phases


def done(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints that ends well."""
    with pytest.raises(SystemExit) as end:
        main(words)
    out, err = capsys.readouterr()
    assert not end.value.code, err
    return out
