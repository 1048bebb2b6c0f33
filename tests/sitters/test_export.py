"""Exports: the same bytes each time, finished when taken up again, readable with the usual tools."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from likeness.errors import InputError
from likeness.files.images import read_image
from likeness.sitters.export import ExportSettings, export
from likeness.sitters.parameters import Scene
from likeness.sitters.render import LABELS, LANDMARKS, render
from likeness.sitters.sample import HELD_OUT_SEEDS, sample_scene

SMALL = ExportSettings(count=5, seed=HELD_OUT_SEEDS.start, size_px=32, chunk=2)
WITH_TRUTH = ExportSettings(
    count=3, seed=40, size_px=32, format="shards", truths=("labels", "depth", "normals", "landmarks"), chunk=2
)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def rows(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text("utf-8").splitlines()]


def test_a_folder_holds_pictures_and_their_rows(tmp_path: Path) -> None:
    summary = export(SMALL, tmp_path / "out", workers=1)
    assert (summary["people"], summary["pictures"], summary["resumed"]) == (5, 5, 0)
    found = rows(tmp_path / "out")
    assert [row["seed"] for row in found] == list(range(SMALL.seed, SMALL.seed + 5))
    for row in found:
        picture = read_image(tmp_path / "out" / str(row["file_name"]))
        scene = sample_scene(int(str(row["seed"])))
        assert np.array_equal(picture, render(scene, 32).rgb)
        assert Scene.from_record(row["record"]) == scene  # type: ignore[arg-type]
        assert row["split"] == "held out"
        assert row["text"] in row["captions"]  # type: ignore[operator]
    assert len(list((tmp_path / "out" / "images").iterdir())) == 5
    assert not list(tmp_path.rglob(".*"))


def test_shards_are_read_by_name_and_by_offset(tmp_path: Path) -> None:
    export(WITH_TRUTH, tmp_path, workers=1)
    table = pq.read_table(tmp_path / "manifest.parquet").to_pylist()
    assert [row["shard"] for row in table] == ["shard-00000.tar", "shard-00000.tar", "shard-00001.tar"]
    for row in table:
        picture = render(sample_scene(row["seed"]), 32)
        with tarfile.open(tmp_path / row["shard"]) as tar:
            files = {
                name.split(".", 1)[1]: tar.extractfile(name) for name in tar.getnames() if row["key"] in name
            }
            data = {kind: file.read() for kind, file in files.items() if file}
        assert sorted(data) == ["depth.npy", "json", "labels.png", "normals.npy", "png", "txt"]
        shard = (tmp_path / row["shard"]).read_bytes()
        assert shard[row["image_offset"] :][: row["image_length"]] == data["png"]
        sample = io.BytesIO(shard[row["offset"] :][: row["length"]])
        with tarfile.open(fileobj=sample) as part:
            assert len(part.getnames()) == 6
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data["png"]))), picture.rgb)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data["labels.png"]))), picture.labels)
        assert np.array_equal(np.load(io.BytesIO(data["depth.npy"])), picture.depth)
        assert np.array_equal(np.load(io.BytesIO(data["normals.npy"])), picture.normals)
        assert data["txt"].decode() == row["text"]
        landmarks = json.loads(data["json"])["landmarks"]
        assert [point["name"] for point in landmarks] == list(LANDMARKS)
        assert np.allclose([[p["x"], p["y"]] for p in landmarks], picture.landmarks_px, atol=1e-3)
        assert picture.labels.max() < len(LABELS)


@pytest.mark.parametrize("settings", [SMALL, WITH_TRUTH])
def test_the_same_bytes_in_one_go_or_after_a_stop(tmp_path: Path, settings: ExportSettings) -> None:
    export(settings, tmp_path / "whole", workers=1)

    class StopError(Exception):
        pass

    painted = 0

    def stop(_: int) -> None:
        nonlocal painted
        painted += 1
        if painted == 3:
            raise StopError

    with pytest.raises(StopError):
        export(settings, tmp_path / "stopped", workers=2, on_pictures=stop)
    assert not (tmp_path / "stopped" / "metadata.jsonl").exists()
    assert not list((tmp_path / "stopped").rglob("*.part"))
    assert export(settings, tmp_path / "stopped", workers=2)["resumed"] == 2
    assert contents(tmp_path / "whole") == contents(tmp_path / "stopped")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "whole").rglob("*.[pt]*")}
    assert export(settings, tmp_path / "whole")["resumed"] == settings.count
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "whole").rglob("*.[pt]*")}


@pytest.mark.parametrize(("kind", "other"), [("view", {"pose", "camera"}), ("light", {"light"})])
def test_pairs_show_one_person_twice(tmp_path: Path, kind: str, other: set[str]) -> None:
    export(ExportSettings(count=2, seed=7, size_px=16, pairs=kind), tmp_path, workers=1)  # type: ignore[arg-type]
    found = rows(tmp_path)
    assert len(found) == 4
    for first, second in (found[:2], found[2:]):
        assert first["identity"] == second["identity"]
        assert (first["partner"], second["partner"]) == (second["file_name"], first["file_name"])
        a, b = (Scene.from_record(row["record"]) for row in (first, second))  # type: ignore[arg-type]
        assert {name for name in a.record() if getattr(a, name) != getattr(b, name)} == {*other, "seed"}
        assert first["instructions"] and second["instructions"]
    assert found[0]["identity"] != found[2]["identity"]


def test_wrong_settings_and_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="count is 0"):
        ExportSettings(count=0)
    with pytest.raises(InputError, match="size_px is 8"):
        ExportSettings(count=1, size_px=8)
    with pytest.raises(InputError, match="no truth 'hue'"):
        ExportSettings(count=1, truths=("hue",))  # type: ignore[arg-type]
    export(ExportSettings(count=1, size_px=16), tmp_path / "out", workers=1)
    with pytest.raises(InputError, match="an export with size_px 16, not 32"):
        export(ExportSettings(count=1, size_px=32), tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="is not empty"):
        export(SMALL, tmp_path / "full")
    with pytest.raises(InputError, match="is a file"):
        export(SMALL, tmp_path / "full" / "letter.txt")
