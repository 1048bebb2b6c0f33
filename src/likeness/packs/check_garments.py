"""Check of the self-supervised ViT: does it know a garment again on somebody else, in another light?"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from likeness.packs import mini
from likeness.packs.data import picture_rows
from likeness.packs.recipes.vit import WORN, cut, spots_of
from likeness.sitters import Scene, render_many
from likeness.statistics import mean_interval

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from likeness.packs.data import Pictures

__all__ = ["garments"]

NAMES: dict[str, tuple[str, ...]] = {
    "clothing": ("garment", "colour", "pattern", "pattern_colour", "inner_colour"),
    "hat": ("hat", "hat_colour", "hat_trim_colour"),
    "earrings": ("earrings", "metal"),
    "necklace": ("necklace", "metal"),
}
"""The parameters that say which thing of a kind it is."""
WAYS = 20


@torch.no_grad()
def garments(pack: Path, pictures: Pictures, scenes: int = 400, seed: int = 0) -> dict[str, float]:
    """Share of 20-way trials in which the nearest crop shows the same thing as the crop asked about.

    Asked about: what a held-out sitter wears. Among the twenty: the same thing on another sitter
    with another pose, light and place, and nineteen others of its kind that differ from it.
    """
    from transformers import ViTModel

    net: Any = ViTModel.from_pretrained(pack / "vit", add_pooling_layer=False, dtype=torch.float32).eval()
    rows = list(picture_rows(pictures))[:scenes]
    asked = [Scene.from_record(row["record"]) for row in rows]
    half = len(asked) // 2
    others = asked[half:] + asked[:half]
    worn = [
        dataclasses.replace(other, clothes=one.clothes, accessories=one.accessories, seed=None)
        for one, other in zip(asked, others, strict=True)
    ]
    drawn = list(render_many(worn, pictures.pixels.shape[-1]))
    pixels = torch.stack([torch.from_numpy(picture.rgb).permute(2, 0, 1) for picture in drawn])
    labels = torch.stack([torch.from_numpy(picture.labels) for picture in drawn])
    generator = torch.Generator().manual_seed(seed)
    out: dict[str, float] = {}
    every: list[tuple[Tensor, Tensor]] = []
    for kind, parts in WORN.items():
        first, here = spots_of(pictures.labels[: len(asked)], parts)
        second, there = spots_of(labels, parts)
        both = (here & there).nonzero()[:, 0]
        if len(both) < WAYS:
            continue
        which = [tuple(str(_parameter(asked[i], name)) for name in NAMES[kind]) for i in both.tolist()]
        query = embed(net, pictures.pixels[both], first[both])
        known = embed(net, pixels[both], second[both])
        right, asked_about = trials(query @ known.T, which, generator)
        whose = pictures.person[both[asked_about]]
        if len(whose.unique()) > 1:
            value, interval = mean_interval(right, whose)
            out |= {kind: value, f"{kind}_interval": interval, f"{kind}_trials": float(len(right))}
            out[f"{kind}_n"] = out[f"{kind}_trials_n"] = float(len(whose.unique()))
            every.append((right, whose))
    if every:
        whose = torch.cat([one for _, one in every])
        value, interval = mean_interval(torch.cat([one for one, _ in every]), whose)
        out = {"all": value, "all_interval": interval, "all_n": float(len(whose.unique())), **out}
    return out


def trials(
    similarity: Tensor, which: list[tuple[str, ...]], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One 20-way trial a row of (N, N) similarities, whose right column is its own: (trials,) of 0 and 1, and
    their rows.

    Rows with fewer than nineteen other things to be told from have no trial.
    """
    right, rows = [], []
    for row, own in enumerate(which):
        other = torch.tensor([i for i, thing in enumerate(which) if thing != own], dtype=torch.int64)
        if len(other) < WAYS - 1:
            continue
        rivals = other[torch.randperm(len(other), generator=generator)[: WAYS - 1]]
        right.append(float(similarity[row, row] > similarity[row, rivals].max()))
        rows.append(row)
    return torch.tensor(right), torch.tensor(rows, dtype=torch.int64)


def embed(net: Any, pixels: Tensor, spots: Tensor) -> Tensor:
    """Crops of uint8 pictures -> (N, W) of unit length."""
    size = net.config.image_size
    found = [
        net(pixel_values=cut(mini.to_unit(few), where, size)).last_hidden_state[:, 0]
        for few, where in zip(pixels.split(64), spots.split(64), strict=True)
    ]
    return F.normalize(torch.cat(found), dim=-1)


def _parameter(scene: Scene, name: str) -> object:
    return getattr(scene.clothes, name) if hasattr(scene.clothes, name) else getattr(scene.accessories, name)
