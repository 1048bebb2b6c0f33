"""The training step: L = L_dm + L_align, the base frozen.

A batch holds, of B triplets:
  latents           (B, C, h, w)  scaled latents of the target
  reference_latents (B, C, h, w)  of the reference, clean
  reference_states  (B, S, W)     the image encoder's, of the reference
  target_states     (B, S, W)     and of the target
  text              (B, T, D)     rows of the instruction; text_pooled (B, P) for SDXL
  person_mask       (B, h', w')   places of the target in [0, 1] that are the person's own, for `face_weight`
  face_affine       (B, 2, 3)     aligned face px -> target picture px, for a recogniser
  id_embedding      (B, E)        unit length, the person's by that recogniser
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from likeness.diffusion.attention import attached, within
from likeness.diffusion.prompts import encode_prompts, size_conditions
from likeness.diffusion.schedule import ddim, noised, prediction_target
from likeness.methods.scheese.config import TRAINING, SCheeseTraining
from likeness.methods.scheese.losses import alignment_loss, noise_loss
from likeness.training.identity import Recognised

if TYPE_CHECKING:
    from likeness.diffusion.load import Base
    from likeness.methods.scheese.model import SCheese
    from likeness.training.phase import Batch, Schedule

__all__ = ["SCheesePhase"]


@dataclass(eq=False)
class SCheesePhase:
    """One step on triplets; what takes part is the adapter's variant (`config.VARIANTS`).

    `L_align` stands as "alignment" with its weight, `L_dm` as "noise".

    face_weight: what the person's own places count in L_dm beyond the others' 1. recogniser: adds, with
    `identity_weight`, what it finds unlike the person (`training.identity`). Both are the mini pack's; the
    paper, whose base knows faces, has neither.
    """

    adapter: SCheese
    base: Base
    learning_rate: float | Schedule = TRAINING.learning_rate
    settings: SCheeseTraining = field(default_factory=SCheeseTraining)
    face_weight: float = 0.0
    recogniser: nn.Module | None = None
    identity_weight: float = 0.1
    name: str = "scheese"
    every: int = 1

    def __post_init__(self) -> None:
        # The base's noise schedule under DDPM's convention; some samplers scale their noise otherwise.
        self._scheduler = ddim(self.base.scheduler, steps=1)
        self._empty = encode_prompts(self.base, [""])

    @property
    def trainable(self) -> SCheese:
        """Everything of ours."""
        return self.adapter

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """L_dm and, where the variant has it, L_align."""
        has, adapter = self.adapter.sizes.has, self.adapter
        latents = batch["latents"].float()
        count, device = len(latents), latents.device
        noisy, noise, timesteps = noised(self._scheduler, latents, generator)
        chance = torch.rand(3, count, generator=generator).to(device)
        forced = chance[0] < has.teacher_forcing
        words = chance[1] >= self.settings.drop_words
        details = chance[2] >= self.settings.drop_details

        text = batch["text"].float()
        fused = adapter.fusion(batch["reference_states"].float(), text if has.fusion else None)
        tokens, terms = fused, {}
        if has.alignment or has.teacher_forcing:
            of_target = adapter.fusion(batch["target_states"].float())
            if has.alignment:
                terms["alignment"] = has.alignment * alignment_loss(fused, of_target)
            # Teacher forcing: with p_ro the target's own tokens in place of the fused.
            tokens = torch.where(forced[:, None, None], of_target, fused)
        nothing = self._empty.rows.to(text)
        rows = torch.cat(
            [torch.where(words[:, None, None], text, nothing), tokens * words[:, None, None]], dim=1
        )

        keys = adapter.keys(self._features(batch))

        @contextmanager
        def reading() -> Iterator[None]:
            with attached(self.base.unet, adapter.processors), adapter.seeing(keys, details):
                yield

        with within(self.base.unet, reading):
            prediction = self.base.unet(
                noisy, timesteps, rows, added_cond_kwargs=self._added(batch, latents, words)
            ).sample
        target = prediction_target(self._scheduler, latents, noise, timesteps)
        terms["noise"] = noise_loss(prediction, target, self._place_weight(batch, latents))
        if self.recogniser is not None:
            seen = (self._scheduler, noisy, prediction, timesteps)
            recognised = Recognised(self.base, self.recogniser)
            unlike = recognised(*seen, batch["face_affine"], batch["id_embedding"], among=words)
            terms |= {"identity": self.identity_weight * unlike, "_unlike": unlike.detach()}
        return terms

    def _place_weight(self, batch: Batch, latents: Tensor) -> Tensor | None:
        if not self.face_weight:
            return None
        person = batch["person_mask"][:, None].float()
        return 1 + self.face_weight * F.interpolate(person, size=latents.shape[-2:], mode="area")

    def _features(self, batch: Batch) -> dict[str, Tensor]:
        """The reference's, by ConsistencyNet, which reads the empty prompt."""
        latents = batch["reference_latents"].float()
        pooled = self._empty.pooled
        pooled = None if pooled is None else pooled.expand(len(latents), -1)
        added = size_conditions(pooled, latents.shape[-2:], self.base.downscale)
        return self.adapter.features(latents, self._empty.rows.to(latents), added)

    def _added(self, batch: Batch, latents: Tensor, words: Tensor) -> dict[str, Tensor] | None:
        if self._empty.pooled is None:
            return None
        pooled = torch.where(words[:, None], batch["text_pooled"].float(), self._empty.pooled.float())
        return size_conditions(pooled, latents.shape[-2:], self.base.downscale)
