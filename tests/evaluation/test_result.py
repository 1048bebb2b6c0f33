"""Intervals, orderings and the schema every table is written in."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from likeness.errors import InputError
from likeness.evaluation.report import result_markdown, result_pages
from likeness.evaluation.result import (
    MetricValue,
    Result,
    bootstrap_interval,
    commit,
    machine,
    ordering,
    summarised,
    write_result,
)

ROOT = Path(__file__).parents[2]


def test_bootstrap_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(200):
        low, high = bootstrap_interval(rng.exponential(size=80), draws=300, seed=trial)
        inside += low < 1 < high
    assert 0.88 <= inside / 200 <= 0.99
    values = rng.normal(size=400)
    low, high = bootstrap_interval(values)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    assert bootstrap_interval(values) == (low, high)


def test_cases_without_a_value_are_left_out() -> None:
    found = summarised(np.array([1.0, np.nan, 3.0]), "cosine")
    assert (found.mean, found.n, found.unit) == (2.0, 2, "cosine")
    assert summarised(np.array([np.nan]), "dB") == MetricValue(mean=None, low=None, high=None, n=0, unit="dB")


def test_an_ordering_holds_only_beyond_doubt() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=100)
    sure = ordering("a > b", "Table 1", noise + 1, noise + 0.5 + 0.01 * rng.normal(size=100))
    assert sure.holds and sure.difference == pytest.approx(0.5, abs=0.01)  # paired: the common noise cancels
    lower = ordering("a < b", "Table 1", noise, noise + 1, higher_is_better=False)
    assert lower.holds and lower.difference == pytest.approx(1)
    assert not ordering("a > b", "Table 1", noise, noise + 1).holds
    assert not ordering("a > b", "Table 1", noise, rng.normal(size=100)).holds
    few = ordering("a > b", "Table 1", np.array([np.nan, 1.0]), np.array([1.0, np.nan]))
    assert (few.n, few.holds, few.difference) == (0, False, None)
    with pytest.raises(InputError, match="the same cases twice, got 2 and 1"):
        ordering("a > b", "Table 1", np.zeros(2), np.zeros(1))


def test_a_result_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    values = np.array([0.1, 0.2, 0.4])
    result = Result(
        name="quick", method="consistentid", base="mini", seed=7, commit=commit(), machine=machine(), n=3,
        metrics={"CLIP-T": summarised(values, "cosine")}, orderings=[ordering("a", "b", values, values - 1)],
    )  # fmt: skip
    write_result(result, tmp_path / "one.json")
    assert Result.model_validate_json((tmp_path / "one.json").read_text()) == result
    content = json.loads((tmp_path / "one.json").read_text())
    fields = "name method base seed commit machine n metrics orderings intervals command date"
    assert list(content) == fields.split()
    for one in ("intervals", "command", "date"):  # tables of before have none
        del content[one]
    assert Result.model_validate(content) == result
    with pytest.raises(ValidationError):
        MetricValue(mean=float("nan"), low=0, high=1, n=1, unit="cosine")
    with pytest.raises(ValidationError):
        Result.model_validate({**content, "note": "by hand"})


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_the_commit_is_gits() -> None:
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"],  # noqa: S607  whichever git is used here
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert commit().removesuffix("-dirty") == head.stdout.strip()
    assert machine()["cores"]


def test_a_page_shows_the_table_and_what_the_paper_says(tmp_path: Path) -> None:
    value = MetricValue(mean=0.5, low=0.4, high=0.6, n=8, unit="cosine")
    nothing = MetricValue(mean=None, low=None, high=None, n=0, unit="not measured")
    claim = ordering("a | b", "eq. 1", np.ones(4), np.zeros(4))
    result = Result(
        name="consistentid-quick", method="consistentid", base="mini", seed=7, n=8,
        commit="c" * 40 + "-dirty", machine={"processor": "x", "cores": 2},
        metrics={"FaceSim": value, "FGIS": nothing}, orderings=[claim],
    )  # fmt: skip
    write_result(result, tmp_path / "quick.json")
    (tmp_path / "other.json").write_text('{"values": 1}')
    (page,) = result_pages(tmp_path).items()
    assert page[0] == "quick.md"
    lines = page[1].splitlines()
    assert "| FaceSim | 0.500 | 0.400 to 0.600 | 8 | cosine | 0.772 (FaceNet) |" in lines
    assert any(line.startswith("| FGIS | not measured |  | 0 |") for line in lines)
    assert "| a \\| b | 1.000 | 1.000 to 1.000 | 4 | yes | eq. 1 |" in lines
    assert "seed 7, commit cccccccccccc-dirty, x with 2 cores" in page[1]
    assert "Intervals are 95 %, by bootstrap." in page[1] and "Measured by" not in page[1]
    assert "paper" not in result_markdown(result)
    script = {"intervals": "by Wilson's", "command": "python a.py --n 3", "date": "2026-01-31"}
    told = result_markdown(result.model_copy(update=script))
    assert "Intervals are 95 %, by Wilson's." in told
    count = MetricValue(mean=3438083856, low=None, high=None, n=1, unit="bytes")
    found = MetricValue(mean=1, low=None, high=None, n=1, unit="share")
    bare = result_markdown(result.model_copy(update={"metrics": {"size": count, "found": found}}))
    assert "| size | 3,438,083,856 |  | 1 | bytes |" in bare and "| found | 1.000 |  |" in bare
    assert told.endswith("\nMeasured by `python a.py --n 3` on 2026-01-31.\n")


def test_of_several_runs_both_runs_and_cases_are_drawn() -> None:
    rng = np.random.default_rng(0)
    cases = rng.normal(size=400)
    alike = np.stack([cases] * 3)
    apart = alike + np.array([[-1.0], [0.0], [1.0]])
    (low, high), (wide_low, wide_high) = bootstrap_interval(alike), bootstrap_interval(apart)
    assert (high - low) / 2 == pytest.approx(1.96 * cases.std() / 20, rel=0.1), "runs that agree add no cases"
    # three runs with mean 0 and variance 2/3: their mean varies by sqrt(2/9), whatever the cases do
    assert (wide_high - wide_low) / 2 > 0.8 > (high - low) / 2
    holed = np.where(rng.random(alike.shape) < 0.3, np.nan, alike)
    assert summarised(holed, "cosine").n == int((~np.isnan(holed)).sum())
    assert summarised(holed, "cosine").mean == pytest.approx(np.nanmean(holed))
    assert not ordering("a > b", "Table 1", apart + 0.5, np.zeros_like(apart)).holds, "one run says otherwise"
    assert ordering("a > b", "Table 1", alike + 0.5, np.zeros_like(alike)).holds


def test_a_claim_may_ask_for_more_or_allow_a_little_less() -> None:
    worse = np.random.default_rng(0).normal(size=200)
    better = worse + 0.3 + 0.01 * np.random.default_rng(1).normal(size=200)
    assert ordering("by .2", "ours", better, worse, margin=0.2).holds
    assert not ordering("by .4", "ours", better, worse, margin=0.4).holds
    assert ordering("at most .4 less", "ours", worse, better, margin=-0.4).holds
    assert not ordering("at most .2 less", "ours", worse, better, margin=-0.2).holds


def test_pictures_of_one_person_are_drawn_together() -> None:
    people = np.random.default_rng(0).normal(size=30)
    one = summarised(people, "x")
    many = summarised(people.repeat(8), "x", whose=np.arange(30).repeat(8))
    blind = summarised(people.repeat(8), "x")
    assert one.low is not None and many.low is not None and blind.low is not None
    assert many.mean == pytest.approx(one.mean) and many.n == 240
    assert many.low == pytest.approx(one.low, abs=0.05)
    assert many.low < blind.low, "eight equal pictures are no eight people"
    lost = np.where(np.arange(240) % 8 == 0, np.nan, people.repeat(8))
    assert summarised(lost, "x", whose=np.arange(30).repeat(8)).n == 210
