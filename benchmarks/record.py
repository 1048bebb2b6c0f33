"""What every measurement is stored with: command, seed, commit, machine, date."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from likeness.evaluation.result import commit, machine
from likeness.files.images import write_json

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def record(name: str, command: str, seed: int | None, values: dict[str, Any]) -> Path:
    """Write `results/NAME.json` whole and return its path."""
    path = RESULTS / f"{name}.json"
    document = {
        "command": command,
        "seed": seed,
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "values": values,
    }
    write_json(path, document)
    return path


def share(hits: int, of: int) -> dict[str, float]:
    """A proportion with its 95 % interval (Wilson)."""
    p, z = hits / of, 1.96
    centre = (p + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return {"value": p, "low": centre - half, "high": centre + half, "n": of}


def mean(values: Sequence[float]) -> dict[str, float | None]:
    """A mean with its 95 % interval (normal approximation); None where nothing was measured."""
    n = len(values)
    if n == 0:
        return {"value": None, "low": None, "high": None, "n": 0}
    middle = math.fsum(values) / n
    spread = math.sqrt(math.fsum((v - middle) ** 2 for v in values) / max(n - 1, 1))
    half = 1.96 * spread / math.sqrt(n)
    return {"value": middle, "low": middle - half, "high": middle + half, "n": n}
