"""What every measurement is written down as: a `likeness.evaluation.result.Result` in `results/`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from likeness.evaluation.result import MetricValue, Ordering, Result, commit, machine, write_result

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def record(
    name: str,
    method: str,
    metrics: Mapping[str, MetricValue],
    *,
    given: argparse.Namespace,
    n: int,
    seed: int = 0,
    base: str = "mini",
    orderings: Sequence[Ordering] = (),
    intervals: str = "by bootstrap",
) -> None:
    """Write `results/NAME.json` whole, with the command that measured it, and print it.

    method: what was measured. given: the script's arguments. n: cases. intervals: how they were had.
    """
    result = Result(
        name=name,
        method=method,
        base=base,
        seed=seed,
        commit=commit(),
        machine=machine(),
        n=n,
        metrics=dict(metrics),
        orderings=list(orderings),
        intervals=intervals,
        command=command(given),
        date=datetime.now(UTC).date().isoformat(),
    )
    write_result(result, RESULTS / f"{name}.json")
    print(result.model_dump_json(indent=2))


def command(given: argparse.Namespace) -> str:
    """How to run the script again; folders by their options' names, as they are everybody's own."""
    words = ["python", f"benchmarks/{Path(sys.argv[0]).name}"]
    for name, value in vars(given).items():
        if value is None or value is False:
            continue
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words.append(name.upper() if isinstance(value, Path) else str(value))
    return " ".join(words)


def single(value: float, unit: str, n: int = 1) -> MetricValue:
    """A number without an interval, of `n` cases: a median, a count."""
    return MetricValue(mean=value, low=None, high=None, n=n, unit=unit)
