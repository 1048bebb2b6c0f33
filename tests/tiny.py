"""Bases at toy width: the real diffusers and transformers classes with seeded random weights.

Each writer fills a folder as `save_pretrained` does; `write_single_file` renames an SD1.5- or
SDXL-shaped folder's tensors to the names single-file checkpoints use.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
)

from likeness.diffusion.clip_tokenizer import clip_tokenizer
from likeness.diffusion.patch_autoencoder import PatchAutoencoderKL
from likeness.methods.instant_portrait.model import Backbone

WORDS = (  # noqa: SIM905  a list of 37 strings reads worse
    "a an the of and with in on wearing portrait person man woman smiling red blue green hat glasses scarf "
    "has one two face ears eyes nose mouth detail caption beard hair black brown long short sitter"
).split()

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def small_tokenizer() -> CLIPTokenizer:
    """A CLIPTokenizer whose vocabulary is the letters and a few words."""
    letters = [chr(c) for c in range(33, 127)]
    tokens = letters + [letter + "</w>" for letter in letters]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        left = word[0] if len(word) > 1 else word + "</w>"
        for i, letter in enumerate(word[1:], start=1):
            right = letter + ("</w>" if i == len(word) - 1 else "")
            if (left, right) not in merges:
                merges.append((left, right))
                tokens.append(left + right)
            left += right
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def text_config(hidden: int, vocabulary: int, act: str = "quick_gelu", **more: Any) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=max(hidden // 64, 1),
        projection_dim=hidden,
        hidden_act=act,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        **more,
    )


def unet(channels: tuple[int, ...], text_width: int, latent: int, **more: Any) -> UNet2DConditionModel:
    config: dict[str, Any] = {
        "sample_size": 8,
        "in_channels": latent,
        "out_channels": latent,
        "block_out_channels": channels,
        "layers_per_block": 1,
        "cross_attention_dim": text_width,
        "down_block_types": ("CrossAttnDownBlock2D",) * (len(channels) - 1) + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (len(channels) - 1),
        "attention_head_dim": 8,
    }
    return UNet2DConditionModel(**{**config, **more})


def vae(latent: int = 4, scaling: float = 0.18215) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        layers_per_block=1,
        latent_channels=latent,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=64,
        scaling_factor=scaling,
    )


def write_sd15(folder: Path) -> Path:
    torch.manual_seed(0)
    unet((32, 64), 64, 4).save_pretrained(folder / "unet")
    vae().save_pretrained(folder / "vae")
    CLIPTextModel(text_config(64, 49408)).save_pretrained(folder / "text_encoder")
    clip_tokenizer().save_pretrained(folder / "tokenizer")
    PNDMScheduler(**SCHEDULE, skip_prk_steps=True, steps_offset=1).save_pretrained(folder / "scheduler")
    return folder


def write_sdxl(folder: Path) -> Path:
    torch.manual_seed(1)
    unet(
        (64, 128),
        128,
        4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        attention_head_dim=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=6 * 256 + 64,
    ).save_pretrained(folder / "unet")
    vae(scaling=0.13025).save_pretrained(folder / "vae")
    CLIPTextModel(text_config(64, 49408)).save_pretrained(folder / "text_encoder")
    CLIPTextModelWithProjection(text_config(64, 49408, "gelu")).save_pretrained(folder / "text_encoder_2")
    clip_tokenizer().save_pretrained(folder / "tokenizer")
    clip_tokenizer("!").save_pretrained(folder / "tokenizer_2")
    EulerDiscreteScheduler(**SCHEDULE, steps_offset=1).save_pretrained(folder / "scheduler")
    return folder


def write_mini(folder: Path, side_px: int = 64) -> Path:
    torch.manual_seed(2)
    tokenizer = small_tokenizer()
    unet((32, 64), 32, 8, attention_head_dim=2).save_pretrained(folder / "unet")
    PatchAutoencoderKL(latent_channels=8, widths=(8, 8), blocks=(1, 1), sample_size=side_px).save_pretrained(
        folder / "vae"
    )
    CLIPTextModel(text_config(32, len(tokenizer))).save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
    DDIMScheduler(
        **SCHEDULE,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    ).save_pretrained(folder / "scheduler")
    write_image_encoder(folder / "image_encoder", dim=32)  # the text encoder's: one space
    return folder


def write_guide(folder: Path, **settings: object) -> Path:
    """Give a base that was written here a guide: its UNet's sizes with other weights."""
    torch.manual_seed(7)
    config = UNet2DConditionModel.load_config(folder / "unet")
    UNet2DConditionModel.from_config({**config, **settings}).save_pretrained(folder / "guide")
    return folder


