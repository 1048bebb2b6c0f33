"""Whether everybody is served alike: a metric by skin, age and how a person presents, and the gap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from likeness.evaluation.result import GroupTable, MetricValue, drawn_means

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likeness.evaluation.case import Case
    from likeness.evaluation.metrics import Metric

__all__ = ["FEWEST", "group_tables"]

FEWEST = 3
"""People a group needs to be put in the table: what one person is served is no group's."""


def group_tables(
    metric: Metric, cases: Sequence[Case], values: NDArray[np.float64], seed: int
) -> list[GroupTable]:
    """One table a kind of group that the cases know, of the groups with `FEWEST` values or more.

    The gap is that of the two groups whose means differ most; of many small groups some always do.
    """
    tables = []
    rng = np.random.default_rng(seed)
    people = np.array([case.person or case.id for case in cases])
    for kind in dict.fromkeys(key for case in cases for key in case.groups):
        labels = np.array([case.groups.get(kind, "") for case in cases])
        found: dict[str, NDArray[np.float64]] = {}
        whose: dict[str, NDArray[np.str_]] = {}
        for group in sorted({*labels} - {""}):
            rows_of = (labels == group) & ~np.isnan(values)
            if len(np.unique(people[rows_of])) >= FEWEST:
                found[str(group)], whose[str(group)] = values[rows_of], people[rows_of]
        if not found:
            continue
        drawn = {group: drawn_means(known, whose[group], rng) for group, known in found.items()}
        rows = {
            g: _value(float(known.mean()), drawn[g], len(known), metric.unit) for g, known in found.items()
        }
        best = max(found, key=lambda group: float(found[group].mean()))
        worst = min(found, key=lambda group: float(found[group].mean()))
        apart = float(found[best].mean() - found[worst].mean())
        several = len(found[best]) + len(found[worst])
        gap = _value(apart, drawn[best] - drawn[worst], several, metric.unit) if len(found) > 1 else None
        tables.append(GroupTable(metric=metric.name, kind=kind, groups=rows, gap=gap))
    return tables


def _value(mean: float, drawn: NDArray[np.float64], n: int, unit: str) -> MetricValue:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return MetricValue(mean=mean, low=float(low), high=float(high), n=n, unit=unit)
