"""Training on edit pairs (`likeness dataset import`, `dataset build edits`), one stage at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from likeness.data.kept import Kept
from likeness.data.kinds import require
from likeness.data.order import EpochOrder, aspect_buckets, bucket_of
from likeness.data.reading import fitted
from likeness.diffusion.pixels import to_pictures
from likeness.diffusion.prompts import encode_prompts
from likeness.errors import InputError, MissingWeightsError
from likeness.faces.align import ARCFACE_TEMPLATE, invert_affine, similarity
from likeness.faces.detect import find_detector
from likeness.methods.instant_portrait.config import (
    ABLATIONS,
    ANNEALINGS,
    DistillStage,
    EditSettings,
    IdeTraining,
)
from likeness.methods.instant_portrait.model import Backbone, Discriminator, editing_unet
from likeness.methods.instant_portrait.pipeline import InstantPortraitPipeline
from likeness.methods.instant_portrait.recipe import load_backbone
from likeness.methods.instant_portrait.training import DiscriminatorPhase, IdeNetPhase, IpNetPhase
from likeness.methods.instant_portrait.weights import PUBLISHED, load_editor, save_editor
from likeness.packs import mini, open_base
from likeness.training import cosine
from likeness.training.loop import seeded
from likeness.training.options import DEFAULTS, TrainingOptions
from likeness.types import PortraitRequest

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor, nn

    from likeness.data.triplets import TripletSet
    from likeness.diffusion.load import Base
    from likeness.faces.detect import FaceDetector
    from likeness.training import Moment, Phase
    from likeness.training.phase import Batch

__all__ = ["CHOICES", "STAGES", "PairTraining", "PairValidation", "load_training"]

STAGES = ("ide-net", "ipnet")
CHOICES = ("ablation", "clip")
IDE_ABLATIONS = {
    "no identity": IdeTraining(identity_weight=0.0),
    **{name: IdeTraining(annealing=one) for name, one in ANNEALINGS.items()},
}
"""Table 5, and the baseline."""
STANDARD_MARGIN = "standard margin"
BATCH = {"mini": 24, "sd15": 256}
RATES = {"mini": {"ide-net": 3e-4, "ipnet": 1.5e-4}, "sd15": {"ide-net": 1e-4, "ipnet": 1e-5}}
DISCRIMINATOR_RATE = {"mini": 5e-3, "sd15": 1e-4}
ADVERSARIAL = {"mini": 0.1, "sd15": 1.0}
"""On the mini pack the paper's weight turns lips pink (`recipe`)."""
IDENTITY_ROWS = {"mini": 6, "sd15": None}
CHANGE_SHARE = {"mini": 0.5, "sd15": 0.0}
KEPT_BYTES = 2 * 2**30
"""What is remembered of pairs between steps."""
VALIDATION = 4
"""Pairs that are painted at each checkpoint."""


