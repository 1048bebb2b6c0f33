"""Training a method on a data set: a run folder, pictures painted on the way, the best weights kept.

settings.json      what was asked for, and what the method chose where nothing was
log.jsonl          the losses; curves.svg shows them beside the scores
checkpoint-*/      to go on from
validation/        what the averaged weights paint, a sheet a checkpoint; scores.jsonl
adapter/           the weights that scored best, as `--adapter` takes them

A method that trains in stages has such a folder a stage, each going on from the last one's weights, and
beside them the last stage's `adapter/`.
"""

from __future__ import annotations

import json
import math
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

import likeness
from likeness.errors import InputError
from likeness.evaluation.judge import Judge
from likeness.files.chart import line_chart
from likeness.files.images import contact_sheet, read_image, to_json, write_bytes, write_json, write_png
from likeness.portraits import peak_memory
from likeness.references import KnowsFaces
from likeness.training import Budget, World, train
from likeness.training.checkpoint import latest_checkpoint
from likeness.training.tracking import JsonlLog, read_log
from likeness.types import PortraitRequest

if TYPE_CHECKING:
    from PIL import Image
    from torch import nn

    from likeness.data.kinds import AnySet
    from likeness.data.manifest import Dataset
    from likeness.training import Moment, Phase
    from likeness.training.ema import Ema
    from likeness.training.phase import Batch
    from likeness.types import PortraitPipeline

__all__ = [
    "Looks",
    "ShowsItself",
    "Training",
    "Validation",
    "dry_run",
    "finetune",
    "finetune_stages",
    "split_people",
    "validation_of",
    "warnings_of",
]

ADAPTER, SETTINGS, CURVES, FINISHED = "adapter", "settings.json", "curves.svg", "finished.json"
NOT_COMPARED = ("version", "device", "checkpoint_gradients")
"""Settings that a run may change on its way: they change no number beyond rounding."""
BATCHES = ("accumulate", "processes")
"""Settings whose product is how many batches a step has."""
VALIDATION = 4
"""Pictures painted at each checkpoint."""


class Training(Protocol):
    """What a method's `load_training` returns. The first phase's average is painted with and saved."""

    @property
    def phases(self) -> Sequence[Phase]:
        """See `training.Phase`."""

    def batches(self, moment: Moment) -> Batch:
        """See `training.train`."""

    def paints(self, averaged: nn.Module) -> PortraitPipeline:
        """A pipeline with these weights."""

    def save(self, averaged: nn.Module, folder: Path) -> None:
        """Write these weights."""

    @property
    def resolved(self) -> Mapping[str, Any]:
        """What it trains by, whoever chose it, plain values: "batch_size", "learning_rate", "size" (the
        pictures' side, px), and the weights of its losses and the like by their names in its settings."""


class Looks(Protocol):
    """What is painted on the way, and what is thought of it."""

    @property
    def scored_by(self) -> Sequence[str]:
        """Who scores; nobody, and the last weights are the best."""

    def look(self, pipeline: Any, /) -> tuple[Sequence[Image.Image], Sequence[str], float | None]:
        """Pictures with their labels, four a row, and a score of which more is better."""


@runtime_checkable
class ShowsItself(Protocol):
    """A training that says itself what is painted on the way."""

    def validation(self, rows: Sequence[int], /) -> Looks:
        """Of these rows of its data set."""


@runtime_checkable
class Warns(Protocol):
    """A training that says what of its data it cannot learn from."""

    @property
    def warnings(self) -> Sequence[str]:
        """One sentence each."""


def warnings_of(training: Training) -> list[str]:
    """What the training warns of, to be told before it begins."""
    return list(training.warnings) if isinstance(training, Warns) else []


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """Portraits of people who were not learned from, and who says how alike they are."""

    requests: tuple[PortraitRequest, ...]
    judge: Judge = field(default_factory=Judge)

    @property
    def scored_by(self) -> Sequence[str]:
        """The judge's encoders."""
        return [encoder.name for encoder in self.judge.encoders]

    def look(self, pipeline: PortraitPipeline) -> tuple[list[Image.Image], list[str], float | None]:
        """Each reference beside its portrait, and the mean likeness."""
        without = pipeline.face_encoder.name if isinstance(pipeline, KnowsFaces) else None
        images, labels, seen = [], [], []
        for request, result in zip(self.requests, pipeline(list(self.requests)), strict=True):
            likeness = self.judge.compare(result.image, request.references, without)
            score = likeness.chance
            if score is None and likeness.cosines:
                score = float(np.mean(list(likeness.cosines.values())))
            seen.append(score)
            told = "no score" if score is None else f"{score:.2f}"
            images += [request.references[0].resize(result.image.size), result.image]
            labels += ["reference", f"{request.prompt} ({told})"]
        known = [score for score in seen if score is not None]
        return images, labels, round(float(np.mean(known)), 4) if known else None


