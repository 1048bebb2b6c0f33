"""Noise, guidance, schedules and attention processors."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

from likeness.diffusion.attention import attached, heads
from likeness.diffusion.guidance import guide
from likeness.diffusion.noise import draw, generator, initial_latents
from likeness.diffusion.schedule import (
    add_noise,
    ddim,
    denoised,
    guidance_rescale,
    noised,
    predicted_latents,
    prediction_target,
)
from likeness.errors import InputError
from tests import tiny


def test_noise_depends_on_the_seed_alone() -> None:
    place = {"channels": 4, "height": 8, "width": 6, "sigma": 1.0, "device": "cpu"}
    one = initial_latents(generator(5), dtype=torch.float32, **place)
    half = initial_latents(generator(5), dtype=torch.bfloat16, **place)
    assert one.shape == (1, 4, 8, 6)
    assert torch.equal(one.bfloat16(), half), "the draw itself must not depend on the precision"
    assert not torch.equal(one, initial_latents(generator(6), dtype=torch.float32, **place))
    source = generator(5)
    first, second = draw((3,), source), draw((3,), source)
    assert not torch.equal(first, second)


def test_a_seed_beyond_what_torch_takes() -> None:
    assert generator(2**64 - 1).initial_seed() == 2**64 - 1
    for seed in (-1, 2**64):
        with pytest.raises(InputError, match=f"between 0 and 18446744073709551615, got {seed}"):
            generator(seed)


def test_guidance() -> None:
    u, c = torch.randn(2, 2, 4, 8, 8, generator=generator(0))
    assert torch.allclose(guide(u, c, 1.0), c, atol=1e-6)
    assert torch.allclose(guide(u, c, 3.0), u + 3 * (c - u))
    full = guide(u, c, 7.0, rescale=1.0)
    assert torch.allclose(full.std((1, 2, 3)), c.std((1, 2, 3)), atol=1e-5)
    part = guide(u, c, 7.0, rescale=0.7)
    assert torch.allclose(part, 0.7 * full + 0.3 * guide(u, c, 7.0), atol=1e-5)


def test_ddim_keeps_the_bases_schedule() -> None:
    euler = EulerDiscreteScheduler(**tiny.SCHEDULE, steps_offset=1, prediction_type="v_prediction")
    fresh = ddim(euler, 10)
    assert torch.allclose(fresh.alphas_cumprod, euler.alphas_cumprod)
    assert fresh.config.prediction_type == "v_prediction"
    assert len(fresh.timesteps) == 10
    assert fresh is not ddim(euler, 10)
    with pytest.raises(InputError, match="between 1 and 1000, got 0"):
        ddim(euler, 0)
    assert guidance_rescale(euler) == 0


def test_targets_lead_back_to_the_latents() -> None:
    """Denoising with the true prediction gives the latents, for noise and for velocity."""
    latents, noise = torch.randn(2, 3, 4, 8, 8, generator=generator(1))
    steps = torch.tensor([1, 400, 999])
    for kind in ("epsilon", "v_prediction"):
        scheduler = DDIMScheduler(**tiny.SCHEDULE, prediction_type=kind)
        alpha = scheduler.alphas_cumprod[steps].view(-1, 1, 1, 1)
        noisy = add_noise(scheduler, latents, noise, steps)
        target = prediction_target(scheduler, latents, noise, steps)
        if kind == "epsilon":
            back = (noisy - (1 - alpha).sqrt() * target) / alpha.sqrt()
        else:
            back = alpha.sqrt() * noisy - (1 - alpha).sqrt() * target
        assert torch.allclose(back, latents, atol=1e-4)
        assert torch.allclose(predicted_latents(scheduler, noisy, target, steps), back, atol=1e-5)
    with pytest.raises(InputError, match="'sample'"):
        prediction_target(DDIMScheduler(prediction_type="sample"), latents, noise, steps)
    with pytest.raises(InputError, match="'sample'"):
        predicted_latents(DDIMScheduler(prediction_type="sample"), latents, noise, steps)


def test_noised_latents_draw_noise_and_then_time_steps() -> None:
    scheduler = DDIMScheduler(**tiny.SCHEDULE)
    latents = torch.randn(5, 4, 8, 8, generator=generator(1))
    noisy, noise, steps = noised(scheduler, latents, generator(2))
    source = generator(2)
    assert torch.equal(noise, torch.randn(5, 4, 8, 8, generator=source))
    assert torch.equal(steps, torch.randint(0, 1000, (5,), generator=source))
    alpha = scheduler.alphas_cumprod[steps].view(-1, 1, 1, 1)
    assert torch.allclose(noisy, alpha.sqrt() * latents + (1 - alpha).sqrt() * noise, atol=1e-6)
    assert noised(scheduler, latents.bfloat16(), generator(2))[0].dtype == torch.bfloat16


def test_noise_added_anew_is_of_the_right_size_and_each_pictures_own() -> None:
    """With the true prediction at every step, both ways end at the latents; on the way noise differs."""
    latents, noise = torch.randn(2, 3, 4, 8, 8, generator=generator(1))
    scheduler = ddim(
        DDIMScheduler(
            **tiny.SCHEDULE,
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
        ),
        10,
    )

    def run(eta: float, seeds: tuple[int, ...]) -> list[torch.Tensor]:
        sources = [generator(seed) for seed in seeds]
        now, seen = noise, []
        for step in scheduler.timesteps:
            alpha = scheduler.alphas_cumprod[step]
            true = (now - alpha.sqrt() * latents) / (1 - alpha).sqrt()
            velocity = alpha.sqrt() * true - (1 - alpha).sqrt() * latents
            now = denoised(scheduler, velocity, step, now, eta, sources)
            seen.append(now)
        return seen

    plain, lively, other = run(0.0, ()), run(1.0, (1, 2, 3)), run(1.0, (1, 5, 3))
    for found in (plain, lively, other):
        assert torch.allclose(found[-1], latents, atol=1e-3)
    for step, a, b, c in zip(scheduler.timesteps[1:], plain, lively, other, strict=False):
        level = float((1 - scheduler.alphas_cumprod[step]).sqrt())
        assert float((b - scheduler.alphas_cumprod[step].sqrt() * latents).std()) == pytest.approx(
            level, rel=0.1
        )
        assert (a - b).std() > 0.3 * level
        assert [torch.equal(b[i], c[i]) for i in range(3)] == [True, False, True]


@pytest.fixture
def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return tiny.unet((32, 64), 16, 4)


def test_attached_processors_leave_no_trace(unet: UNet2DConditionModel) -> None:
    before, weights = dict(unet.attn_processors), set(unet.state_dict())
    name = next(iter(before))
    with pytest.raises(RuntimeError, match="on purpose"), attached(unet, {name: AttnProcessor()}):
        assert type(unet.attn_processors[name]) is AttnProcessor
        assert len(unet.attn_processors) == len(before)
        raise RuntimeError("on purpose")
    assert all(unet.attn_processors[key] is processor for key, processor in before.items())
    assert set(unet.state_dict()) == weights


def test_a_processor_for_no_layer_is_named(unet: UNet2DConditionModel) -> None:
    with (
        pytest.raises(ValueError, match=r"'nowhere\.processor'"),
        attached(unet, {"nowhere.processor": AttnProcessor()}),
    ):
        pass


def test_heads_are_neighbouring_columns(unet: UNet2DConditionModel) -> None:
    attn = next(module for module in unet.modules() if hasattr(module, "to_q"))
    rows = torch.arange(2 * 3 * 32.0).view(2, 3, 32)
    split = heads(attn, rows)
    assert split.shape == (2, attn.heads, 3, 32 // attn.heads)
    assert split[1, 1, 2].tolist() == rows[1, 2, 32 // attn.heads : 2 * 32 // attn.heads].tolist()
