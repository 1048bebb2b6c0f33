"""Training on a data set of triplets (`likeness dataset build cheese`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from likeness.data.kept import Kept
from likeness.data.kinds import require
from likeness.data.order import EpochOrder, aspect_buckets, bucket_of
from likeness.data.reading import fitted
from likeness.diffusion.pixels import to_pictures
from likeness.diffusion.prompts import encode_prompts
from likeness.errors import InputError
from likeness.methods.scheese.config import SIZES, TRAINING, VARIANTS, SCheeseTraining
from likeness.methods.scheese.model import SCheese
from likeness.methods.scheese.pipeline import SCheesePipeline, load, open_image_encoder
from likeness.methods.scheese.training import SCheesePhase
from likeness.methods.scheese.weights import (
    begin_from_ip_adapter,
    load_inpainting,
    new_adapter,
    save_adapter,
)
from likeness.packs import open_base
from likeness.training.loop import seeded
from likeness.training.options import DEFAULTS, TrainingOptions
from likeness.types import PortraitRequest

if TYPE_CHECKING:
    from torch import Tensor, nn

    from likeness.data.triplets import TripletSet
    from likeness.training import Moment, Phase
    from likeness.training.phase import Batch
    from likeness.types import PortraitPipeline

__all__ = ["CHOICES", "TripletTraining", "TripletValidation", "load_training"]

CHOICES = ("ablation", "ip_adapter", "inpainting")
"""Further words of `load_training` that a caller may choose."""
KEPT_BYTES = 2 * 2**30
"""What is remembered of triplets between steps; of SDXL's size one takes 5 MB."""
VALIDATION = 4
"""Triplets that are painted at each checkpoint."""


