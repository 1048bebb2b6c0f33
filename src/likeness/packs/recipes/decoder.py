"""Recipe of the decoder's second schooling: latents that a diffusion model gets slightly wrong.

An autoencoder's own latents agree with their neighbours to the last digit; painted ones do not, and a
decoder that never met such latents shows every seam between cells. Here the encoder stays as it is
and the decoder learns to make the likeliest picture of disturbed latents, as the
published SD autoencoder "sd-vae-ft-mse" did with its own decoder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from likeness.packs import mini
from likeness.packs.card import read_card
from likeness.packs.recipes.autoencoder import picture_terms
from likeness.packs.recipes.unet import latents_of
from likeness.statistics import psnr
from likeness.training import cosine

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from likeness.packs.workshop import Workshop
    from likeness.training import Moment, Schedule, TrainResult
    from likeness.training.phase import Batch

__all__ = ["DecoderPhase", "train_decoder"]

BATCH = 16
CLEAN_SHARE = 0.4
"""Share of pictures whose latents are left as they are, so that a plain reconstruction stays sharp."""


@dataclass
class DecoderPhase:
    """Reconstruction from latents with noise of a strength of its own in each picture."""

    vae: Any
    learning_rate: float | Schedule = field(default_factory=lambda: cosine(6e-4, warmup_steps=50))
    name: str = "decoder"
    every: int = 1
    strongest: float = 0.5

    @property
    def trainable(self) -> nn.Module:
        """The decoder; the encoder and the latents' scale stay."""
        decoder: nn.Module = self.vae.decoder
        return decoder

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """batch: pixels (B, 3, H, W) uint8, latents (B, C, h, w) scaled."""
        pixels, latents = mini.to_unit(batch["pixels"]), batch["latents"].float()
        count = len(latents)
        clean = torch.rand(count, generator=generator) < CLEAN_SHARE
        strength = torch.rand(count, generator=generator) * self.strongest
        strength = torch.where(clean, torch.zeros(()), strength).view(-1, 1, 1, 1).to(latents)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        out = self.vae.decode((latents + strength * noise) / self.vae.config.scaling_factor).sample
        terms = picture_terms(out, pixels)
        with torch.no_grad():
            db = psnr(out, pixels).cpu()
            terms["_psnr_clean"] = db[clean].mean().nan_to_num()
            terms["_psnr_disturbed"] = db[~clean].mean().nan_to_num()
        return terms


def train_decoder(shop: Workshop) -> TrainResult:
    """Needs vae, whose decoder it replaces."""
    from likeness.diffusion.patch_autoencoder import PatchAutoencoderKL

    vae = PatchAutoencoderKL.from_pretrained(shop.part("vae"), torch_dtype=torch.float32).to(shop.device)
    pictures = shop.pictures("train")
    latents = shop.kept("latents", "vae", lambda: latents_of(vae, pictures.pixels, shop.device))
    vae.requires_grad_(False)
    vae.decoder.requires_grad_(True).to(memory_format=torch.channels_last)

    def batches(moment: Moment) -> Batch:
        rows = pictures.indices(moment.draw, BATCH, shop.seed + 4)
        return {"pixels": pictures.pixels[rows], "latents": latents[rows]}

    result = shop.train([DecoderPhase(vae)], batches, "decoder", ema_decay=0.998)
    if result.finished:
        vae.decoder.load_state_dict(result.emas["decoder"].module.state_dict())
        before = read_card(shop.pack).parts["vae"]
        hours = result.seconds / 3600
        first = before.hours - before.measures.get("decoder_hours", 0.0)  # of the autoencoder's own recipe
        vae = vae.to("cpu", memory_format=torch.contiguous_format)
        shop.export("decoder", "vae", vae, hours_before=first, decoder_hours=hours)
    return result
