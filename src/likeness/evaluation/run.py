"""An evaluation from tasks to a table: paint what is not painted yet, measure, write down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from torch import nn

from likeness.errors import FaceError, ImageError, InputError
from likeness.evaluation.case import Case
from likeness.evaluation.groups import group_tables
from likeness.evaluation.result import MetricValue, Result, commit, machine, summarised
from likeness.files.images import read_image, read_recipe, whole_file, write_png
from likeness.files.provenance import recipe_of, request_of, weights_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likeness.evaluation.metrics import SetMetric
    from likeness.evaluation.protocol import Protocol
    from likeness.evaluation.suite import Suite
    from likeness.evaluation.tasks import Task
    from likeness.types import PortraitPipeline, PortraitRequest

__all__ = ["Measured", "Painted", "measure", "paint_cases", "parameters_of", "reference_file", "write_cases"]

PICTURES, SOURCES = "pictures", "sources"
CASES = "cases.parquet"
DRAWS = 200
"""Resamplings of a set metric, each of which costs a whole distance."""


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """A task with its picture, or with the reason why there is none."""

    task: Task
    case: Case | None
    seconds: float | None = None
    steps: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """values: of each metric, one a painted case. result: the table."""

    painted: Sequence[Painted]
    values: Mapping[str, NDArray[np.float64]]
    result: Result


def paint_cases(
    pipeline: PortraitPipeline,
    tasks: Sequence[Task],
    folder: Path,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Painted]:
    """Paint every task into `folder`; what an earlier run painted there is taken as it is.

    References without a usable face are kept as such, not painted.
    Raises: InputError where the folder holds pictures of other requests or of other weights.
    """
    painted: list[Painted] = []
    painter = _Painter(pipeline, folder)
    for number, task in enumerate(tasks):
        person, source = task.person, task.source
        try:
            if task.source_request is not None:
                source = painter.paint(task.source_request, f"{SOURCES}/{task.id}.png")[0]
            image, recipe = painter.paint(task.request, f"{PICTURES}/{task.id}.png")
        except FaceError as error:
            painted.append(Painted(task, None, reason=str(error)))
        else:
            shown = person.references or ((source,) if source is not None else ())
            if shown and not (folder / _reference(task)).is_file():
                write_png(shown[0], folder / _reference(task))
            if source is not None and source.size != image.size:
                source = source.resize(image.size, Image.Resampling.LANCZOS)
            case = Case(
                task.id, image, task.words or task.request.prompt, shown, person.profiles, source,
                {"prompts": task.group, **person.groups}, task.truth, person.id,
            )  # fmt: skip
            painted.append(
                Painted(task, case, sum(recipe["timings_s"].values()), recipe["settings"].get("steps"))
            )
        if on_progress is not None:
            on_progress(number + 1, len(tasks))
    return painted


class _Painter:
    """Paints into a folder what is not there yet, all by the same weights."""

    def __init__(self, pipeline: PortraitPipeline, folder: Path) -> None:
        self._pipeline, self._folder = pipeline, folder
        known = getattr(pipeline, "weights", None)
        self._weights: Any = None if known is None else weights_of(known)

    def paint(self, request: PortraitRequest, name: str) -> tuple[Image.Image, dict[str, Any]]:
        """The picture and its recipe, as they are in the file."""
        file = self._folder / name
        recipe = _recipe(file)
        if recipe is None:
            result = self._pipeline([request])[0]
            recipe = recipe_of(result)
            write_png(result.image, file, recipe)
        elif not _asked(request_of(request), recipe["request"]):
            raise InputError(f"{self._folder} holds pictures of another evaluation; choose another folder.")
        if self._weights is not None and _but_guide(recipe["weights"]) != _but_guide(self._weights):
            raise InputError(
                f"{self._folder} holds pictures painted by other weights; choose another folder."
            )
        self._weights = recipe["weights"]
        return read_image(file), recipe


def _but_guide(weights: Any) -> Any:
    """A method may leave the base's guide out of a picture, as InstantPortrait does in one step."""
    return [one for one in weights if one["role"] != "guide"]


def _reference(task: Task) -> str:
    return f"references/{task.person.id}.png"


def reference_file(painted: Painted) -> str | None:
    """Where the first reference lies, in the evaluation's folder; None without one."""
    return _reference(painted.task) if painted.case and painted.case.references else None


def _asked(request: Mapping[str, Any], recorded: Mapping[str, Any]) -> bool:
    """Whether a recorded request is this one, with the method's defaults filled in."""
    return all(recorded.get(key) == value for key, value in request.items() if value not in (None, {}))


