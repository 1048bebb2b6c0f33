"""Where SPF-Portrait's control map lets a hat act: held against the hat that the renderer drew.

Pictures of held-out sitters in a hat, noised several times to several late time steps, in which a target is
decided; the mean of the maps of eq. 10 and that of the raw differences of the predictions (eq. 8), each above
one half of its highest cell, against the cells that the hat covers; and as many of their highest cells as the
hat has, which asks for the order alone. Beside them one map alone, by time step: of a picture that already
shows the hat both paths predict it. By a delta of stage 1 (`likeness train spf-portrait --stage naive`), or a
pack's own after both.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from record import record
from torch import Tensor

from likeness.evaluation.result import ordering, summarised
from likeness.files.images import write_png
from likeness.methods.spf_portrait.map_sheet import map_sheet
from likeness.methods.spf_portrait.pipeline import load
from likeness.packs.recipes.unet import FACE, part_shares
from likeness.sitters import HELD_OUT_SEEDS
from likeness.sitters.render import LABELS, render
from likeness.sitters.taught import TAUGHT, attribute_of, taught_scene
from likeness.types import PortraitRequest

LATE = (700, 760, 820, 880, 940)
ALONE = (200, 400, 600, 760, 940)
"""Time steps, of 1000, whose maps are averaged; those of which each is looked at alone."""
OTHER_NOISE = 7919
HAT = next(number for number, text in enumerate(TAUGHT) if text.startswith("hat="))


def overlaps(map_: Tensor, mask: Tensor) -> tuple[float, float]:
    """Intersection over union of a mask with where a map is above half its most, and with as many cells."""
    highest = map_ >= map_.flatten().topk(int(mask.sum())).values[-1]
    above = map_ > 0.5 * map_.max()
    return tuple(float((found & mask).sum() / (found | mask).sum()) for found in (above, highest))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--delta", type=Path, required=True)
    arguments.add_argument("--people", type=int, default=40)
    arguments.add_argument("--draws", type=int, default=3, help="of noise, at each time step")
    arguments.add_argument("--base", default="mini")
    arguments.add_argument("--sheet", type=Path, help="also write the first maps as a picture")
    given = arguments.parse_args()
    pipeline = load(given.base, given.delta)
    side = pipeline.base.size_px
    taught = [attribute_of(text) for text in TAUGHT]
    columns: dict[str, list[float]] = {}
    rows: list[Image.Image] = []
    seeds = iter(HELD_OUT_SEEDS)
    while len(columns.get("map", ())) < given.people:
        person = next(seeds)
        found = taught_scene(person, taught, HAT)
        if found is None:
            continue
        picture = render(found.scene, side)
        image = Image.fromarray(picture.rgb)
        requests = [
            PortraitRequest(found.base, seed=person + draw * OTHER_NOISE, options={"target": found.target})
            for draw in range(given.draws)
        ]
        maps = [one for request in requests for one in pipeline.control_maps_on(request, image, LATE)]
        shares = part_shares(torch.from_numpy(picture.labels)[None], maps[0].map.shape[-1])[0].float() / 255
        hat, face = shares[LABELS.index("hat")] > 0.5, shares[FACE].sum(0) > 0.5
        if not hat.any() or not face.any():
            continue
        whole = torch.stack([one.map for one in maps]).mean(0)
        raw = torch.stack([one.soft for one in maps]).mean(0)
        (map_half, map_order), (raw_half, raw_order) = overlaps(whole, hat), overlaps(raw, hat)
        single = pipeline.control_maps_on(requests[0], image, ALONE)
        alone = {f"alone {at}": overlaps(one.map, hat)[0] for at, one in zip(ALONE, single, strict=True)}
        for name, value in {
            **alone,
            "map": map_half,
            "difference": raw_half,
            "map's order": map_order,
            "difference's order": raw_order,
            "on the hat": float(whole[hat].mean()),
            "on the face": float(whole[face].mean()),
        }.items():
            columns.setdefault(name, []).append(value)
        if len(rows) < 4:
            rows.append(map_sheet(image, maps[2:4]))
    values = {name: np.array(column) for name, column in columns.items()}
    if given.sheet:
        for number, row in enumerate(rows):
            write_png(row, given.sheet.with_stem(f"{given.sheet.stem}-{number}"))
    metrics = {
        "IoU of the control map with the hat": summarised(values["map"], "IoU"),
        "IoU of the raw difference with the hat": summarised(values["difference"], "IoU"),
        "IoU of the control map's highest cells, as many as the hat's": summarised(
            values["map's order"], "IoU"
        ),
        "IoU of the raw difference's highest cells": summarised(values["difference's order"], "IoU"),
        **{
            f"IoU of one map with the hat, time step {at}": summarised(values[f"alone {at}"], "IoU")
            for at in ALONE
        },
        "control map on the hat": summarised(values["on the hat"], "0 to 1"),
        "control map on the face": summarised(values["on the face"], "0 to 1"),
    }
    claims = [
        ordering(
            "the control map finds the hat better than the raw difference", "eq. 10",
            values["map"], values["difference"],
        ),
        ordering(
            "the control map's highest cells find the hat better than the raw difference's", "eq. 10",
            values["map's order"], values["difference's order"],
        ),
        ordering(
            "the control map is higher on the hat than on the face", "eq. 10",
            values["on the hat"], values["on the face"],
        ),
        ordering(
            "the control map's IoU with the hat is .5 or more", "ours",
            values["map"], np.full(given.people, 0.5),
        ),
    ]  # fmt: skip
    del given.sheet
    record(
        "spf-map", "spf-portrait", metrics, given=given, n=given.people, seed=HELD_OUT_SEEDS[0],
        base=given.base, orderings=claims,
    )  # fmt: skip
