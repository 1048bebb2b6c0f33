"""What else did a fine-tune change: off-target prompts before and after it, measured, on one page.

before/ after/      the same prompts and seeds through the base and through what was tuned
another/            the base again, from other seeds: how much chance alone changes, the numbers' scale
pollution.json      the numbers;  report.html  the same to look at
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from likeness.catalog import load_pipeline
from likeness.diffusion.lora import lora_file
from likeness.errors import Cancelled, IncompatibleWeightsError, InputError, MissingWeightsError
from likeness.evaluation.case import Case
from likeness.evaluation.metrics.changes import ResponseGain, kind_changes
from likeness.evaluation.pollution import Axes
from likeness.evaluation.pollution_page import page
from likeness.evaluation.protocol import load_protocol
from likeness.evaluation.result import MetricValue, commit, machine, summarised
from likeness.files.deltas import delta_file, told_by
from likeness.files.images import write_bytes, write_json, write_png
from likeness.files.provenance import pixels_sha256, recipe_of
from likeness.files.weights import tensor_names
from likeness.portraits import folder_for
from likeness.types import PortraitRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from likeness.evaluation.metrics import Metric
    from likeness.types import PortraitPipeline

__all__ = ["PAGE", "RESULT", "Settings", "Tuned", "off_target", "open_tuned", "pollution"]

PAGE, RESULT = "report.html", "pollution.json"
PAINTER = "spf-portrait"
"""The method that paints from words alone, with deltas or without."""
OTHER_SEED = 100_003
Kind = Literal["delta", "LoRA", "fine-tune"]


@dataclass(frozen=True, slots=True)
class Tuned:
    """What is asked about. targets: the words it was taught, where it says so."""

    path: str
    kind: Kind
    scale: float = 1.0
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is painted, and how. count: pictures of each prompt."""

    count: int = 1
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    device: str | None = None


def open_tuned(text: str) -> Tuned:
    """FILE, FILE@SCALE or a base: a delta and a LoRA are known by what is in them, the rest is a fine-tune.

    Raises: MissingWeightsError, InputError.
    """
    name, at, scale = ("", "", "") if Path(text).exists() else text.rpartition("@")
    path = lora_file(delta_file(name if at else text))
    strength = _scale(scale, text) if at else 1.0
    if path.is_file() and path.suffix == ".safetensors":
        card = told_by(path)
        if card is not None:
            return Tuned(str(path), "delta", strength, tuple(card.get("targets", ())))
        if any("lora" in name.lower() for name in tensor_names(path)):
            return Tuned(str(path), "LoRA", strength)
    elif at or path.suffix == ".safetensors":
        raise MissingWeightsError(f"There is no file {path}: give a delta, a LoRA, or a base of the family.")
    if at:
        raise InputError(f"{path} is a whole model, which has no scale; leave @{scale} out.")
    return Tuned(text, "fine-tune")


def off_target(family: str, count: int, seed: int, targets: Sequence[str] = ()) -> list[str]:
    """Prompts that have nothing to do with the targets: for packs captions of held-out sitters, else
    ConsistentID's.

    A prompt that says one of the targets' telling words is passed over.
    Raises: InputError where no prompt is left.
    """
    said = {word for target in targets for word in re.findall(r"[a-z-]+", target.lower())}
    words = said - {*PLAIN.split()}
    if family == "mini":
        from likeness.sitters import HELD_OUT_SEEDS, captions, sample_scene, straightened

        seeds = random.Random(seed).sample(HELD_OUT_SEEDS, min(20 * count, len(HELD_OUT_SEEDS)))
        every = (
            captions(straightened(sample_scene(one)), 5, one)[3 + index % 2]
            for index, one in enumerate(seeds)
        )
    else:
        texts = [one.text for one in load_protocol("consistentid", "paper", sitters=False).prompts]
        random.Random(seed).shuffle(texts)
        turns = (("man", "woman"), ("woman", "man"))  # each text of one, then of the other
        every = (text.format(person=turn[i % 2]) for turn in turns for i, text in enumerate(texts))
    found: list[str] = []
    for text in every:
        if text not in found and not words & set(re.findall(r"[a-z-]+", text.lower())):
            found.append(text)
        if len(found) == count:
            break
    if not found:
        raise InputError("Every prompt at hand speaks of the targets; give others with --prompt.")
    return found


