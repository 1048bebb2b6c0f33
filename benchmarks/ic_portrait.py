"""What IC-Portrait must show on a pack of sitters, all people held out.

1. matching: the flow's end-point error against the renderer's own correspondence, in cells of the
   descriptors, of the trained net and of one that was never trained (Fig. 4).
2. identity: the judge's cosine of each result with all profile pictures of the person (Table 1), also without
   annealing, and of ConsistentID's portraits from the same profile and the style reference's caption; light
   and pose against the style reference's true ones, at several sampling ratios (Fig. 7).
3. outside: how much differs outside of the head.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import torch
from PIL import Image
from record import record

from likeness.catalog import load_pipeline
from likeness.diffusion.pixels import to_pixels
from likeness.errors import LikenessError
from likeness.evaluation.judge import Judge, open_judge
from likeness.evaluation.result import MetricValue, Ordering, ordering, summarised
from likeness.faces.attributes import INPUT_PX, light_direction
from likeness.faces.parts import head_mask
from likeness.methods.ic_portrait.conditioning import condition_of, pair_of
from likeness.methods.ic_portrait.matching import endpoint_error
from likeness.methods.ic_portrait.model import Nets, control_net
from likeness.methods.ic_portrait.pairs import joined
from likeness.packs import mini
from likeness.packs.data import turned_views
from likeness.references import open_detector
from likeness.restyling import RESTYLING
from likeness.sitters import Scene, sample_scene, straightened, with_same_person
from likeness.sitters.correspondence import correspondence
from likeness.sitters.render import render
from likeness.sitters.words import captions
from likeness.types import PortraitRequest

SAMPLINGS = (0.0, 0.05, 0.1, 0.2)
STYLE_OF = 5000
"""Seeds between a person and whoever is on their style reference."""


def shown(scene: Scene, size_px: int = 128) -> Image.Image:
    return Image.fromarray(render(scene, size_px).rgb)


def true_flow(target: Scene, source: Scene, cells: int, size_px: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, 2, cells, cells) in cells, and (cells, cells) bool where the source shows the cell's middle."""
    known = correspondence(target, source, size_px)
    every = size_px // cells
    middle = slice(every // 2, None, every)
    there = torch.from_numpy(known.source_px[middle, middle] / every)
    centres = torch.arange(cells) + 0.5
    own = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1)
    return (there - own).permute(2, 0, 1)[None], torch.from_numpy(known.visible[middle, middle])


@torch.no_grad()
def endpoint_errors(pipeline, nets: Nets, seeds: range, share_of_noise: float) -> np.ndarray:
    """Median error of each person's pair, one view onto another."""
    base, found = pipeline.base, []
    at = torch.tensor(int(share_of_noise * base.scheduler.config.num_train_timesteps))
    for seed in seeds:
        target, source = turned_views(seed, 2)
        size = base.size_px
        pair = pair_of(base, pipeline.image_encoder, shown(target, size), shown(source, size))
        generator = torch.Generator().manual_seed(seed)
        latents = joined(pair.latents_target, pair.latents_profile)
        noise = torch.randn(latents.shape, generator=generator)
        noisy = base.scheduler.add_noise(latents, noise, at.reshape(1))
        shares = torch.tensor([0.1])
        condition = condition_of(pair.pixels_target, pair.pixels_profile, shares, generator)
        flow = nets.match(base.unet, noisy, at, pair.rows, condition).flow
        true, visible = true_flow(target, source, flow.shape[-1], size)
        if visible.sum() >= 4:
            found.append(float(endpoint_error(flow, true)[0][visible].median()))
    return np.array(found)


def cosines(judge: Judge, picture: Image.Image, profiles: list[Image.Image]) -> np.ndarray:
    """With every profile picture of a person; nan where there is no face."""
    return np.array([next(iter(judge.compare(picture, [one]).cosines.values()), np.nan) for one in profiles])


def nearest(found: np.ndarray) -> int:
    """Whose face it is by its cosines with each; -1 where no face was found."""
    return -1 if np.isnan(found).all() else int(np.nanargmax(found))