def _recipe(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        return read_recipe(file)
    except ImageError as error:
        raise InputError(f"{error} Remove it, or choose another folder.") from None


def measure(
    painted: Sequence[Painted],
    suite: Suite,
    protocol: Protocol,
    *,
    base: str,
    seed: int,
    parameters: int | None = None,
) -> Measured:
    """All metrics of a suite over all painted cases.

    Intervals are over people, each with all their pictures. Set metrics compare with the references and
    profiles of the people painted; their intervals come from painted cases drawn again and again.
    parameters: of the networks that painted (`parameters_of`).
    Raises: InputError where nothing was painted.
    """
    cases = [one.case for one in painted if one.case is not None]
    if not cases:
        raise InputError(f"Nothing was painted: {painted[0].reason if painted else 'there is no task'}.")
    values = {metric.name: metric(cases) for metric in suite.metrics}
    people = np.array([case.person or case.id for case in cases])
    metrics = {m.name: summarised(values[m.name], m.unit, whose=people, seed=seed) for m in suite.metrics}
    real = list({id(p): p for case in cases for p in (*case.references, *case.profiles)}.values())
    for distance in suite.sets:
        metrics[distance.name] = _distance(distance, [case.image for case in cases], real, seed)
    seconds = np.array([one.seconds for one in painted if one.seconds is not None])
    metrics["seconds a picture"] = summarised(seconds, "s", seed=seed)
    steps = np.array([one.steps for one in painted if one.steps is not None], np.float64)
    metrics["steps"] = summarised(steps, "steps", seed=seed)
    if parameters is not None:
        metrics["parameters"] = MetricValue(mean=parameters / 1e6, low=None, high=None, n=1, unit="million")
    for name in suite.missing:
        metrics[name] = MetricValue(mean=None, low=None, high=None, n=0, unit="not measured")
    result = Result(
        name=f"{protocol.method}-{protocol.name}",
        method=protocol.method,
        base=base,
        seed=seed,
        commit=commit(),
        machine=machine(),
        n=len(cases),
        metrics=metrics,
        groups=[table for m in suite.metrics for table in group_tables(m, cases, values[m.name], seed)],
    )
    return Measured(painted, values, result)


def parameters_of(pipeline: object) -> int:
    """Of the networks that a pipeline and its base hold, each counted once; not of what finds faces."""
    found: dict[int, int] = {}
    parts = [*vars(pipeline).values()]
    for part in parts:
        if is_dataclass(part) and not isinstance(part, type):
            parts += [getattr(part, one.name) for one in fields(part)]
        elif isinstance(part, (tuple, list)):
            parts += part
        elif isinstance(part, nn.Module):
            found |= {id(tensor): tensor.numel() for tensor in part.parameters()}
    return sum(found.values())


def _distance(
    metric: SetMetric, painted: Sequence[Image.Image], real: Sequence[Image.Image], seed: int
) -> MetricValue:
    """Not measured where either set has less than two pictures."""
    if min(len(painted), len(real)) < 2:
        return MetricValue(mean=None, low=None, high=None, n=0, unit=metric.unit)
    features, others = metric.features(painted), metric.features(real)
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(len(painted), size=len(painted)) for _ in range(DRAWS))
    again = [metric.distance(features[rows], others) for rows in drawn]
    # Resampling repeats pictures, which moves a distance: the spread counts, not the place.
    value, half = metric.distance(features, others), 1.96 * float(np.std(again))
    return MetricValue(mean=value, low=value - half, high=value + half, n=len(painted), unit=metric.unit)


def write_cases(measured: Measured, folder: Path) -> Path:
    """The table of all cases, `cases.parquet`: one row a task, a column a metric; returns its path."""
    places = {one.task.id: row for row, one in enumerate(o for o in measured.painted if o.case)}
    rows = []
    for one in measured.painted:
        row: dict[str, Any] = {
            "id": one.task.id,
            "person": one.task.person.id,
            "prompt": one.task.words or one.task.request.prompt,
            "seed": one.task.request.seed,
            "file": f"{PICTURES}/{one.task.id}.png" if one.case else None,
            "reference": reference_file(one),
            "reason": one.reason or None,
            "seconds": one.seconds,
            "steps": one.steps,
            "prompts": one.task.group,
            **one.task.person.groups,
        }
        for name, values in measured.values.items():
            value = values[places[one.task.id]] if one.case else np.nan
            row[name] = None if np.isnan(value) else float(value)
        rows.append(row)
    target = folder / CASES
    with whole_file(target) as part:
        pq.write_table(pa.Table.from_pylist(rows), part)
    return target
