"""LoRAs as different trainers write them, merged into a toy base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from likeness.diffusion.load import Base, load_base
from likeness.diffusion.lora import merge_lora
from likeness.errors import IncompatibleWeightsError, MissingWeightsError
from tests import tiny

Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_out.0"
CHANGED = (
    Q, OUT,
    "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj",
    "down_blocks.0.attentions.0.proj_in",
    "down_blocks.0.resnets.0.conv1",
)  # fmt: skip
TEXT = "text_model.encoder.layers.0.self_attn.q_proj"


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return load_base(tiny.write_sd15(tmp_path / "sd15"))


def pair(layer: torch.nn.Module, rank: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    weight = layer.weight
    source = torch.Generator().manual_seed(weight.numel())
    shape = (rank, weight.shape[1], *weight.shape[2:])
    down = torch.randn(shape, generator=source)
    up = torch.randn((len(weight), rank, *([1] * (weight.ndim - 2))), generator=source)
    return down, up


def text_layer(base: Base) -> torch.nn.Module:
    encoder = base.text_encoders[0]
    names = dict(encoder.named_modules())
    return names.get(TEXT) or names[TEXT.removeprefix("text_model.")]


def written(base: Base, kind: str, file: Path) -> None:
    unet = base.unet
    parts = {("unet", name): unet.get_submodule(name) for name in CHANGED}
    parts["text_encoder", TEXT] = text_layer(base)
    parts["unet", "conv_in"] = unet.conv_in
    tensors, metadata = {}, {}
    for (part, name), layer in parts.items():
        down, up = pair(layer)
        if kind == "kohya":
            if name == "conv_in":  # its trainers leave it out
                continue
            key = f"lora_{'te' if part == 'text_encoder' else 'unet'}_{name.replace('.', '_')}"
            tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
            tensors[f"{key}.alpha"] = torch.tensor(1.5)
        elif kind == "peft":
            tensors |= {f"{part}.{name}.lora_A.weight": down, f"{part}.{name}.lora_B.weight": up}
            told = {f"{one}.lora_alpha": 1.5 for one in ("unet", "text_encoder")}
            metadata["lora_adapter_metadata"] = json.dumps(told)
        else:
            tensors |= {f"{part}.{name}.lora.down.weight": down, f"{part}.{name}.lora.up.weight": up}
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, file, metadata=metadata or None)


@pytest.mark.parametrize(("kind", "factor"), [("kohya", 0.5), ("peft", 0.5), ("diffusers", 1.0)])
def test_the_change_is_in_the_weights(base: Base, tmp_path: Path, kind: str, factor: float) -> None:
    """factor: alpha / rank."""
    layers = [*(base.unet.get_submodule(name) for name in CHANGED), text_layer(base)]
    if kind != "kohya":
        layers.append(base.unet.conv_in)
    before = [layer.weight.clone() for layer in layers]
    others = base.unet.get_submodule(Q.replace("to_q", "to_k")).weight.clone()
    written(base, kind, tmp_path / "lora.safetensors")
    record = merge_lora(base, tmp_path / "lora.safetensors", 0.8)
    for layer, old in zip(layers, before, strict=True):
        down, up = pair(layer)
        change = torch.einsum("or,ri->oi", up.flatten(1), down.flatten(1)).view_as(old)
        assert torch.allclose(layer.weight, old + 0.8 * factor * change, atol=1e-5)
    assert torch.equal(base.unet.get_submodule(Q.replace("to_q", "to_k")).weight, others)
    assert record.role == "LoRA"
    (tmp_path / "folder").mkdir()
    inside = tmp_path / "folder" / "pytorch_lora_weights.safetensors"
    inside.write_bytes((tmp_path / "lora.safetensors").read_bytes())
    assert merge_lora(base, tmp_path / "folder").sha256 == record.sha256
    assert len(record.sha256) == 64


def test_what_does_not_fit_is_refused_and_changes_nothing(base: Base, tmp_path: Path) -> None:
    file = tmp_path / "lora.safetensors"
    before = {key: tensor.clone() for key, tensor in base.unet.state_dict().items()}
    down, up = pair(base.unet.get_submodule(Q))
    good = {f"unet.{Q}.lora_A.weight": down, f"unet.{Q}.lora_B.weight": up}
    wrong = {f"unet.{OUT}.lora_A.weight": torch.zeros(3, 7), f"unet.{OUT}.lora_B.weight": torch.zeros(9, 3)}
    save_file(good | wrong, file)
    with pytest.raises(IncompatibleWeightsError, match="another shape"):
        merge_lora(base, file)
    save_file({key.replace(Q, "no.such.layer"): tensor for key, tensor in good.items()}, file)
    with pytest.raises(IncompatibleWeightsError, match="is not there"):
        merge_lora(base, file)
    save_file({"something": torch.zeros(2)}, file)
    with pytest.raises(IncompatibleWeightsError, match="holds no LoRA"):
        merge_lora(base, file)
    with pytest.raises(MissingWeightsError, match="There is no LoRA"):
        merge_lora(base, tmp_path / "nowhere.safetensors")
    assert all(torch.equal(tensor, before[key]) for key, tensor in base.unet.state_dict().items())
