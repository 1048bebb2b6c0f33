"""Models of preference and quality, read from files that a user brings: HPSv2, Q-Align; CLIP by its names.

Each is read by its published names, so that weights nobody here may redistribute run as they are. `licence`
is what the user says of the weights; it stands beside every score.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from likeness.diffusion.clip_tokenizer import clip_tokenizer
from likeness.errors import IncompatibleWeightsError
from likeness.evaluation.embedders import Clip, load_clip, loaded
from likeness.files.weights import convert_pickle_once, read_safetensors

if TYPE_CHECKING:
    from PIL import Image
    from torch import nn

__all__ = [
    "LEVELS",
    "LevelRater",
    "clip_of",
    "fill",
    "from_open_clip",
    "load_hpsv2",
    "load_levels",
    "processor_of",
    "tensors_of",
]

LEVELS = ("excellent", "good", "fair", "poor", "bad")
"""Q-Align's, from 5 to 1."""
HEAD_WIDTH = {1280: 80, 1408: 88, 1664: 104}
"""Of the widest vision towers of OpenCLIP; 64 of all others."""


def load_hpsv2(source: str | Path, licence: str = "not declared") -> Clip:
    """HPSv2 from its checkpoint of OpenCLIP's names (.pt, .safetensors), or any CLIP that `load_clip` reads.

    Raises: MissingWeightsError, IncompatibleWeightsError.
    """
    path = Path(source)
    if not path.is_file():
        return load_clip(source, licence)
    tensors = tensors_of(path)
    if "visual.conv1.weight" not in tensors:
        raise IncompatibleWeightsError(
            f"{path} holds no CLIP of OpenCLIP's names; give HPS_v2_compressed.pt."
        )
    model = clip_of(from_open_clip(tensors), path)
    return Clip(
        lambda pixels: model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output),
        lambda ids: model.text_projection(model.text_model(input_ids=ids).pooler_output),
        model.config.text_config.max_position_embeddings,
        clip_tokenizer("!"),  # padded with zeros
        processor_of(model),
        path.name,
        licence,
    )


class LevelRater:
    """Q-Align's way to a number: how likely a vision-language model is to say each of five levels."""

    def __init__(self, model: Any, processor: Any, name: str, licence: str) -> None:
        self._model, self._processor = model.eval(), processor
        self.name, self.licence = name, licence
        words = [processor.tokenizer(f" {word}", add_special_tokens=False)["input_ids"] for word in LEVELS]
        # As many tokens of each word as tell them all apart: most vocabularies need one.
        need = next(n for n in range(1, 20) if len({tuple(ids[:n]) for ids in words}) == len(words))
        self._words = [torch.tensor([ids[:need]]) for ids in words]

    @torch.inference_mode()
    def __call__(self, image: Image.Image, of: Literal["quality", "aesthetics"]) -> float:
        """Of one RGB picture: the mean level, 5 excellent to 1 bad, by the five words' chances."""
        asked = [
            {"type": "image", "image": image.convert("RGB")},
            {"type": "text", "text": f"How would you rate the {of} of this image?"},
        ]
        text = self._processor.apply_chat_template(
            [{"role": "user", "content": asked}], add_generation_prompt=True, tokenize=False
        )
        inputs = self._processor(
            text=[f"{text}The {of} of the image is"], images=[image.convert("RGB")], return_tensors="pt"
        )
        likely = torch.stack([self._likelihood(inputs, word) for word in self._words])
        return float(likely.softmax(0) @ torch.arange(len(LEVELS), 0, -1, dtype=likely.dtype))

    def _likelihood(self, inputs: Mapping[str, Tensor], word: Tensor) -> Tensor:
        """Log of the chance that the answer goes on with these tokens."""
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        more = {k: value for k, value in inputs.items() if value.shape[:2] != ids.shape}
        longer = {k: F.pad(v, (0, word.shape[1])) for k, v in inputs.items() if v.shape[:2] == ids.shape}
        longer["input_ids"] = torch.cat([ids, word], dim=1)
        longer["attention_mask"] = torch.cat([mask, torch.ones_like(word)], dim=1)
        logits = self._model(**{**more, **longer}).logits[0, ids.shape[1] - 1 : -1].double()
        found: Tensor = logits.log_softmax(-1).gather(-1, word.T).sum()
        return found


