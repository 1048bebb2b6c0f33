"""Recipe of the autoencoder: pictures in, the same pictures out, through latents that are easy to diffuse."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from likeness.packs import mini
from likeness.statistics import psnr
from likeness.training import cosine

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from likeness.diffusion.patch_autoencoder import PatchAutoencoderKL
    from likeness.packs.workshop import Workshop
    from likeness.training import Moment, Schedule, TrainResult
    from likeness.training.phase import Batch

__all__ = ["AutoencoderPhase", "train_autoencoder"]

BATCH = 16


@dataclass
class AutoencoderPhase:
    """Reconstruction, plus reconstruction of the half-size picture from averaged latents.

    The second term is the equivariance regulariser of EQ-VAE (Kouzelis et al. 2025, eq. 5) for
    scaling by one half: latents that may be averaged are smooth, hence easier to diffuse, and an
    8x8 average of a 16x16 latent is itself a latent, which the UNet's first stage relies on.
    """

    trainable: PatchAutoencoderKL
    learning_rate: float | Schedule = field(default_factory=lambda: cosine(1e-3, warmup_steps=100))
    name: str = "autoencoder"
    every: int = 1
    equivariance: float = 0.04

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """batch: pixels (B, 3, H, W) uint8."""
        pixels = mini.to_unit(batch["pixels"])
        model: Any = self.trainable
        posterior = model.encode(pixels).latent_dist
        mean = posterior.mean
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        latents = mean + posterior.std * noise
        out = model.decode(latents).sample
        terms = picture_terms(out, pixels)
        if self.equivariance:
            few = slice(0, max(1, len(pixels) // 4))
            small = model.decode(F.avg_pool2d(latents[few], 2)).sample
            wanted = F.avg_pool2d(pixels[few], 2)
            terms["equivariance"] = self.equivariance * sum(
                picture_terms(small, wanted).values(), torch.zeros(())
            )
        # Keeps the learned branch from drifting in scale; the PCA start is already at unit scale.
        terms["scale"] = 1e-3 * (mean.float().square().mean() - 1).square()
        with torch.no_grad():
            terms["_psnr"] = psnr(out, pixels).mean()
        return terms


def picture_terms(out: Tensor, wanted: Tensor) -> dict[str, Tensor]:
    """Squared, absolute and gradient errors of pictures (B, 3, H, W) in [-1, 1]; fp32 scalars."""
    error = out.float() - wanted
    across, down = error.diff(dim=-1), error.diff(dim=-2)
    return {
        "squared": 8 * error.square().mean(),
        "absolute": 0.5 * error.abs().mean(),
        "gradient": 0.5 * (across.abs().mean() + down.abs().mean()),
    }


def train_autoencoder(shop: Workshop) -> TrainResult:
    """PSNR of the mean's reconstruction is what counts; see `check.reconstruction`."""
    pictures = shop.pictures("train")
    torch.manual_seed(shop.seed)
    model = shop.preset.autoencoder()
    sample = mini.to_unit(pictures.pixels[:: max(1, len(pictures) // 600)][:600])
    model.start_from_patches(sample)
    model = model.to(shop.device, memory_format=torch.channels_last)

    def batches(moment: Moment) -> Batch:
        return {"pixels": pictures.pixels[pictures.indices(moment.draw, BATCH, shop.seed)]}

    result = shop.train([AutoencoderPhase(model)], batches, "autoencoder", ema_decay=0.998)
    if result.finished:
        averaged: Any = result.emas["autoencoder"].module.to("cpu")
        averaged = averaged.to(memory_format=torch.contiguous_format)
        averaged.fold_statistics(sample)
        shop.export("autoencoder", "vae", averaged)
    return result
