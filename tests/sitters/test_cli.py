"""`likeness sitters`: what each verb writes and says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from likeness.cli.main import main
from likeness.sitters.sample import sample_scene
from likeness.sitters.words import captions


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["sitters", *words])
    code = ended.value.code
    return code if isinstance(code, int) else 0


def test_caption_says_what_the_library_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("caption", "12", "--count", "3") == 0
    assert capsys.readouterr().out.splitlines() == captions(sample_scene(12), 3, 12)
    assert run("caption", "12", "--json") == 0
    assert json.loads(capsys.readouterr().out)["captions"] == captions(sample_scene(12), 5, 12)


def test_sheet_and_view_write_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "sheet.png"
    assert (
        run("sheet", "--count", "4", "--columns", "2", "--size", "32", "--same-person", "--out", str(out))
        == 0
    )
    with Image.open(out) as sheet:
        assert sheet.width >= 2 * 32 and abs(sheet.width - sheet.height) < 32
    capsys.readouterr()
    assert run("view", "--count", "2", "--size", "32", "--pairs", "view", "--out", str(out), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pairs"] == "view" and len(found["instructions"]) == 2


def test_export_writes_and_finishes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order = [
        "export",
        "--count",
        "2",
        "--size",
        "32",
        "--with",
        "depth, labels",
        "--out",
        str(tmp_path / "set"),
        "--json",
    ]
    assert run(*order) == 0
    assert json.loads(capsys.readouterr().out)["resumed"] == 0
    assert {p.name for p in (tmp_path / "set").iterdir()} == {
        "depth", "export.json", "images", "labels", "metadata.jsonl",
    }  # fmt: skip
    assert run(*order) == 0
    assert json.loads(capsys.readouterr().out)["resumed"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "--out", "x", "--count", "1", "--with", "labels,hue"], "'hue' is no ground truth"),
        (["export", "--out", "x", "--count", "0"], "count"),
        (["view", "--out", "x.png", "--pairs", "hat"], "'hat'"),
        (["sheet", "--out", "x.png", "--size", "4"], "size"),
        (["caption", "-5"], "-5"),
    ],
)
def test_wrong_options_end_with_two(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