class PairTraining:
    """One stage on edit pairs, each once an epoch, batches of one shape.

    A pair on whose first picture no face is found is passed over, for another of its shape. more: what else
    of the stage's settings the run folder is to tell.
    """

    def __init__(
        self,
        dataset: TripletSet,
        rows: Sequence[int],
        base: Base,
        detector: FaceDetector,
        settings: EditSettings,
        *,
        batch_size: int,
        size_px: int,
        seed: int = 0,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self.dataset, self.base, self.detector, self.settings = dataset, base, detector, settings
        self.numbers, self.batch_size, self.seed = sorted(rows), batch_size, seed
        self.size_px, self.sizes, self._more = (
            size_px,
            aspect_buckets(size_px, base.unit_px),
            dict(more or {}),
        )
        self._buckets = [self._bucket(row) for row in self.numbers]
        self._order = EpochOrder(self._buckets, batch_size, seed)
        self._kept = Kept(KEPT_BYTES)
        self._phases: list[Phase] = []
        self._distilled: IpNetPhase | None = None
        self._schedule: tuple[DistillStage, ...] = ()

    def learn(self, phase: IdeNetPhase) -> None:
        """Stage 1."""
        self._phases = [phase]

    def distill(
        self, phase: IpNetPhase, discriminator: DiscriminatorPhase, schedule: tuple[DistillStage, ...]
    ) -> None:
        """Stage 2, whose rows of Table 6 follow each other by their shares of the training."""
        self._phases, self._distilled, self._schedule = [phase, discriminator], phase, schedule

    @property
    def phases(self) -> list[Phase]:
        """Raises: InputError for a second stage that has no IDE-Net to begin with."""
        if not self._phases:
            raise InputError(
                f"IPNet is distilled from an IDE-Net, and {self.base.name} has none: train the stage "
                "ide-net first, or give one as --adapter."
            )
        return self._phases

    def batches(self, moment: Moment) -> Batch:
        """The batch of a draw; what is drawn of its latents depends on the draw and the seed alone."""
        if self._distilled is not None:
            self._distilled.stage = stage_at(self._schedule, moment.progress)
        places = self._order.rows(moment.draw).tolist()
        bucket = self._buckets[places[0]]
        others = [place for place, one in enumerate(self._buckets) if one == bucket]
        found: list[dict[str, Tensor]] = []
        generator = seeded(self.seed, moment.draw, 63)
        for place in (*places, *others):
            known = self._kept(("pair", self.numbers[place]), self._known)
            if "face_affine" not in known:
                continue
            noise = torch.randn(known["mean"].shape, generator=generator)
            latents = known["mean"] + known["spread"] * noise
            found.append({"latents": latents, **{k: v for k, v in known.items() if k not in _OWN}})
            if len(found) == len(places):
                break
        if not found:
            raise InputError(
                f"On no picture before an edit of {self.sizes[bucket][0]} x {self.sizes[bucket][1]} px in "
                f"{self.dataset.folder} is there a face: give pairs of portraits."
            )
        found = [found[number % len(found)] for number in range(len(places))]
        return {name: torch.stack([row[name] for row in found]) for name in found[0]}

    def paints(self, averaged: nn.Module) -> InstantPortraitPipeline:
        """A pipeline with the averaged UNet."""
        return InstantPortraitPipeline(self.base, averaged, self.settings)

    def save(self, averaged: nn.Module, folder: Path) -> None:
        """Write the UNet as a folder that `--adapter` takes."""
        save_editor(averaged, self.settings, folder)

    @property
    def resolved(self) -> dict[str, Any]:
        """See `finetune.Training`."""
        return {"batch_size": self.batch_size, "size": self.size_px, **self._more}

    def validation(self, rows: Sequence[int]) -> PairValidation:
        """Some rows to be painted at each checkpoint."""
        chosen = list(rows)[:: max(1, len(rows) // VALIDATION)][:VALIDATION]
        return PairValidation(self, tuple(chosen))

    def fitted(self, row: int) -> tuple[Tensor, Tensor]:
        """Both pictures (3, H, W) in [-1, 1], at the size of the second one's shape."""
        size = self.sizes[self._bucket(row)]
        before, after = (fitted(picture, size) for picture in self.dataset.pictures(row))
        return before, after

    def _bucket(self, row: int) -> int:
        return bucket_of(self.dataset.rows[row].target_size_px, self.sizes)

    @torch.no_grad()
    def _known(self, row: int) -> dict[str, Tensor]:
        """A row of `training`'s batch, with mean and spread (C, h, w) in place of the target's latents."""
        base = self.base
        before, after = (one[None] for one in self.fitted(row))
        mean, spread = base.encode(after.to(base.device, base.dtype))
        image = base.vae.encode(before.to(base.device, base.vae.dtype)).latent_dist.mean
        text = encode_prompts(base, [self.dataset.rows[row].instruction])
        found = {
            "pixels_before": before[0], "pixels_after": after[0], "image_latents": image[0],
            "mean": mean[0], "spread": spread[0], "text": text.rows[0],
        }  # fmt: skip
        faces = self.detector(to_pictures(before)[0])
        if faces:
            affine = invert_affine(similarity(faces[0].landmarks_px, ARCFACE_TEMPLATE))
            found["face_affine"] = torch.from_numpy(affine.astype(np.float32))
        return {name: tensor.float().cpu() for name, tensor in found.items()}


_OWN = ("mean", "spread")


def stage_at(schedule: Sequence[DistillStage], progress: float) -> DistillStage:
    """Which row of Table 6 is trained at a progress in [0, 1]."""
    total, passed = sum(one.share for one in schedule), 0.0
    for one in schedule:
        passed += one.share / total
        if progress < passed:
            return one
    return schedule[-1]


@dataclass(frozen=True, slots=True, eq=False)
class PairValidation:
    """Pairs nothing was learned from: before, edited, and what was wanted. Nobody scores them."""

    training: PairTraining
    rows: tuple[int, ...]
    scored_by: tuple[str, ...] = ()

    def look(self, pipeline: InstantPortraitPipeline) -> tuple[list[Image.Image], list[str], None]:
        """Three pictures a row, and what each is."""
        images: list[Image.Image] = []
        labels: list[str] = []
        for seed, row in enumerate(self.rows):
            told = self.training.dataset.rows[row].instruction
            before, after = (to_pictures(one[None])[0] for one in self.training.fitted(row))
            request = PortraitRequest(told, (before,), seed=seed, size_px=before.size)
            images += [before, pipeline([request])[0].image, after]
            labels += ["before", told, "after"]
        return images, labels, None


def load_training(
    dataset: TripletSet,
    rows: Sequence[int],
    base: str | Path | Base = "mini",
    options: TrainingOptions = DEFAULTS,
    *,
    stage: str,
    ablation: str | None = None,
    clip: str | Path | None = None,
) -> PairTraining:
    """A stage on `rows` of a data set of edit pairs.

    IDE-Net begins with `options.adapter`, the pack's own, or the base's UNet; IPNet with `options.adapter`
    or the pack's IDE-Net. ablation: of `IDE_ABLATIONS`, `config.ABLATIONS`, or "standard margin"; the other
    stage stays as it is. clip: folder of the vision transformer behind the discriminator, such as DINOv2; a
    pack has its own.
    Raises: InputError, IncompatibleWeightsError, MissingWeightsError.
    """
    require(dataset, ("pairs", "edits"), "InstantPortrait")
    known = (*IDE_ABLATIONS, *ABLATIONS, STANDARD_MARGIN)
    if ablation is not None and ablation not in known:
        raise InputError(f"There is no ablation {ablation!r}; there are {', '.join(known)}.")
    loaded = open_base(base, options.device, "float32")
    family = loaded.family
    if family not in BATCH:
        raise InputError(f"InstantPortrait runs on {' and '.join(BATCH)}, not on {family}.")
    torch.manual_seed(options.seed)
    unet, begun = _begun(loaded, options, stage)
    ide = IDE_ABLATIONS.get(ablation or "", IdeTraining())
    name, recogniser = "none", None
    if stage == "ide-net" and ide.identity_weight:
        folder = _part(loaded, "recogniser")
        if folder is None:
            raise MissingWeightsError(
                f"The base {loaded.name} has no recogniser/ to know people by: put one there, or "
                "train with --ablation 'no identity'."
            )
        name, recogniser = folder.name, mini.load_recogniser(folder).to(loaded.device)
    elif begun is not None:
        name = begun.taught_by
    teacher = begun or (
        replace(PUBLISHED, taught_by=name) if family == "sd15" else EditSettings("mini", "ide-net", 20, 3.0)
    )
    settings = replace(teacher, stage="ide-net", taught_by=name)
    if stage == "ipnet":
        settings = replace(settings, stage="ipnet", steps=1, guidance=1.0)
    own = _part(loaded, "landmarks")
    schedule = ABLATIONS.get(ablation or "", ABLATIONS["ipnet"])
    schedule = tuple(replace(one, adversarial=one.adversarial * ADVERSARIAL[family]) for one in schedule)
    learning_rate = options.learning_rate or RATES[family][stage]
    loss: dict[str, Any] = (
        asdict(ide) if stage == "ide-net" else {"schedule": [asdict(one) for one in schedule]}
    )
    training = PairTraining(
        dataset,
        rows,
        loaded,
        find_detector("sitters" if own and options.sitters else None, own),
        settings,
        batch_size=options.batch_size or BATCH[family],
        size_px=options.size_px or loaded.size_px,
        seed=options.seed,
        more={"learning_rate": learning_rate, **loss},
    )
    rate = cosine(learning_rate, warmup_steps=20)
    if stage == "ide-net":
        options.prepare(unet)
        training.learn(
            IdeNetPhase(
                unet, loaded, recogniser, ide, rate,
                identity_rows=IDENTITY_ROWS[family], change_share=CHANGE_SHARE[family],
            )
        )  # fmt: skip
        return training
    backbone = _backbone(loaded, clip).to(loaded.device)
    if unet is None:
        return training
    student = editing_unet(unet).requires_grad_(True)
    options.prepare(student)
    discriminator = Discriminator(backbone).to(loaded.device)
    distilled = IpNetPhase(
        student, unet, discriminator, backbone, loaded, schedule[0], rate,
        standard_margin=ablation == STANDARD_MARGIN, crop_px=min(map(min, training.sizes)) // 2,
    )  # fmt: skip
    training.distill(
        distilled, DiscriminatorPhase(discriminator, distilled, DISCRIMINATOR_RATE[family]), schedule
    )
    return training


def _begun(base: Base, options: TrainingOptions, stage: str) -> tuple[Any, EditSettings | None]:
    """The IDE-Net that a stage begins with, and what is known of it; None where the second has none."""
    own = None if options.from_nothing else _part(base, "adapters/instant-portrait-teacher")
    given = options.adapter if options.adapter is not None else own
    if given is not None and not (options.from_nothing and stage == "ide-net"):
        unet, settings, _ = load_editor(given, base)
        if settings.stage != "ide-net":
            raise InputError(f"{given} is an IPNet, which edits in one step: give an IDE-Net as --adapter.")
        return unet.requires_grad_(stage == "ide-net"), settings
    if stage == "ipnet":
        return None, None
    return editing_unet(base.unet).requires_grad_(True), None


def _part(base: Base, name: str) -> Path | None:
    folder = base.folder / name if base.folder else None
    return folder if folder and folder.is_dir() else None


def _backbone(base: Base, given: str | Path | None) -> Backbone:
    """Raises: MissingWeightsError where neither the base has one nor one is given."""
    folder = Path(given) if given is not None else _part(base, "vit")
    if folder is None or not folder.is_dir():
        raise MissingWeightsError(
            f"There is no vision transformer for IPNet's discriminator at {folder or base.name}: give the "
            "folder of one, such as DINOv2's, as --clip."
        )
    return load_backbone(folder)
