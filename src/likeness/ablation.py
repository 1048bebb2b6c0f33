"""A method's ablations: every variant trained equally long with several seeds, measured, put in order.

WORK/ablations/METHOD-PACK/
  plan.json              what was asked for; taken up again only with the same
  seed-0/VARIANT/        its weights, and trained.json when they are finished
  seed-0/measured/       the numbers of each painting, and its first pictures
  original/              where targets are taught: what the base paints without
  sheet.png, curve.svg   to look at

What is finished is kept, so a stopped run goes on with what is missing.
"""

from __future__ import annotations

import dataclasses
import json
import random
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from likeness.errors import Cancelled, FaceError, InputError
from likeness.evaluation.case import Case, Truth
from likeness.evaluation.edits import held_out_edits
from likeness.evaluation.judge import open_judge
from likeness.evaluation.metrics.attributes import AttributeViews, WordsFollowed
from likeness.evaluation.metrics.changes import ResponseGain
from likeness.evaluation.metrics.perceptual import Lpips, TowerLayers
from likeness.evaluation.metrics.sharpness import Sharpness
from likeness.evaluation.people import Person, sitters
from likeness.evaluation.pollution import open_axes
from likeness.evaluation.protocol import load_protocol
from likeness.evaluation.result import Result, commit, machine, ordering, summarised
from likeness.evaluation.suite import suite
from likeness.evaluation.tasks import Task, tasks_of
from likeness.files.chart import line_chart
from likeness.files.images import contact_sheet, read_image, write_bytes, write_json, write_png
from likeness.packs import mini, mini_path, read_card
from likeness.portraits import open_detector
from likeness.sitters import HELD_OUT_SEEDS
from likeness.sitters.taught import TAUGHT, attribute_of, taught_scene
from likeness.types import PortraitRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likeness.evaluation.metrics import Metric
    from likeness.packs.ablations import Painting, Plan, Variant
    from likeness.packs.workshop import Workshop
    from likeness.types import PortraitPipeline

__all__ = ["Asked", "ablate"]

