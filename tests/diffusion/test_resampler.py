"""The resampler, against its formula written out with plain loops; the image encoder's pixels."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from likeness.diffusion.image_encoder import load_image_encoder
from likeness.diffusion.resampler import PerceiverAttention, PerceiverResampler
from tests import tiny


def test_attention_is_softmax_over_states_and_latents() -> None:
    torch.manual_seed(0)
    layer = PerceiverAttention(dim=8, heads=2, head_width=4)
    states, latents = torch.randn(1, 3, 8), torch.randn(1, 2, 8)
    seen, asking = layer.norm1(states)[0], layer.norm2(latents)[0]
    everything = torch.cat([seen, asking])
    q = asking @ layer.to_q.weight.T
    k, v = (everything @ part.T for part in layer.to_kv.weight.chunk(2))
    rows = []
    for row in range(2):
        parts = []
        for head in (slice(0, 4), slice(4, 8)):
            weights = torch.softmax(k[:, head] @ q[row, head] / 2, dim=0)  # sqrt(4)
            parts.append(weights @ v[:, head])
        rows.append(torch.cat(parts))
    expected = torch.stack(rows) @ layer.to_out.weight.T
    assert torch.allclose(layer(states, latents)[0], expected, atol=1e-6)


def test_as_many_tokens_come_out_as_there_are_queries_whatever_goes_in() -> None:
    net = PerceiverResampler(dim=8, depth=1, heads=2, input_width=6, output_width=10, ff_mult=2, queries=4)
    assert net(torch.randn(2, 5, 6)).shape == (2, 4, 10)
    assert net(torch.randn(2, 9, 6)).shape == (2, 4, 10)
    given = PerceiverResampler(dim=8, depth=1, heads=2, input_width=6, output_width=10, ff_mult=2, queries=0)
    assert given(torch.randn(2, 5, 6), torch.randn(2, 3, 8)).shape == (2, 3, 10)


def test_pictures_are_cut_to_their_middle_and_normalised(tmp_path) -> None:  # type: ignore[no-untyped-def]
    encoder = load_image_encoder(tiny.write_image_encoder(tmp_path), device="cpu", dtype=torch.float32)
    wide = np.zeros((32, 64, 3), np.uint8)
    wide[:, 16:48] = 255
    white = Image.new("RGB", (32, 32), "white")
    assert torch.equal(encoder([Image.fromarray(wide)]), encoder([white]))
    ones = torch.ones(1, 3, 32, 32)  # mean and deviation of the processor are a half
    assert torch.allclose(encoder([white]), encoder.states(ones), atol=1e-6)
