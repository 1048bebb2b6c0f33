"""Cosines to chances: the fit against torch's optimiser, the error against a case worked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from likeness.faces.calibration import Calibration, Calibrations, calibration_error, chances, fit, reliability

ONE = Calibration(encoders=("a",), weights=(10.0,), bias=-3.0, own_pictures=0.8)
BOTH = Calibration(encoders=("a", "b"), weights=(6.0, 4.0), bias=-3.0, own_pictures=0.9)


def pairs(count: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of two encoders, the second one worse, and whether the pair is of one person."""
    rng = np.random.default_rng(0)
    same = rng.random(count) < 0.5
    cosines = np.stack([rng.normal(same * 0.5, 0.2), rng.normal(same * 0.3, 0.3)], axis=1)
    return cosines, same


def test_the_fit_is_the_likeliest() -> None:
    cosines, same = pairs()
    weights, bias = fit(cosines, same, ridge=0.0)
    x, y = torch.from_numpy(cosines), torch.from_numpy(same).double()
    w, b = torch.zeros(2, dtype=torch.double, requires_grad=True), torch.zeros((), dtype=torch.double)
    b.requires_grad_()
    optimiser = torch.optim.LBFGS([w, b], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        found = torch.nn.functional.binary_cross_entropy_with_logits(x @ w + b, y)
        found.backward()
        return found

    optimiser.step(loss)
    np.testing.assert_allclose([*weights, bias], [*w.tolist(), b.item()], rtol=1e-4)
    assert weights[0] > weights[1] > 0, "the better encoder counts more"
    assert calibration_error(chances(cosines, weights, bias), same) < 0.03


def test_pairs_that_are_told_apart_wholly_have_finite_weights() -> None:
    same = np.arange(100) < 50
    weights, bias = fit(np.where(same, 0.8, 0.1)[:, None], same)
    assert np.isfinite([*weights, bias]).all()
    assert chances(np.array([[0.8], [0.1]]), weights, bias) == pytest.approx([1, 0], abs=0.05)


def test_the_error_of_a_case_by_hand() -> None:
    """Two bins: chance .9 with 3 of 4 right, chance .2 with 1 of 2: (4 * .15 + 2 * .3) / 6."""
    chance = np.array([0.9] * 4 + [0.2] * 2)
    same = np.array([True, True, True, False, True, False])
    assert calibration_error(chance, same, bins=2) == pytest.approx(0.2)
    low, high = reliability(chance, same, bins=2)
    assert (low.low, low.high, low.n, low.share) == (0, 0.5, 2, 0.5)
    assert (high.n, high.share) == (4, 0.75) and high.chance == pytest.approx(0.9)
    assert calibration_error(np.array([1.0, 0.0]), np.array([True, False])) == 0, "1 is in the last bin"


def test_each_set_of_encoders_has_its_own(tmp_path: Path) -> None:
    assert ONE.chance({"a": 0.3, "b": 0.9}) == pytest.approx(0.5)
    assert BOTH.chance({"b": 0.5, "a": 0.5}) == pytest.approx(1 / (1 + np.exp(-2)))
    with pytest.raises(KeyError):
        BOTH.chance({"a": 0.3})
    every = Calibrations(digests={"a": "1", "b": "2"}, people=2, first_seed=0, pairs=4, sets=(ONE, BOTH))
    assert every.of(["b", "a"]) == BOTH and every.of(["a"]) == ONE and every.of(["b"]) is None
    (tmp_path / "c.json").write_text(every.model_dump_json())
    assert Calibrations.read(tmp_path / "c.json") == every
    (tmp_path / "c.json").write_text('{"sets": []}')
    with pytest.raises(ValidationError):
        Calibrations.read(tmp_path / "c.json")
