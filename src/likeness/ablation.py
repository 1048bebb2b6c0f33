"""A method's ablations: every variant trained equally long with several seeds, measured, put in order.

WORK/ablations/METHOD-PACK/
  plan.json              what was asked for; taken up again only with the same
  seed-0/VARIANT/        its weights, and trained.json when they are finished
  seed-0/measured/       the numbers of each painting, and its first pictures
  original/              where targets are taught: what the base paints without
  sheet.png, curve.svg   to look at

What is finished is kept, so a stopped run goes on with what is missing; runs of the same that are going on at
once share what is to be done, by locks/.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from likeness.ablation_cases import AblationCase, cases_of, metrics_of, painted_case
from likeness.errors import Cancelled, InputError
from likeness.evaluation.result import Result, commit, machine, ordering, summarised
from likeness.files.chart import line_chart
from likeness.files.images import contact_sheet, read_image, write_bytes, write_json, write_png
from likeness.files.sharing import work_off
from likeness.packs import read_card

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likeness.evaluation.metrics import Metric
    from likeness.packs.ablations import Painting, Plan, Variant
    from likeness.packs.workshop import Workshop

__all__ = ["Asked", "ablate"]

TIMED = 20
"""Steps that are taken to learn how many fit into a time."""
SHOWN = 6
"""Pictures of each painting on the sheet."""
TABLE = (
    "CLIP-T", "CLIP-I", "DINO-I", "FaceSim", "same person", "face found", "FGIS", "LPIPS", "sharpness",
    "followed", "details wrong", "pose error", "response", "identity", "layout", "background", "picture",
    "attributes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """steps or minutes: of each variant's training. seeds: how many. cases: pictures of each painting."""

    steps: int | None
    minutes: float | None
    seeds: int
    cases: int
    case_seed: int = 0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise InputError("Say how long each variant is trained: give either steps or minutes.")
        if min(self.seeds, self.cases) < 1:
            raise InputError("At least one seed and one case are needed.")


def ablate(
    method: str,
    plan: Plan,
    shop: Workshop,
    asked: Asked,
    *,
    on_progress: Callable[[str], None] = lambda _: None,
) -> tuple[Result, Path]:
    """Train, paint and measure what is not there yet; the table, and the folder of it all.

    shop: the pack, its pictures and where work is kept.
    Raises: InputError where the folder holds ablations of other settings; Cancelled.
    """
    root = shop.work / "ablations" / f"{method}-{shop.preset.NAME}"
    locks, written = root / "locks", root / "plan.json"
    work_off(["plan"], locks, lambda _: _settle(root, plan, shop, asked), lambda _: written.is_file())
    steps = _settle(root, plan, shop, asked)
    seeds = range(asked.seeds)
    trainings = {f"{seed}-{_slug(one.name)}": (seed, one) for seed in seeds for one in plan.variants}
    paintings = {f"{seed}-painted-{_slug(one.name)}": (seed, one) for one in plan.paintings for seed in seeds}
    needs = {
        name: f"{seed}-{_slug(one.stands_on)}" for name, (seed, one) in trainings.items() if one.stands_on
    }
    needs |= {name: f"{seed}-{_slug(one.variant)}" for name, (seed, one) in paintings.items()}

    @functools.cache
    def measured_on() -> tuple[list[AblationCase], list[Metric]]:
        given = (shop.pack, shop.preset.SIZE_PX, asked.cases, asked.case_seed)
        cases = cases_of(method, plan, *given, root / "original")
        return cases, metrics_of(shop.pack, plan, cases)

    def work(piece: str) -> None:
        if piece in trainings:
            seed, variant = trainings[piece]
            on_progress(f"seed {seed}, {variant.name}: {steps} steps")
            _train(root, variant, dataclasses.replace(shop, seed=seed, steps=steps, minutes=None))
        else:
            seed, painting = paintings[piece]
            on_progress(f"seed {seed}, painting: {painting.name}")
            _measure(root, plan, painting, shop.pack, seed, *measured_on())

    def finished(piece: str) -> bool:
        if piece in trainings:
            seed, variant = trainings[piece]
            return (root / f"seed-{seed}" / _slug(variant.name) / "trained.json").is_file()
        return _values_of(root, *paintings[piece]).is_file()

    work_off([*trainings, *paintings], locks, work, finished, needs)
    cases, metrics = measured_on()
    values = {
        painting.name: _stacked([_values_of(root, seed, painting) for seed in seeds])
        for painting in plan.paintings
    }
    result = _table(method, plan, shop, asked, values, metrics)
    _sheet(root, plan, cases)
    if plan.curve:
        _curve(root, plan, values)
    return result, root


