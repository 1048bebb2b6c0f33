"""Words alone to pictures: what a base paints before any method adds a person to it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import torch

from likeness.diffusion.guidance import guide, with_guide
from likeness.diffusion.noise import generator, initial_latents
from likeness.diffusion.prompts import encode_prompts, size_conditions
from likeness.diffusion.schedule import ddim, denoised, guidance_rescale
from likeness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from likeness.diffusion.load import Base
    from likeness.diffusion.prompts import TextRows

__all__ = ["denoise", "paint_text"]


def denoise(
    base: Base,
    without: TextRows,
    words: TextRows,
    sources: Sequence[torch.Generator],
    *,
    steps: int,
    guidance: float,
    size_px: tuple[int, int] | None = None,
    eta: float = 0.0,
) -> Iterator[tuple[Tensor | None, Tensor]]:
    """DDIM with guidance (`diffusion.guidance`), from noise to clean latents, one generator a picture.

    words: of B pictures; without: those that guidance leads away from, of B or of one. size_px: (width,
    height), the base's own by default. eta: noise added anew at each step, see `schedule.denoised`.
    Yields (timestep, latents (B, C, h, w) that are about to be denoised at it) before each step, which is
    where to count it, and lastly (None, the clean latents).
    """
    scheduler = ddim(base.scheduler, steps)
    width, height = size_px or (base.size_px, base.size_px)
    latents = torch.cat(
        [
            initial_latents(
                source,
                channels=base.unet.config.in_channels,
                height=height // base.downscale,
                width=width // base.downscale,
                sigma=scheduler.init_noise_sigma,
                device=base.device,
                dtype=base.dtype,
            )
            for source in sources
        ]
    )
    guided = guidance > 1
    read = without.beside(words) if guided else words
    away = read[: len(latents)]
    sides = (latents.shape[-2], latents.shape[-1])
    added, added_away = (size_conditions(text.pooled, sides, base.downscale) for text in (read, away))
    for timestep in scheduler.timesteps:
        yield timestep, latents
        seen = torch.cat([latents, latents]) if guided else latents
        prediction = base.unet(seen, timestep, read.rows, added_cond_kwargs=added).sample
        if guided:
            plain, with_words = prediction.chunk(2)
            plain = with_guide(base.guide, plain, latents, timestep, away.rows, added_away)
            prediction = guide(plain, with_words, guidance, guidance_rescale(base.scheduler))
        latents = denoised(scheduler, prediction, timestep, latents, eta, sources)
    yield None, latents


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

    Raises: InputError for unequal numbers of prompts and seeds.
    """
    if len(prompts) != len(seeds):
        raise InputError(f"{len(prompts)} prompts need as many seeds, not {len(seeds)}.")
    empty = encode_prompts(base, [""])
    painted = []
    for start in range(0, len(prompts), batch_size):
        few = slice(start, start + batch_size)
        words = encode_prompts(base, list(prompts[few]))
        sources = [generator(seed) for seed in seeds[few]]
        steps_taken = denoise(base, empty, words, sources, steps=steps, guidance=guidance, eta=eta)
        [(_, latents)] = deque(steps_taken, maxlen=1)
        painted.append(base.decode(latents).float().clamp(-1, 1).cpu())
    return torch.cat(painted)
