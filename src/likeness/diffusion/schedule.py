"""Schedules: DDIM for painting, and what the UNet is asked to predict in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from likeness.diffusion.noise import draw
from likeness.diffusion.preview import tell
from likeness.errors import InputError

__all__ = [
    "add_noise",
    "ddim",
    "denoised",
    "guidance_rescale",
    "noised",
    "predicted_latents",
    "prediction_target",
    "random_timesteps",
]

_KEPT = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "timestep_spacing",
    "steps_offset",
    "set_alpha_to_one",
    "rescale_betas_zero_snr",
)


def ddim(scheduler: Any, steps: int) -> Any:
    """A fresh DDIM scheduler (arXiv 2010.02502) on the base's noise schedule, set to `steps` steps.

    Fresh, because a scheduler keeps state while it runs and a base may be shared.
    """
    from diffusers import DDIMScheduler

    values = {key: scheduler.config[key] for key in _KEPT if key in scheduler.config}
    fresh = DDIMScheduler(**{"set_alpha_to_one": False, **values}, clip_sample=False)
    if not 1 <= steps <= fresh.config.num_train_timesteps:
        raise InputError(f"steps must be between 1 and {fresh.config.num_train_timesteps}, got {steps}.")
    fresh.set_timesteps(steps)
    return fresh


def denoised(
    scheduler: Any,
    prediction: Tensor,
    timestep: Tensor,
    latents: Tensor,
    eta: float = 0.0,
    sources: Sequence[torch.Generator] = (),
) -> Tensor:
    """Latents (B, C, h, w) one step of `ddim`'s scheduler cleaner.

    eta: how much of DDPM's noise each step adds anew (arXiv 2010.02502, eq. 16), from 0, none, to 1.
    sources: with eta, one generator a picture.
    """
    tell(lambda: predicted_latents(scheduler, latents, prediction, timestep.expand(len(latents))))
    if not eta:
        return scheduler.step(prediction, timestep, latents).prev_sample  # type: ignore[no-any-return]
    one = (1, *latents.shape[1:])
    noise = torch.cat([draw(one, s, device=latents.device, dtype=latents.dtype) for s in sources])
    # A first step from pure noise would take the root of 1 - eta^2, which rounds below 0 at 1.
    out = scheduler.step(prediction, timestep, latents, eta=min(eta, 0.999), variance_noise=noise)
    return out.prev_sample  # type: ignore[no-any-return]


def guidance_rescale(scheduler: Any) -> float:
    """The phi for `guidance.guide`: 0.7 on zero terminal SNR schedules, else 0 (arXiv 2305.08891)."""
    return 0.7 if scheduler.config.get("rescale_betas_zero_snr") else 0.0


def add_noise(scheduler: Any, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """`sqrt(abar_t) z + sqrt(1 - abar_t) noise`, all (B, C, h, w), timesteps (B,) int."""
    return scheduler.add_noise(latents, noise, timesteps)  # type: ignore[no-any-return]


def prediction_target(scheduler: Any, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the UNet must predict under the scheduler's `prediction_type`: noise or velocity.

    Velocity is `sqrt(abar_t) noise - sqrt(1 - abar_t) z` (arXiv 2202.00512, appendix D).
    """
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return noise
    if kind == "v_prediction":
        return scheduler.get_velocity(latents, noise, timesteps)  # type: ignore[no-any-return]
    raise InputError(f"The base predicts {kind!r}; only 'epsilon' and 'v_prediction' can be trained.")


def predicted_latents(scheduler: Any, noisy: Tensor, prediction: Tensor, timesteps: Tensor) -> Tensor:
    """The clean latents (B, C, h, w) that a prediction for `noisy` amounts to; timesteps (B,) int.

    Raises: InputError where the UNet predicts neither noise nor velocity.
    """
    abar = scheduler.alphas_cumprod.to(noisy.device)[timesteps].view(-1, 1, 1, 1)
    signal: Tensor = abar.sqrt()
    noise: Tensor = (1 - abar).sqrt()
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return (noisy - noise * prediction) / signal
    if kind == "v_prediction":
        return signal * noisy - noise * prediction
    raise InputError(f"The base predicts {kind!r}; only 'epsilon' and 'v_prediction' can be trained.")


def random_timesteps(scheduler: Any, count: int, source: torch.Generator) -> Tensor:
    """Uniform timesteps (count,) int64 on the CPU."""
    return torch.randint(0, scheduler.config.num_train_timesteps, (count,), generator=source)


def noised(
    scheduler: Any, latents: Tensor, source: torch.Generator, at: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents (B, C, h, w) at random time steps: noisy, the noise (both B, C, h, w), the steps (B,) int64.

    Noise is drawn first, then the steps, both on the CPU. at: the time step of all, where none is drawn.
    """
    noise = draw(latents.shape, source, device=latents.device, dtype=latents.dtype)
    if at is None:
        timesteps = random_timesteps(scheduler, len(latents), source).to(latents.device)
    else:
        timesteps = torch.full((len(latents),), at, device=latents.device)
    return add_noise(scheduler, latents, noise, timesteps), noise, timesteps
