"""Single-file checkpoints (.safetensors) of SD1.5 and SDXL, read without a network.

Sizes are read off the tensors instead of being fetched, so fine-tunes and toy widths load alike;
diffusers' own conversion functions rename the tensors.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from likeness.diffusion.clip_tokenizer import clip_tokenizer
from likeness.errors import IncompatibleWeightsError

__all__ = ["load_single_file"]

UNET = "model.diffusion_model."
VAE = "first_stage_model."
SD15_TEXT = "cond_stage_model.transformer."
SDXL_TEXT = ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model.")

Tensors = dict[str, Tensor]


def load_single_file(path: Path, dtype: torch.dtype) -> dict[str, Any]:
    """The parts of a checkpoint: family, vae, text_encoders, tokenizers, unet, scheduler.

    Raises: IncompatibleWeightsError when the file is not a whole SD1.5 or SDXL checkpoint.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise IncompatibleWeightsError(f"{path} is not a whole safetensors file ({error}).") from error
    family = _family(tensors, path)
    text = _text_sdxl if family == "sdxl" else _text_sd15
    try:
        unet = _unet(tensors, family, dtype)
        vae = _vae(tensors, family, dtype)
        text_encoders = text(tensors, dtype)
    except (KeyError, RuntimeError) as error:
        raise IncompatibleWeightsError(
            f"{path} looks like {family} but its tensors do not fit together ({str(error).splitlines()[0]})."
        ) from error
    tokenizers = (clip_tokenizer(), clip_tokenizer("!")) if family == "sdxl" else (clip_tokenizer(),)
    return {
        "family": family,
        "unet": unet,
        "vae": vae,
        "text_encoders": text_encoders,
        "tokenizers": tokenizers,
        "scheduler": _scheduler(tensors),
    }


def _family(tensors: Tensors, path: Path) -> str:
    if any(key.startswith(("FacialEncoder", "adapter_modules", "image_proj")) for key in tensors):
        raise IncompatibleWeightsError(f"{path} is an adapter, not a base: pass it as the adapter instead.")
    if any(".lora_" in key or key.startswith("lora_") for key in tensors):
        raise IncompatibleWeightsError(
            f"{path} is a LoRA, not a base: a base is a whole SD1.5 or SDXL checkpoint."
        )
    if f"{UNET}input_blocks.0.0.weight" not in tensors:
        raise IncompatibleWeightsError(
            f"{path} holds no UNet ('{UNET}...'): a base is a whole SD1.5 or SDXL checkpoint with UNet, "
            "text encoder and autoencoder."
        )
    if any(key.startswith(SDXL_TEXT[1]) for key in tensors):
        return "sdxl"
    if any(key.startswith(SD15_TEXT) for key in tensors):
        return "sd15"
    raise IncompatibleWeightsError(
        f"{path} has a UNet but no text encoder of SD1.5 or SDXL "
        "(Stable Diffusion 2 and 3 are not supported)."
    )


def _blocks(tensors: Tensors) -> tuple[list[int], list[int], int]:
    """Channels and transformer depth (0: no attention) of each resolution, and layers a block."""
    channels: list[int] = []
    depths: list[int] = []
    layers = [0]
    index, fresh = 1, True
    while f"{UNET}input_blocks.{index}.0.in_layers.0.weight" in tensors or (
        f"{UNET}input_blocks.{index}.0.op.weight" in tensors
    ):
        prefix = f"{UNET}input_blocks.{index}."
        if f"{prefix}0.op.weight" in tensors:
            fresh = True
            layers.append(0)
        else:
            if fresh:
                channels.append(tensors[f"{prefix}0.out_layers.3.weight"].shape[0])
                found = {
                    int(m[1])
                    for key in tensors
                    if (m := re.match(re.escape(prefix) + r"1\.transformer_blocks\.(\d+)\.", key))
                }
                depths.append(len(found))
                fresh = False
            layers[-1] += 1
        index += 1
    return channels, depths, layers[0]


