"""What is trained on a machine without a network comes back whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "train_offline.py"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_changed_files_come_back_in_small_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import train_offline

    monkeypatch.setattr(train_offline, "PIECE_BYTES", 20_000)
    pack = tmp_path / "pack"
    (pack / "unet").mkdir(parents=True)
    (pack / "old.bin").write_bytes(b"old")
    os.utime(pack / "old.bin", (1000, 1000))
    weights = os.urandom(50_000)
    (pack / "unet" / "model.safetensors").write_bytes(weights)
    assert train_offline.split(pack, 2000.0, tmp_path / "out") == 4  # with the tar's own padding
    assert max(p.stat().st_size for p in (tmp_path / "out").iterdir()) == 20_000
    assert run("join", tmp_path / "out", tmp_path / "back").returncode == 0
    assert (tmp_path / "back" / "unet" / "model.safetensors").read_bytes() == weights
    assert not (tmp_path / "back" / "old.bin").exists()


def test_a_part_that_fails_says_which_and_leaves_what_was_finished(tmp_path: Path) -> None:
    done = run("train", "--out", tmp_path / "out", "--pack", tmp_path / "pack", "--minutes", "banana=1")
    assert done.returncode == 1
    assert "banana failed" in done.stderr
