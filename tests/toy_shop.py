"""A workshop that builds every part of a pack within seconds: real classes at toy width."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from likeness.packs import mini
from likeness.packs.data import Drawing, shard_folder, write_shard
from likeness.packs.recipes import (
    attributes,
    autoencoder,
    clip,
    decoder,
    instructions,
    landmarks,
    parser,
    recogniser,
    unet,
    vit,
)
from likeness.packs.workshop import Workshop
from likeness.sitters import sample_scene

PEOPLE, VIEWS = 6, 2


def drawing(person: int, view: int) -> Drawing:
    rng = np.random.default_rng([person, view])
    pixels = np.full((128, 128, 3), 40 * person, np.uint8) + rng.integers(0, 30, (128, 128, 3), np.uint8)
    points = np.float32([[50, 50], [78, 50], [64, 66], [54, 80], [74, 80]]) + rng.normal(size=(5, 2)).astype(
        np.float32
    )
    colour = ["red", "blue", "green", "grey", "teal", "pink"][person]
    captions = [
        f"a person in a {colour} hat, view {view}",
        f"{colour} hat",
        "a hat",
        f"one {colour} picture",
        "hat",
    ]
    record = sample_scene(VIEWS * person + view).record()
    row = {"seed": person, "view": view, "captions": captions, "record": record}
    return Drawing(pixels, pixels[..., 0] // 16, points, np.ones(5, bool), row)


def toy_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """Three steps a part, on six people in noise; batches are of a few rows until the test is over."""
    of_training = ("train", "portraits", "edits", "collections", "views", "stand-ins", "dressed")
    for split in (*of_training, "judge", "held_out"):
        rows = [drawing(p, v) for p in range(PEOPLE) for v in range(VIEWS)]
        write_shard(shard_folder(tmp_path / "data" / split, 0, VIEWS), rows)
    for module, name in (
        (autoencoder, "BATCH"),
        (attributes, "BATCH"),
        (clip, "BATCH"),
        (instructions, "BATCH"),
        (instructions, "CAPTIONS_A_BATCH"),
        (decoder, "BATCH"),
        (parser, "BATCH"),
        (landmarks, "BATCH"),
        (unet, "BATCH"),
        (unet, "LOW_BATCH"),
        (vit, "BATCH"),
    ):
        monkeypatch.setattr(module, name, 4)
    monkeypatch.setattr(recogniser, "PEOPLE_A_BATCH", 3)
    torch.manual_seed(0)
    return Workshop(
        work=tmp_path, pack=tmp_path / "pack", preset=narrow(), steps=3, people=PEOPLE, judge_people=PEOPLE,
        held_out_people=PEOPLE, views=VIEWS,
    )  # fmt: skip


def narrow() -> Any:
    """The mini size at toy width."""
    small = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "projection_dim": 32,
    }
    widths = {"block_out_channels": (8, 8, 8), "norm_num_groups": 4, "cross_attention_dim": 32}
    return SimpleNamespace(
        **{
            **vars(mini),
            "autoencoder": partial(mini.autoencoder, widths=(8, 8), blocks=(1, 1)),
            "text_encoder": partial(mini.text_encoder, **small),
            "image_encoder": partial(mini.image_encoder, **small),
            "landmark_net": partial(mini.landmark_net, width=8, blocks=1),
            "parser": partial(mini.parser, width=12),
            "attribute_net": partial(mini.attribute_net, width=16, blocks=1),
            "vit": partial(mini.vit, **{k: v for k, v in small.items() if k != "projection_dim"}),
            # A 1x1 convolution with a stride and fewer than 8 channels breaks torch's heap on CPUs without
            # AVX-512, going backwards over channels that lie last.
            "recogniser": partial(mini.recogniser, width=8, depth=(1, 1)),
            "judge_recogniser": partial(mini.judge_recogniser, width=4, depth=(1, 1)),
            "unet": partial(mini.unet, **widths),
            "guide": partial(mini.guide, **{**widths, "block_out_channels": (8, 8, 16)}),
        }
    )
