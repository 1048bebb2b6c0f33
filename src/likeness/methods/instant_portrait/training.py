"""The two stages of training: IDE-Net (section 3.1), then IPNet, distilled from it (section 3.2).

A batch holds, of B pairs of pictures:
  pixels_before (B, 3, H, W)  the input, in [-1, 1]; pixels_after: the target
  image_latents (B, C, h, w)  the input as InstructPix2Pix reads it: the posterior's mean, not scaled
  latents       (B, C, h, w)  scaled latents of the target
  text          (B, T, D)     rows of the instruction
  face_affine   (B, 2, 3)     aligned face px -> picture px of the input's face
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from likeness.diffusion.noise import draw
from likeness.diffusion.prompts import encode_prompts
from likeness.diffusion.schedule import (
    add_noise,
    ddim,
    noised,
    predicted_latents,
    prediction_target,
)
from likeness.faces.embed import crop_faces
from likeness.methods.instant_portrait.config import MARGIN, TAU, DistillStage, IdeTraining
from likeness.methods.instant_portrait.losses import (
    annealing_weight,
    discriminator_loss,
    generator_loss,
    identity_distance,
    inverted,
    random_crops,
    triplet_loss,
)
from likeness.methods.instant_portrait.model import guided, one_step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from likeness.diffusion.load import Base
    from likeness.methods.instant_portrait.model import Backbone, Discriminator
    from likeness.training.phase import Batch, Schedule

__all__ = ["DiscriminatorPhase", "IdeNetPhase", "IpNetPhase"]


DISTILL_SCALE = 500.0
"""Eq. 9 squares a norm, a sum over all pixels. Their mean alone is drowned by the adversarial loss: on the
mini pack pictures then fell to pieces within 300 steps, as by the adversarial loss alone."""


CHANGED = 0.05
"""From what mean difference on, of pictures in [-1, 1], a place counts as changed."""
MOST = 16.0
"""How many times a changed place counts at most (`place_weight`)."""


def changed_places(before: Tensor, after: Tensor, size: Sequence[int]) -> Tensor:
    """Where two pictures (B, 3, H, W) in [-1, 1] differ, as 0 and 1 at the latents' size: (B, 1, h, w)."""
    apart = (after.float() - before.float()).abs().mean(1, keepdim=True)
    return (F.interpolate(apart, size=tuple(size), mode="area") > CHANGED).float()


def place_weight(changed: Tensor, share: float) -> Tensor:
    """What each place counts: (B, 1, h, w) of 0 and 1 -> weights of mean 1 in every picture.

    Changed places together count `share` of the picture where they are less of it, each at most `MOST` times:
    new glasses then count as much as a new background.
    """
    found = changed.mean((2, 3), keepdim=True)
    more = (share / found.clamp_min(1e-6)).clamp(1.0, MOST)
    rest = (1 - found * more) / (1 - found).clamp_min(1e-6)
    return torch.where(changed > 0, more, rest)


