"""`likeness face inspect` as users call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from likeness.cli.main import main
from tests.faces.places import MODEL, SHARED, needs_photos


@pytest.fixture(autouse=True)
def _with_yunet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_MODELS", str(MODEL.parent))
    monkeypatch.delenv("LIKENESS_DEBUG", raising=False)


def run(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["face", "inspect", *words])
    out, err = capfd.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, out, err


@needs_photos
def test_five_photos(capfd: pytest.CaptureFixture[str]) -> None:
    photos = sorted(str(path) for path in (SHARED / "photos").iterdir())
    code, out, err = run(capfd, *photos, "--json", "--best", "2")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert [len(entry["faces"]) for entry in document["photos"]] == [1, 1, 1, 1, 2]
    assert [entry["path"] for entry in document["photos"]] == photos
    cut = document["photos"][3]
    assert [reason["subject"] for reason in cut["reasons"]] == ["border"]
    assert len(document["best"]["photos"]) == 2
    assert document["detector"] == {"name": "yunet", "licence": "MIT"}


@needs_photos
def test_goes_on_after_a_bad_file_and_returns_the_worst_code(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bad, blank = tmp_path / "bad.jpg", tmp_path / "blank.png"
    bad.write_bytes(b"no picture at all")
    Image.new("RGB", (200, 200), (90, 120, 90)).save(blank)
    good = str(SHARED / "photos" / "obama.jpg")
    code, out, err = run(capfd, str(bad), good)
    assert code == 3
    assert out.startswith(f"{good}: 1 face, usable")
    assert err.startswith(f"error: {bad} ")
    assert err.count("\n") == 1
    code, out, err = run(capfd, str(bad), str(blank), good)
    assert code == 4
    assert f"{blank}: no face, unusable" in out
    assert "tried" in out
    code, out, _ = run(capfd, str(bad), "--json")
    assert code == 3
    assert json.loads(out)["photos"][0]["error"]["type"] == "ImageError"


@needs_photos
def test_a_box_chooses_a_face_and_a_bad_box_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    two = str(SHARED / "photos" / "two_people.jpg")
    code, out, _ = run(capfd, two, "--box", "230,20,390,230", "--json")
    entry = json.loads(out)["photos"][0]
    assert code == 0
    assert entry["status"] == "usable"
    assert entry["landmarks_from"] == "yunet"
    _, out, _ = run(capfd, two, "--box", "20,300,120,420")
    assert "average face" in out
    for box in ("1,2,3", "a,b,c,d", "10,10,5,5", "0,0,9999,9999"):
        code, out, err = run(capfd, two, "--box", box)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    assert run(capfd, two, two, "--box", "1,1,50,50")[0] == 2


def test_no_detector_to_be_had(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("LIKENESS_MODELS")
    monkeypatch.setenv("LIKENESS_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, out, err = run(capfd, "any.jpg", "--detector", "yunet")
    assert (code, out) == (6, "")
    assert "LIKENESS_MODELS" in err
    assert err.count("\n") == 1
