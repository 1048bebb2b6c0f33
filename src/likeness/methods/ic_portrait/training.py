"""The stages of training: where the mini pack's nets begin, the matching net, the appearance net by its
guidance, a UNet for one person.

A batch holds, of B pairs of pictures of one person each:
  pixels_target, pixels_profile    (B, 3, H, W)  in [-1, 1]
  latents_target, latents_profile  (B, C, h, w)  scaled latents
  embedding                        (B, D)        of the profile
  identity                         (B, E)        of the profile's face, where the nets read it
  latents_style                    (B, C, h, w)  of the style reference, where it shows another person
  face_affine                      (B, 2, 3)     aligned face px -> target picture px, for a recogniser
  id_embedding                     (B, E)        unit length, the person's by that recogniser
  person_mask                      (B, h', w')   in [0, 1], the person on the target, for `face_weight`

Text is replaced by the profile's embedding, which is zero for some (section 4); the UNet stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from likeness.diffusion.schedule import add_noise, ddim, noised, prediction_target
from likeness.methods.ic_portrait.conditioning import condition_of, rows_before, rows_with, told_rows
from likeness.methods.ic_portrait.config import Training
from likeness.methods.ic_portrait.model import Nets
from likeness.methods.ic_portrait.pairs import halves, joined, random_shares
from likeness.training.identity import Recognised

if TYPE_CHECKING:
    from likeness.diffusion.load import Base
    from likeness.training.phase import Batch, Schedule

__all__ = [
    "STYLED_FROM",
    "AppearancePhase",
    "ConditionPhase",
    "MatchingPhase",
    "NoisyPair",
    "PersonPhase",
    "noisy_pair",
]


STYLED_FROM = 0.6
"""Share of the noise schedule from which on painting may begin, at a style reference of another person."""
IDENTITY_UNTIL = 0.85
"""Share of the noise schedule up to which a predicted target has a face to compare; painting begins there."""
IDENTITY_ROWS = 4


@dataclass(frozen=True, slots=True, eq=False)
class NoisyPair:
    """What the nets are shown in one step of training, and what the UNet must say.

    latents: z_t, (B, C, h, 2 w). rows: (B, R + 1, D). told: (B, S, D), for the appearance net alone.
    condition: c. target: the noise, or the velocity where the base predicts that. swapped: (B,) bool.
    """

    latents: Tensor
    timesteps: Tensor
    rows: Tensor
    told: Tensor
    condition: Tensor
    target: Tensor
    swapped: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class CleanPair:
    """latents: z_0 of eq. 2, (B, C, h, 2 w). condition: c of eq. 1. swapped: (B,) bool."""

    latents: Tensor
    condition: Tensor
    swapped: Tensor


def clean_pair(batch: Batch, settings: Training, generator: Generator) -> CleanPair:
    """Equations 1 and 2, the target on either side."""
    count = len(batch["latents_target"])
    swapped = torch.rand(count, generator=generator) < 0.5
    shares = random_shares(count, settings.pixels, generator)
    condition = condition_of(
        batch["pixels_target"].float(), batch["pixels_profile"].float(), shares, generator, swapped
    )
    latents = joined(batch["latents_target"].float(), batch["latents_profile"].float(), swapped)
    return CleanPair(latents, condition, swapped)


def noisy_pair(
    batch: Batch, scheduler: Any, settings: Training, generator: Generator, before: Tensor
) -> NoisyPair:
    """A clean pair, noised to random time steps; before: `conditioning.rows_before`."""
    pair = clean_pair(batch, settings, generator)
    noisy, noise, timesteps = noised(scheduler, pair.latents, generator)
    if "latents_style" in batch:
        off = batch["latents_style"].float() - batch["latents_target"].float()
        share = _share_of_style(scheduler, timesteps, generator)
        noise = noise + share * joined(off, torch.zeros_like(off), pair.swapped)
        noisy = add_noise(scheduler, pair.latents, noise, timesteps)
    shown = _shown(noisy, settings.drop, generator)
    rows = rows_with(before, shown * batch["embedding"].float())
    identity = shown * batch["identity"].float() if "identity" in batch else None
    return NoisyPair(
        noisy,
        timesteps,
        rows,
        told_rows(rows, identity),
        pair.condition,
        prediction_target(scheduler, pair.latents, noise, timesteps),
        pair.swapped,
    )


def _share_of_style(scheduler: Any, timesteps: Tensor, generator: Generator) -> Tensor:
    """How much of what sets a style reference apart from the target is in the noise, (B, 1, 1, 1).

    Painting begins at some b from `STYLED_FROM` on, with `a_b z_style + s_b noise`, which is
    `a_b z_target + s_b (noise + a_b / s_b off)`. DDIM keeps that noise down to the last step, however well
    the target is told on the way; so the nets learn to see through it at every step after b, too.
    """
    last = scheduler.config.num_train_timesteps - 1
    earliest = timesteps.cpu().clamp_min(int(STYLED_FROM * (last + 1)))
    begun = earliest + (torch.rand(len(timesteps), generator=generator) * (last + 1 - earliest)).long()
    abar: Tensor = scheduler.alphas_cumprod[begun.clamp_max(last)].to(timesteps.device)
    return (abar / (1 - abar)).sqrt().view(-1, 1, 1, 1)


def _shown(like: Tensor, drop: float, generator: Generator) -> Tensor:
    """1, or 0 for a share `drop` of the rows of `like`, for classifier-free guidance: (B, 1)."""
    return (torch.rand(len(like), 1, generator=generator) >= drop).float().to(like.device)


@dataclass(eq=False)
class ConditionPhase:
    """What a net's condition layers may learn before the net: to tell the pair's clean latents from c.

    A ControlNet's begin at random behind a layer of zeros, and a small net needs many thousand pairs until
    it reads its profile. Here they learn alone, in minutes, a fixed turn of the latents into their channels.
    """

    layers: nn.Module
    settings: Training = field(default_factory=Training)
    learning_rate: float | Schedule = 3e-3
    name: str = "condition"
    every: int = 1

    def __post_init__(self) -> None:
        # Zeros would keep all before them from learning.
        nn.init.normal_(self.layers.conv_out.weight, std=0.01)  # type: ignore[union-attr, arg-type]
        self._turn: Tensor | None = None

    @property
    def trainable(self) -> nn.Module:
        """The condition layers of one net, ControlNet's `controlnet_cond_embedding`."""
        return self.layers

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """How much of the latents' variance is not told, over both halves."""
        pair = clean_pair(batch, self.settings, generator)
        found = self.layers(pair.condition).float()
        wanted = torch.einsum("oc,bchw->bohw", self._turned(found.shape[1], pair.latents), pair.latents)
        share = wanted.shape[1] / pair.latents.shape[1]  # of the channels, that the turn spreads over
        return {"untold": share * (found - wanted).square().mean()}

    def _turned(self, width: int, latents: Tensor) -> Tensor:
        if self._turn is None:
            turn = torch.empty(width, latents.shape[1])
            nn.init.orthogonal_(turn, generator=torch.Generator().manual_seed(0))
            self._turn = turn.to(latents.device)
        return self._turn


