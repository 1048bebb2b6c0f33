"""Training on a data set of attributes (`likeness.data.attributes`), one stage at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from likeness.data.kept import Kept
from likeness.data.kinds import require
from likeness.diffusion.pixels import to_pixels
from likeness.diffusion.prompts import encode_prompts
from likeness.diffusion.requests import check_size
from likeness.errors import InputError
from likeness.files.deltas import DELTA
from likeness.files.images import read_image
from likeness.methods.spf_portrait.clip import ClipSpace, load_clip_space, pooled_text
from likeness.methods.spf_portrait.config import (
    ABLATIONS,
    STAGES,
    TIMES,
    NaiveTraining,
    SpfTraining,
    Stage,
    fitted,
)
from likeness.methods.spf_portrait.control_map import similarity_share
from likeness.methods.spf_portrait.pipeline import Delta, SpfPortraitPipeline
from likeness.methods.spf_portrait.text import (
    base_tokens,
    phrase_tokens,
    phrases_of,
    target_tokens,
    with_target,
)
from likeness.methods.spf_portrait.training import ContrastivePhase, NaivePhase
from likeness.methods.spf_portrait.tuning import Tuning
from likeness.methods.spf_portrait.weights import DeltaCard, base_digest, load_delta, save_delta
from likeness.packs import open_base
from likeness.training import cosine
from likeness.training.loop import seeded
from likeness.training.options import DEFAULTS, TrainingOptions
from likeness.types import PortraitRequest

if TYPE_CHECKING:
    from likeness.data.attributes import AttributeSet
    from likeness.diffusion.load import Base
    from likeness.training import Moment
    from likeness.training.phase import Batch, Phase

__all__ = ["CHOICES", "STAGES", "AttributeTraining", "AttributeValidation", "load_training"]

CHOICES = ("ablation", "clip")
"""Further words of `load_training` that a caller may choose."""

KEPT_BYTES = 2 * 2**30
"""Of latents and text rows that are remembered between steps."""
VALIDATION = 4
"""Rows painted at each checkpoint."""


class AttributeTraining:
    """One stage on some rows of a data set. start: a delta to go on from."""

    def __init__(
        self,
        dataset: AttributeSet,
        rows: Sequence[int],
        base: Base,
        settings: NaiveTraining | SpfTraining,
        *,
        start: Delta | None = None,
        clip: ClipSpace | None = None,
        size_px: int | None = None,
        seed: int = 0,
    ) -> None:
        self.dataset, self.rows, self.base, self.settings = dataset, list(rows), base, settings
        self.clip, self.size_px, self.seed = clip, size_px or base.size_px, seed
        self._start = start
        self._steps = 0
        self._kept = Kept(KEPT_BYTES)
        torch.manual_seed(seed)
        delta = start.tensors if start else {}
        tuning = Tuning(base.unet, settings.weights, delta, settings.lora_rank).to(base.device)
        rate = cosine(settings.learning_rate, warmup_steps=20)
        if isinstance(settings, SpfTraining):
            see = clip.image if clip else None
            self._phase: Phase = ContrastivePhase(tuning, base, see, settings, rate)
        else:
            self._phase = NaivePhase(tuning, base, rate)

    @property
    def phases(self) -> list[Phase]:
        """`NaivePhase` or `ContrastivePhase`."""
        return [self._phase]

    def batches(self, moment: Moment) -> Batch:
        """A batch that depends on the moment's draw and the seed alone."""
        self._steps = moment.step + 1
        generator = seeded(self.seed, moment.draw, 63)
        chosen = torch.randint(len(self.rows), (self.settings.batch_size,), generator=generator).tolist()
        found: list[dict[str, Tensor]] = []
        for row in (self.rows[one] for one in chosen):
            seen, read = self._kept(("picture", row), self._picture), self._kept(("text", row), self._text)
            mean, spread = seen["mean"], seen["spread"]
            latents = mean + spread * torch.randn(mean.shape, generator=generator)
            found.append({"latents": latents, **{k: v for k, v in {**seen, **read}.items() if k not in _OWN}})
        return {name: _stacked([row[name] for row in found]) for name in found[0]}

    def paints(self, averaged: nn.Module) -> SpfPortraitPipeline:
        """The base with what the averaged weights learned."""
        return SpfPortraitPipeline(self.base, [Delta(self._delta(averaged))])

    def save(self, averaged: nn.Module, folder: Path) -> None:
        """Write the delta with its card, which says too what the delta that it began with says."""
        about = self.dataset.about
        begun = self._start.card if self._start else None
        before = dict(begun.training) if begun else {}
        licences = dict.fromkeys([*(begun.licence.split("; ") if begun else ()), about.licence])
        targets = dict.fromkeys([*(begun.targets if begun else ()), *self.dataset.targets().values()])
        stage = self._phase.name
        card = DeltaCard(
            family=self.base.family,
            base=self.base.name,
            base_sha256=base_digest(self.base),
            targets=tuple(targets),
            licence="; ".join(licences),
            training={
                **before,
                stage: {
                    "steps": self._steps, "seed": self.seed, "size_px": self.size_px,
                    "clip": self.clip.name if self.clip else None, **dataclasses.asdict(self.settings),
                },
                "data": {
                    "pictures": len(self.rows), "people": about.people, "words": about.words,
                    "alignment": about.alignment, "keep": about.keep, "least": about.least,
                },
            },
        )  # fmt: skip
        save_delta(self._delta(averaged), card, folder / DELTA)

    @property
    def resolved(self) -> dict[str, Any]:
        """See `finetune.Training`."""
        return {**dataclasses.asdict(self.settings), "size": self.size_px}

    def validation(self, rows: Sequence[int]) -> AttributeValidation:
        """Some rows to be painted at each checkpoint, each from its base text alone and with its target."""
        chosen = list(rows)[:: max(1, len(rows) // VALIDATION)][:VALIDATION]
        texts = [(self.dataset.rows[row].base, self.dataset.rows[row].target) for row in chosen]
        return AttributeValidation(SpfPortraitPipeline(self.base), tuple(texts), self.size_px)

    def _delta(self, averaged: nn.Module) -> dict[str, Tensor]:
        assert isinstance(averaged, Tuning)  # noqa: S101
        return averaged.delta(self.base.unet)

    @torch.no_grad()
    def _picture(self, number: int) -> dict[str, Tensor]:
        """Latents' mean and spread (C, h, w), and for stage 2 the picture's embedding (E,)."""
        picture = read_image(self.dataset.path(self.dataset.rows[number]))
        side = (self.size_px, self.size_px)
        pixels = to_pixels(ImageOps.fit(picture, side, Image.Resampling.LANCZOS)).to(self.base.device)
        mean, spread = (values[0].cpu() for values in self.base.encode(pixels))
        found = {"mean": mean, "spread": spread}
        return {**found, "wanted": self.clip.image(pixels)[0].cpu()} if self.clip else found

    @torch.no_grad()
    def _text(self, number: int) -> dict[str, Tensor]:
        """What `training` says a batch holds of the row's words."""
        row, base = self.dataset.rows[number], self.base
        rows = encode_prompts(base, [row.base, with_target(row.base, row.target)]).rows.cpu()
        behind = target_tokens(base.tokenizers[0], row.base)
        if isinstance(self.settings, NaiveTraining):
            return {"full_text": rows[1], "target_tokens": behind}
        phrases = phrases_of(base.tokenizers[0], row.base)
        pooled = pooled_text(base, [row.target, *(phrase.text for phrase in phrases)]).cpu()
        found = {
            "base_text": rows[0],
            "full_text": rows[1],
            "base_tokens": base_tokens(base.tokenizers[0], row.base),
            "target_tokens": behind,
            "phrases": phrase_tokens(phrases, rows.shape[1]),
            "similarity": similarity_share(pooled[:1], pooled[None, 1:])[0],
        }
        return {**found, "target": self.clip.text([row.target])[0].cpu()} if self.clip else found


_OWN = ("mean", "spread")


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    """Rows of one batch; those of fewer phrases are filled up, with phrases of no tokens."""
    most = max(len(row) for row in rows)
    filled = [torch.cat([row, row.new_zeros(most - len(row), *row.shape[1:])]) for row in rows]
    return torch.stack(filled)


@dataclass(frozen=True, slots=True, eq=False)
class AttributeValidation:
    """What is painted on the way: the original model and the tuned one, each from base text and with target.

    Nobody scores it, so the last weights are kept. texts: (base, target) of each row.
    """

    original: SpfPortraitPipeline
    texts: tuple[tuple[str, str], ...]
    size_px: int
    scored_by: tuple[str, ...] = ()

    def look(self, pipeline: SpfPortraitPipeline) -> tuple[list[Image.Image], list[str], None]:
        """Four pictures a row, and what each is."""
        images, labels = [], []
        for seed, (base, target) in enumerate(self.texts):
            for name, painter in (("original", self.original), ("tuned", pipeline)):
                for words in ("", target):
                    request = PortraitRequest(
                        base, seed=seed, size_px=(self.size_px, self.size_px), options={"target": words}
                    )
                    images.append(painter([request])[0].image)
                    labels.append(f"{name}: {words or 'base text'}")
        return images, labels, None


def load_training(
    dataset: AttributeSet,
    rows: Sequence[int],
    base: str | Path | Base = "mini",
    options: TrainingOptions = DEFAULTS,
    *,
    stage: Stage,
    ablation: str | None = None,
    clip: str | Path | None = None,
) -> AttributeTraining:
    """A stage on `rows` of a data set, from the base or the delta `options.adapter`.

    ablation: one of `config.ABLATIONS`. clip: a folder of a CLIPModel; a pack has its own. The defaults are
    the paper's, as `config.TIMES` fits them to the family.
    Raises: InputError, IncompatibleWeightsError, MissingWeightsError.
    """
    require(dataset, "attributes", "SPF-Portrait")
    if options.checkpoint_gradients:
        raise InputError(
            "SPF-Portrait does not train with --checkpoint-gradients: its weights stand in for the base's "
            "during one pass only; take a smaller --batch-size with --accumulate."
        )
    if options.from_nothing:
        raise InputError("SPF-Portrait has no weights of its own to begin anew: it begins with the base's.")
    name = ablation or "spf"
    if name not in ABLATIONS:
        raise InputError(f"There is no ablation {name!r}; there are {', '.join(ABLATIONS)}.")
    loaded = open_base(base, options.device, "float32")
    if loaded.family not in TIMES:
        raise InputError(f"SPF-Portrait runs on {' and '.join(TIMES)}, not on {loaded.family}.")
    size_px = options.size_px or loaded.size_px
    check_size((size_px, size_px), loaded)
    preset = ABLATIONS[name]
    settings = fitted(preset.naive if stage == "naive" else preset.contrastive, loaded.family)
    changes: dict[str, Any] = {
        "learning_rate": options.learning_rate or settings.learning_rate,
        "batch_size": options.batch_size or settings.batch_size,
    }
    settings = dataclasses.replace(settings, **changes)
    start = None
    if options.adapter is not None:
        tensors, card, _ = load_delta(options.adapter, loaded)
        start = Delta(tensors, card)
    sees = isinstance(settings, SpfTraining) and settings.target > 0
    space = load_clip_space(loaded, clip) if sees else None
    return AttributeTraining(
        dataset, rows, loaded, settings, start=start, clip=space, size_px=size_px, seed=options.seed
    )
