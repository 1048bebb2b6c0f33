"""Several variants side by side, painted by the real command in processes of their own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from likeness.compare import SHEET, Variant, compare, variant_of
from likeness.errors import InputError
from likeness.files.images import read_image
from likeness.packs.mini import mini_path

REFERENCE = mini_path().parent / "demo" / "reference.png"


def test_variants_are_read() -> None:
    assert variant_of("consistentid") == Variant("consistentid", "consistentid", "mini", None)
    found = variant_of("consistentid@runs/base+runs/mine")
    assert (found.base, found.adapter, found.folder) == (
        "runs/base",
        "runs/mine",
        "consistentid-runs-base-runs-mine",
    )
    for wrong in ("", "@mini", "consistentid@", "consistentid+", "+x"):
        with pytest.raises(InputError, match="is no variant"):
            variant_of(wrong)


@pytest.mark.skipif(
    not (mini_path() / "pack.json").exists(), reason="the mini pack is not in this source tree"
)
def test_a_failing_variant_spares_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[subprocess.CompletedProcess[str]] = []
    run = subprocess.run

    def recorded(*given: Any, **more: Any) -> subprocess.CompletedProcess[str]:
        ended.append(run(*given, **more))
        return ended[-1]

    monkeypatch.setattr("likeness.compare.subprocess.run", recorded)
    variants = [
        variant_of("consistentid"),
        variant_of(f"consistentid@mini+{tmp_path}/none"),
        variant_of(f"consistentid@{tmp_path}/nowhere"),
    ]
    document = compare(
        variants, [REFERENCE], ["a man smiling"], tmp_path / "out", settings={"steps": 2, "seed": 3}
    )
    good, missing, baseless = document["variants"]
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == document
    assert (
        good["error"] is None and good["peak_memory_mib"]["process"] > 100 and good["seconds_a_picture"] > 0
    )
    assert good["pictures"][0]["seed"] == 3
    assert "none" in missing["error"] and "nowhere" in baseless["error"]
    sheet, one = read_image(tmp_path / "out" / SHEET), read_image(REFERENCE)
    assert sheet.width > 2 * 128 and one.size != sheet.size
    with pytest.raises(InputError, match="two or more different"):
        compare(variants[:1], [REFERENCE], ["a man"], tmp_path / "x")
    assert len(ended) == 3
    failed = iter(ended[1:])  # what they said is known by now
    monkeypatch.setattr("likeness.compare.subprocess.run", lambda *given, **more: next(failed))
    with pytest.raises(InputError, match=r"No variant painted anything; the first said: .*none"):
        compare(variants[1:], [REFERENCE], ["a man"], tmp_path / "x")


def test_a_method_that_there_is_not_is_told_before_anything_is_painted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="magic"):
        compare([variant_of("consistentid"), variant_of("magic")], [REFERENCE], ["a man"], tmp_path / "x")
    assert not (tmp_path / "x").exists()
