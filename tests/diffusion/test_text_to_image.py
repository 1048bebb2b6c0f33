"""Words alone become pictures: by seed, each for itself, and as words say once guidance counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from likeness.diffusion.guidance import guide
from likeness.diffusion.load import Base, load_base
from likeness.diffusion.noise import generator
from likeness.diffusion.prompts import encode_prompts, size_conditions
from likeness.diffusion.schedule import ddim, denoised, guidance_rescale
from likeness.diffusion.text_to_image import denoise, paint_text
from likeness.errors import InputError
from tests.tiny import write_guide, write_mini, write_sdxl


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load_base(write_mini(tmp_path_factory.mktemp("mini")))


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_seed_and_words_give_one_picture_whoever_is_painted_beside(base: Base, eta: float) -> None:
    prompts, seeds = ["a man with a red hat", "a woman", "a person"], [5, 6, 7]
    together = paint_text(base, prompts, seeds, steps=3, eta=eta)
    assert together.shape == (3, 3, base.size_px, base.size_px)
    assert together.abs().max() <= 1
    assert torch.equal(together, paint_text(base, prompts, seeds, steps=3, eta=eta))
    for i in range(3):
        alone = paint_text(base, prompts[i : i + 1], seeds[i : i + 1], steps=3, eta=eta)
        torch.testing.assert_close(alone[0], together[i], atol=1e-4, rtol=0)
    two_at_a_time = paint_text(base, prompts, seeds, steps=3, eta=eta, batch_size=2)
    torch.testing.assert_close(two_at_a_time, together, atol=1e-4, rtol=0)
    other = paint_text(base, prompts, [5, 6, 8], steps=3, eta=eta)
    assert not torch.allclose(other[2], together[2], atol=1e-3)


def test_guidance_leads_away_from_no_words(base: Base) -> None:
    plain = paint_text(base, ["a man"], [1], steps=2, guidance=1.0)
    assert not torch.allclose(plain, paint_text(base, ["a man"], [1], steps=2, guidance=6.0), atol=1e-4)
    empty = [paint_text(base, [""], [1], steps=2, guidance=scale) for scale in (1.0, 6.0)]
    torch.testing.assert_close(*empty, atol=1e-3, rtol=0)  # nothing to be led away from


def test_unequal_numbers_are_refused(base: Base) -> None:
    with pytest.raises(InputError, match="2 prompts need as many seeds, not 1"):
        paint_text(base, ["a", "b"], [1])


def test_two_text_encoders_paint_as_in_diffusers(tmp_path: Path) -> None:
    """SDXL's pooled text and sizes: the picture is that of diffusers' own pipeline."""
    base = dataclasses.replace(load_base(write_sdxl(tmp_path)), size_px=64)
    painted = paint_text(base, ["a man", "a woman"], [3, 4], steps=3, guidance=4.0)
    parts = {"vae": base.vae, "unet": base.unet, "scheduler": ddim(base.scheduler, 3)}
    encoders = dict(zip(("text_encoder", "text_encoder_2"), base.text_encoders, strict=True))
    tokenizers = dict(zip(("tokenizer", "tokenizer_2"), base.tokenizers, strict=True))
    pipeline = StableDiffusionXLPipeline(**parts, **encoders, **tokenizers, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    side = base.size_px // base.downscale
    noise = [torch.randn((1, 4, side, side), generator=generator(seed)) for seed in (3, 4)]
    wanted = pipeline(
        ["a man", "a woman"],
        negative_prompt=["", ""],
        latents=torch.cat(noise),
        num_inference_steps=3,
        guidance_scale=4.0,
        height=base.size_px,
        width=base.size_px,
        output_type="pt",
    ).images
    torch.testing.assert_close((painted + 1) / 2, wanted, atol=1e-4, rtol=0)


def test_denoising_tells_the_latents_that_each_step_begins_with(base: Base) -> None:
    """Each next latents come of the ones before by one step of DDIM at the time step told with them."""
    text = encode_prompts(base, ["", "a man"])
    with torch.no_grad():
        told = list(denoise(base, text[:1], text[1:], [generator(3)], steps=4, guidance=2.0))
        scheduler = ddim(base.scheduler, 4)
        assert [timestep for timestep, _ in told] == [*scheduler.timesteps, None]
        assert torch.equal(told[0][1], torch.randn(told[0][1].shape, generator=generator(3)))
        for (timestep, before), (_, after) in pairwise(told):
            plain, words = base.unet(before.expand(2, -1, -1, -1), timestep, text.rows).sample.chunk(2)
            guided = guide(plain, words, 2.0, guidance_rescale(base.scheduler))
            wanted = denoised(scheduler, guided, timestep, before)
            torch.testing.assert_close(after, wanted, atol=1e-5, rtol=0)
        painted = base.decode(told[-1][1]).clamp(-1, 1)
    assert torch.equal(painted, paint_text(base, ["a man"], [3], steps=4, guidance=2.0))


@pytest.mark.parametrize("write", [write_mini, write_sdxl])
def test_guidance_leads_away_from_the_guide_as_well(write: Callable[[Path], Path], tmp_path: Path) -> None:
    base = dataclasses.replace(load_base(write_guide(write(tmp_path))), size_px=64)
    text = encode_prompts(base, ["", "a man", "a woman"])
    side = base.size_px // base.downscale
    away, words = text[:1].beside(text[1:])[:2], text[1:]
    added, added_away = (size_conditions(t.pooled, (side, side), base.downscale) for t in (words, away))
    sources = [generator(3), generator(4)]
    with torch.no_grad():
        told = list(denoise(base, text[:1], words, sources, steps=3, guidance=2.5))
        for (timestep, before), (_, after) in pairwise(told):
            with_words = base.unet(before, timestep, words.rows, added_cond_kwargs=added).sample
            without, weaker = (
                net(before, timestep, away.rows, added_cond_kwargs=added_away).sample
                for net in (base.unet, base.guide)
            )
            assert not torch.allclose(without, weaker, atol=1e-2)
            guided = guide((without + weaker) / 2, with_words, 2.5, guidance_rescale(base.scheduler))
            wanted = denoised(ddim(base.scheduler, 3), guided, timestep, before)
            torch.testing.assert_close(after, wanted, atol=1e-4, rtol=0)


def test_the_unet_as_its_own_guide_is_classifier_free_guidance(base: Base) -> None:
    own = replace(base, guide=base.unet)
    painted = [paint_text(one, ["a man", "a woman"], [1, 2], steps=3, guidance=4.0) for one in (base, own)]
    torch.testing.assert_close(*painted, atol=1e-4, rtol=0)


def test_without_guidance_no_guide_is_asked(base: Base) -> None:
    never = replace(base, guide="not to be called")
    painted = [paint_text(one, ["a man"], [1], steps=2, guidance=1.0) for one in (base, never)]
    assert torch.equal(*painted)


def test_denoising_paints_any_size(base: Base) -> None:
    text = encode_prompts(base, ["a man", "a man"])
    sources = [generator(1), generator(2)]
    with torch.no_grad():
        steps = denoise(base, text, text, sources, steps=2, guidance=1.0, size_px=(64, 32))
        shapes = {tuple(latents.shape) for _, latents in steps}
    assert shapes == {(2, base.unet.config.in_channels, 4, 8)}