def split_people(dataset: AnySet, held_out: int, seed: int = 0) -> tuple[list[int], list[int]]:
    """Rows to learn from, and rows of `held_out` people at most that nothing is learned of.

    Where rows have a split, those of "train" are learned from, and who is held out is of "validation", if it
    has anybody. Otherwise they are drawn by `seed` from the people to learn from: with fewer than three for
    each that is held out nobody is, and both lists are the same. A data set with nobody of "train" is learned
    from whole.
    """
    people = dataset.people()
    split = {person: getattr(dataset.rows[rows[0]], "split", None) for person, rows in people.items()}
    learned = {person for person in people if split[person] in (None, "train")}
    aside = [person for person in people if split[person] == "validation"] if learned else []
    learned = learned or set(people)
    kept: set[str] = set()
    if held_out > 0 and aside:
        kept = set(random.Random(seed).sample(sorted(aside), min(held_out, len(aside))))
    elif held_out > 0 and len(learned) >= 3 * held_out:
        kept = set(random.Random(seed).sample(sorted(learned), held_out))
    learn, held = (sorted(row for one in who for row in people[one]) for who in (learned - kept, kept))
    return learn, held or learn


def validation_of(dataset: Dataset, rows: Sequence[int], judge: Judge) -> Validation:
    """The captions of `VALIDATION` rows, each painted from another picture of its person, or its own."""
    allowed = set(rows)
    requests = []
    for seed, row in enumerate(list(rows)[:: max(1, len(rows) // VALIDATION)][:VALIDATION]):
        mates = [one for one in dataset.people()[dataset.rows[row].person] if one in allowed and one != row]
        reference = read_image(dataset.path(dataset.rows[(mates or [row])[0]]))
        requests.append(PortraitRequest(dataset.rows[row].caption, (reference,), seed=seed))
    return Validation(tuple(requests), judge)


def finetune(
    training: Training,
    run: Path,
    budget: Budget,
    validation: Looks,
    *,
    settings: Mapping[str, Any],
    seed: int = 0,
    device: str = "cpu",
    accumulate: int = 1,
    checkpoint_minutes: float = 5.0,
    resume: bool = False,
    log_every: int = 10,
    on_log: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Train until the budget is used, or go on with `resume`; returns what became of it.

    At every checkpoint the averaged weights paint `validation`; those with the best score (of `Validation`
    the chance of the same person, or the mean cosine of a judge without calibration) are kept, and the last
    where nobody judges. Ctrl-C writes a checkpoint. settings: what was asked for; the training's `resolved`
    stands in their place in the run folder.
    Raises: InputError for a run folder that is taken, or begun with other settings; what the training raises.
    """
    resolved = training.resolved
    settings = {**settings, **resolved, "device": device, "version": likeness.__version__}
    _settle(run, settings, resume, resolved)
    name = training.phases[0].name
    scores = JsonlLog(run / "validation" / "scores.jsonl")

    def on_save(step: int, emas: dict[str, Ema]) -> None:
        before = [row["score"] for row in read_log(scores.path) if row["score"] is not None]
        images, labels, score = validation.look(training.paints(emas[name].module))
        if images:
            write_png(contact_sheet(images, 4, labels), run / "validation" / f"{step:08d}.png")
        # Where somebody judges, weights that paint no face are not the best, only because they are the last.
        if not before or (score is not None and score >= max(before)):
            partial = run / f".{ADAPTER}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            training.save(emas[name].module, partial)
            _put_in_place(partial, run / ADAPTER)
            write_json(run / SETTINGS, {**settings, "best_step": step, "best_score": score})
        # Last: what has a score has been kept, wherever a run is killed.
        scores.write({"step": step, "score": score})
        _draw_curves(run, scores.path)

    result = train(
        training.phases,
        training.batches,
        run,
        budget,
        seed=seed,
        device=device,
        resume=resume,
        accumulate=accumulate,
        checkpoint_minutes=checkpoint_minutes,
        log_every=log_every,
        on_log=on_log,
        on_save=on_save,
    )
    known: dict[str, Any] = json.loads((run / SETTINGS).read_text(encoding="utf-8"))
    found = {
        "steps": result.step,
        "seconds": round(result.seconds, 1),
        "stopped_by": result.stopped_by,
        "adapter": str(run / ADAPTER),
        "best_step": known["best_step"],
        "score": known["best_score"],
        "scored_by": list(validation.scored_by),
    }
    if result.finished:
        write_json(run / FINISHED, found)
    return found


def finetune_stages(
    stages: Sequence[str],
    open_stage: Callable[[str, Path | None], tuple[Training, Looks]],
    run: Path,
    budget: Budget,
    *,
    settings: Mapping[str, Any],
    adapter: Path | None = None,
    resume: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """`finetune` stage by stage, each in its own folder and with the whole budget.

    open_stage(stage, adapter): what trains it, beginning with these weights; the first with `adapter`. more:
    as `finetune` takes it. With `resume` finished stages are passed over. Returns what became of the last one
    that ran, and of all as "stages".
    """
    found: dict[str, dict[str, Any]] = {}
    for stage in stages:
        folder = run / stage
        done = folder / FINISHED
        if resume and done.is_file():
            found[stage] = json.loads(done.read_text(encoding="utf-8"))
        else:
            training, validation = open_stage(stage, adapter)
            told = {**settings, "stage": stage}
            found[stage] = finetune(
                training, folder, budget, validation, settings=told, resume=resume, **more
            )
        if found[stage]["stopped_by"] not in ("finished", "elsewhere"):
            break
        adapter = folder / ADAPTER
    last = found[stage]
    if last["stopped_by"] == "finished" and World.here().writes:
        partial = run / f".{ADAPTER}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(run / stage / ADAPTER, partial)
        _put_in_place(partial, run / ADAPTER)
    return {**last, "adapter": str(run / ADAPTER), "stages": found}


def dry_run(training: Training, *, seed: int = 0, device: str = "cpu", accumulate: int = 1) -> dict[str, Any]:
    """Two real steps in a folder that is thrown away: seconds of the second one, and the memory they took."""
    begun: list[float] = []
    ended: list[float] = []

    def batches(moment: Moment) -> Batch:
        begun.append(time.perf_counter())
        return training.batches(moment)

    with tempfile.TemporaryDirectory() as folder:
        train(
            training.phases,
            batches,
            Path(folder) / "run",
            Budget(steps=2),
            seed=seed,
            device=device,
            accumulate=accumulate,
            checkpoint_minutes=1e9,
            log_every=1,
            on_log=lambda _: ended.append(time.perf_counter()),  # the checkpoint comes after it
        )
    moved = sum(p.numel() for phase in training.phases for p in phase.trainable.parameters())
    return {
        "parameters_trained": moved,
        "seconds_a_step": round((ended or begun)[-1] - begun[accumulate], 3),
        "peak_memory_mib": peak_memory(),
    }


def _settle(
    run: Path, settings: Mapping[str, Any], resume: bool, resolved: Mapping[str, Any] | None = None
) -> None:
    """Write the settings of a new run; those of one that goes on must be the same.

    What its file does not have is not compared, nor a null of what is resolved now: it is of a version that
    wrote less. Processes may stand in for accumulated batches and the other way.
    """
    known, replaced = run / SETTINGS, _replaced(run / ADAPTER)
    writes = World.here().writes
    if writes and resume and replaced.is_dir() and not (run / ADAPTER).is_dir():
        replaced.replace(run / ADAPTER)  # killed between the two renames of `_put_in_place`
    if resume and known.is_file():
        before = json.loads(known.read_text(encoding="utf-8"))
        free = [*NOT_COMPARED, *(key for key in resolved or () if before.get(key) is None)]
        if _batches_a_step(before) == _batches_a_step(settings):
            free += BATCHES
        for key, value in json.loads(to_json(dict(settings))).items():
            if key in before and before[key] != value and key not in free:
                raise InputError(
                    f"The run {run} was begun with {key} {before[key]!r}, not {value!r}; "
                    "resume it with its own settings, or choose another folder."
                )
    elif latest_checkpoint(run) is not None:
        raise InputError(f"The run folder {run} holds a training; resume it, or choose another folder.")
    elif writes:
        write_json(known, dict(settings))


def _batches_a_step(settings: Mapping[str, Any]) -> int:
    return int(math.prod(settings.get(key, 1) for key in BATCHES))


def _put_in_place(partial: Path, folder: Path) -> None:
    """Rename a finished folder over an older one, which stays until the new one is there."""
    old = _replaced(folder)
    shutil.rmtree(old, ignore_errors=True)
    if folder.is_dir():
        folder.replace(old)
    partial.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def _replaced(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _draw_curves(run: Path, scores: Path) -> None:
    """Losses and scores over the steps, each from 0 to its largest."""
    rows = read_log(run / "log.jsonl")
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for key, value in row.items():
            if "/" in key and not key.endswith(("/lr", "/grad_norm")):
                lines.setdefault(key, []).append((row["step"], value))
    found = [(row["step"], row["score"]) for row in read_log(scores) if row["score"] is not None]
    if found:
        lines["score"] = found
    top = {key: max(abs(v) for _, v in line) or 1.0 for key, line in lines.items()}
    scaled = {
        f"{key} (1 is {top[key]:.3g})": [(s, v / top[key]) for s, v in line] for key, line in lines.items()
    }
    chart = line_chart(scaled, x="step", y="share of the largest value", y_range=(0, 1), dots=False)
    write_bytes(run / CURVES, chart.encode())