def _settle(root: Path, plan: Plan, shop: Workshop, asked: Asked) -> int:
    """The steps of each variant; a folder that was begun with other settings is refused."""
    parts = read_card(shop.pack).parts
    wanted = {
        **dataclasses.asdict(asked),
        "people": shop.people,
        "views": shop.views,
        "pack": {
            name: parts[name].digest for name in ("unet", "vae", "text_encoder", "guide") if name in parts
        },
    }
    file = root / "plan.json"
    known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for key, value in known.items():
        if key in wanted and wanted[key] != value:
            raise InputError(f"{root} was begun with other {key}; use the same, or another --work.")
    if "steps_each" not in known:
        steps = asked.steps
        if steps is None:
            steps = _steps_in(asked.minutes or 0.0, plan.variants[0], shop)
        write_json(file, {**wanted, "steps_each": steps})
        return steps
    return int(known["steps_each"])


def _steps_in(minutes: float, variant: Variant, shop: Workshop) -> int:
    """How many steps of a variant fit into that time, by `TIMED` of them: all get the same number."""
    part = "ablation-timed"
    aside = shop.work / "ablations" / ".timed"
    timed = dataclasses.replace(shop, steps=TIMED, minutes=None, resume=False)
    seconds = variant.train(timed, part, None, aside).seconds
    shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(shop.work / "runs" / shop.preset.NAME / part, ignore_errors=True)
    return max(1, round(60 * minutes * TIMED / seconds))


def _train(root: Path, variant: Variant, shop: Workshop) -> None:
    """Train a variant, from the weights of the one it stands on."""
    folder = root / f"seed-{shop.seed}" / _slug(variant.name)
    start = root / f"seed-{shop.seed}" / _slug(variant.stands_on) / "weights" if variant.stands_on else None
    part = f"ablation-{root.name}-{_slug(variant.name)}-{shop.seed}"
    result = variant.train(dataclasses.replace(shop, resume=True), part, start, folder / "weights")
    if result.stopped_by == "signal":
        raise Cancelled(f"Stopped in {variant.name}, seed {shop.seed}; the same command goes on.")
    write_json(folder / "trained.json", {"steps": shop.steps, "seconds": round(result.seconds, 1)})
    runs = shop.work / "runs" / shop.preset.NAME
    for run in (runs / part, *runs.glob(f"{part}-[0-9]")):
        shutil.rmtree(run, ignore_errors=True)


def _values_of(root: Path, seed: int, painting: Painting) -> Path:
    """The file of a painting's numbers by one seed's weights."""
    return root / f"seed-{seed}" / "measured" / _slug(painting.name) / "values.json"


def _stacked(files: Sequence[Path]) -> dict[str, NDArray[np.float64]]:
    """Each metric's (seeds, N) values, nan where nothing could be painted."""
    tables = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return {name: np.stack([np.array(table[name], np.float64) for table in tables]) for name in tables[0]}


