"""Attributes to be taught: scenes with and without them, their words, and pictures on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from likeness.cli.main import main
from likeness.errors import InputError
from likeness.files.images import read_image, read_recipe
from likeness.sitters import attributes, sample_scene, straightened
from likeness.sitters.taught import (
    KINDS,
    TAUGHT,
    attribute_of,
    hiding,
    showing,
    split_caption,
    write_taught,
)


@pytest.mark.parametrize("text", [*TAUGHT, "glasses=sunglasses", "garment=hoodie", "lipstick=red"])
def test_a_scene_shows_it_and_nothing_else_changes(text: str) -> None:
    attribute = attribute_of(text)
    shown = 0
    for seed in range(6):
        plain = sample_scene(seed)
        scene = showing(plain, attribute, seed)
        if scene is None:
            continue
        shown += 1
        assert attributes(scene)[attribute.kind] == attribute.value
        factors = KINDS[attribute.kind][0]
        for name in ("identity", "pose", "camera", "background", "expression", "light"):
            assert getattr(scene, name) == getattr(plain, name)
        changed = [n for n in ("hair", "clothes", "accessories", "makeup") if n not in factors]
        assert all(getattr(scene, name) == getattr(plain, name) for name in changed)
        assert scene == showing(plain, attribute, seed), "the same seed, the same scene"
        assert not attribute.shown_in(hiding(scene, [attribute], seed))
    assert shown >= 4
    unlike = straightened(sample_scene(3))
    if not attribute.shown_in(unlike):
        assert hiding(unlike, [attribute], 0) == unlike


def test_its_words_stand_apart() -> None:
    hat, hair = attribute_of("hat=bobble hat"), attribute_of("hair=afro")
    for seed in range(8):
        scene = showing(sample_scene(seed), hat, seed)
        assert scene is not None
        base, target = split_caption(scene, hat, seed)
        assert "bobble hat" in target and target.startswith("wearing a")
        assert "hat" not in base.split() and "bobble" not in base
        other = showing(sample_scene(seed), hair, seed)
        if other is not None:
            base, target = split_caption(other, hair, seed)
            assert target.startswith("with a") and "afro" in target and "hair" not in base
    with pytest.raises(InputError, match="does not show"):
        split_caption(hiding(sample_scene(0), [hat], 0), hat, 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [("hat", "There is no hat ''"), ("hat=crown", "cap, beanie"), ("skin=dark", "cannot be taught"),
     ("pattern=plain", "no pattern 'plain'")],
)  # fmt: skip
def test_what_cannot_be_taught_is_named(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        attribute_of(text)


def test_pictures_and_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sitters", "taught", "hat=bobble hat", "pattern=camouflage", "--count", "2", "--size", "32"]
    with pytest.raises(SystemExit) as stop:
        main([*words, "-o", str(tmp_path / "out"), "--json"])
    out, err = capsys.readouterr()
    assert not stop.value.code, err
    assert json.loads(out)["pictures"] == 4
    rows = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    assert [row["attribute"] for row in rows] == ["bobble hat", "camouflage"] * 2
    for row in rows:
        assert row["text"] == f"{row['base'].rstrip('.')}, {row['target']}."
        file = tmp_path / "out" / row["file_name"]
        assert read_image(file).size == (32, 32) and read_recipe(file)["sitter"] == row["identity"]
    again = tmp_path / "again"
    write_taught(again, [attribute_of("hat=bobble hat"), attribute_of("pattern=camouflage")], range(2), 32)
    assert (again / "metadata.jsonl").read_text() == (tmp_path / "out" / "metadata.jsonl").read_text()
    assert (again / rows[0]["file_name"]).read_bytes() == (
        tmp_path / "out" / rows[0]["file_name"]
    ).read_bytes()