def angle_deg(one: torch.Tensor, other: torch.Tensor) -> float:
    cosine = float(torch.nn.functional.cosine_similarity(one, other, dim=-1).clamp(-1, 1))
    return float(np.degrees(np.arccos(cosine)))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--base", default="mini", help="A pack: mini, or a folder such as a nano pack's.")
    arguments.add_argument("--people", type=int, default=25)
    arguments.add_argument("--seed", type=int, default=10_000_000)
    given = arguments.parse_args()
    try:
        pipeline = load_pipeline("ic-portrait", given.base, sitters=True)
    except LikenessError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    base = pipeline.base
    detector = open_detector(given.base, references_are_sitters=True)
    judge = open_judge(given.base, detector, sitters=True)
    seeds = range(given.seed, given.seed + given.people)
    metrics: dict[str, MetricValue] = {}
    claims: list[Ordering] = []

    new = control_net(base.unet)
    fresh = Nets(new, new, pipeline.nets.settings)
    for noise in (0.2, 0.5):
        trained, never = (endpoint_errors(pipeline, nets, seeds, noise) for nets in (pipeline.nets, fresh))
        metrics[f"end-point error at {noise:.0%} of the noise"] = summarised(trained, "cells")
        metrics[f"end-point error at {noise:.0%}, 0 steps"] = summarised(never, "cells")
        claims.append(
            ordering(
                f"the matching net's flow ends nearer to the true one than at 0 steps, at {noise:.0%}",
                "Fig. 4",
                trained,
                never,
                higher_is_better=False,
            )
        )

    attributes = base.folder / "attributes" if base.folder else None
    truth = mini.load_attributes(attributes) if attributes and attributes.is_dir() else None
    if truth is None:
        print("The pack has no attribute judge: light and pose are not measured.", file=sys.stderr)
    variants = {f"annealed, {share:g}": {"sampling": share} for share in SAMPLINGS}
    variants["flat, 0.1"] = {"sampling": 0.1, "aggregation": "flat"}
    try:
        other = load_pipeline("consistentid", given.base, sitters=True)
    except LikenessError as error:
        print(f"ConsistentID is not measured beside it: {error}", file=sys.stderr)
        other = None
    elsewhere: list[np.ndarray] = []
    likeness: dict[str, list[np.ndarray]] = {name: [] for name in variants}
    light: dict[str, list[float]] = {name: [] for name in variants}
    pose: dict[str, list[float]] = {name: [] for name in variants}
    outside = []
    for seed in seeds:
        first = straightened(sample_scene(seed))
        profiles = [
            shown(first),
            *(shown(straightened(with_same_person(first, view))) for view in range(1, 4)),
        ]
        scene = straightened(sample_scene(seed + STYLE_OF))
        style = shown(scene)
        faces = detector(style)
        if not faces or not all(detector(one) for one in profiles):
            continue
        kept = np.asarray(head_mask(faces[0], style.size)) == 0
        for name, options in variants.items():
            request = PortraitRequest(
                "", (profiles[0],), seed=seed, image=style, strength=RESTYLING, options=options
            )
            [result] = pipeline([request])
            likeness[name].append(cosines(judge, result.image, profiles))
            change = np.abs(np.asarray(result.image, int) - np.asarray(style, int))[kept]
            outside.append(float(change.mean()))
            if truth is not None:
                found = truth(to_pixels(result.image.resize((INPUT_PX, INPUT_PX))))
                azimuth, elevation = (
                    torch.tensor([v]) for v in (scene.light.azimuth_deg, scene.light.elevation_deg)
                )
                light[name].append(angle_deg(found.light, light_direction(azimuth, elevation)))
                turned = torch.tensor([scene.pose.yaw_deg, scene.pose.pitch_deg, scene.pose.roll_deg])
                pose[name].append(float((found.pose_deg[0] - turned).abs().max()))
        if other is not None:
            words = captions(scene, 1, seed)[0]
            [result] = other([PortraitRequest(words, (profiles[0],), seed=seed)])
            elsewhere.append(cosines(judge, result.image, profiles))
    named = likeness if other is None else {**likeness, "ConsistentID": elsewhere}
    for name, of_people in named.items():
        rows = np.array(of_people).reshape(-1, 4)
        for word, of in (("min", np.min), ("max", np.max), ("median", np.median), ("mean", np.mean)):
            metrics[f"cosine with the profiles, {word}, {name}"] = summarised(of(rows, axis=1), "cosine")
    for name in variants:
        metrics[f"light error, {name}"] = summarised(np.array(light[name]), "degrees")
        metrics[f"pose error, {name}"] = summarised(np.array(pose[name]), "degrees")
    metrics["change outside of the head"] = summarised(np.array(outside), "levels of 255")
    means = {name: np.array(rows).reshape(-1, 4).mean(axis=1) for name, rows in named.items()}
    claims.append(
        ordering(
            "annealed is likelier of the person than flat",
            "Table 1",
            means["annealed, 0.1"],
            means["flat, 0.1"],
        )
    )
    if other is not None:
        claim = "likelier of the person than ConsistentID's portrait from words"
        claims.append(ordering(claim, "Table 1", means["annealed, 0.1"], means["ConsistentID"]))
    if truth is not None:
        dense, sparse = (np.array(light[f"annealed, {share:g}"]) for share in (0.2, 0.0))
        claims.append(
            ordering("more pixels keep the light better", "Fig. 7", dense, sparse, higher_is_better=False)
        )

    record(
        "ic-portrait",
        "ic-portrait",
        metrics,
        given=given,
        n=len(means["annealed, 0.1"]),
        seed=given.seed,
        base=base.name,
        orderings=claims,
    )
