"""Each import contract of pyproject.toml is broken on purpose in a copy, and has to notice."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]

# (contract, file to plant in, line planted)
BREAKS = [
    ("Layers: lower never imports higher", "files/planted.py", "import likeness.catalog"),
    ("Layers: lower never imports higher", "types.py", "import likeness.files.images"),
    ("Layers: lower never imports higher", "faces/planted.py", "import likeness.sitters"),
    ("Layers: lower never imports higher", "faces/planted.py", "import likeness.diffusion"),
    ("Layers: lower never imports higher", "diffusion/planted.py", "import likeness.packs"),
    ("Layers: lower never imports higher", "catalog.py", "import likeness.cli.main"),
    ("Methods know nothing of each other", "methods/planted/card.py", "import likeness.methods.consistentid"),
    ("Only the catalog imports methods", "cli/planted.py", "import likeness.methods.consistentid"),
    ("Methods never import evaluation", "methods/consistentid/planted.py", "import likeness.evaluation"),
    ("Face-model runtimes only in faces", "diffusion/planted.py", "import onnxruntime"),
    ("Face-model runtimes only in faces", "cli/planted.py", "import cv2"),
    ("Web code only in studio", "cli/planted.py", "import fastapi"),
]


def broken_contracts(folder: Path) -> list[str]:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "src"), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    broken = re.findall(r"^(.+) BROKEN", done.stdout, re.MULTILINE)
    assert (done.returncode == 0) == (not broken), done.stdout + done.stderr
    return broken


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(REPO / "pyproject.toml", folder)
    shutil.copytree(REPO / "src" / "likeness", folder / "src" / "likeness", ignore=_not_python)
    return folder


def _not_python(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith(".py") and not (Path(folder) / name).is_dir()]


def test_contracts_hold(copy: Path) -> None:
    assert broken_contracts(copy) == []


@pytest.mark.parametrize(("contract", "place", "line"), BREAKS, ids=lambda value: str(value)[:32])
def test_planted_break_is_caught(copy: Path, contract: str, place: str, line: str) -> None:
    file = copy / "src" / "likeness" / place
    new_folder = not file.parent.exists()
    before = file.read_text() if file.exists() else None
    try:
        file.parent.mkdir(exist_ok=True)
        if new_folder:
            (file.parent / "__init__.py").touch()
        file.write_text(f"{before or ''}\n{line}\n")
        assert contract in broken_contracts(copy)
    finally:
        if new_folder:
            shutil.rmtree(file.parent)
        elif before is None:
            file.unlink()
        else:
            file.write_text(before)


def test_web_code_is_allowed_in_studio_and_runtimes_in_faces(copy: Path) -> None:
    planted = {"studio": "import fastapi\nimport likeness.catalog", "faces": "import onnxruntime, cv2"}
    files = {copy / "src" / "likeness" / place / "planted.py": line for place, line in planted.items()}
    try:
        for file, line in files.items():
            file.write_text(line + "\n")
        assert broken_contracts(copy) == []
    finally:
        for file in files:
            file.unlink(missing_ok=True)