@dataclass(eq=False)
class IdeNetPhase:
    """Eq. 5: `L_dm + lambda L_aid`, t in [0, 999].

    recogniser: aligned faces (B, 3, 112, 112) -> (B, E). identity_rows: how many pictures of a batch are
    decoded for L_aid, from the noisiest on; None: all, as in the paper, where decoding is cheap beside the
    UNet. at: the one time step that is trained, in place of all. change_share: of L_dm, what the places
    that the edit changes make up at least (`place_weight`). The mini pack's; the paper has none.
    """

    unet: nn.Module
    base: Base
    recogniser: nn.Module | None = None
    settings: IdeTraining = field(default_factory=IdeTraining)
    learning_rate: float | Schedule = 1e-4
    identity_rows: int | None = None
    at: int | None = None
    change_share: float = 0.0
    name: str = "ide-net"
    every: int = 1
    forward: Any = None

    def __post_init__(self) -> None:
        self._scheduler = ddim(self.base.scheduler, steps=1)
        self._empty = encode_prompts(self.base, [""]).rows

    @property
    def trainable(self) -> nn.Module:
        """The editing UNet."""
        return self.unet

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """L_dm as "noise", lambda L_aid as "identity"."""
        latents = batch["latents"].float()
        count = len(latents)
        noisy, noise, timesteps = noised(self._scheduler, latents, generator, self.at)
        text, image = self._dropped(batch, torch.rand(count, generator=generator))
        unet = self.unet if self.forward is None else self.forward
        seen = torch.cat([noisy, image], dim=1)
        prediction = unet(seen, timesteps, encoder_hidden_states=text).sample.float()
        target = prediction_target(self._scheduler, latents, noise, timesteps)
        apart = (prediction - target).square()
        if self.change_share:
            changed = changed_places(batch["pixels_before"], batch["pixels_after"], latents.shape[-2:])
            apart = apart * place_weight(changed, self.change_share)
        terms = {"noise": apart.mean()}
        if self.recogniser is not None and self.settings.identity_weight:
            weight = annealing_weight(timesteps, self.settings.annealing)
            # Without the picture there is nobody to be alike.
            weight = weight * image.flatten(1).any(dim=1)
            rows = weight.argsort(descending=True)[: self.identity_rows]
            clean = predicted_latents(self._scheduler, noisy[rows], prediction[rows], timesteps[rows])
            distance = identity_distance(
                batch["pixels_before"][rows],
                self.base.decode(clean),
                batch["face_affine"][rows],
                self.recogniser,
            )
            terms["identity"] = self.settings.identity_weight * (weight[rows] * distance).sum() / count
            terms["_distance"] = distance.detach().mean()
        return terms

    def _dropped(self, batch: Batch, chance: Tensor) -> tuple[Tensor, Tensor]:
        """Text and image latents, each left out of some rows, and both of some, for the two guidances."""
        s = self.settings
        chance = chance.to(batch["latents"].device)
        no_text = (chance < s.drop_text) | (chance >= 1 - s.drop_both)
        no_image = ((chance >= s.drop_text) & (chance < s.drop_text + s.drop_image)) | (
            chance >= 1 - s.drop_both
        )
        text = torch.where(no_text[:, None, None], self._empty.to(batch["text"]), batch["text"])
        return text.float(), batch["image_latents"].float() * ~no_image[:, None, None, None]