def _measure(
    root: Path,
    plan: Plan,
    painting: Painting,
    pack: Path,
    seed: int,
    cases: Sequence[AblationCase],
    metrics: Sequence[Metric],
) -> None:
    """Paint, and write down each metric's values and the first pictures."""
    file = _values_of(root, seed, painting)
    pipeline = plan.load(pack, root / f"seed-{seed}" / _slug(painting.variant) / "weights")
    painted = [painted_case(pipeline, painting, one) for one in cases]
    known = [one for one in painted if one is not None]
    if not known:
        raise InputError(f"{painting.name}: not one of {len(cases)} cases could be painted.")
    rows = [row for row, one in enumerate(painted) if one is not None]
    table: dict[str, list[float | None]] = {}
    for metric in metrics:
        column: list[float | None] = [None] * len(cases)
        for row, value in zip(rows, metric(known), strict=True):
            column[row] = None if np.isnan(value) else float(value)
        table[metric.name] = column
    for number, one in enumerate(painted[:SHOWN]):
        if one is not None:
            write_png(one.image, file.parent / f"{number}.png")
    write_json(file, table)


def _table(
    method: str,
    plan: Plan,
    shop: Workshop,
    asked: Asked,
    values: Mapping[str, Mapping[str, NDArray[np.float64]]],
    metrics: Sequence[Metric],
) -> Result:
    by_name = {metric.name: metric for metric in metrics}
    told = [name for name in TABLE if name in by_name]
    orderings = [
        ordering(
            claim.text,
            claim.source,
            values[claim.better][claim.metric],
            claim.share * values[claim.worse][claim.metric],
            higher_is_better=by_name[claim.metric].higher_is_better,
            margin=claim.margin,
        )
        for claim in plan.claims
        if claim.metric in by_name
    ]
    return Result(
        name=f"{method}-orderings",
        method=method,
        base=shop.preset.NAME,
        seed=asked.case_seed,
        commit=commit(),
        machine=machine(),
        n=asked.cases * asked.seeds,
        metrics={
            f"{name}, {painting}": summarised(found[name], by_name[name].unit)
            for painting, found in values.items()
            for name in told
        },
        orderings=orderings,
        intervals="by bootstrap over seeds and cases",
        command=_command(method, shop, asked),
        date=datetime.now(UTC).date().isoformat(),
    )


def _command(method: str, shop: Workshop, asked: Asked) -> str:
    """How to measure again what was measured."""
    long = f"--steps {asked.steps}" if asked.steps else f"--minutes {asked.minutes:g}"
    drawn = f"--people {shop.people} --views {shop.views} --cases {asked.cases} --seed {asked.case_seed}"
    return f"likeness ablate {method} --size {shop.preset.NAME} --seeds {asked.seeds} {long} {drawn}"


def _sheet(root: Path, plan: Plan, cases: Sequence[AblationCase]) -> None:
    """A row a painting, by the first seed, below the references or what the base paints."""
    shown = cases[:SHOWN]
    pictures = [picture for one in shown for picture in (*one.request.references, one.source)[:1] if picture]
    labels = [f"{one.request.prompt} {one.request.options.get('target', '')}".strip() for one in shown]
    for painting in plan.paintings:
        for number in range(len(shown)):
            file = root / "seed-0" / "measured" / _slug(painting.name) / f"{number}.png"
            pictures.append(read_image(file) if file.is_file() else Image.new("RGB", pictures[0].size))
            labels.append(painting.name)
    write_png(contact_sheet(pictures, len(shown), labels), root / "sheet.png")


def _curve(root: Path, plan: Plan, values: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> None:
    """How the metrics of the paper's curve change along it."""
    lines = {
        metric: [(x, float(np.nanmean(values[name][metric]))) for x, name in plan.curve.items()]
        for metric in ("CLIP-T", "CLIP-I", "FGIS", "FaceSim")
        if all(not np.isnan(values[name].get(metric, np.nan)).all() for name in plan.curve.values())
    }
    write_bytes(root / "curve.svg", line_chart(lines, x=plan.curve_name, y="mean cosine").encode())


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")
