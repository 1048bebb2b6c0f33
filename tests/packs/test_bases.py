"""A base by name, folder or already open, with device and dtype as words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from likeness.errors import InputError
from likeness.packs import open_base
from tests.tiny import write_mini


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mini(tmp_path_factory.mktemp("base") / "small")


def test_an_open_base_is_given_back(folder: Path) -> None:
    base = open_base(folder, "cpu", "bfloat16")
    assert (base.name, base.dtype, base.device) == ("small", torch.bfloat16, torch.device("cpu"))
    assert open_base(base) is base


def test_without_words_the_machine_decides(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    base = open_base(str(folder))
    assert (base.dtype, base.device.type) == (torch.float32, "cpu")
    assert open_base(folder, dtype=torch.float16).dtype == torch.float16


def test_mini_is_the_pack_that_comes_along() -> None:
    base = open_base("mini", "cpu")
    assert (base.family, base.size_px, base.unit_px) == ("mini", 128, 32)


def test_what_does_not_exist_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match="dtype must be float32, float16 or bfloat16, not 'int8'"):
        open_base(folder, "cpu", "int8")
    with pytest.raises(InputError, match="no device 'toaster'"):
        open_base(folder, "toaster")
