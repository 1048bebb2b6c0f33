"""Which metrics can be measured with the models at hand, and why the others cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likeness.errors import InputError, MissingWeightsError
from likeness.evaluation.embedders import load_clip, load_dino, loaded
from likeness.evaluation.metrics.attributes import (
    AttributeViews,
    DetailsWrong,
    LightError,
    PoseError,
    WordsFollowed,
)
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
from likeness.evaluation.metrics.perceptual import AlexNetLayers, IntraLpips, Lpips, TowerLayers
from likeness.evaluation.metrics.preference import HumanPreference, MultiDimensionalPreference, VisualLevel
from likeness.evaluation.metrics.segmentation import SegmentationConsistency
from likeness.evaluation.multi_preference import load_mps
from likeness.evaluation.preference_models import load_hpsv2, load_levels
from likeness.evaluation.segmenters import load_pack_parser, load_sam
from likeness.packs import mini
from likeness.packs.check_words import CATEGORIES

if TYPE_CHECKING:
    from likeness.evaluation.judge import Judge
    from likeness.evaluation.metrics import Metric, SetMetric
    from likeness.evaluation.tasks import Task
    from likeness.faces.detect import FaceDetector
    from likeness.files.vision_language import VisionLanguageModel

__all__ = ["GIVEN", "Given", "Suite", "suite"]

GIVEN = {
    "hpsv2": "HPSv2's checkpoint, or any CLIP",
    "mps": "the tensors of MPS",
    "q-align": "a vision-language model of transformers'",
    "sam": "Segment Anything, as transformers'",
    "lpips": "a folder with torchvision's alexnet*.pth and the LPIPS package's alex.pth",
}
"""Models that only a user can bring, by the name they are given by."""


@dataclass(frozen=True, slots=True)
class Given:
    """A model that a user brings. licence: of its weights, as the user declares it."""

    source: str
    licence: str = "not declared"

    @classmethod
    def parsed(cls, text: str) -> tuple[str, Given]:
        """ "NAME=SOURCE" or "NAME=SOURCE,LICENCE". Raises: InputError for another form or name."""
        name, is_there, rest = text.partition("=")
        source, _, licence = rest.partition(",")
        if name not in GIVEN or not is_there or not source:
            raise InputError(
                f"--model wants NAME=SOURCE or NAME=SOURCE,LICENCE with NAME one of {', '.join(GIVEN)}; "
                f"got {text!r}."
            )
        return name, cls(source, licence or "not declared")


@dataclass(slots=True)
class Suite:
    """metrics and sets: what is measured. missing: name of a metric -> why it is not. models: what is looked
    through, with the licence of its weights."""

    metrics: tuple[Metric, ...] = ()
    sets: tuple[SetMetric, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)

    def add(self, *metrics: Metric) -> None:
        """Further metrics, behind those there are."""
        self.metrics = (*self.metrics, *metrics)

    def lacks(self, reason: str, *names: str) -> None:
        """Metrics that cannot be measured."""
        self.missing |= dict.fromkeys(names, reason)

    def looks_through(self, model: Any) -> None:
        """Remember a model by its name and licence."""
        self.models[model.name] = getattr(model, "licence", "not declared")


def suite(
    judge: Judge,
    detector: FaceDetector,
    tasks: Sequence[Task],
    *,
    without: str | None = None,
    clip: str | Path | None,
    dino: str | Path | None,
    vision_language: VisionLanguageModel | None = None,
    pack: Path | None = None,
    given: Mapping[str, Given] | None = None,
) -> Suite:
    """What the given models can measure of these tasks.

    judge: compares faces; the first of its encoders gives the cosines, all together the chance of the same
    person, but for `without`, the one that the method is conditioned on. clip, dino: pack, folder or name
    on the hub. vision_language: who rates details and prompts. pack: whose stand-ins look where nothing else
    is given. given: models by the names of `GIVEN`.
    Raises: MissingWeightsError, IncompatibleWeightsError for models that are given and cannot be loaded.
    """
    found, given = Suite(), given or {}
    words = any(task.request.prompt for task in tasks)
    sources = any(task.source is not None or task.source_request is not None for task in tasks)
    _embedded(found, clip, dino, words)
    _faces(found, judge, detector, without, dino)
    if vision_language is not None:
        found.add(JudgedDetails(vision_language))
        if words:
            found.add(JudgedPrompt(vision_language))
    else:
        found.lacks("no vision-language model was given", "DP", *(["PF"] if words else []))
    _truths(found, tasks, pack)
    _kept(found, tasks, sources, pack, given)
    _preferred(found, words, given)
    return found


def _embedded(found: Suite, clip: str | Path | None, dino: str | Path | None, words: bool) -> None:
    if clip is not None:
        towers = load_clip(clip)
        found.looks_through(towers)
        if words:
            found.add(ClipText(towers))
        found.add(ClipImage(towers))
        found.sets = (FrechetDistance(towers), KernelDistance(towers))
    else:
        found.lacks("no CLIP was given", *(["CLIP-T"] if words else []), "CLIP-I", "FID", "KID")
    if dino is not None:
        eyes = load_dino(dino)
        found.looks_through(eyes)
        found.add(DinoImage(eyes))
    else:
        found.lacks("no DINO was given", "DINO-I")


def _faces(
    found: Suite, judge: Judge, detector: FaceDetector, without: str | None, dino: str | Path | None
) -> None:
    every = [FaceViews(encoder, detector) for encoder in judge.independent(without)]
    if not every:
        found.lacks("no judge was given", "FaceSim", "ArcFace")
    for number, views in enumerate(every):
        found.looks_through(views.encoder)
        if number == 0:
            found.add(FaceFound(views), FaceSimilarity(views))
            found.add(*(ProfileSimilarity(views, of) for of in ("min", "max", "median", "mean")))
        else:
            found.add(FaceSimilarity(views, f"FaceSim by {views.encoder.name}"))
    calibration = judge.calibration(without)
    if calibration is not None:
        found.add(SamePerson([v for v in every if v.encoder.name in calibration.encoders], calibration))
    else:
        found.lacks(judge.reason, "same person")
    if every and dino is not None:
        found.add(FacePartSimilarity(every[0], load_dino(dino)))
    else:
        found.lacks("it needs a judge's detector and DINO", "FGIS")


def _truths(found: Suite, tasks: Sequence[Task], pack: Path | None) -> None:
    """What the attribute judge of a pack reads off the pictures of sitters."""
    truths = [task.truth for task in tasks if task.truth is not None]
    asked = {kind for truth in truths for kind in truth.asked}
    kept = {kind for truth in truths for kind in (_all_kinds() if truth.kept is None else truth.kept)}
    placed = [truth for truth in truths if truth.pose_deg is not None]
    lit = [truth for truth in truths if truth.light_deg is not None]
    names = [
        *(["followed"] if asked else []),
        *(["details wrong"] if kept else []),
        *(["pose error"] if placed else []),
        *(["light error"] if lit else []),
    ]
    if not truths:
        found.lacks("what a picture has to show is known of sitters only", "followed", "details wrong")
    elif pack is None or not (pack / "attributes").is_dir():
        where = "only a pack has an attribute judge" if pack is None else (
            f"the {pack.name} pack has no attribute judge: likeness pack build {pack.name} --part attributes"
        )  # fmt: skip
        found.lacks(where, *names)
    else:
        views = AttributeViews(mini.load_attributes(pack / "attributes"))
        found.models[f"{pack.name} pack's attribute judge"] = "Apache-2.0"
        factors = [name for name, kinds in CATEGORIES.items() if asked & set(kinds)]
        parts = [name for name, kinds in CATEGORIES.items() if kept & set(kinds)]
        if asked:
            found.add(WordsFollowed(views), *(WordsFollowed(views, one) for one in factors))
        if kept:
            found.add(DetailsWrong(views), *(DetailsWrong(views, one) for one in parts))
        if placed:
            found.add(PoseError(views))
        if lit:
            found.add(LightError(views))


def _all_kinds() -> list[str]:
    return [kind for kinds in CATEGORIES.values() for kind in kinds]


def _kept(
    found: Suite, tasks: Sequence[Task], sources: bool, pack: Path | None, given: Mapping[str, Given]
) -> None:
    """How near pictures are to their sources, and how varied those of one person are."""
    several = len({id(task.person) for task in tasks}) < len(tasks)
    names = [*(["LPIPS"] if sources else []), *(["intra-LPIPS"] if several else [])]
    if "lpips" in given:
        net: Any = _alexnet(given["lpips"])
    elif pack is not None:
        net = _tower(pack)
    else:
        net = None
        found.lacks("no --model lpips=FOLDER was given", *names)
    if net is not None and names:
        found.looks_through(net)
        found.add(*(metric for metric in (Lpips(net), IntraLpips(net)) if metric.name in names))
    if not sources:
        return
    if "sam" in given:
        regions: Any = load_sam(given["sam"].source, given["sam"].licence)
    else:
        regions = load_pack_parser(pack) if pack is not None else None
    if regions is None:
        found.lacks("no --model sam=FOLDER was given", "Seg-Cons")
    else:
        found.looks_through(regions)
        found.add(SegmentationConsistency(regions))


def _alexnet(given: Given) -> Any:
    folder = Path(given.source)
    files = [next(iter(sorted(folder.glob(pattern))), None) for pattern in ("alexnet*", "alex.*")]
    if files[0] is None or files[1] is None:
        raise MissingWeightsError(f"{folder} is not {GIVEN['lpips']}.")
    net = AlexNetLayers(files[0], files[1])
    net.licence = given.licence
    return net


def _tower(pack: Path) -> Any:
    from transformers import CLIPVisionModelWithProjection

    tower = loaded(CLIPVisionModelWithProjection, pack / "image_encoder")
    net = TowerLayers(tower, f"{pack.name} pack's CLIP, layer by layer")
    net.licence = "Apache-2.0"
    return net


def _preferred(found: Suite, words: bool, given: Mapping[str, Given]) -> None:
    if words and "hpsv2" in given:
        model = load_hpsv2(given["hpsv2"].source, given["hpsv2"].licence)
        found.looks_through(model)
        found.add(HumanPreference(model))
    elif words:
        found.lacks("no --model hpsv2=FILE was given", "HPSv2")
    if words and "mps" in given:
        multi = load_mps(given["mps"].source, given["mps"].licence)
        found.looks_through(multi)
        found.add(MultiDimensionalPreference(multi))
    elif words:
        found.lacks("no --model mps=FILE was given", "MPS")
    if "q-align" in given:
        rater = load_levels(given["q-align"].source, given["q-align"].licence)
        found.looks_through(rater)
        found.add(VisualLevel(rater, "quality"), VisualLevel(rater, "aesthetics"))
    else:
        found.lacks("no --model q-align=FOLDER was given", "Q-Align quality", "Q-Align aesthetics")
