"""The two stages of training: naive fine-tuning, then contrastive learning beside the original model.

A batch holds, of B pictures:
  latents      (B, C, h, w)   scaled latents of the training picture
  base_text    (B, T, D)      rows of T_base
  full_text    (B, T, D)      rows of T_base + ", " + T_tar
  base_tokens  (B, T) bool    tokens of T_base; they stand at the same places in both texts
  target_tokens (B, T) bool   in the full text, those of T_tar and all behind it
  phrases      (B, N, T) bool tokens of each phrase of T_base
  similarity   (B, N)         s_i of eq. 10
  target       (B, E)         CLIP's text embedding of T_tar, unit length
  wanted       (B, E)         CLIP's image embedding of the training picture, unit length
Stage 1 takes latents, full_text and target_tokens only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor, nn

from likeness.diffusion.schedule import ddim, noised, predicted_latents, prediction_target
from likeness.methods.spf_portrait.attention import recording
from likeness.methods.spf_portrait.config import SpfTraining
from likeness.methods.spf_portrait.control_map import control_map, phrase_maps, soft_map
from likeness.methods.spf_portrait.losses import attention_loss, direct_loss, feature_loss, target_loss

if TYPE_CHECKING:
    from likeness.diffusion.load import Base
    from likeness.methods.spf_portrait.tuning import Tuning
    from likeness.training.phase import Batch, Schedule

__all__ = ["ContrastivePhase", "NaivePhase"]


@dataclass(eq=False)
class NaivePhase:
    """Stage 1, eq. 1: the diffusion loss alone."""

    tuning: Tuning
    base: Base
    learning_rate: float | Schedule = 1e-5
    name: str = "naive"
    every: int = 1

    def __post_init__(self) -> None:
        self._scheduler = ddim(self.base.scheduler, steps=1)

    @property
    def trainable(self) -> nn.Module:
        """The weights that stand in for the base's."""
        return self.tuning

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """L_DM as "noise"."""
        latents = batch["latents"].float()
        noisy, noise, timesteps = noised(self._scheduler, latents, generator)
        found = self.tuning.predict(
            self.base.unet,
            noisy,
            timesteps,
            encoder_hidden_states=batch["full_text"].float(),
            target_tokens=batch["target_tokens"],
        )
        target = prediction_target(self._scheduler, latents, noise, timesteps)
        return {"noise": (found.float() - target).square().mean()}


@dataclass(eq=False)
class ContrastivePhase:
    """Stage 2, eq. 15: the tuned model beside the original on the same noised latents.

    clip_image: pictures (B, 3, H, W) in [-1, 1] -> (B, E) of unit length, with gradients; None where L_tar
    counts nothing. original: a UNet of its own for the reference path, as in the paper; by default the base's
    is called without the trained weights.
    """

    tuning: Tuning
    base: Base
    clip_image: Callable[[Tensor], Tensor] | None
    settings: SpfTraining = field(default_factory=SpfTraining)
    learning_rate: float | Schedule = 5e-5
    name: str = "contrastive"
    every: int = 1
    original: Any = None

    def __post_init__(self) -> None:
        self._scheduler = ddim(self.base.scheduler, steps=1)
        assert self.clip_image is not None or not self.settings.target  # noqa: S101

    @property
    def trainable(self) -> nn.Module:
        """The weights that stand in for the base's."""
        return self.tuning

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """The four terms, each with its weight; those of weight 0 are left out."""
        s, unet = self.settings, self.base.unet
        latents = batch["latents"].float()
        noisy, noise, timesteps = noised(self._scheduler, latents, generator)
        other = self.original or unet
        with recording(other) as recorder, torch.no_grad():
            original = other(noisy, timesteps, encoder_hidden_states=batch["base_text"].float()).sample
            reference = recorder.features
        with recording(unet, with_maps=s.control_map) as recorder:
            found = self.tuning.predict(
                unet,
                noisy,
                timesteps,
                encoder_hidden_states=batch["full_text"].float(),
                target_tokens=batch["target_tokens"],
            ).float()
            response, maps = recorder.features, recorder.maps
        target = prediction_target(self._scheduler, latents, noise, timesteps)
        terms = {"noise": (found - target).square().mean()}
        control = None
        if s.control_map:
            soft = soft_map(found, original)
            looked = phrase_maps(maps, batch["phrases"], (latents.shape[2], latents.shape[3]))
            control = control_map(soft, looked, batch["similarity"].float())
            terms["_map"] = control.mean()
        if s.att:
            terms["attention"] = s.att * attention_loss(reference, response, batch["base_tokens"], control)
        if s.unet:
            terms["features"] = s.unet * feature_loss(reference, response, control)
        if s.target and self.clip_image is not None:
            middle = s.target_at * self._scheduler.config.num_train_timesteps
            rows = (timesteps - middle).abs().argsort()[: max(1, round(s.target_share * len(latents)))]
            clean = predicted_latents(self._scheduler, noisy[rows], found[rows], timesteps[rows])
            seen, words = self.clip_image(self.base.decode(clean)), batch["target"][rows].float()
            if s.direct:
                terms["target"] = s.target * direct_loss(seen, words)
            else:
                terms["target"] = s.target * target_loss(seen, batch["wanted"][rows].float(), words)
        return terms
