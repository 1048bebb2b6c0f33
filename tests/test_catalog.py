from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import likeness
from likeness import catalog
from likeness.catalog import adapter_names, adapter_recipe, card, load_pipeline, method_names
from likeness.errors import InputError

SOURCE = Path(__file__).parents[1] / "src"


def test_every_folder_with_a_card_is_a_method() -> None:
    folders = {path.parent.name for path in (SOURCE / "likeness" / "methods").glob("*/card.py")}
    assert {name.replace("-", "_") for name in method_names()} == folders
    assert "consistentid" in method_names()


def test_unknown_method() -> None:
    for call in (card, load_pipeline):
        with pytest.raises(InputError, match="did you mean consistentid"):
            call("consistent-id")
        with pytest.raises(InputError, match=r"choose from .*consistentid"):
            call("zzz")


@pytest.mark.parametrize("name", method_names())
def test_card_is_complete(name: str) -> None:
    found = card(name)
    assert found.name == name
    assert found.title
    assert found.paper_url.startswith("https://")
    assert found.stages
    assert found.bases
    assert min(found.references) >= 0
    assert set(found.weights) <= set(found.bases), "weights for a base it does not run on"
    assert all(found.licences.values())
    assert found.identity_encoder
    assert card(name.upper().replace("-", "_")) is found


def test_packs_hold_the_methods_that_have_a_recipe() -> None:
    assert {"consistentid", "instant-portrait", "spf-portrait"} <= set(adapter_names()) <= set(method_names())
    assert all(callable(adapter_recipe(name)) for name in adapter_names())


def test_a_method_without_a_recipe_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "card.py").write_text("")
    monkeypatch.setattr(catalog, "_METHODS", tmp_path)
    with pytest.raises(InputError, match="plain has no recipe"):
        adapter_recipe("plain")


@pytest.mark.parametrize("name", method_names())
def test_card_imports_no_torch(name: str) -> None:
    script = (
        "import sys; from likeness.catalog import card\n"
        f"card('{name}')\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": str(SOURCE)}, check=True)


def test_import_likeness_loads_nothing() -> None:
    script = (
        "import sys, likeness\n"
        "assert not {'torch', 'PIL', 'numpy', 'typer'} & set(sys.modules)\n"
        "assert all(getattr(likeness, name) is not None for name in likeness.__all__)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": str(SOURCE)}, check=True)
    assert dir(likeness) == sorted(likeness.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        likeness.nonsense  # noqa: B018
