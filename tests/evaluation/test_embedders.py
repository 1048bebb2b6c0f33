"""CLIP and DINO as metrics see them, against transformers' own forward passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPVisionConfig,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from likeness.errors import IncompatibleWeightsError, MissingWeightsError
from likeness.evaluation.embedders import load_clip, load_dino
from likeness.packs.mini import mini_path
from likeness.sitters import captions, sample_scene
from likeness.sitters.render import render
from tests import tiny
from tests.methods.toys import picture

TEXTS = ["a man wearing a red hat", "a woman smiling", "a portrait of a person with long black hair"]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    tokenizer = tiny.small_tokenizer()
    text = tiny.text_config(32, len(tokenizer))
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=48,
        patch_size=16,
    )  # fmt: skip
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=24)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48}).save_pretrained(
        folder
    )
    return folder


def test_cosines_are_those_of_the_whole_model(clip_folder: Path) -> None:
    pictures = [picture(seed) for seed in range(40)]  # more than one batch
    clip = load_clip(clip_folder, licence="MIT")
    found = clip.images(pictures) @ clip.texts(TEXTS).T
    whole = CLIPModel.from_pretrained(clip_folder).eval()
    processor, tokenizer = CLIPImageProcessor.from_pretrained(clip_folder), tiny.small_tokenizer()
    ids = tokenizer(TEXTS, padding="max_length", max_length=77, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        out = whole(input_ids=ids, **processor(images=pictures, return_tensors="pt"))
        wanted = (out.logits_per_image / whole.logit_scale.exp()).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert found.std() > 0.01 and clip.licence == "MIT" and clip.images([]).shape == (0, 0)


def test_a_class_token_is_that_of_the_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32,
        patch_size=8,
    )  # fmt: skip
    model = ViTModel(config, add_pooling_layer=False).eval()
    model.save_pretrained(tmp_path)
    processor = ViTImageProcessor(size={"height": 32, "width": 32})
    processor.save_pretrained(tmp_path)
    pictures = [picture(0), picture(1)]
    dino = load_dino(tmp_path)
    assert dino._model.pooler is None, "none is made up"
    found = dino.images(pictures)
    with torch.no_grad():
        rows = model(**processor(images=pictures, return_tensors="pt")).last_hidden_state[:, 0]
    np.testing.assert_allclose(found, torch.nn.functional.normalize(rows, dim=1).numpy(), atol=1e-5)


def test_what_is_no_such_model_is_refused(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match="has no CLIPModel"):
        load_clip(tmp_path)
    with pytest.raises(MissingWeightsError, match="has no AutoModel"):
        load_dino(tmp_path)
    with pytest.raises(IncompatibleWeightsError, match="not a vision transformer"):
        load_dino(clip_folder)


@pytest.mark.skipif(
    not (mini_path() / "pack.json").exists(), reason="the mini pack is not in this source tree"
)
def test_the_packs_clip_finds_the_caption_of_a_sitter() -> None:
    scenes = [sample_scene(10_000_000 + number) for number in range(20)]
    pictures = [Image.fromarray(render(scene, 128).rgb) for scene in scenes]
    clip = load_clip(mini_path())
    cosines = clip.images(pictures) @ clip.texts([captions(scene, 1, 0)[0] for scene in scenes]).T
    right = (cosines.argmax(1) == np.arange(20)).mean()
    assert right >= 0.8, right
