"""`likeness pack`: what comes along, described and shown; recipes are tested in tests/packs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from likeness.cli.main import main
from likeness.collection import PRESETS
from likeness.diffusion.prompts import prompt_warnings
from likeness.files.images import read_image, read_recipe
from likeness.packs import mini_path, open_base, read_card, unknown_words, workshop
from likeness.packs.data import SCENES
from likeness.packs.workshop import Workshop
from likeness.sitters.words import plain_words
from likeness.training import TrainResult


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["pack", *arguments])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_words_nobody_taught_it_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "words", "A red hat by Banksy", "--json")
    assert code == 0
    assert json.loads(out) == {"prompt": "A red hat by Banksy", "unknown": ["banksy"]}
    code, out, _ = run(capsys, "words")
    assert code == 0 and {"hat", "smiling", "zoom"} <= set(out.split())


@pytest.mark.skipif(
    not (mini_path() / "pack.json").exists(), reason="the mini pack is not in this source tree"
)
def test_painters_and_the_word_list_agree() -> None:
    """Pieces of words ("king" of "looking") are tokens of its text encoder, and no words to it."""
    base = open_base("mini")
    said = "a king in bed with his son, a ball and an ant in 1990"
    missing = ["king", "bed", "son", "ball", "ant", "1990"]
    assert unknown_words(mini_path(), said) == missing
    [warning] = prompt_warnings(base, said, plain_words())
    assert warning == f"The mini base does not know {', '.join(map(repr, missing))}."
    said_to_editors = [text for texts in PRESETS.values() for text in texts]
    for text in (*said_to_editors, "turn the head and zoom in", "make this an image of someone's hat"):
        assert unknown_words(mini_path(), text) == []
        assert prompt_warnings(base, text, plain_words()) == []


def test_the_card_is_the_packs(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "card", "--json")
    assert code == 0
    card = read_card(mini_path())
    assert json.loads(out)["parts"]["unet"]["sha256"] == card.parts["unet"].sha256
    code, out, _ = run(capsys, "card")
    assert all(digest in out for part in card.parts.values() for digest in part.sha256.values())


def test_a_wrong_split_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "draw", "nonsense", "--work", str(tmp_path))
    assert code == 2 and "There is no split 'nonsense'" in err


def test_a_new_build_forgets_every_stage_of_the_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in its first stage and taken up, it would go on in the second where another build stood."""
    monkeypatch.setattr(
        "likeness.catalog.adapter_recipe", lambda name: lambda shop: TrainResult(1, 0.1, "finished", {})
    )
    runs = tmp_path / "runs" / "mini"
    for run_of in ("instant-portrait-teacher", "instant-portrait-2", "ic-portrait-matching"):
        (runs / run_of / "checkpoint-00000005").mkdir(parents=True)
    order = ("build", "--part", "instant-portrait", "--work", str(tmp_path), "--pack", str(tmp_path / "pack"))
    for more, left in (("--resume",), 3), ((), 1):
        code, _, err = run(capsys, *order, *more)
        assert code == 0, err
        assert len(list(runs.iterdir())) == left
    assert (runs / "ic-portrait-matching").is_dir()


def test_the_shipped_weights_stay_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped, work = tmp_path / "shipped", tmp_path / "work"
    (shipped / "unet").mkdir(parents=True)
    for name in ("pack.json", "unet/config.json"):
        (shipped / name).write_text("{}")
    packs: list[Path] = []

    def train(shop: Workshop) -> TrainResult:
        packs.append(shop.pack)
        (shop.part("unet") / "config.json").write_text("new")
        return TrainResult(1, 0.1, "finished", {})

    monkeypatch.setattr("likeness.packs.mini_path", lambda: shipped)
    monkeypatch.setattr("likeness.catalog.adapter_recipe", lambda name: train)
    order = ("build", "--part", "instant-portrait", "--work", str(work))
    for again in (False, True):
        code, out, err = run(capsys, *order)
        assert code == 0, err
        assert f"written to {work / 'packs' / 'mini'}" in out
        assert (packs[-1] / "unet" / "config.json").read_text() == "new"
        assert (packs[-1] / "since").exists() == again, "copied once, then gone on with"
        (packs[-1] / "since").touch()
    assert packs == [work / "packs" / "mini"] * 2
    assert {file.read_text() for file in shipped.rglob("*.json")} == {"{}"}
    code, _, err = run(capsys, *order, "--pack", str(shipped / "pack.json" / "new"))
    assert code == 2 and "give a folder for the pack." in err
    assert len(packs) == 2, "said before anything is trained"