def load_levels(source: str | Path, licence: str = "not declared") -> LevelRater:
    """A vision-language model of transformers', trained or not to say levels: a folder, or a name on the hub.

    Raises: MissingWeightsError where there is none.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = loaded(AutoModelForImageTextToText, source, dtype=torch.float32)
    return LevelRater(model, loaded(AutoProcessor, source), str(source), licence)


def clip_of(tensors: Mapping[str, Tensor], path: Path) -> Any:
    """transformers' CLIPModel for tensors of its names, its sizes read off them; GELU, as in OpenCLIP.

    Raises: IncompatibleWeightsError for tensors that are missing or do not fit.
    """
    from transformers import CLIPConfig, CLIPModel

    try:
        words, places = (
            tensors[f"text_model.embeddings.{n}_embedding.weight"].shape for n in ("token", "position")
        )
        patches = tensors["vision_model.embeddings.patch_embedding.weight"].shape
        seen = tensors["vision_model.embeddings.position_embedding.weight"].shape[0]
        config = CLIPConfig(
            text_config={
                **_tower(tensors, "text_model", words[1]), "vocab_size": words[0],
                "max_position_embeddings": places[0],
                "bos_token_id": words[0] - 2, "eos_token_id": words[0] - 1,
            },
            vision_config={
                **_tower(tensors, "vision_model", patches[0]), "patch_size": patches[2],
                "image_size": patches[2] * round((seen - 1) ** 0.5),
            },
            projection_dim=tensors["text_projection.weight"].shape[0],
        )  # fmt: skip
    except KeyError as missing:
        raise IncompatibleWeightsError(f"{path} holds no whole CLIP: {missing} is missing.") from None
    model = CLIPModel(config)
    fill(model, {k: t for k, t in tensors.items() if not k.endswith("position_ids")}, path)
    return model.eval()


def _tower(tensors: Mapping[str, Tensor], prefix: str, width: int) -> dict[str, Any]:
    start = f"{prefix}.encoder.layers."
    return {
        "hidden_size": width,
        "intermediate_size": tensors[f"{start}0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": len(
            {key[len(start) :].split(".")[0] for key in tensors if key.startswith(start)}
        ),
        "num_attention_heads": max(width // HEAD_WIDTH.get(width, 64), 1),
        "projection_dim": tensors["text_projection.weight"].shape[0],
        "hidden_act": "gelu",
    }


WHOLE = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.": "vision_model.pre_layrnorm.",
    "visual.ln_post.": "vision_model.post_layernorm.",
    "visual.transformer.resblocks.": "vision_model.encoder.layers.",
    "token_embedding.": "text_model.embeddings.token_embedding.",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "transformer.resblocks.": "text_model.encoder.layers.",
    "ln_final.": "text_model.final_layer_norm.",
    "logit_scale": "logit_scale",
}
LAYER = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
         "attn.out_proj": "self_attn.out_proj"}  # fmt: skip
"""OpenCLIP's names and transformers'."""


def from_open_clip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A CLIP of OpenCLIP's names under transformers'."""
    out: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if key in ("visual.proj", "text_projection"):
            name = "visual_projection" if key == "visual.proj" else key
            out[f"{name}.weight"] = tensor.T.contiguous()
            continue
        start = next((old for old in WHOLE if key.startswith(old)), None)
        if start is None:
            continue
        name = WHOLE[start] + key[len(start) :]
        if ".attn.in_proj_" in name:
            where, kind = name.split(".attn.in_proj_")
            parts = zip("qkv", tensor.chunk(3), strict=True)
            out |= {f"{where}.self_attn.{letter}_proj.{kind}": part for letter, part in parts}
            continue
        for old, new in LAYER.items():
            name = name.replace(f".{old}.", f".{new}.")
        out[name] = tensor
    return out


def tensors_of(path: Path) -> dict[str, Tensor]:
    """Of a .pt, .pth or .safetensors file, in float32, without the level "state_dict"."""
    found = read_safetensors(convert_pickle_once(path))
    return {key.removeprefix("state_dict."): tensor.float() for key, tensor in found.items()}


def fill(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raises: IncompatibleWeightsError where a tensor is missing or does not fit."""
    try:
        wrong = model.load_state_dict(dict(tensors), strict=False)
    except RuntimeError as error:
        raise IncompatibleWeightsError(f"{path} does not fit: {error}.") from None
    if wrong.missing_keys:
        raise IncompatibleWeightsError(f"{path} lacks {wrong.missing_keys[0]}.")


def processor_of(clip: Any) -> Any:
    """What makes a CLIP's input of pictures."""
    from transformers import CLIPImageProcessor

    side = clip.config.vision_config.image_size
    return CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
