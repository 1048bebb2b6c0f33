"""Noise that depends on a picture's seed and on nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from likeness.errors import InputError

__all__ = ["draw", "generator", "initial_latents"]


def generator(seed: int) -> torch.Generator:
    """A generator of its own for one picture, on the CPU so that every device sees the same draws.

    Raises: InputError for a seed beyond 64 bits, which torch cannot take.
    """
    if not 0 <= seed < 2**64:
        raise InputError(f"A seed must be between 0 and {2**64 - 1}, got {seed}.")
    return torch.Generator("cpu").manual_seed(seed)


def draw(
    shape: Sequence[int],
    source: torch.Generator,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard normal numbers, drawn in fp32 on the CPU whatever `device` and `dtype` are."""
    return torch.randn(tuple(shape), generator=source, dtype=torch.float32).to(device, dtype)


def initial_latents(
    source: torch.Generator,
    *,
    channels: int,
    height: int,
    width: int,
    sigma: float,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Tensor:
    """The latent (1, channels, height, width) that denoising starts from.

    sigma: the scheduler's `init_noise_sigma`; sizes in latent pixels.
    """
    return draw((1, channels, height, width), source, device=device, dtype=dtype) * sigma
