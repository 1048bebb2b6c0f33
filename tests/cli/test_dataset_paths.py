"""What a build hands to other processes names files from the root: those begin in other folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from likeness.cli.main import main
from likeness.data import engine
from likeness.errors import InputError
from likeness.files.images import read_image, write_png
from tests.methods.toys import picture


def test_a_build_hands_on_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[Any] = []

    def kept(builder: Any, *_: object, **__: object) -> None:
        handed.append(builder)
        raise InputError("That will do.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine, "build", kept)
    write_png(picture(0), tmp_path / "in" / "anna" / "0.png")
    (tmp_path / "clip").mkdir()
    (tmp_path / "encoder.onnx").write_bytes(b"")
    asks = ["in", "-o", "set", "--vlm", "http://127.0.0.1:9/v1", "--vlm-model", "m"]
    for words in (["cheese", *asks, "--clip", "clip"], ["fgid", *asks, "--encoder", "encoder.onnx"]):
        with pytest.raises(SystemExit) as stop:
            main(["dataset", "build", *words])
        assert stop.value.code == 2
    cheese, people = handed
    assert cheese.clip.args == (tmp_path / "clip",)
    assert cheese.annotator.server.kept == tmp_path / "set" / "asked"
    assert people.models.args[0] == tmp_path / "encoder.onnx"
    for builder in handed:
        assert (builder.source, builder.folder) == (tmp_path / "in", tmp_path / "set")


def test_pairs_in_a_relative_folder_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "in" / "0001"
    for number in range(2):
        write_png(picture(number), folder / f"{number}.png")
        read_image(folder / f"{number}.png").save(folder / f"7_{number}.jpg")
    (folder / "prompt.json").write_text(json.dumps({"edit": "nod"}))
    with pytest.raises(SystemExit) as stop:
        main(["dataset", "import", "in", "-o", "set"])
    assert not stop.value.code
    [row] = pq.read_table(tmp_path / "set" / "manifest.parquet").to_pylist()
    assert row["instruction"] == "nod"
