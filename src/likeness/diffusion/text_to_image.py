"""Words alone to pictures: what a base paints before any method adds a person to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from PIL import Image

from likeness.diffusion.guidance import guide
from likeness.diffusion.noise import generator, initial_latents
from likeness.diffusion.prompts import encode_prompts
from likeness.diffusion.schedule import ddim, denoised, guidance_rescale
from likeness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from likeness.diffusion.load import Base

__all__ = ["paint_text", "to_pictures"]


@torch.no_grad()
def paint_text(
    base: Base,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int = 30,
    guidance: float = 5.0,
    eta: float = 0.0,
    batch_size: int = 16,
) -> Tensor:
    """Pictures (N, 3, H, W) in [-1, 1] on the CPU, one a prompt, by DDIM with classifier-free guidance.

    eta: noise added anew at each step, see `schedule.denoised`.

    Each has a seed of its own and its noise does not depend on the others'; the last digits of a
    picture can, for kernels choose their order of summation by the batch's size.

    Raises: InputError for unequal numbers of prompts and seeds, or a base of two text encoders.
    """
    if len(prompts) != len(seeds):
        raise InputError(f"{len(prompts)} prompts need as many seeds, not {len(seeds)}.")
    if len(base.text_encoders) > 1:
        raise InputError("Painting from words alone is for bases with one text encoder: mini and SD1.5.")
    side = base.size_px // base.downscale
    empty = encode_prompts(base, [""]).rows
    painted = []
    for start in range(0, len(prompts), batch_size):
        few = slice(start, start + batch_size)
        rows = encode_prompts(base, list(prompts[few])).rows
        scheduler = ddim(base.scheduler, steps)
        sources = [generator(seed) for seed in seeds[few]]
        latents = torch.cat(
            [
                initial_latents(
                    source,
                    channels=base.unet.config.in_channels,
                    height=side,
                    width=side,
                    sigma=scheduler.init_noise_sigma,
                    device=base.device,
                    dtype=base.dtype,
                )
                for source in sources
            ]
        )
        both = torch.cat([empty.expand_as(rows), rows])
        for timestep in scheduler.timesteps:
            if guidance > 1:
                prediction = base.unet(torch.cat([latents, latents]), timestep, both).sample
                without, with_words = prediction.chunk(2)
                prediction = guide(without, with_words, guidance, guidance_rescale(base.scheduler))
            else:
                prediction = base.unet(latents, timestep, rows).sample
            latents = denoised(scheduler, prediction, timestep, latents, eta, sources)
        painted.append(base.decode(latents).float().clamp(-1, 1).cpu())
    return torch.cat(painted)


def to_pictures(pixels: Tensor) -> list[Image.Image]:
    """(N, 3, H, W) in [-1, 1] -> PIL RGB pictures."""
    arrays = ((pixels + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(array) for array in arrays]
