"""The autoencoder is fair before training and speaks AutoencoderKL's language."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from likeness.diffusion.patch_autoencoder import PatchAutoencoderKL
from likeness.statistics import psnr


def smooth_pictures(count: int) -> torch.Tensor:
    noise = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(noise, size=(64, 64), mode="bicubic").clamp(-1, 1)


@torch.no_grad()
def test_patch_start_reconstructs_and_is_at_unit_scale() -> None:
    pictures = smooth_pictures(24)
    model = PatchAutoencoderKL(widths=(8, 8), blocks=(1, 1))
    before = psnr(model(pictures[:8]).sample, pictures[:8]).mean()
    model.start_from_patches(pictures)
    after = psnr(model(pictures[:8]).sample, pictures[:8]).mean()
    assert after > before + 6
    latents = model.encode(pictures).latent_dist.mean
    assert latents.shape == (24, 16, 8, 8)
    assert latents.std() == pytest.approx(1, abs=0.1)
    spread = latents.std(dim=(0, 2, 3))
    assert spread[0] > spread[-1]  # coarse channels are the larger ones


@torch.no_grad()
def test_interface_and_round_trip(tmp_path: Path) -> None:
    model = PatchAutoencoderKL(widths=(8, 8), blocks=(1, 1)).eval()
    model.start_from_patches(smooth_pictures(8))
    model.fold_statistics(smooth_pictures(8))
    pictures = smooth_pictures(2)
    posterior = model.encode(pictures).latent_dist
    one = posterior.sample(torch.Generator().manual_seed(4))
    assert torch.equal(one, posterior.sample(torch.Generator().manual_seed(4)))
    assert not torch.equal(one, posterior.mode())
    assert model.config.scaling_factor == 1.0
    assert model.decode(one, return_dict=False)[0].shape == pictures.shape
    model.save_pretrained(tmp_path)
    again = PatchAutoencoderKL.from_pretrained(tmp_path)
    assert torch.equal(again(pictures).sample, model(pictures).sample)
    with pytest.raises(ValueError, match="multiples of 8"):
        model.encode(torch.zeros(1, 3, 60, 64))
