"""Training on a data set (`likeness.data`): pictures become batches as they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from likeness.data.kept import Kept, bytes_of
from likeness.data.kinds import require
from likeness.diffusion.load import Base
from likeness.diffusion.pixels import to_pixels
from likeness.errors import IncompatibleWeightsError
from likeness.faces.embed import TorchEncoder
from likeness.faces.parsing import CLASSES
from likeness.faces.parts import part_boxes, part_word
from likeness.files.images import read_image
from likeness.methods.consistentid.conditioning import Identity, identity_of_faces
from likeness.methods.consistentid.config import PARTS, TRAINING, ConsistentIDTraining
from likeness.methods.consistentid.loading import load_pipeline
from likeness.methods.consistentid.pipeline import ConsistentIDPipeline
from likeness.methods.consistentid.text import mark_prompt, training_caption
from likeness.methods.consistentid.training import ConsistentIDPhase, training_row
from likeness.methods.consistentid.weights import new_adapter, save_adapter
from likeness.packs import open_base
from likeness.packs.recipes.landmarks import face_affines
from likeness.training import cosine
from likeness.training.loop import seeded
from likeness.training.options import DEFAULTS, TrainingOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from likeness.data.manifest import Dataset, Row
    from likeness.training import Moment
    from likeness.training.phase import Batch, Phase

__all__ = ["OwnDataTraining", "load_training"]

PART_CLASSES: dict[str, tuple[str, ...]] = {
    "face": ("skin", "l_brow", "r_brow", "l_eye", "r_eye", "nose", "mouth", "u_lip", "l_lip"),
    "eyes": ("l_eye", "r_eye", "l_brow", "r_brow"),
    "ears": ("l_ear", "r_ear"),
    "nose": ("nose",),
    "mouth": ("mouth", "u_lip", "l_lip"),
}
BACKGROUND = CLASSES.index("background")
GREY = 128
"""What is put where a background was."""
KEPT_BYTES = 2 * 2**30
"""Of latents and image states that are remembered between steps."""


class OwnDataTraining:
    """One training of an adapter on some rows of a data set.

    The target is any picture, the reference another one of the same person, or the target itself where
    there is no other. Both are described by what painting uses. `rows`: those that are learned from.
    """

    def __init__(
        self,
        dataset: Dataset,
        rows: Sequence[int],
        pipeline: ConsistentIDPipeline,
        settings: ConsistentIDTraining,
        *,
        rate: float,
        size_px: int,
        seed: int = 0,
    ) -> None:
        encoder = pipeline.face_encoder
        if encoder.name != dataset.about.encoder:
            raise IncompatibleWeightsError(
                f"The data set {dataset.folder} knows faces by {dataset.about.encoder}, the adapter by "
                f"{encoder.name}: build the data set with that encoder."
            )
        self.dataset, self.settings, self.size_px, self.seed = dataset, settings, size_px, seed
        self.rate = rate
        self.pipeline, self.rows = pipeline, list(rows)
        self.base: Base = pipeline.base
        by_person = {person: set(mine) & set(rows) for person, mine in dataset.people().items()}
        self._mates = {row: sorted(by_person[dataset.rows[row].person]) for row in rows}
        self._kept = Kept(KEPT_BYTES, _size)
        pipeline.adapter.requires_grad_(True).train()
        recogniser = encoder.net if isinstance(encoder, TorchEncoder) and settings.identity_weight else None
        self._phase = ConsistentIDPhase(
            pipeline.adapter,
            self.base,
            cosine(rate, warmup_steps=100),
            face_weight=settings.face_weight,
            recogniser=recogniser,
            identity_weight=settings.identity_weight,
        )

    @property
    def phases(self) -> list[Phase]:
        """See `ConsistentIDPhase`."""
        return [self._phase]

    @property
    def warnings(self) -> list[str]:
        """How many rows train no face part, because their description names none."""
        described = [self.dataset.rows[row].face_caption for row in self.rows]
        without = sum(not any(part_word(part, text) for part in PARTS) for text in described)
        if not without:
            return []
        return [
            f"{without} of {len(self.rows)} pictures train without face parts: their face_caption names none."
        ]

    def batches(self, moment: Moment) -> Batch:
        """A batch that depends on the moment's draw and the seed alone."""
        generator = seeded(self.seed, moment.draw, 63)
        chosen = torch.randint(len(self.rows), (self.settings.batch_size,), generator=generator).tolist()
        found: list[dict[str, Tensor]] = []
        for target in (self.rows[one] for one in chosen):
            others = [row for row in self._mates[target] if row != target] or [target]
            reference = others[int(torch.randint(len(others), (1,), generator=generator))]
            found.append(self._row(target, reference, generator))
        return {name: torch.stack([row[name] for row in found]) for name in found[0]}

    def paints(self, averaged: nn.Module) -> ConsistentIDPipeline:
        """A pipeline with the averaged weights, on the same base and encoders."""
        now = self.pipeline
        return ConsistentIDPipeline(
            self.base,
            averaged,  # type: ignore[arg-type]
            detector=now.detector,
            face_encoder=now.face_encoder,
            image_encoder=now.image_encoder,
        )

    def save(self, averaged: nn.Module, folder: Path) -> None:
        """Write the averaged weights as a folder that `--adapter` takes."""
        save_adapter(averaged, folder)  # type: ignore[arg-type]

    @property
    def resolved(self) -> dict[str, Any]:
        """See `finetune.Training`."""
        told = {**asdict(self.settings), "learning_rate": self.rate, "size": self.size_px}
        del told["further_rate"]
        return told

    def _row(self, target: int, reference: int, generator: torch.Generator) -> dict[str, Tensor]:
        row = self.dataset.rows[target]
        if row.parsing is not None and torch.rand((), generator=generator) < self.settings.bare:
            known = self._kept(("bare target", target), self._bare_target)
        else:
            known = self._kept(("target", target), self._target)
        identity = self._kept(("reference", reference), self._identity)
        described = training_caption(self.base.tokenizers[0], row.face_caption)
        prompt = mark_prompt(self.base.tokenizers, row.caption, described, identity.parts)
        mean, spread = known["mean"], known["spread"]
        latents = mean + spread * torch.randn(mean.shape, generator=generator)
        return {
            "latents": latents,
            "part_masks": known["part_masks"],
            "face_affine": known["face_affine"],
            **training_row(identity, prompt),
        }

    def _bare_target(self, number: int) -> dict[str, Tensor]:
        return self._target(number, bare=True)

    @torch.no_grad()
    def _target(self, number: int, bare: bool = False) -> dict[str, Tensor]:
        """Latents' mean and spread (C, h, w), masks (5, h, w), aligned face px -> target px (2, 3).

        bare: grey where the label picture shows background.
        """
        row = self.dataset.rows[number]
        picture = read_image(self.dataset.path(row))
        x0, y0, side = square_around(picture.size, row)
        box = (x0, y0, x0 + side, y0 + side)
        whole = (self.size_px, self.size_px)
        if bare and row.parsing is not None:
            shown = np.array(picture)
            shown[np.asarray(Image.open(self.dataset.folder / row.parsing)) == BACKGROUND] = GREY
            picture = Image.fromarray(shown)
        small = picture.resize(whole, Image.Resampling.LANCZOS, box=box)
        mean, spread = (values[0].cpu() for values in self.base.encode(to_pixels(small)))
        landmarks = (np.array(row.face.landmarks_px) - [x0, y0]) * (self.size_px / side)
        return {
            "mean": mean,
            "spread": spread,
            "part_masks": self._masks(row, picture.size, box, mean.shape[-1]),
            "face_affine": face_affines(torch.from_numpy(landmarks)[None])[0],
        }

    def _masks(
        self, row: Row, size_px: tuple[int, int], box: tuple[int, int, int, int], cells: int
    ) -> Tensor:
        """Share of each latent cell that a part fills: from the label picture, else from the parts' boxes."""
        whole = (self.size_px, self.size_px)
        maps: list[NDArray[np.bool_]] = []
        if row.parsing is not None:
            labels = Image.open(self.dataset.folder / row.parsing)
            small = np.asarray(labels.resize(whole, Image.Resampling.NEAREST, box=box))
            maps = [np.isin(small, [CLASSES.index(name) for name in PART_CLASSES[part]]) for part in PARTS]
        else:
            middle = (np.arange(self.size_px) + 0.5) * ((box[2] - box[0]) / self.size_px)
            across, down = middle + box[0], middle + box[1]
            for x0, y0, x1, y1 in part_boxes(row.face.face).values():
                maps.append(((down >= y0) & (down < y1))[:, None] & ((across >= x0) & (across < x1)))
        return F.adaptive_avg_pool2d(torch.from_numpy(np.stack(maps)).float(), cells)

    def _identity(self, number: int) -> Identity:
        row, known = self.dataset.rows[number], self.dataset.embeddings[number]
        picture = read_image(self.dataset.path(row))

        class Known:
            """The data set's embedding, which need not be computed again."""

            name, licence, dim = "known", "", len(known)

            def __call__(self, aligned: list[Image.Image]) -> NDArray[np.float32]:
                return np.asarray(known[None], np.float32)

        return identity_of_faces([picture], [row.face.face], Known(), self.pipeline.image_encoder)


