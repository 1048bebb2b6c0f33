"""The losses of InstantPortrait, equations 3 to 13.

Pictures (B, 3, H, W) in [-1, 1]; latents (B, C, h, w); time steps (B,) int.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from likeness.faces.embed import crop_faces
from likeness.methods.instant_portrait.config import MARGIN, T_MAX, Annealing

__all__ = [
    "annealing_weight",
    "discriminator_loss",
    "generator_loss",
    "identity_distance",
    "inverted",
    "noise_of",
    "random_crops",
    "to_gray",
    "triplet_loss",
]

GRAY = (0.299, 0.587, 0.114)


def to_gray(pixels: Tensor) -> Tensor:
    """F_g: luma (ITU-R BT.601) in all three channels, as structure counts and colour does not."""
    weights = torch.tensor(GRAY, dtype=pixels.dtype, device=pixels.device).view(1, 3, 1, 1)
    return (pixels * weights).sum(dim=1, keepdim=True).expand_as(pixels)


def identity_distance(
    before: Tensor, after: Tensor, affine: Tensor, recogniser: Callable[[Tensor], Tensor]
) -> Tensor:
    """Eq. 3 for each picture: squared distance of the embeddings of both gray faces, (B,).

    affine: (B, 2, 3), aligned face px -> picture px, of the input's face; the output's is where it was.
    """
    with torch.no_grad():
        known = recogniser(crop_faces(to_gray(before), affine)).float()
    found = recogniser(crop_faces(to_gray(after), affine)).float()
    return (known - found).square().sum(dim=1)


def annealing_weight(timesteps: Tensor, annealing: Annealing, t_max: int = T_MAX) -> Tensor:
    """W_a of eq. 4, (B,): it falls as the picture gets clean (appendix E)."""
    share = timesteps.float() / t_max
    if annealing.kind == "constant":
        return torch.ones_like(share)
    if annealing.kind == "linear":
        return annealing.a * share + annealing.b
    return 0.5 * annealing.a * (1 + torch.cos(math.pi * (1 - share))) + (1 - annealing.a)


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Eq. 6, hinge: logits of any shape."""
    return F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """The student's side of eq. 6: -D(x)."""
    return -fake.float().mean()


def triplet_loss(
    before: Tensor, target: Tensor, output: Tensor, margin: float = MARGIN, *, standard: bool = False
) -> Tensor:
    """Eq. 11-12 on embeddings (B, D): the output nearer to the target than to the input; a scalar.

    As printed, max(d2 - d1 - m, 0), it begins to pull once the target is farther than the input by m.
    standard: max(d2 - d1 + m, 0), which pulls until the target is nearer by m.
    """
    d1 = (before - output).norm(dim=1)
    d2 = (target - output).norm(dim=1)
    return F.relu(d2 - d1 + (margin if standard else -margin)).mean()


def noise_of(scheduler: Any, prediction: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
    """The noise that a prediction for `noisy` amounts to."""
    if scheduler.config.prediction_type == "epsilon":
        return prediction
    abar: Tensor = scheduler.alphas_cumprod.to(noisy.device)[timesteps].view(-1, 1, 1, 1)
    return abar.sqrt() * prediction + (1 - abar).sqrt() * noisy


def inverted(
    predict: Callable[[Tensor, Tensor], Tensor],
    scheduler: Any,
    clean: Tensor,
    timesteps: Tensor,
    steps: int = 1,
) -> Tensor:
    """Clean latents taken to `timesteps` by the noise the network itself sees in them.

    One step is eq. 9's first case as printed: sqrt(abar) z + sqrt(1 - abar) eps(z, t). More steps invert DDIM
    (arXiv 2010.02502, eq. 14) along evenly spaced time steps, each with the noise seen at its end.
    predict(latents, timesteps) is the network's output.
    """
    latents, abar_now = clean, torch.ones(len(clean), 1, 1, 1, device=clean.device)
    for step in range(1, steps + 1):
        at = (timesteps * step / steps).long()
        noise = noise_of(scheduler, predict(latents, at), latents, at)
        abar = scheduler.alphas_cumprod.to(clean.device)[at].view(-1, 1, 1, 1)
        seen = (latents - (1 - abar_now).sqrt() * noise) / abar_now.sqrt()
        latents, abar_now = abar.sqrt() * seen + (1 - abar).sqrt() * noise, abar
    return latents


def random_crops(pixels: Tensor, side: int, generator: Generator) -> Tensor:
    """One square of `side` px of each picture, drawn anew for each, (B, 3, side, side)."""
    height, width = pixels.shape[-2:]
    side = min(side, height, width)
    places = torch.rand(len(pixels), 2, generator=generator)
    return torch.stack(
        [
            one[:, y : y + side, x : x + side]
            for one, (y, x) in zip(
                pixels,
                ((places * torch.tensor([height - side + 1, width - side + 1])).long()).tolist(),
                strict=True,
            )
        ]
    )
