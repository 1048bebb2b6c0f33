"""A pack's recognisers are calibrated on sitters as users' pictures are seen, and checked on others."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from likeness.errors import MissingWeightsError
from likeness.evaluation.judge import open_judge
from likeness.faces.calibration import Calibrations
from likeness.faces.sitter_detector import SitterDetector
from likeness.packs.check import check_pack
from likeness.packs.data import Pictures, build_pictures, load_pictures
from likeness.packs.mini import first_seed, mini_path
from likeness.packs.recipes.calibration import FILE, cached, calibrate, pairs_of
from likeness.sitters import HELD_OUT_SEEDS

PEOPLE, VIEWS = 12, 3


def drawn(folder: Path, seed: int) -> Pictures:
    build_pictures(folder, first_seed=seed, people=PEOPLE, views=VIEWS)
    return load_pictures(folder, people=PEOPLE, views=VIEWS)


def test_half_of_the_pairs_are_of_one_person() -> None:
    person = np.repeat(np.arange(20), 4)
    one, two, same = pairs_of(person, 100)
    assert len(same) == 100 and same.sum() == 50
    assert ((person[one] == person[two]) == same).all() and (one != two).all()
    assert len({(a, b) for a, b in zip(one.tolist(), two.tolist(), strict=True)}) == 100, "no pair twice"
    assert pairs_of(person, 10_000)[2].sum() == 20 * 6, "as many of one person as there are"


def test_nobody_in_it_was_trained_on_or_is_measured_by_the_checks() -> None:
    first = first_seed("calibration")
    assert first in HELD_OUT_SEEDS and first >= first_seed("held_out") + 1000
    assert first + 400 in HELD_OUT_SEEDS


@pytest.mark.skipif(not (mini_path() / FILE).exists(), reason="the mini pack is not in this source tree")
def test_a_pack_is_calibrated_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("likeness.packs.data.SHARD_PEOPLE", PEOPLE)
    pack = tmp_path / "pack"
    with pytest.raises(MissingWeightsError, match="no recogniser to calibrate"):
        calibrate(pack, drawn(tmp_path / "a", first_seed("calibration")))
    for name in ("landmarks", "recogniser", "judge_recogniser"):
        shutil.copytree(mini_path() / name, pack / name)
    shutil.copy(mini_path() / "pack.json", pack)
    found = calibrate(pack, drawn(tmp_path / "a", first_seed("calibration")))
    assert Calibrations.read(pack / FILE) == found
    assert found.digests == Calibrations.read(mini_path() / FILE).digests, (
        "the shipped file is of these weights"
    )
    assert sorted(len(one.encoders) for one in found.sets) == [1, 1, 2]
    assert all(0.6 < one.own_pictures < 1 for one in found.sets)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mine = shutil.copytree(mini_path() / "recogniser", tmp_path / "mine")  # stands for one of the user's
    more = calibrate(pack, drawn(tmp_path / "a", first_seed("calibration")), [mine])
    assert Calibrations.read(pack / FILE) == found, "the pack stays as it is"
    assert Calibrations.read(cached(more.digests)) == more and len(more.sets) == 7
    detector = SitterDetector(pack / "landmarks")
    judge = open_judge(pack, detector, further=[mine], sitters=True)
    chosen = judge.calibration("likeness recogniser")
    assert chosen is not None and set(chosen.encoders) == {"likeness judge_recogniser", "likeness mine"}
    cached(more.digests).unlink()
    alone = open_judge(pack, detector, further=[mine], sitters=True).calibration("likeness recogniser")
    assert alone is not None and alone.encoders == ("likeness judge_recogniser",), "nobody calibrated mine"
    row = check_pack(pack, drawn(tmp_path / "b", first_seed("held_out")), ("calibration",))["calibration"]
    assert row["pairs"] > 40
    assert row["likeness judge_recogniser + likeness recogniser: right"] > 0.75
    assert 0 <= row["likeness recogniser: calibration_error"] < 0.4, "of a few pairs"