@dataclass(eq=False)
class MatchingPhase:
    """Eq. 3 for the matching net, a ControlNet of the pair by itself."""

    net: nn.Module
    base: Base
    settings: Training = field(default_factory=Training)
    learning_rate: float | Schedule = 1e-5
    name: str = "matching"
    every: int = 1

    def __post_init__(self) -> None:
        self._scheduler = ddim(self.base.scheduler, steps=1)
        self._before = rows_before(self.base)

    @property
    def trainable(self) -> nn.Module:
        """The matching net."""
        return self.net

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """Noise prediction over both halves."""
        pair = noisy_pair(batch, self._scheduler, self.settings, generator, self._before)
        down, middle = self.net(
            pair.latents,
            pair.timesteps,
            encoder_hidden_states=pair.rows,
            controlnet_cond=pair.condition,
            return_dict=False,
        )
        found = _predicted(self.base, pair, list(down), middle)
        return {"noise": (found - pair.target).square().mean()}


@dataclass(eq=False)
class AppearancePhase:
    """Eq. 3 for the appearance net, its features carried along the matching net's flow.

    recogniser: (B, 3, 112, 112) -> (B, E) of unit length; with it, targets as predicted from the
    `IDENTITY_ROWS` noisiest steps below `IDENTITY_UNTIL` of all are decoded and their faces compared with the
    person. None in the paper, whose base and pairs tell more of a person through the noise loss.
    face_weight: how much more than other places those of the target's person count in eq. 3; the paper
    weights nothing.
    """

    nets: Nets
    base: Base
    settings: Training = field(default_factory=Training)
    learning_rate: float | Schedule = 1e-5
    recogniser: nn.Module | None = None
    face_weight: float = 0.0
    name: str = "appearance"
    every: int = 1

    def __post_init__(self) -> None:
        self._scheduler = ddim(self.base.scheduler, steps=1)
        self._before = rows_before(self.base)

    @property
    def trainable(self) -> nn.Module:
        """The appearance net; the matching net stays as it is."""
        net: nn.Module = self.nets.appearance
        return net

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """Noise prediction over both halves, and with a recogniser how unlike the person painted targets are;
        how sure the matching is, how much of the profile it takes."""
        pair = noisy_pair(batch, self._scheduler, self.settings, generator, self._before)
        seen = (pair.latents, pair.timesteps, pair.rows, pair.condition)
        matching = self.nets.match(self.base.unet, *seen, pair.swapped)
        down, middle = self.nets.residuals(
            pair.latents, pair.timesteps, pair.told, pair.condition, matching, swapped=pair.swapped
        )
        prediction = _predicted(self.base, pair, down, middle)
        weight = self._place_weight(batch, pair)
        terms = {
            "noise": (weight * (prediction - pair.target).square()).mean(),
            "_confidence": matching.confidence.mean(),
            "_coverage": matching.coverage.mean(),
        }
        if self.recogniser is not None:
            terms["identity"] = self._unlike(batch, pair, prediction, self.recogniser)
        return terms

    def _place_weight(self, batch: Batch, pair: NoisyPair) -> Tensor | float:
        """What each place counts, (B, 1, h, 2 w), or 1 for all."""
        if not self.face_weight:
            return 1.0
        size = batch["latents_target"].shape[-2:]
        person = F.interpolate(batch["person_mask"][:, None].float(), size=size, mode="area")
        return 1 + self.face_weight * joined(person, torch.zeros_like(person), pair.swapped)

    def _unlike(self, batch: Batch, pair: NoisyPair, prediction: Tensor, recogniser: nn.Module) -> Tensor:
        """Mean identity loss of predicted targets; 0 where no step is clear enough."""
        recognised = Recognised(self.base, recogniser, IDENTITY_UNTIL, IDENTITY_ROWS)
        seen = (self._scheduler, pair.latents, prediction, pair.timesteps)

        def target(clean: Tensor, rows: Tensor) -> Tensor:
            return halves(clean, pair.swapped[rows.cpu()])[0]

        return recognised(*seen, batch["face_affine"], batch["id_embedding"], picture=target)


