from __future__ import annotations

import json
from pathlib import Path

import pytest

from likeness.cli.main import main
from likeness.files.images import read_image, read_recipe
from likeness.packs.mini import mini_path


@pytest.mark.skipif(
    not (mini_path() / "pack.json").exists(), reason="the mini pack is not in this source tree"
)
def test_demo_paints_scores_and_writes_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--out", str(tmp_path / "demo"), "--json"])
    out, err = capsys.readouterr()
    assert stop.value.code == 0, err
    document = json.loads(out)
    pictures = [tmp_path / "demo" / entry["file"] for entry in document["pictures"]]
    assert len(pictures) == 3
    for path, entry in zip(pictures, document["pictures"], strict=True):
        assert read_image(path).size == (128, 128)
        assert read_recipe(path)["request"]["prompt"] == entry["prompt"]
        assert entry["reason"] is None and 0 <= entry["likeness"] <= 1  # a face is found on each
    assert json.loads((tmp_path / "demo" / "result.json").read_text()) == {
        key: value for key, value in document.items() if key not in ("out", "page")
    }
    page = Path(document["page"]).read_text("utf-8")
    assert page.count("<img ") == 4
    assert "http" not in page.split("<h2>Weights")[0]
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == sorted(
        [*(path.name for path in pictures), "contact-sheet.png", "index.html", "result.json"]
    )
