"""What every table is written down as, and the arithmetic of its intervals and orderings."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

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
    95 % interval lies above zero.
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
    """95 % percentile interval of the mean of (N,) values, resampled `draws` times (Efron 1979)."""
    rng = np.random.default_rng(seed)
    means = np.array([rng.choice(values, len(values)).mean() for _ in range(draws)])
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def summarised(values: NDArray[np.float64], unit: str, *, seed: int = 0) -> MetricValue:
    """Mean and interval of a metric's values (N,); cases without a value (nan) are left out of `n`."""
    known = values[~np.isnan(values)]
    if not len(known):
        return MetricValue(mean=None, low=None, high=None, n=0, unit=unit)
    low, high = bootstrap_interval(known, seed=seed)
    return MetricValue(mean=float(known.mean()), low=low, high=high, n=len(known), unit=unit)


def ordering(
    claim: str,
    source: str,
    better: NDArray[np.float64],
    worse: NDArray[np.float64],
    *,
    higher_is_better: bool = True,
    seed: int = 0,
) -> Ordering:
    """Compare two variants on the same cases, (N,) values each; pairs with a nan are left out.

    Raises: InputError for different numbers of cases.
    """
    if len(better) != len(worse):
        raise InputError(f"{claim!r} needs the same cases twice, got {len(better)} and {len(worse)}.")
    difference = better - worse if higher_is_better else worse - better
    known = difference[~np.isnan(difference)]
    if not len(known):
        return Ordering(claim=claim, source=source, difference=None, low=None, high=None, n=0, holds=False)
    low, high = bootstrap_interval(known, seed=seed)
    return Ordering(
        claim=claim,
        source=source,
        difference=float(known.mean()),
        low=low,
        high=high,
        n=len(known),
        holds=low > 0,
    )


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