def square_around(size_px: tuple[int, int], row: Row) -> tuple[int, int, int]:
    """Left, top and side of a picture's largest square, its middle as near to the face's as it can be."""
    width, height = size_px
    side = min(width, height)
    x0, y0, x1, y1 = row.face.box_xyxy
    left = min(max(round((x0 + x1 - side) / 2), 0), width - side)
    top = min(max(round((y0 + y1 - side) / 2), 0), height - side)
    return left, top, side


def load_training(
    dataset: Dataset,
    rows: Sequence[int],
    base: str | Path = "mini",
    options: TrainingOptions = DEFAULTS,
) -> OwnDataTraining:
    """A training of the base's adapter on `rows` of a data set, further or `options.from_nothing`.

    The defaults are `config.TRAINING`'s for the base's family.
    Raises: what `load_pipeline` raises; IncompatibleWeightsError for a data set of another face encoder.
    """
    from dataclasses import replace

    require(dataset, "fgid", "ConsistentID")
    loaded = open_base(base, options.device, "float32")
    torch.manual_seed(options.seed)
    fresh = new_adapter(loaded).to(loaded.device) if options.from_nothing else options.adapter
    pipeline = load_pipeline(loaded, fresh, sitters=options.sitters)
    settings = TRAINING[loaded.family]
    if options.batch_size is not None:
        settings = replace(settings, batch_size=options.batch_size)
    options.prepare(loaded.unet)
    rate = options.learning_rate or (
        settings.learning_rate if options.from_nothing else settings.further_rate
    )
    return OwnDataTraining(
        dataset,
        rows,
        pipeline,
        settings,
        rate=rate,
        size_px=options.size_px or loaded.size_px,
        seed=options.seed,
    )


def _size(value: Any) -> int:
    if isinstance(value, Identity):
        return sum(t.nbytes for t in (value.crops, value.states, value.embedding))
    return bytes_of(value)
