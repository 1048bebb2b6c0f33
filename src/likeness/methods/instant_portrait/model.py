"""The networks: a UNet that sees the picture it edits, and the discriminator of stage 2."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from likeness.diffusion.channels import with_input_channels
from likeness.diffusion.schedule import predicted_latents
from likeness.methods.instant_portrait.config import T_MAX

__all__ = ["Backbone", "Discriminator", "editing_unet", "guided", "one_step"]


def editing_unet(base_unet: Any) -> Any:
    """A copy of the base's UNet whose first convolution takes the input's latents too.

    (InstructPix2Pix, arXiv 2211.09800, section 3.2): the further input channels begin at zero, so that it
    paints what the base does until it is trained. One that has them already is copied as it is.
    """
    return with_input_channels(base_unet, 2 * int(base_unet.config.out_channels))


def one_step(unet: Any, scheduler: Any, noise: Tensor, image: Tensor, text: Tensor) -> Tensor:
    """Clean latents (B, C, h, w) predicted from pure noise at the noisiest time step, T_MAX.

    scheduler: one of `schedule.ddim`. image: (B, C, h, w) latents of the input, not scaled. text: (B, T, D).
    """
    timestep = torch.tensor(T_MAX, device=noise.device)  # a scalar: one time step for all
    seen = torch.cat([noise, image.to(noise)], dim=1)
    prediction = unet(seen, timestep, encoder_hidden_states=text.to(noise)).sample
    return predicted_latents(scheduler, noise, prediction, timestep.expand(len(noise)))


def guided(plain: Tensor, with_image: Tensor, with_both: Tensor, by_image: float, by_words: float) -> Tensor:
    """Guidance by the picture and by the words (InstructPix2Pix, arXiv 2211.09800, eq. 3).

    Predictions (B, C, h, w) without either, with the picture alone, with both; s_I and s_T.
    """
    return plain + by_image * (with_image - plain) + by_words * (with_both - with_image)


class Backbone(nn.Module):
    """A frozen vision transformer read at several depths: DINOv2 and its kind, or the pack's own.

    model: transformers', with `output_hidden_states`. mean, std: of its pixels in [0, 1].
    """

    def __init__(self, model: Any, mean: tuple[float, ...], std: tuple[float, ...], layers: int = 3) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.width: int = model.config.hidden_size
        self.size_px: int = model.config.image_size
        depth = int(model.config.num_hidden_layers)
        self.depths = sorted({round(depth * (i + 1) / layers) for i in range(layers)})
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def _states(self, pixels: Tensor) -> Any:
        small = F.interpolate(
            pixels.float(), (self.size_px, self.size_px), mode="bilinear", antialias=True, align_corners=False
        )
        seen = ((small + 1) / 2 - cast("Tensor", self.mean)) / cast("Tensor", self.std)
        return self.model(pixel_values=seen, output_hidden_states=True)

    def features(self, pixels: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [-1, 1] -> tokens (B, N, W) at each depth."""
        states = self._states(pixels).hidden_states
        return [states[depth] for depth in self.depths]

    def embedding(self, pixels: Tensor) -> Tensor:
        """F_dino of eq. 12: the class token, unit length, (B, W)."""
        return F.normalize(self._states(pixels).last_hidden_state[:, 0].float(), dim=-1)


class Discriminator(nn.Module):
    """Small heads on the backbone's tokens, unconditional (eq. 6, in the manner of arXiv 2301.09515).

    The backbone is shared and frozen, and no part of this module's weights.
    """

    def __init__(self, backbone: Backbone, width: int = 64) -> None:
        super().__init__()
        self._backbone = (backbone,)  # in a tuple, so that it is not registered
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(backbone.width),
                spectral_norm(nn.Linear(backbone.width, width)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Linear(width, 1)),
            )
            for _ in backbone.depths
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> logits (B, depths * tokens)."""
        features = self._backbone[0].features(pixels)
        logits = [head(tokens)[..., 0] for head, tokens in zip(self.heads, features, strict=True)]
        return torch.cat(logits, dim=1)
