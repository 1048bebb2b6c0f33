"""Numbers about measurements, against what can be counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from likeness.packs.check_words import frechet, separation
from likeness.packs.data import Drawing, load_pictures, shard_folder, write_shard
from likeness.sitters import attributes, sample_scene
from likeness.statistics import (
    area_under_curve,
    frechet_distance,
    mean_interval,
    resampled_interval,
    share_interval,
)
from tests.toy_shop import drawing


def test_area_counts_pairs_in_order_and_ties_by_half() -> None:
    scores = torch.tensor([0.1, 0.4, 0.4, 0.9])
    positive = torch.tensor([False, False, True, True])
    assert area_under_curve(scores, positive) == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    assert area_under_curve(-scores, positive) == pytest.approx(0.5 / 4)


def test_interval_is_that_of_a_mean() -> None:
    mean, half = mean_interval(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert mean == 2.5
    assert half == pytest.approx(1.96 * (5 / 3) ** 0.5 / 2)


def test_frechet_distance_of_known_normals() -> None:
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(4000, 5, generator=generator)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(one, one + 2) == pytest.approx(5 * 4, rel=1e-4)
    # spreads of 1 and 3: (3 - 1)^2 in each direction
    assert frechet_distance(one, 3 * one) == pytest.approx(5 * 4, rel=0.1)
    turned = one @ torch.linalg.qr(torch.randn(5, 5, generator=generator))[0]
    assert frechet_distance(one * torch.arange(1.0, 6), one) == pytest.approx(0 + 1 + 4 + 9 + 16, rel=0.1)
    assert frechet_distance(turned, one) < 0.05


def test_bootstrap_interval_of_a_mean_is_that_of_the_formula() -> None:
    values = torch.randn(300, generator=torch.Generator().manual_seed(1)).double()
    _, wanted = mean_interval(values)
    found = resampled_interval(values[:, None], lambda sums: sums[0] / 300, draws=2000)
    assert found == pytest.approx(wanted, rel=0.1)
    table = torch.ones(50, 3, 3).double()
    assert resampled_interval(table, lambda sums: sums[0, 0] / sums.sum()) == pytest.approx(0, abs=1e-9)
    assert share_interval(0.5, 100) == pytest.approx(0.098, abs=0.003)
    assert 0.01 < share_interval(1.0, 100) < 0.04


def test_values_of_one_person_count_as_one() -> None:
    people = torch.randn(200, generator=torch.Generator().manual_seed(1))
    mean, half = mean_interval(people)
    again, same = mean_interval(people.repeat_interleave(4), torch.arange(200).repeat_interleave(4))
    assert (again, same) == (pytest.approx(mean), pytest.approx(half)), "four equal pictures say no more"


def test_words_that_point_at_their_pictures_separate_them(tmp_path: Path) -> None:
    folder = tmp_path
    scenes = [sample_scene(seed) for seed in range(80)]
    rows = []
    for seed, scene in enumerate(scenes):
        one = drawing(seed % 6, 0)
        row = {"seed": seed, "view": 0, "captions": ["a"] * 5, "record": scene.record()}
        rows.append(Drawing(one.pixels, one.labels, one.landmarks, one.visible, row))
    write_shard(shard_folder(folder, 0, 1), rows)
    pictures = load_pictures(folder, people=80, views=1)
    told = torch.tensor([[float(attributes(s)["person"] == "woman"), 1.0] for s in scenes])
    found = separation(told, told, pictures, fewest=8)
    assert found["values"] >= 2
    blind = separation(torch.zeros_like(told), told, pictures, fewest=8)
    assert blind["mean_area"] == pytest.approx(0.5)
    assert found["mean_area"] > 0.5


def test_frechet_distance_is_told_as_a_multiple_of_real_pictures_own() -> None:
    real, truth = (torch.randn(400, 8, generator=torch.Generator().manual_seed(n)) for n in (0, 1))
    same = frechet(truth, truth, real)
    assert same["fid_times_real"] == 1 and same["fid_times_real_interval"] == 0
    worse = frechet(truth + 0.5, truth, real)
    assert worse["fid"] == pytest.approx(same["fid"] + 8 * 0.25, rel=0.15)
    assert worse["fid_times_real"] > 10 > worse["fid_real"] and worse["fid_times_real_interval"] > 0