@dataclass(eq=False)
class IpNetPhase:
    """Eq. 13: `L_adv + lambda_1 L_distill + lambda_2 L_triplet`; the student edits in one step from `T_MAX`.

    teacher: the frozen IDE-Net, or what stands in for it. guidance, image_guidance: by which it answers, as
    it does when it paints; both 1: its bare prediction, which takes a third of the time. crop_px: side of the
    discriminator's random crops.
    """

    unet: nn.Module
    teacher: Any
    discriminator: Discriminator
    backbone: Backbone
    base: Base
    stage: DistillStage
    learning_rate: float | Schedule = 1e-5
    margin: float = MARGIN
    standard_margin: bool = False
    inversion_steps: int = 1
    guidance: float = 1.0
    image_guidance: float = 1.0
    crop_px: int = 64
    name: str = "ipnet"
    every: int = 1

    def __post_init__(self) -> None:
        self._scheduler = ddim(self.base.scheduler, steps=1)
        self._empty = encode_prompts(self.base, [""]).rows
        self._painted: tuple[Batch, Tensor] | None = None
        self.teacher.requires_grad_(False)

    @property
    def trainable(self) -> nn.Module:
        """The student."""
        return self.unet

    def edited(self, batch: Batch, generator: Generator) -> tuple[Tensor, Tensor]:
        """One step from pure noise: latents and pictures of the student."""
        noise = draw(batch["latents"].shape, generator, device=batch["latents"].device)
        latents = one_step(
            self.unet, self._scheduler, noise, batch["image_latents"].float(), batch["text"].float()
        )
        return latents, self.base.decode(latents)

    def painted(self, batch: Batch, generator: Generator) -> Tensor:
        """Pictures of the student for the discriminator: its own step's, where that was of this batch."""
        if self._painted is not None and self._painted[0] is batch:
            return self._painted[1]
        with torch.no_grad():
            return self.edited(batch, generator)[1]

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """The three terms, each with its weight; those of weight 0 are left out."""
        latents, pixels = self.edited(batch, generator)
        self._painted = batch, pixels.detach()
        terms = {}
        if self.stage.adversarial:
            self.discriminator.requires_grad_(False)  # it is moved by a phase of its own
            fake = self.discriminator(random_crops(pixels, self.crop_px, generator))
            self.discriminator.requires_grad_(True)
            terms["adversarial"] = self.stage.adversarial * generator_loss(fake)
        if self.stage.distill:
            apart = self._distill(batch, latents, pixels, generator)
            terms["distill"] = DISTILL_SCALE * self.stage.distill * apart
        if self.stage.triplet:
            faces = [
                crop_faces(one, batch["face_affine"])
                for one in (batch["pixels_before"], batch["pixels_after"])
            ]
            before, target = (self.backbone.embedding(one) for one in faces)
            output = self.backbone.embedding(crop_faces(pixels, batch["face_affine"]))
            terms["triplet"] = self.stage.triplet * triplet_loss(
                before, target, output, self.margin, standard=self.standard_margin
            )
        return terms

    def _distill(self, batch: Batch, latents: Tensor, pixels: Tensor, generator: Generator) -> Tensor:
        """Eq. 9 and 10: what the teacher makes of the student's output, noised again."""
        count, stage = len(latents), self.stage
        timesteps = torch.randint(stage.low, stage.high + 1, (count,), generator=generator).to(latents.device)
        noise = draw(latents.shape, generator, device=latents.device)
        image, text = batch["image_latents"].float(), batch["text"].float()
        low = (timesteps <= TAU) & stage.inversion

        def predict(noisy: Tensor, at: Tensor) -> Tensor:
            return self._asked(noisy, at, image[low], text[low])

        with torch.no_grad():
            clean = latents.detach()
            noisy = add_noise(self._scheduler, clean, noise, timesteps)
            if low.any():
                noisy[low] = inverted(
                    predict, self._scheduler, clean[low], timesteps[low], self.inversion_steps
                )
            answer = self._guided(noisy, timesteps, image, text)
            wanted = predicted_latents(self._scheduler, noisy, answer, timesteps)
            if stage.space == "pixel":
                wanted = self.base.decode(wanted).clamp(-1, 1)
        found = pixels if stage.space == "pixel" else latents
        return (wanted.float() - found.float()).square().mean()

    def _asked(self, noisy: Tensor, timesteps: Tensor, image: Tensor, text: Tensor) -> Tensor:
        """The teacher's bare prediction, (B, C, h, w) float32."""
        seen = torch.cat([noisy, image], dim=1)
        return self.teacher(seen, timesteps, encoder_hidden_states=text).sample.float()  # type: ignore[no-any-return]

    def _guided(self, noisy: Tensor, timesteps: Tensor, image: Tensor, text: Tensor) -> Tensor:
        """What the teacher says of noisy latents, (B, C, h, w) float32."""
        if self.guidance == self.image_guidance == 1:
            return self._asked(noisy, timesteps, image, text)
        images = torch.cat([torch.zeros_like(image), image, image])
        nothing = self._empty.to(text).expand(len(text), -1, -1)
        rows = torch.cat([nothing, nothing, text])
        answers = self._asked(noisy.repeat(3, 1, 1, 1), timesteps.repeat(3), images, rows)
        plain, with_image, with_both = answers.chunk(3)
        return guided(plain, with_image, with_both, self.image_guidance, self.guidance)


@dataclass(eq=False)
class DiscriminatorPhase:
    """Eq. 6: real targets against what the student paints, both as random crops."""

    discriminator: Discriminator
    student: IpNetPhase
    learning_rate: float | Schedule = 1e-4
    name: str = "discriminator"
    every: int = 1

    @property
    def trainable(self) -> nn.Module:
        """The heads."""
        return self.discriminator

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """The hinge of both sides."""
        pixels = self.student.painted(batch, generator)
        side = self.student.crop_px
        fake = self.discriminator(random_crops(pixels, side, generator))
        real = self.discriminator(random_crops(batch["pixels_after"].float(), side, generator))
        return {
            "hinge": discriminator_loss(real, fake),
            "_real": real.detach().mean(),
            "_fake": fake.detach().mean(),
        }