@dataclass(eq=False)
class PersonPhase:
    """DreamBooth (section 4, arXiv 2208.12242): the whole UNet on one person's pictures, without the nets.

    A batch holds `latents` (B, C, h, w) of aligned pictures and `embedding` (B, D) of another one of them.
    """

    unet: nn.Module
    base: Base
    settings: Training = field(default_factory=Training)
    learning_rate: float | Schedule = 2e-6
    name: str = "person"
    every: int = 1

    def __post_init__(self) -> None:
        self._scheduler = ddim(self.base.scheduler, steps=1)
        self._before = rows_before(self.base)

    @property
    def trainable(self) -> nn.Module:
        """The person's UNet."""
        return self.unet

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """Noise prediction."""
        latents = batch["latents"].float()
        noisy, noise, timesteps = noised(self._scheduler, latents, generator)
        shown = _shown(latents, self.settings.drop, generator)
        rows = rows_with(self._before, shown * batch["embedding"].float())
        prediction = self.unet(noisy, timesteps, encoder_hidden_states=rows).sample.float()
        target = prediction_target(self._scheduler, latents, noise, timesteps)
        return {"noise": (prediction - target).square().mean()}


def _predicted(base: Base, pair: NoisyPair, down: list[Tensor], middle: Tensor) -> Tensor:
    """What the UNet says of both halves with a net's residuals, (B, C, h, 2 w) float32."""
    prediction: Tensor = base.unet(
        pair.latents,
        pair.timesteps,
        encoder_hidden_states=pair.rows,
        down_block_additional_residuals=down,
        mid_block_additional_residual=middle,
    ).sample
    return prediction.float()
