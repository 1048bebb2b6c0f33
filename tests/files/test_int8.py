"""Weights of one byte a number come back within half a step of what they were."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
import torch

from likeness.diffusion.parts import load_part
from likeness.errors import IncompatibleWeightsError
from likeness.files.int8 import (
    INT8_FILE,
    OFFSET_SCALE,
    SCALE,
    begins_at,
    from_int8,
    read_int8,
    to_int8,
    without_offsets,
    write_int8,
)
from likeness.files.weights import read_metadata, read_safetensors, write_safetensors


def test_numbers_move_by_half_a_step_of_their_channel_at_most() -> None:
    torch.manual_seed(0)
    kernel = torch.randn(6, 5, 3, 3) * torch.logspace(-6, 2, 6)[:, None, None, None]
    kernel[2] = 0
    known = {"kernel": kernel, "bias": torch.randn(6), "count": torch.tensor([3])}
    small = to_int8(known)
    assert small["kernel"].dtype == torch.int8 and small["bias"].dtype == torch.float16
    found = from_int8(small)
    assert set(found) == set(known) and torch.equal(found["count"], known["count"])
    largest = kernel.flatten(1).abs().amax(1)
    error = (found["kernel"] - kernel).flatten(1).abs().amax(1)
    assert (error <= 1.001 * largest * 0.5 / 127).all()
    assert (found["kernel"][2] == 0).all()
    torch.testing.assert_close(found["bias"], known["bias"], atol=2e-3, rtol=1e-3)


def test_a_model_is_read_from_it_by_its_own_class(tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 32), layers_per_block=1, cross_attention_dim=16,
        down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
    )  # fmt: skip
    unet.save_pretrained(tmp_path / "whole")
    unet.save_config(tmp_path / "small")
    write_safetensors(to_int8(unet.state_dict()), tmp_path / "small" / INT8_FILE)
    sizes = [sum(f.stat().st_size for f in (tmp_path / n).glob("*.safetensors")) for n in ("whole", "small")]
    assert sizes[1] < 0.3 * sizes[0]
    inputs = (torch.randn(2, 4, 8, 8), 500, torch.randn(2, 7, 16))
    with torch.no_grad():
        whole, small = (
            load_part(tmp_path / name, UNet2DConditionModel, torch.float32)(*inputs).sample
            for name in ("whole", "small")
        )
    assert (small - whole).abs().mean() < 0.02 * whole.abs().mean()


def test_a_file_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel

    small = to_int8({"a.weight": torch.randn(3, 3)})
    del small["a.weight" + SCALE]
    with pytest.raises(IncompatibleWeightsError, match=r"have no a\.weight\.int8_scale"):
        from_int8(small)
    unet = UNet2DConditionModel(sample_size=8, block_out_channels=(32, 32), layers_per_block=1,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2)  # fmt: skip
    unet.save_config(tmp_path)
    write_safetensors({"else": torch.zeros(1)}, tmp_path / INT8_FILE)
    with pytest.raises(IncompatibleWeightsError, match="does not load"):
        load_part(tmp_path, UNet2DConditionModel, torch.float32)
    (tmp_path / INT8_FILE).write_bytes(b"short")
    with pytest.raises(IncompatibleWeightsError, match="not a whole safetensors file"):
        read_safetensors(tmp_path / INT8_FILE)


def test_offsets_come_back_as_the_same_weights_and_pack_smaller(tmp_path: Path) -> None:
    torch.manual_seed(0)
    begun = {"a.weight": torch.randn(32, 64).half(), "b.weight": torch.randn(32, 64).half()}
    write_safetensors(begun, tmp_path / "start" / "model.safetensors")
    tensors = {
        "a.weight": begun["a.weight"].float() + 0.05 * torch.randn(32, 64),
        "copy.weight": begun["b.weight"].float() + 0.05 * torch.randn(32, 64),
        "far.weight": begun["b.weight"].float() * -1.0,
        "new.weight": torch.randn(32, 64),
        "bias": torch.randn(32),
    }
    names = {"copy.weight": "b.weight", "far.weight": "b.weight"}
    plain, near = tmp_path / "plain.safetensors", tmp_path / "near.safetensors"
    write_int8(tensors, plain)
    write_int8(
        tensors, near, {"licence": "x"}, start=tmp_path / "start", begun_as=lambda name: names.get(name, name)
    )
    whole, found = read_int8(plain), read_int8(near, tmp_path / "start")
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())
    stored = read_safetensors(near)
    assert {name for name in stored if name.endswith(OFFSET_SCALE)} == {
        "a.weight" + OFFSET_SCALE, "copy.weight" + OFFSET_SCALE
    }  # fmt: skip
    packed = [len(zlib.compress(one.read_bytes())) for one in (plain, near)]
    assert packed[1] < 0.9 * packed[0]

    rough = tmp_path / "rough.safetensors"
    begun_as = {"start": tmp_path / "start", "begun_as": lambda name: names.get(name, name)}
    write_int8(tensors, rough, coarse=4, **begun_as)  # type: ignore[arg-type]
    assert len(zlib.compress(rough.read_bytes())) < 0.95 * packed[1]
    again = read_int8(rough, tmp_path / "start")
    step = tensors["a.weight"].abs().amax(1, keepdim=True) / 127
    off = (again["a.weight"] - whole["a.weight"]).abs()
    assert float(off.max()) > 0 and bool((off <= 2.001 * step).all()), "of four steps, half at most"
    assert torch.equal(again["new.weight"], whole["new.weight"]), "what is written whole is as exact"

    assert begins_at(near, tmp_path / "start") and not begins_at(plain, tmp_path / "start")
    without_offsets(near, tmp_path / "start")
    assert all(torch.equal(read_int8(near)[name], tensor) for name, tensor in whole.items())
    assert read_metadata(near)["licence"] == "x"


def test_offsets_from_other_weights_are_refused(tmp_path: Path) -> None:
    write_safetensors({"a": torch.randn(3, 3)}, tmp_path / "start" / "model.safetensors")
    write_safetensors({"a": torch.randn(3, 3)}, tmp_path / "other" / "model.safetensors")
    write_int8({"a": torch.randn(3, 3)}, tmp_path / INT8_FILE, start=tmp_path / "start")
    for start in (tmp_path / "other", tmp_path / "nothing", None):
        with pytest.raises(IncompatibleWeightsError, match="use it with the base it came with"):
            read_int8(tmp_path / INT8_FILE, start)