PLAIN = (
    "a an the of with in on and wearing over her his their big long short hair top bright dark light red "
    "blue green black white brown grey gray yellow orange pink purple teal navy beige gold silver"
)
"""Words that tell nothing of a target."""


def pollution(
    base: str,
    tuned: Tuned,
    prompts: Sequence[str],
    out: Path,
    axes: Axes,
    *,
    settings: Settings | None = None,
    targets: Sequence[str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Paint, measure and write `out`; returns the content of `pollution.json`.

    targets: words that are put behind the prompts once more, to measure the response; by default those that
    what was tuned says it was taught.
    Raises: InputError for impossible settings, IncompatibleWeightsError for another family, Cancelled.
    """
    settings = settings or Settings()
    if not prompts:
        raise InputError("At least one prompt is needed, of something the fine-tune is not about.")
    out = folder_for(out)
    targets = tuned.targets if targets is None else tuple(targets)
    each = [prompt for prompt in prompts for _ in range(settings.count)]
    requests = [
        PortraitRequest(prompt, seed=settings.seed + number, steps=settings.steps, guidance=settings.guidance)
        for number, prompt in enumerate(each)
    ]
    asked = {"another": [replace(one, seed=one.seed + OTHER_SEED) for one in requests], "plain": requests}
    words: dict[str, str] = {}
    if targets and axes.clip is not None:
        told = [targets[number % len(targets)] for number in range(len(requests))]
        asked["target"] = [replace(one, options={"target": t}) for one, t in zip(requests, told, strict=True)]
        words = {_name(number): target for number, target in enumerate(told)}
    painter = _Painter(out, 2 * len(requests) * (len(asked) - 1) + len(requests), on_progress)
    # Opened once beforehand: what is not there or does not fit is told before pictures are painted.
    family_tuned, _ = _base_of(_tuned(base, tuned, settings))
    pipeline = _original(base, settings)
    family, name = _base_of(pipeline)
    if family_tuned != family:
        raise IncompatibleWeightsError(
            f"{tuned.path} is of the family {family_tuned}, {base} of {family}: give two of one."
        )
    another = painter.paint(pipeline, asked["another"], "another")
    before = painter.paint(pipeline, asked["plain"], "before")
    before_target = painter.paint(pipeline, asked.get("target", ()), "before-target")
    del pipeline
    pipeline = _tuned(base, tuned, settings)
    after = painter.paint(pipeline, asked["plain"], "after")
    after_target = painter.paint(pipeline, asked.get("target", ()), "after-target")
    cases, chance = _cases(requests, after, before), _cases(requests, another, before)
    values = {metric.name: metric(cases) for metric in axes.metrics}
    same = [pixels_sha256(one) == pixels_sha256(two) for one, two in zip(before, after, strict=True)]
    document: dict[str, Any] = {
        "format": 1,
        "base": name,
        "tuned": {"path": tuned.path, "kind": tuned.kind, "scale": tuned.scale, "targets": list(targets)},
        "settings": {
            "prompts": list(prompts), "count": settings.count, "seed": settings.seed, "steps": settings.steps,
            "guidance": settings.guidance,
        },
        "pictures": len(requests),
        "unchanged_pictures": sum(same),
        "axes": {
            metric.name: _axis(metric, values[metric.name], metric(chance), axes, settings)
            for metric in axes.metrics
        },
        "not_measured": dict(axes.missing),
        "attributes": _kinds(axes, cases, settings),
        "commit": commit(),
        "machine": machine(),
    }  # fmt: skip
    if words and axes.clip is not None:
        gain = ResponseGain(axes.clip, words)
        responses = gain(_cases(asked["target"], after_target, before_target))
        document["response"] = {
            **summarised(responses, gain.unit, seed=settings.seed).model_dump(),
            "by": axes.clip.name,
        }
        # With the words in the prompt: what besides them differs from the picture without.
        shown = _cases(requests, after_target, before)
        document["with_target"] = {
            metric.name: summarised(metric(shown), metric.unit, seed=settings.seed).model_dump()
            for metric in axes.metrics
        }
    else:
        why = (
            "no words to respond to were given"
            if not targets
            else axes.missing.get("picture", "no CLIP was given")
        )
        document["not_measured"]["response"] = why
    document["warnings"] = painter.warnings["after-target" if words else "after"]
    document["cases"] = [
        {
            "prompt": request.prompt,
            "seed": request.seed,
            "unchanged": same[number],
            **{axis: _known(column[number]) for axis, column in values.items()},
        }
        for number, request in enumerate(requests)
    ]
    write_json(out / RESULT, document)
    pictures = {"before": before, "after": after, "another": another}
    write_bytes(out / PAGE, page(document, {**pictures, "target": after_target}).encode())
    return document


class _Painter:
    """Paints lists of requests into folders and counts the pictures. warnings: those of each folder."""

    def __init__(self, out: Path, total: int, on_progress: Callable[[int, int], None] | None) -> None:
        self.out, self.done, self.total, self.on_progress = out, 0, total, on_progress
        self.warnings: dict[str, list[str]] = {}

    def paint(
        self, pipeline: PortraitPipeline, requests: Sequence[PortraitRequest], folder: str
    ) -> list[Image.Image]:
        found = []
        told: dict[str, None] = {}
        for number, request in enumerate(requests):
            try:
                [result] = pipeline([request])
            except KeyboardInterrupt:
                raise Cancelled(
                    f"Stopped; what was painted is in {self.out}, nothing was measured."
                ) from None
            write_png(result.image, self.out / folder / f"{_name(number)}.png", recipe_of(result))
            found.append(result.image)
            told |= dict.fromkeys(result.warnings)
            self.done += 1
            if self.on_progress is not None:
                self.on_progress(self.done, self.total)
        self.warnings[folder] = list(told)
        return found


def _name(number: int) -> str:
    return f"{number + 1:03d}"


def _original(base: str, settings: Settings) -> PortraitPipeline:
    return load_pipeline(PAINTER, base, adapter={}, device=settings.device)


def _tuned(base: str, tuned: Tuned, settings: Settings) -> PortraitPipeline:
    if tuned.kind == "delta":
        return load_pipeline(PAINTER, base, adapter={tuned.path: tuned.scale}, device=settings.device)
    if tuned.kind == "LoRA":
        return load_pipeline(
            PAINTER, base, adapter={}, loras={tuned.path: tuned.scale}, device=settings.device
        )
    return load_pipeline(PAINTER, tuned.path, adapter={}, device=settings.device)


def _base_of(pipeline: Any) -> tuple[str, str]:
    return pipeline.base.family, pipeline.base.name


def _cases(
    requests: Sequence[PortraitRequest], images: Sequence[Image.Image], sources: Sequence[Image.Image]
) -> list[Case]:
    return [
        Case(_name(number), image, request.prompt, (), source=source)
        for number, (request, image, source) in enumerate(zip(requests, images, sources, strict=True))
    ]


def _axis(
    metric: Metric, values: NDArray[np.float64], chance: NDArray[np.float64], axes: Axes, settings: Settings
) -> dict[str, Any]:
    """The mean change with its interval, that of another seed, and the first as a share of the second."""
    found, scale = (summarised(one, metric.unit, seed=settings.seed) for one in (values, chance))
    share = None
    if found.mean is not None and scale.mean:
        share = found.mean / scale.mean
    return {
        **found.model_dump(),
        "by": axes.judges[metric.name],
        "another_seed": scale.model_dump(),
        "share_of_another_seed": share,
    }


def _kinds(axes: Axes, cases: Sequence[Case], settings: Settings) -> dict[str, dict[str, Any]]:
    """Of each kind of attribute, how often it changed."""
    if axes.describer is None:
        return {}
    changed = kind_changes(axes.describer, cases)
    found: dict[str, MetricValue] = {
        kind: summarised(values, "share of pictures", seed=settings.seed) for kind, values in changed.items()
    }
    ordered = sorted(found, key=lambda kind: -(found[kind].mean or 0))
    return {kind: found[kind].model_dump() for kind in ordered}


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _scale(text: str, given: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{given!r} is neither a file nor FILE@SCALE.")
    return value
