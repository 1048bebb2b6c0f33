"""Which metrics can be measured with the models at hand, and why the others cannot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from likeness.evaluation.embedders import load_clip, load_dino
from likeness.evaluation.metrics.distribution import FrechetDistance, KernelDistance
from likeness.evaluation.metrics.embedding import ClipImage, ClipText, DinoImage
from likeness.evaluation.metrics.faces import (
    FaceFound,
    FacePartSimilarity,
    FaceSimilarity,
    FaceViews,
    ProfileSimilarity,
    SamePerson,
)
from likeness.evaluation.metrics.judged import JudgedDetails, JudgedPrompt

if TYPE_CHECKING:
    from likeness.evaluation.judge import Judge
    from likeness.evaluation.metrics import Metric, SetMetric
    from likeness.evaluation.vision_language import VisionLanguageModel
    from likeness.faces.detect import FaceDetector

__all__ = ["Suite", "suite"]


@dataclass(frozen=True, slots=True)
class Suite:
    """metrics and sets: what is measured. missing: name of a metric -> why it is not."""

    metrics: tuple[Metric, ...]
    sets: tuple[SetMetric, ...]
    missing: dict[str, str]


def suite(
    judge: Judge,
    detector: FaceDetector,
    *,
    without: str | None = None,
    clip: str | Path | None,
    dino: str | Path | None,
    vision_language: VisionLanguageModel | None = None,
) -> Suite:
    """What the given models can measure.

    judge: compares faces; the first of its encoders gives the cosines, all together the chance of the same
    person, but for `without`, the one that the method is conditioned on. clip, dino: pack, folder or name
    on the hub.
    vision_language: who rates details and prompts.
    Raises: MissingWeightsError, IncompatibleWeightsError for models that are given and cannot be loaded.
    """
    metrics: list[Metric] = []
    sets: list[SetMetric] = []
    missing: dict[str, str] = {}
    every = [FaceViews(encoder, detector) for encoder in judge.independent(without)]
    views = every[0] if every else None
    eyes = load_dino(dino) if dino is not None else None
    if clip is not None:
        towers = load_clip(clip)
        metrics += [ClipText(towers), ClipImage(towers)]
        sets += [FrechetDistance(towers), KernelDistance(towers)]
    else:
        missing |= dict.fromkeys(("CLIP-T", "CLIP-I", "FID", "KID"), "no CLIP was given")
    if eyes is not None:
        metrics.append(DinoImage(eyes))
    else:
        missing["DINO-I"] = "no DINO was given"
    if views is not None:
        metrics += [FaceFound(views), FaceSimilarity(views)]
        metrics += [ProfileSimilarity(views, of) for of in ("min", "max", "median", "mean")]
    else:
        missing |= dict.fromkeys(("FaceSim", "ArcFace"), "no judge was given")
    calibration = judge.calibration(without)
    if calibration is not None:
        metrics.append(SamePerson(every, calibration))
    else:
        missing["same person"] = judge.reason
    if views is not None and eyes is not None:
        metrics.append(FacePartSimilarity(views, eyes))
    else:
        missing["FGIS"] = "it needs a judge's detector and DINO"
    if vision_language is not None:
        metrics += [JudgedDetails(vision_language), JudgedPrompt(vision_language)]
    else:
        missing |= dict.fromkeys(("DP", "PF"), "no vision-language model was given")
    return Suite(tuple(metrics), tuple(sets), missing)
