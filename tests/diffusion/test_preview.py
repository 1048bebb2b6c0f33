"""Who watches a picture form sees the clean latents; who does not pays nothing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import DDIMScheduler

from likeness.diffusion.preview import tell, watched
from likeness.diffusion.schedule import add_noise, ddim, denoised
from tests.tiny import SCHEDULE


def test_each_step_tells_what_its_prediction_amounts_to() -> None:
    scheduler = ddim(DDIMScheduler(**SCHEDULE), 4)
    source = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(2, 4, 8, 8, generator=source) for _ in range(2))
    seen: list[torch.Tensor] = []

    def look(told: Callable[[], torch.Tensor]) -> None:
        seen.append(told())

    for timestep in scheduler.timesteps:
        noisy = add_noise(scheduler, clean, noise, timestep.expand(2))
        with watched(look):
            denoised(scheduler, noise, timestep, noisy)
        denoised(scheduler, noise, timestep, noisy)
    assert len(seen) == 4, "nobody watches outside"
    for one in seen:
        torch.testing.assert_close(one, clean, rtol=0, atol=1e-3)


def test_nothing_is_worked_out_for_nobody() -> None:
    def never() -> torch.Tensor:
        raise AssertionError

    tell(never)
    with watched(lambda told: None):
        tell(never)
