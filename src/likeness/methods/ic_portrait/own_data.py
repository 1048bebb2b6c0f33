"""Training on a data set (`likeness.data`): both nets on views of many people, or a UNet for one person."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from likeness.data.kinds import require
from likeness.diffusion.pixels import to_pixels
from likeness.diffusion.requests import check_size
from likeness.errors import IncompatibleWeightsError, InputError
from likeness.files.images import read_image
from likeness.methods.ic_portrait.conditioning import head_of, identity_of
from likeness.methods.ic_portrait.config import MATCHING_STEPS, NETS, TRAINING, Training
from likeness.methods.ic_portrait.loading import (
    load_pipeline,
    open_detector,
    open_face_encoder,
    open_image_encoder,
)
from likeness.methods.ic_portrait.model import Nets, control_net
from likeness.methods.ic_portrait.pipeline import IcPortraitPipeline
from likeness.methods.ic_portrait.training import AppearancePhase, MatchingPhase, PersonPhase
from likeness.methods.ic_portrait.weights import save_nets
from likeness.packs import open_base
from likeness.training.loop import seeded
from likeness.training.options import DEFAULTS, TrainingOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from likeness.data.manifest import Dataset
    from likeness.training import Moment, Phase
    from likeness.training.phase import Batch
    from likeness.types import PortraitPipeline, PortraitRequest, PortraitResult

__all__ = ["PersonTraining", "ViewsTraining", "load_training"]

KEPT = 2000
"""Pictures that are remembered between steps."""
NEVER = 10**12


class _OnThemselves:
    """Paints validation: a request that has no style reference takes its profile as one."""

    def __init__(self, pipeline: IcPortraitPipeline) -> None:
        self.pipeline = pipeline

    def __call__(
        self,
        requests: list[PortraitRequest],
        *,
        on_step: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> list[PortraitResult]:
        filled = [
            replace(one, prompt="", image=one.image or one.references[0], strength=min(one.strength, 0.7))
            for one in requests
        ]
        return self.pipeline(filled, on_step=on_step, cancel=cancel)


class _Rows:
    """Pictures of a data set as the nets read them, and who is on which."""

    def __init__(
        self, dataset: Dataset, rows: Sequence[int], pipeline: IcPortraitPipeline, size_px: int
    ) -> None:
        self.dataset, self.pipeline, self.size_px = dataset, pipeline, size_px
        chosen = set(rows)
        everybody = dataset.people().values()
        self.people = [mine for people in everybody if (mine := sorted(set(people) & chosen))]
        self.known = lru_cache(maxsize=KEPT)(self._known)

    @torch.no_grad()
    def _known(self, number: int) -> dict[str, Tensor]:
        """pixels (3, H, W) in [-1, 1]; mean, spread (C, h, w) of the latents; embedding (D,); identity (E,)
        where the nets read it."""
        row, pipeline = self.dataset.rows[number], self.pipeline
        picture = read_image(self.dataset.path(row)).convert("RGB")
        head = head_of(picture, row.face.face, pipeline.base, (self.size_px, self.size_px))
        pixels, encoder = to_pixels(head), pipeline.image_encoder
        mean, spread = (values[0].cpu() for values in pipeline.base.encode(pixels))
        embedding = encoder.embeds(encoder.pixels(head)[None])[0].float().cpu()
        known = {"pixels": pixels[0], "mean": mean, "spread": spread, "embedding": embedding}
        if pipeline.nets.settings.identity_encoder:
            known["identity"] = identity_of(picture, row.face.face, pipeline.face_encoder)
        return known

    def latents(self, number: int, generator: torch.Generator) -> Tensor:
        """Drawn anew from what the autoencoder says of a picture, (C, h, w)."""
        known = self.known(number)
        return known["mean"] + known["spread"] * torch.randn(known["mean"].shape, generator=generator)

    def two_of(self, person: int, generator: torch.Generator) -> tuple[int, int]:
        """Two pictures of a person, the same one twice where there is no other."""
        mine = self.people[person]
        order = torch.randperm(len(mine), generator=generator).tolist()
        return mine[order[0]], mine[order[-1]]


class ViewsTraining:
    """Both nets on people of whom there are several views: the matching net for its few steps only."""

    def __init__(
        self,
        dataset: Dataset,
        rows: Sequence[int],
        pipeline: IcPortraitPipeline,
        settings: Training,
        *,
        size_px: int,
        from_nothing: bool = False,
        seed: int = 0,
    ) -> None:
        self.rows, self.settings, self.seed = _Rows(dataset, rows, pipeline, size_px), settings, seed
        self.rows.people = [mine for mine in self.rows.people if len(mine) > 1]
        if not self.rows.people:
            raise InputError(
                f"The data set {dataset.folder} has one picture of each person: build it with "
                "`likeness dataset build views` from a folder that has several of each."
            )
        base, nets = pipeline.base, pipeline.nets
        nets.appearance.requires_grad_(True).train()
        nets.matching.requires_grad_(from_nothing).train(from_nothing)
        rate = settings.learning_rate
        self._appearance = AppearancePhase(nets, base, settings, rate)
        self._matching = MatchingPhase(nets.matching, base, settings, self._matching_rate)
        self._from_nothing = from_nothing

    @property
    def phases(self) -> list[Phase]:
        """See `training`."""
        return [self._appearance, self._matching] if self._from_nothing else [self._appearance]

    def _matching_rate(self, step: int, progress: float) -> float:
        if step + 1 >= MATCHING_STEPS:
            self._matching.every = NEVER
        return self.settings.learning_rate if step < MATCHING_STEPS else 0.0

    def batches(self, moment: Moment) -> Batch:
        """A batch that depends on the moment's draw and the seed alone."""
        generator = seeded(self.seed, moment.draw, 63)
        count = self.settings.batch_size
        people = torch.randint(len(self.rows.people), (count,), generator=generator).tolist()
        found: list[dict[str, Tensor]] = []
        for person in people:
            target, profile = self.rows.two_of(person, generator)
            known = self.rows.known(profile)
            told = {name: tensor for name, tensor in known.items() if name in ("embedding", "identity")}
            found.append(
                {
                    "pixels_target": self.rows.known(target)["pixels"],
                    "pixels_profile": known["pixels"],
                    "latents_target": self.rows.latents(target, generator),
                    "latents_profile": self.rows.latents(profile, generator),
                    **told,
                }
            )
        return {name: torch.stack([row[name] for row in found]) for name in found[0]}

    def paints(self, averaged: nn.Module) -> PortraitPipeline:
        """A pipeline with the averaged appearance net."""
        now = self.rows.pipeline
        return _OnThemselves(now.with_nets(replace(now.nets, appearance=averaged)))

    def save(self, averaged: nn.Module, folder: Path) -> None:
        """Write both nets as a folder that `--adapter` takes."""
        save_nets(replace(self.rows.pipeline.nets, appearance=averaged), folder)

    @property
    def resolved(self) -> dict[str, Any]:
        """See `finetune.Training`."""
        told = {**asdict(self.settings), "size": self.rows.size_px}
        del told["person_rate"]
        return told