def _unet(tensors: Tensors, family: str, dtype: torch.dtype) -> Any:
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    channels, depths, layers = _blocks(tensors)
    cross_key = next(key for key in tensors if key.startswith(UNET) and key.endswith("attn2.to_k.weight"))
    proj = next(
        value for key, value in tensors.items() if key.startswith(UNET) and key.endswith("1.proj_in.weight")
    )
    config: dict[str, Any] = {
        "sample_size": 128 if family == "sdxl" else 64,
        "in_channels": tensors[f"{UNET}input_blocks.0.0.weight"].shape[1],
        "out_channels": tensors[f"{UNET}out.2.weight"].shape[0],
        "block_out_channels": tuple(channels),
        "layers_per_block": layers,
        "cross_attention_dim": tensors[cross_key].shape[1],
        "transformer_layers_per_block": tuple(max(depth, 1) for depth in depths),
        "down_block_types": tuple("CrossAttnDownBlock2D" if d else "DownBlock2D" for d in depths),
        "up_block_types": tuple("CrossAttnUpBlock2D" if d else "UpBlock2D" for d in reversed(depths)),
        "use_linear_projection": proj.ndim == 2,
        # SD1.5 has 8 heads everywhere, SDXL heads of 64 channels; neither can be read off the tensors.
        "attention_head_dim": tuple(max(c // 64, 1) for c in channels) if family == "sdxl" else 8,
    }
    if family == "sdxl":
        label = tensors[f"{UNET}label_emb.0.0.weight"].shape[1]
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": label,
        }
    return _filled(UNet2DConditionModel(**config), convert_ldm_unet_checkpoint(tensors, config), dtype)


def _vae(tensors: Tensors, family: str, dtype: torch.dtype) -> Any:
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    levels = sorted({int(m[1]) for key in tensors if (m := re.match(VAE + r"encoder\.down\.(\d+)\.", key))})
    channels = tuple(tensors[f"{VAE}encoder.down.{i}.block.0.conv2.weight"].shape[0] for i in levels)
    layers = len(
        {
            key.split(".block.")[1].split(".")[0]
            for key in tensors
            if key.startswith(f"{VAE}encoder.down.0.block.")
        }
    )
    config: dict[str, Any] = {
        "sample_size": 1024 if family == "sdxl" else 512,
        "block_out_channels": channels,
        "layers_per_block": layers,
        "latent_channels": tensors[f"{VAE}decoder.conv_in.weight"].shape[1],
        "down_block_types": ("DownEncoderBlock2D",) * len(channels),
        "up_block_types": ("UpDecoderBlock2D",) * len(channels),
        "scaling_factor": 0.13025 if family == "sdxl" else 0.18215,
        "force_upcast": family == "sdxl",
    }
    return _filled(AutoencoderKL(**config), convert_ldm_vae_checkpoint(tensors, config), dtype)


def _clip_config(tensors: Tensors, prefix: str, activation: str) -> dict[str, Any]:
    embedding = tensors[f"{prefix}text_model.embeddings.token_embedding.weight"]
    layer = f"{prefix}text_model.encoder.layers."
    hidden = embedding.shape[1]
    return {
        "vocab_size": embedding.shape[0],
        "hidden_size": hidden,
        "projection_dim": hidden,
        "intermediate_size": tensors[f"{layer}0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": len(
            {key[len(layer) :].split(".")[0] for key in tensors if key.startswith(layer)}
        ),
        "num_attention_heads": max(hidden // 64, 1),
        "hidden_act": activation,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
    }


def _text_sd15(tensors: Tensors, dtype: torch.dtype) -> tuple[Any, ...]:
    return (_clip(tensors, SD15_TEXT, dtype),)


def _clip(tensors: Tensors, prefix: str, dtype: torch.dtype) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    model = CLIPTextModel(CLIPTextConfig(**_clip_config(tensors, prefix, "quick_gelu")))
    return _filled(
        model, {key[len(prefix) :]: t for key, t in tensors.items() if key.startswith(prefix)}, dtype
    )


def _text_sdxl(tensors: Tensors, dtype: torch.dtype) -> tuple[Any, ...]:
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    prefix = SDXL_TEXT[1]
    blocks = f"{prefix}transformer.resblocks."
    embedding = tensors[f"{prefix}token_embedding.weight"]
    hidden = embedding.shape[1]
    config = CLIPTextConfig(
        vocab_size=embedding.shape[0],
        hidden_size=hidden,
        projection_dim=tensors[f"{prefix}text_projection"].shape[1],
        intermediate_size=tensors[f"{blocks}0.mlp.c_fc.weight"].shape[0],
        num_hidden_layers=len(
            {key[len(blocks) :].split(".")[0] for key in tensors if key.startswith(blocks)}
        ),
        num_attention_heads=max(hidden // 64, 1),
        hidden_act="gelu",
        bos_token_id=49406,
        eos_token_id=49407,
    )
    second = CLIPTextModelWithProjection(config)
    return _clip(tensors, SDXL_TEXT[0], dtype), _filled(
        second, convert_open_clip_checkpoint(second, tensors, prefix=prefix), dtype
    )


def _filled(model: Any, state: Tensors, dtype: torch.dtype) -> Any:
    """Put `state` into `model`, allowing for the levels of names that transformers 5 took away."""
    wanted = model.state_dict()
    renamed = {}
    for key, tensor in state.items():
        short = key.removeprefix("text_model.")
        name = key if key in wanted else short
        if not name.endswith("position_ids"):
            renamed[name] = tensor
    model.load_state_dict(renamed)
    # diffusers' own `to` warns about modules it would rather keep in fp32; there are none here.
    return torch.nn.Module.to(model, dtype).eval().requires_grad_(False)


def _scheduler(tensors: Tensors) -> Any:
    """The training schedule of both; a "v_pred" key marks velocity-prediction fine-tunes."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction" if "v_pred" in tensors else "epsilon",
        rescale_betas_zero_snr="ztsnr" in tensors,
    )