def write_image_encoder(folder: Path, dim: int = 16) -> Path:
    torch.manual_seed(3)
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=dim,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    processor = {"size": {"shortest_edge": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    processor["crop_size"] = {"height": 32, "width": 32}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def write_single_file(folder: Path, path: Path) -> Path:
    """The tensors of a toy SD1.5 or SDXL folder under single-file names."""
    tensors: dict[str, torch.Tensor] = {}
    for key, tensor in load_file(folder / "unet" / "diffusion_pytorch_model.safetensors").items():
        tensors["model.diffusion_model." + _unet_name(key, has_top_attention=not _is_xl(folder))] = tensor
    for key, tensor in load_file(folder / "vae" / "diffusion_pytorch_model.safetensors").items():
        name = _vae_name(key)
        is_matrix = ".attn_1." in name and tensor.ndim == 2
        tensors["first_stage_model." + name] = tensor[..., None, None] if is_matrix else tensor
    prefix = "conditioner.embedders.0.transformer." if _is_xl(folder) else "cond_stage_model.transformer."
    for key, tensor in load_file(folder / "text_encoder" / "model.safetensors").items():
        tensors[prefix + ("" if key.startswith("text_model.") else "text_model.") + key] = tensor
    if _is_xl(folder):
        tensors |= _open_clip(load_file(folder / "text_encoder_2" / "model.safetensors"))
    save_file({key: tensor.contiguous().clone() for key, tensor in tensors.items()}, path)
    return path


def _is_xl(folder: Path) -> bool:
    return (folder / "text_encoder_2").exists()


def _unet_name(key: str, *, has_top_attention: bool, layers: int = 1) -> str:
    for ours, theirs in UNET_ENDS.items():
        if key.startswith(ours + "."):
            return theirs + key[len(ours) :]
    if match := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", key):
        kind, index, rest = match.groups()
        return f"middle_block.{1 if kind == 'attentions' else 2 * int(index)}.{_resnet(rest)}"
    match = re.match(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", key)
    assert match, key
    side, block, kind, index, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    if side == "down":
        place = 1 + block * (layers + 1)
        if kind == "downsamplers":
            return f"input_blocks.{place + layers}.0.op.{rest.removeprefix('conv.')}"
        return f"input_blocks.{place + index}.{int(kind == 'attentions')}.{_resnet(rest)}"
    place = block * (layers + 1)
    if kind == "upsamplers":  # after the attention, where the block has one
        return f"output_blocks.{place + layers}.{1 if has_top_attention else 2}.{rest}"
    return f"output_blocks.{place + index}.{int(kind == 'attentions')}.{_resnet(rest)}"


def _resnet(rest: str) -> str:
    head, _, tail = rest.partition(".")
    return f"{RESNET.get(head, head)}.{tail}"


def _vae_name(key: str) -> str:
    key = re.sub(r"encoder\.down_blocks\.(\d)\.resnets\.(\d)", r"encoder.down.\1.block.\2", key)
    key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{3 - int(m[1])}.block.{m[2]}", key)
    key = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample", key)
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    if "mid_block.attentions.0." in key:
        head, rest = key.split("mid_block.attentions.0.")
        name, _, tail = rest.rpartition(".")
        return f"{head}mid.attn_1.{VAE_ATTENTION[name]}.{tail}"
    return key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")


def _open_clip(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    state = {key.removeprefix("text_model."): tensor for key, tensor in state.items()}
    prefix, out = "conditioner.embedders.1.model.", {}
    out[prefix + "token_embedding.weight"] = state["embeddings.token_embedding.weight"]
    out[prefix + "positional_embedding"] = state["embeddings.position_embedding.weight"]
    out[prefix + "text_projection"] = state["text_projection.weight"].T
    for kind in ("weight", "bias"):
        out[f"{prefix}ln_final.{kind}"] = state[f"final_layer_norm.{kind}"]
        for layer in range(2):
            ours, theirs = f"encoder.layers.{layer}.", f"{prefix}transformer.resblocks.{layer}."
            out[f"{theirs}attn.in_proj_{kind}"] = torch.cat(
                [state[f"{ours}self_attn.{part}_proj.{kind}"] for part in "qkv"]
            )
            for a, b in OPEN_CLIP.items():
                out[f"{theirs}{b}.{kind}"] = state[f"{ours}{a}.{kind}"]
    return out


def backbone() -> Backbone:
    """A ViT of two layers with random weights."""
    torch.manual_seed(7)
    model = Dinov2Model(
        Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8)
    )
    return Backbone(model, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), layers=2)