PEOPLE = 25
"""At most so many people in the cases of portraits."""
TIMED = 20
"""Steps that are taken to learn how many fit into a time."""
SHOWN = 6
"""Pictures of each painting on the sheet."""
TABLE = (
    "CLIP-T", "CLIP-I", "DINO-I", "FaceSim", "same person", "face found", "FGIS", "LPIPS", "sharpness",
    "followed", "response", "identity", "layout", "background", "picture", "attributes",
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


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """A request, and what its picture is measured against. prompt: what CLIP compares with; source: the true
    edit, or what the base paints; truth: what is to be seen."""

    id: str
    request: PortraitRequest
    prompt: str
    profiles: tuple[Image.Image, ...] = ()
    source: Image.Image | None = None
    truth: Truth | None = None


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
    steps = _settled(root, plan, shop, asked)
    for seed in range(asked.seeds):
        for variant in plan.variants:
            on_progress(f"seed {seed}, {variant.name}: {steps} steps")
            _trained(root, variant, dataclasses.replace(shop, seed=seed, steps=steps, minutes=None))
    cases = _cases(method, plan, shop, asked, root)
    metrics = _metrics(shop.pack, plan, cases)
    values: dict[str, dict[str, NDArray[np.float64]]] = {}
    for painting in plan.paintings:
        rows = []
        for seed in range(asked.seeds):
            on_progress(f"seed {seed}, painting: {painting.name}")
            rows.append(_measured(root, plan, painting, shop.pack, seed, cases, metrics))
        values[painting.name] = {m.name: np.stack([row[m.name] for row in rows]) for m in metrics}
    result = _table(method, plan, shop, asked, values, metrics)
    _sheet(root, plan, cases)
    if plan.curve:
        _curve(root, plan, values)
    return result, root


def _settled(root: Path, plan: Plan, shop: Workshop, asked: Asked) -> int:
    """The steps of each variant; a folder that was begun with other settings is refused."""
    parts = read_card(shop.pack).parts
    wanted = {
        **dataclasses.asdict(asked),
        "people": shop.people,
        "views": shop.views,
        "pack": {name: parts[name].digest for name in ("unet", "vae", "text_encoder") if name in parts},
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


def _trained(root: Path, variant: Variant, shop: Workshop) -> None:
    """Train a variant unless it has been, from the weights of the one it stands on."""
    folder = root / f"seed-{shop.seed}" / _slug(variant.name)
    if (folder / "trained.json").is_file():
        return
    start = root / f"seed-{shop.seed}" / _slug(variant.stands_on) / "weights" if variant.stands_on else None
    part = f"ablation-{root.name}-{_slug(variant.name)}-{shop.seed}"
    result = variant.train(dataclasses.replace(shop, resume=True), part, start, folder / "weights")
    if result.stopped_by == "signal":
        raise Cancelled(f"Stopped in {variant.name}, seed {shop.seed}; the same command goes on.")
    write_json(folder / "trained.json", {"steps": shop.steps, "seconds": round(result.seconds, 1)})
    runs = shop.work / "runs" / shop.preset.NAME
    for run in (runs / part, *runs.glob(f"{part}-[0-9]")):
        shutil.rmtree(run, ignore_errors=True)


def _cases(method: str, plan: Plan, shop: Workshop, asked: Asked, root: Path) -> list[_Case]:
    if plan.cases == "targets":
        return _targets(plan, shop, asked, root / "original")
    if plan.cases == "edits":
        near = shop.preset.SIZE_PX < mini.SIZE_PX
        edits = held_out_edits(asked.cases, asked.case_seed, mini.SIZE_PX, near=near)
        return [
            _Case(
                edit.id,
                PortraitRequest(edit.instruction, (edit.before,), seed=number),
                edit.caption,
                (),
                edit.after,
            )
            for number, edit in enumerate(edits)
        ]
    protocol = load_protocol(method, sitters=True)
    who = sitters(min(asked.cases, PEOPLE), asked.case_seed, mini.SIZE_PX)
    return [
        _Case(task.id, task.request, task.request.prompt, task.person.profiles)
        for task in tasks_of(protocol, who, asked.case_seed, asked.cases)
    ]


def _targets(plan: Plan, shop: Workshop, asked: Asked, folder: Path) -> list[_Case]:
    """Words of held-out people and of one attribute each, `TAUGHT` by turns; and what the base paints of the
    first alone, from the same seed."""
    taught = [attribute_of(text) for text in TAUGHT]
    base, cases = plan.load(shop.pack, None), list[_Case]()
    for person in random.Random(asked.case_seed).sample(HELD_OUT_SEEDS, len(HELD_OUT_SEEDS)):
        number = len(cases)
        if number == asked.cases:
            break
        attribute = taught[number % len(taught)]
        found = taught_scene(person, taught, number % len(taught))
        if found is None:
            continue
        request = PortraitRequest(found.base, seed=number, options={"target": found.target})
        file = folder / f"{number}.png"
        if not file.is_file():
            [painted] = base([dataclasses.replace(request, options={})])
            write_png(painted.image, file)
        asked_for = Truth({attribute.kind: attribute.value})
        cases.append(_Case(str(number), request, found.target, (), read_image(file), asked_for))
    return cases


def _metrics(pack: Path, plan: Plan, cases: Sequence[_Case]) -> list[Metric]:
    """By the mini pack's models, none of which a smaller pack was made with; its ViT where there is one."""
    detector = open_detector("mini", references_are_sitters=True)
    judge = open_judge("mini", detector, sitters=True)
    if plan.cases == "targets":
        axes = open_axes(mini_path(), judge)
        views = AttributeViews(mini.load_attributes(mini_path() / "attributes"))
        gain = [ResponseGain(axes.clip, {one.id: one.prompt for one in cases})] if axes.clip else []
        return [*axes.metrics, *gain, WordsFollowed(views)]
    taught_by = next((one.name for one in judge.encoders if one.name.endswith(" recogniser")), None)
    eyes = next((one for one in (mini_path(), pack) if (one / "vit").is_dir()), None)
    tasks = [Task(one.id, Person(one.id, "person", ()), "", one.request) for one in cases]
    looks = suite(judge, detector, tasks, without=taught_by, clip=mini_path(), dino=eyes)
    found = list(looks.metrics)
    if plan.cases == "edits":
        from transformers import CLIPVisionModelWithProjection

        tower = CLIPVisionModelWithProjection.from_pretrained(mini_path() / "image_encoder")
        found += [Lpips(TowerLayers(tower.float(), "the mini pack's CLIP")), Sharpness()]
    return found


def _measured(
    root: Path,
    plan: Plan,
    painting: Painting,
    pack: Path,
    seed: int,
    cases: Sequence[_Case],
    metrics: Sequence[Metric],
) -> dict[str, NDArray[np.float64]]:
    """Each metric's (N,) values of a painting by one seed's weights, nan where nothing could be painted."""
    folder = root / f"seed-{seed}" / "measured" / _slug(painting.name)
    file = folder / "values.json"
    if not file.is_file():
        pipeline = plan.load(pack, root / f"seed-{seed}" / _slug(painting.variant) / "weights")
        painted = [_painted(pipeline, painting, one) for one in cases]
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
                write_png(one.image, folder / f"{number}.png")
        write_json(file, table)
    found = json.loads(file.read_text(encoding="utf-8"))
    return {name: np.array(column, np.float64) for name, column in found.items()}


def _painted(pipeline: PortraitPipeline, painting: Painting, case: _Case) -> Case | None:
    options = {**case.request.options, **painting.options}
    request = dataclasses.replace(case.request, options=options, steps=painting.steps)
    try:
        image = pipeline([request])[0].image
    except FaceError:
        return None
    side = mini.SIZE_PX  # what the judges know; a smaller pack's pictures are enlarged
    if min(image.size) < side:
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    source = case.source.resize(image.size, Image.Resampling.BICUBIC) if case.source else None
    return Case(
        case.id, image, case.prompt, request.references, case.profiles, source=source, truth=case.truth
    )


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


def _sheet(root: Path, plan: Plan, cases: Sequence[_Case]) -> None:
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
