"""Every broken file of the zoo, given as a reference: one sentence, exit code 3, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from likeness.cli.main import main
from tests.files.zoo import populate


def test_broken_references(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIKENESS_DEBUG", raising=False)
    (tmp_path / "zoo").mkdir()
    refused = [(path, words) for path, words in populate(tmp_path / "zoo") if words is not None]
    assert len(refused) >= 40
    for path, words in refused:
        with pytest.raises(SystemExit) as stop:
            main(["generate", "--reference", str(path), "--prompt", "hat", "--out", str(tmp_path / "out")])
        out, err = capfd.readouterr()
        assert stop.value.code == 3, path.name
        assert out == ""
        assert err.startswith(f"error: {path} ")
        assert words in err
        assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
