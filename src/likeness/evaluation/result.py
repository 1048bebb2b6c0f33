"""What every table is written down as, and the arithmetic of its intervals and orderings."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

import likeness
from likeness.errors import InputError
from likeness.files.images import write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "GroupTable",
    "MetricValue",
    "Ordering",
    "Result",
    "bootstrap_interval",
    "commit",
    "machine",
    "ordering",
    "summarised",
    "write_result",
]

DRAWS = 2000
RUNS = ("src", "benchmarks/*.py", "pyproject.toml", "requirements")
"""Of a source tree, what results depend on."""


class MetricValue(BaseModel):
    """A mean over `n` cases with its 95 % interval, if it has one; all None where nothing was measured."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    mean: float | None
    low: float | None
    high: float | None
    n: int
    unit: str


class Ordering(BaseModel):
    """A claim that one variant is better than another, case by case.

    difference: mean of better minus worse, in the direction of the claim. holds: whether the whole
    95 % interval lies above zero, or above the margin that the claim names.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    claim: str
    source: str
    difference: float | None
    low: float | None
    high: float | None
    n: int
    holds: bool


class GroupTable(BaseModel):
    """A metric by group of one kind, such as skin. gap: the best group's mean less the worst's, with its
    interval; None for fewer than two groups."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    metric: str
    kind: str
    groups: dict[str, MetricValue]
    gap: MetricValue | None


class Result(BaseModel):
    """One table. commit: of the source, with "-dirty" where it was changed; n: cases.

    intervals: how they were had. command, date (UTC, as 2026-01-31): of a script's run; evaluations have a
    protocol instead, and the same seed gives them the same file. groups: of an evaluation whose cases know
    what they belong to; left out where there are none.
    """

    model_config = ConfigDict(extra="forbid")
    name: str
    method: str
    base: str
    seed: int
    commit: str
    machine: dict[str, str | int | None]
    n: int
    metrics: dict[str, MetricValue]
    orderings: list[Ordering] = Field(default_factory=list)
    intervals: str = "by bootstrap"
    command: str = ""
    date: str = ""
    groups: list[GroupTable] = Field(default_factory=list, exclude_if=lambda tables: not tables)


def bootstrap_interval(
    values: NDArray[np.float64], *, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of the mean of (N,) values, resampled `draws` times (Efron 1979).

    Of (S, N) values, S runs with the same N cases, runs and cases are both drawn, so that a claim has to hold
    for other seeds and other people; nan where a run has no value for a case.
    """
    rng = np.random.default_rng(seed)
    if values.ndim == 1:
        means = np.array([rng.choice(values, len(values)).mean() for _ in range(draws)])
    else:
        runs, cases = values.shape
        rows, columns = rng.integers(runs, size=(draws, runs)), rng.integers(cases, size=(draws, cases))
        drawn = values[rows[:, :, None], columns[:, None, :]].reshape(draws, -1)
        known = ~np.isnan(drawn)
        enough = known.any(axis=1)
        means = np.where(known, drawn, 0.0)[enough].sum(axis=1) / known[enough].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def drawn_means(
    values: NDArray[np.float64], whose: NDArray[Any], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Means of (N,) values with the people they are of, (N,), drawn again: all pictures of each together."""
    _, of = np.unique(whose, return_inverse=True)
    sums, counts = np.bincount(of, values), np.bincount(of)
    drawn = rng.integers(len(counts), size=(DRAWS, len(counts)))
    means: NDArray[np.float64] = sums[drawn].sum(1) / counts[drawn].sum(1)
    return means


def summarised(
    values: NDArray[np.float64], unit: str, *, whose: NDArray[Any] | None = None, seed: int = 0
) -> MetricValue:
    """Mean and interval of a metric's values, (N,) or (S, N) as in `bootstrap_interval`.

    Cases without a value (nan) are left out of `n`. whose: (N,), the person each value is of, where a person
    has several: the interval is over people then, of whom `n` still counts the pictures.
    """
    mean, low, high, n = _mean_and_interval(values, seed, whose)
    return MetricValue(mean=mean, low=low, high=high, n=n, unit=unit)


def _mean_and_interval(
    values: NDArray[np.float64], seed: int, whose: NDArray[Any] | None = None
) -> tuple[float | None, float | None, float | None, int]:
    there = ~np.isnan(values)
    known = values[there]
    if not len(known):
        return None, None, None, 0
    if whose is not None:
        means = drawn_means(known, whose[there], np.random.default_rng(seed))
        low, high = (float(one) for one in np.percentile(means, [2.5, 97.5]))
        return float(known.mean()), low, high, len(known)
    low, high = bootstrap_interval(known if values.ndim == 1 else values, seed=seed)
    return float(known.mean()), low, high, len(known)


def ordering(
    claim: str,
    source: str,
    better: NDArray[np.float64],
    worse: NDArray[np.float64],
    *,
    higher_is_better: bool = True,
    margin: float = 0.0,
    whose: NDArray[Any] | None = None,
    seed: int = 0,
) -> Ordering:
    """Compare two variants on the same cases, (N,) or (S, N) values each; pairs with a nan are left out.

    whose: as for `summarised`. margin: what the difference has to be more than; it is what the interval is
    compared with.
    Raises: InputError for different numbers of cases.
    """
    if better.shape != worse.shape:
        raise InputError(f"{claim!r} needs the same cases twice, got {better.size} and {worse.size}.")
    difference = better - worse if higher_is_better else worse - better
    mean, low, high, n = _mean_and_interval(difference, seed, whose)
    holds = low is not None and low > margin
    return Ordering(claim=claim, source=source, difference=mean, low=low, high=high, n=n, holds=holds)


def write_result(result: Result, path: Path) -> None:
    """Whole, as JSON with sorted fields of the schema."""
    write_json(path, result.model_dump(mode="json"))


def commit() -> str:
    """Of the source tree this package runs from, "-dirty" where what runs was changed (pages and results
    may be); the version outside of one."""
    root = Path(likeness.__file__).parents[2]
    if not (root / ".git").exists() or shutil.which("git") is None:
        return f"likeness {likeness.__version__}"
    return _git(root, "rev-parse", "HEAD") + (
        "-dirty" if _git(root, "status", "--porcelain", "-uno", "--", *RUNS) else ""
    )


def machine() -> dict[str, str | int | None]:
    """Processor, number of cores, system and Python."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  fixed words
    return done.stdout.strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