class PersonTraining:
    """DreamBooth: the whole UNet on the aligned pictures of one person, the nets as they are."""

    def __init__(
        self,
        dataset: Dataset,
        rows: Sequence[int],
        pipeline: IcPortraitPipeline,
        settings: Training,
        *,
        size_px: int,
        seed: int = 0,
    ) -> None:
        self.rows, self.settings, self.seed = _Rows(dataset, rows, pipeline, size_px), settings, seed
        self.person = next(iter(dataset.people()))
        unet = copy.deepcopy(pipeline.base.unet).requires_grad_(True)
        self._phase = PersonPhase(unet, pipeline.base, settings, settings.person_rate)

    @property
    def phases(self) -> list[Phase]:
        """See `training`."""
        return [self._phase]

    def batches(self, moment: Moment) -> Batch:
        """A batch that depends on the moment's draw and the seed alone."""
        generator = seeded(self.seed, moment.draw, 63)
        found = []
        for _ in range(self.settings.batch_size):
            target, other = self.rows.two_of(0, generator)
            latents = self.rows.latents(target, generator)
            found.append({"latents": latents, "embedding": self.rows.known(other)["embedding"]})
        return {name: torch.stack([row[name] for row in found]) for name in found[0]}

    def paints(self, averaged: nn.Module) -> PortraitPipeline:
        """A pipeline whose UNet is the averaged one."""
        return _OnThemselves(self.rows.pipeline.with_unet(averaged))

    def save(self, averaged: nn.Module, folder: Path) -> None:
        """Write UNet and nets as a folder that `--adapter` takes."""
        nets = self.rows.pipeline.nets
        settings = replace(nets.settings, person=self.person)
        save_nets(replace(nets, settings=settings), folder, unet=averaged)

    @property
    def resolved(self) -> dict[str, Any]:
        """See `finetune.Training`."""
        settings = self.settings
        return {
            "batch_size": settings.batch_size,
            "learning_rate": settings.person_rate,
            "drop": settings.drop,
            "size": self.rows.size_px,
        }


def load_training(
    dataset: Dataset,
    rows: Sequence[int],
    base: str | Path = "mini",
    options: TrainingOptions = DEFAULTS,
) -> ViewsTraining | PersonTraining:
    """A training on `rows` of a data set: of both nets, or, where it is of one person, of their UNet.

    The defaults are `config.TRAINING`'s for the base's family; a person's pictures come one at a time.
    With `options.from_nothing` the nets begin from the UNet.
    Raises: what `loading.load_pipeline` raises; InputError for people with a single picture each.
    """
    require(dataset, "fgid", "IC-Portrait")
    loaded = open_base(base, options.device, "float32")
    if loaded.family not in TRAINING:
        raise IncompatibleWeightsError(
            f"IC-Portrait runs on {' and '.join(TRAINING)}, not on {loaded.family}; choose another base."
        )
    size_px = options.size_px or loaded.size_px
    check_size((size_px, size_px), loaded, least_px=2 * loaded.unit_px)
    if options.from_nothing:
        torch.manual_seed(options.seed)
        nets = Nets(control_net(loaded.unet), control_net(loaded.unet), NETS[loaded.family])
        pipeline = IcPortraitPipeline(
            loaded,
            nets,
            open_image_encoder(loaded, nets.settings)[0],
            detector=open_detector(loaded, options.sitters),
            face_encoder=open_face_encoder(loaded, nets.settings),
        )
    else:
        pipeline = load_pipeline(loaded, options.adapter, device=options.device, sitters=options.sitters)
    settings = TRAINING[loaded.family]
    alone = len(dataset.people()) == 1
    options.prepare(pipeline.base.unet)  # a person's, where one goes on
    if alone:
        rate = options.learning_rate or settings.person_rate
        settings = replace(settings, batch_size=options.batch_size or 1, person_rate=rate)
        return PersonTraining(dataset, rows, pipeline, settings, size_px=size_px, seed=options.seed)
    rate = options.learning_rate or settings.learning_rate
    settings = replace(settings, batch_size=options.batch_size or settings.batch_size, learning_rate=rate)
    return ViewsTraining(
        dataset,
        rows,
        pipeline,
        settings,
        size_px=size_px,
        from_nothing=options.from_nothing,
        seed=options.seed,
    )