def test_every_split_that_a_build_reads_can_be_drawn(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn: dict[str, int] = {}

    def draw_split(folder: Path, split: str, *, people: int, **more: object) -> None:
        drawn[split] = people

    monkeypatch.setattr("likeness.packs.data.draw_split", draw_split)
    assert run(capsys, "draw", "--work", str(tmp_path))[0] == 0
    shop = Workshop(work=tmp_path, pack=tmp_path, held_out_people=500)
    assert drawn == {split: shop.people_of(split) for split in drawn}
    assert set(drawn) == {*SCENES, "train", "judge", "held_out", "calibration"}


def test_a_sheet_holds_its_captions_and_is_the_same_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "one.png", tmp_path / "two.png"]
    for file in files:
        code, _, err = run(capsys, "sheet", "-o", str(file), "--count", "2", "--columns", "2", "--steps", "2")
        assert code == 0, err
    assert np.array_equal(*(np.asarray(read_image(file)) for file in files))
    assert len(read_recipe(files[0])["sheet"]["prompts"]) == 2


def test_other_people_can_be_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("likeness.packs.data.SHARD_PEOPLE", 3)
    errors = {}
    for seed in ("0", "3"):
        options = ("--part", "landmarks", "--people", "3", "--views", "2", "--seed", seed)
        code, out, err = run(capsys, "check", *options, "--work", str(tmp_path), "--json")
        assert code == 0, err
        row = json.loads(out)["landmarks"]
        errors[seed] = row["error"]
        assert row["within_3_percent_interval"] > 0
        assert row["targets"] == {
            "found": {"target": ">= 1", "reached": row["found"] == 1},
            "error": {"target": "<= 0.03", "reached": row["error"] <= 0.03},
        }
    code, out, _ = run(capsys, "check", *options, "--work", str(tmp_path))
    verdict = "reached" if row["error"] <= 0.03 else "missed"
    assert f"(target <= 0.03: {verdict})" in out and "_interval" not in out
    [pixels] = (tmp_path / "data" / "held_out-from-3").glob("*/pixels.npy")
    np.save(pixels, 255 - np.load(pixels))
    workshop._pictures.cache_clear()  # as another process sees it
    code, _, err = run(capsys, "check", *options, "--work", str(tmp_path))
    assert code == 2 and "drawn by another version of the renderer" in err
    assert errors["0"] != errors["3"]
    people = {
        json.loads(line)["seed"]
        for rows in (tmp_path / "data").glob("held_out*/*/rows.jsonl")
        for line in rows.read_text().splitlines()
    }
    assert len(people) == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("build", "micro"), "mini and nano"),
        (("build", "nano", "--part", "landmarks"), "no part 'landmarks'"),
        (("check", "--part", "hat"), "Nothing measures 'hat'"),
        (("check", "--people", "20", "--seed", "4990"), "have 5000 held-out people"),
        (("check", "--people", "1"), "--people"),
        (("check", "--views", "1"), "--views"),
        (("card", "--pack", "nowhere"), "is not a model pack"),
        (("sheet", "-o", "x.png", "--device", "toaster"), "no device 'toaster'"),
    ],
)
def test_mistakes_get_one_sentence(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2 and not out
    assert words in err and "Traceback" not in err