class TripletTraining:
    """The adapter on triplets, each once an epoch; batches are of one shape (`data.order`).

    Reference and target each have their own: a tall portrait is not cut to a wide target's shape.
    """

    def __init__(
        self,
        dataset: TripletSet,
        rows: Sequence[int],
        pipeline: SCheesePipeline,
        settings: SCheeseTraining,
        *,
        size_px: int,
        seed: int = 0,
    ) -> None:
        self.dataset, self.pipeline, self.settings, self.seed = dataset, pipeline, settings, seed
        self.numbers, self.size_px = sorted(rows), size_px
        self.sizes = aspect_buckets(size_px, pipeline.base.unit_px)
        self._order = EpochOrder([self._bucket(row) for row in self.numbers], settings.batch_size, seed)
        self._kept = Kept(KEPT_BYTES)
        adapter = pipeline.adapter.requires_grad_(True).train()
        self._phase = SCheesePhase(adapter, pipeline.base, settings.learning_rate, settings)

    @property
    def phases(self) -> list[Phase]:
        """See `training`."""
        return [self._phase]

    def batches(self, moment: Moment) -> Batch:
        """The batch of a draw; what is drawn of its latents depends on the draw and the seed alone."""
        rows = [self.numbers[place] for place in self._order.rows(moment.draw).tolist()]
        generator = seeded(self.seed, moment.draw, 63)
        found = []
        for known in map(self.known, rows):
            noise = torch.randn(known["mean"].shape, generator=generator)
            latents = known["mean"] + known["spread"] * noise
            found.append({"latents": latents, **{k: v for k, v in known.items() if k not in _OWN}})
        return {name: torch.stack([row[name] for row in found]) for name in found[0]}

    def paints(self, averaged: nn.Module) -> PortraitPipeline:
        """A pipeline with the averaged adapter."""
        return SCheesePipeline(self.pipeline.base, averaged, self.pipeline.image_encoder)  # type: ignore[arg-type]

    def save(self, averaged: nn.Module, folder: Path) -> None:
        """Write the adapter as a folder that `--adapter` takes."""
        save_adapter(averaged, folder)  # type: ignore[arg-type]

    @property
    def resolved(self) -> dict[str, Any]:
        """See `finetune.Training`."""
        told = {**asdict(self.settings), "size": self.size_px}
        del told["steps"]  # the paper's; the run has its own
        return told

    def validation(self, rows: Sequence[int]) -> TripletValidation:
        """Some rows to be painted at each checkpoint."""
        chosen = list(rows)[:: max(1, len(rows) // VALIDATION)][:VALIDATION]
        return TripletValidation(self, tuple(chosen))

    def shapes_px(self, row: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Width and height that a row's reference is brought to, and its target."""
        reference, target = divmod(self._bucket(row), len(self.sizes))
        return self.sizes[reference], self.sizes[target]

    def _bucket(self, row: int) -> int:
        """One number for each pair of shapes."""
        told = self.dataset.rows[row]
        reference, target = (
            bucket_of(size, self.sizes) for size in (told.reference_size_px, told.target_size_px)
        )
        return reference * len(self.sizes) + target

    def known(self, row: int) -> dict[str, Tensor]:
        """What `_known` makes of a row, made once while there is room."""
        return self._kept(("triplet", row), self._known)

    @torch.no_grad()
    def _known(self, row: int) -> dict[str, Tensor]:
        """A row of `training`'s batch, with mean and spread (C, h, w) in place of the target's latents."""
        base, encoder = self.pipeline.base, self.pipeline.image_encoder
        pixels = [
            fitted(picture, size)[None]
            for picture, size in zip(self.dataset.pictures(row), self.shapes_px(row), strict=True)
        ]
        reference, (mean, spread) = (base.encode(one.to(base.device, base.dtype)) for one in pixels)
        states = encoder([picture for one in pixels for picture in to_pictures(one)])
        text = encode_prompts(base, [self.dataset.rows[row].instruction])
        found = {
            "mean": mean[0],
            "spread": spread[0],
            "reference_latents": reference[0][0],
            "reference_states": states[0],
            "target_states": states[1],
            "text": text.rows[0],
        }
        if text.pooled is not None:
            found["text_pooled"] = text.pooled[0]
        return {name: tensor.float().cpu() for name, tensor in found.items()}


_OWN = ("mean", "spread")


@dataclass(frozen=True, slots=True, eq=False)
class TripletValidation:
    """Triplets nothing was learned from: the reference, what is made of it, and what was wanted."""

    training: TripletTraining
    rows: tuple[int, ...]

    @property
    def scored_by(self) -> Sequence[str]:
        """What is compared with the target."""
        return [self.training.pipeline.adapter.sizes.image_encoder]

    @torch.no_grad()
    def look(self, pipeline: SCheesePipeline) -> tuple[list[Image.Image], list[str], float | None]:
        """Reference, painted picture and target of each row; and how alike the last two are, a mean cosine
        of the image encoder's embeddings."""
        images, labels, alike = [], [], []
        for seed, row in enumerate(self.rows):
            told, sizes = self.training.dataset.rows[row].instruction, self.training.shapes_px(row)
            reference, target = (
                to_pictures(fitted(one, size)[None])[0]
                for one, size in zip(self.training.dataset.pictures(row), sizes, strict=True)
            )
            [result] = pipeline([PortraitRequest(told, (reference,), size_px=sizes[1], seed=seed)])
            encoder = pipeline.image_encoder
            painted, wanted = encoder.embeds(
                torch.stack([encoder.pixels(one) for one in (result.image, target)])
            ).float()
            alike.append(float(torch.cosine_similarity(painted, wanted, dim=0)))
            images += [reference, result.image, target]
            labels += ["reference", f"{told} ({alike[-1]:.2f})", "target"]
        return images, labels, sum(alike) / len(alike) if alike else None


def load_training(
    dataset: TripletSet,
    rows: Sequence[int],
    base: str | Path = "mini",
    options: TrainingOptions = DEFAULTS,
    *,
    ablation: str | None = None,
    ip_adapter: str | Path | None = None,
    inpainting: str | Path | None = None,
) -> TripletTraining:
    """A training of the adapter on `rows` of a data set.

    The defaults are `config.TRAINING`'s; `options.size_px` is the side of the square of a picture's area.
    ablation: a row of `config.VARIANTS` that learns from triplets; it begins with what the adapter given has
    of it, as new weights otherwise. ip_adapter: a published IP-Adapter-plus, inpainting: the UNet of an
    inpainting model, that new weights begin with, in place of an adapter.
    Raises: what `pipeline.load` raises; IncompatibleWeightsError for a data set of another kind;
    InputError for a start or a row of the ablation that there is not.
    """
    require(dataset, "cheese", "SCheese")
    new = options.from_nothing or bool(ip_adapter or inpainting)
    if new and options.adapter:
        raise InputError(
            "Begin with --adapter, or anew (--from-nothing, --ip-adapter, --inpainting), but not with both."
        )
    rows_learned = [name for name, one in VARIANTS.items() if one.triplets]
    if ablation is not None and ablation not in rows_learned:
        raise InputError(
            f"SCheese learns no {ablation!r} from triplets; --ablation is one of {', '.join(rows_learned)}."
        )
    if inpainting and not VARIANTS[ablation or "scheese"].consistency:
        raise InputError(f"{ablation} has no ConsistencyNet that could begin with --inpainting.")
    loaded = open_base(base, options.device, "float32")
    torch.manual_seed(options.seed)
    if new:
        encoder, _ = open_image_encoder(loaded, SIZES[loaded.family].image_encoder)
        start = load_inpainting(inpainting, loaded) if inpainting else None
        adapter = new_adapter(loaded, encoder, ablation or "scheese", start)
        if ip_adapter:
            begin_from_ip_adapter(adapter, Path(ip_adapter))
        pipeline = load(loaded, adapter.to(loaded.device), image_encoder=encoder)
    else:
        pipeline = load(loaded, options.adapter)
        if ablation and ablation != pipeline.adapter.sizes.variant:
            begun = pipeline.adapter
            adapter = SCheese(replace(begun.sizes, variant=ablation), loaded.unet)
            adapter.load_state_dict(begun.state_dict(), strict=False)  # what only this row has begins anew
            pipeline = load(loaded, adapter.to(loaded.device), image_encoder=pipeline.image_encoder)
    for unet in (loaded.unet, pipeline.adapter.consistency_net):
        if unet is not None:
            options.prepare(unet)
    settings = replace(
        TRAINING,
        batch_size=options.batch_size or TRAINING.batch_size,
        learning_rate=options.learning_rate or TRAINING.learning_rate,
    )
    return TripletTraining(
        dataset, rows, pipeline, settings, size_px=options.size_px or loaded.size_px, seed=options.seed
    )
