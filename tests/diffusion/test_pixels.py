"""Pictures as tensors and back: by hand, and there and back without loss."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from likeness.diffusion.pixels import to_levels, to_pictures, to_pixels


def test_by_hand() -> None:
    picture = Image.new("RGB", (3, 2))
    picture.putpixel((2, 0), (255, 51, 0))
    pixels = to_pixels(picture)
    assert pixels.shape == (1, 3, 2, 3)
    assert torch.allclose(pixels[0, :, 0, 2], torch.tensor([1.0, -0.6, -1.0]))
    assert (pixels[0, :, 1] == -1).all()
    assert torch.allclose(to_levels(picture)[0, :, 0, 2], torch.tensor([1.0, 0.2, 0.0]))
    mask = to_levels(Image.new("L", (3, 2), 51))
    assert mask.shape == (1, 1, 2, 3)
    assert torch.allclose(mask, torch.tensor(0.2))
    assert to_pixels(Image.new("RGBA", (1, 1), (255, 0, 0, 3))).flatten().tolist() == [1, -1, -1]


def test_there_and_back_is_the_same_picture() -> None:
    array = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    [again] = to_pictures(to_pixels(Image.fromarray(array)))
    assert np.array_equal(np.asarray(again), array)


def test_what_is_out_of_range_is_cut_off() -> None:
    pixels = torch.tensor([-3.0, 0.0, 1.001]).view(1, 3, 1, 1).requires_grad_(True)
    pictures = to_pictures(torch.cat([pixels, pixels]).bfloat16())
    assert [picture.getpixel((0, 0)) for picture in pictures] == [(0, 128, 255)] * 2
