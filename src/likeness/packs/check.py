"""What a pack measures on sitters it has never met. Each function: finished parts -> named numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch.nn import functional as F

from likeness.errors import MissingWeightsError
from likeness.faces.calibration import Calibrations, calibration_error, chances
from likeness.packs import mini
from likeness.packs.check_garments import garments
from likeness.packs.check_words import (
    attribute_accuracy,
    attributes_right,
    instructions_read,
    painting,
    retrieval,
)
from likeness.packs.recipes import calibration
from likeness.packs.recipes.attributes import attribute_truth
from likeness.statistics import mean_interval, psnr, resampled_interval, share_interval
from likeness.training.precision import autocast

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from likeness.packs.data import Pictures

__all__ = ["CHECKS", "check_pack", "reconstruction", "verification_scores"]

DETAILS = {
    "patterns": ("pattern", "pattern_colour", "logo"),
    "jewellery": ("earrings", "earrings_metal", "necklace", "necklace_metal"),
}
"""Kinds of attribute that are as small as a latent cell: what an autoencoder loses first."""

Check: TypeAlias = "Callable[[Path, Pictures], dict[str, float]]"


@torch.no_grad()
def reconstruction(pack: Path, pictures: Pictures) -> dict[str, float]:
    """Autoencoder: PSNR in dB of the mean's reconstruction; of half-size pictures from averaged latents;
    likeness of face and reconstructed face by recogniser A, and how often the attribute judge names shown
    patterns and jewellery right on reconstructions (`_still`) and originals, where the pack has them."""
    from likeness.diffusion.patch_autoencoder import PatchAutoencoderKL
    from likeness.packs.recipes.recogniser import aligned_faces

    vae: Any = PatchAutoencoderKL.from_pretrained(pack / "vae", torch_dtype=torch.float32).eval()
    full, half, latents, again = [], [], [], []
    for part in pictures.pixels[:512].split(32):
        wanted = mini.to_unit(part)
        mean = vae.encode(wanted).latent_dist.mean
        out = vae.decode(mean).sample
        full.append(psnr(out, wanted))
        again.append(((out.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8))
        half.append(psnr(vae.decode(F.avg_pool2d(mean, 2)).sample, F.avg_pool2d(wanted, 2)))
        latents.append(mean)
    value, interval = mean_interval(torch.cat(full), pictures.person[:512])
    table = {
        "n": float(len(pictures.person[:512].unique())),
        "psnr_db": value,
        "psnr_db_interval": interval,
        "psnr_half_size_db": float(torch.cat(half).mean()),
        "latent_std": float(torch.cat(latents).std()),
    }
    if (pack / "recogniser" / "config.json").is_file():
        model = mini.load_recogniser(pack / "recogniser")
        few = dataclasses.replace(pictures, pixels=pictures.pixels[:512], landmarks=pictures.landmarks[:512])
        known = embed_faces(model, aligned_faces(few))
        found = embed_faces(model, aligned_faces(dataclasses.replace(few, pixels=torch.cat(again))))
        value, interval = mean_interval((known * found).sum(-1), pictures.person[:512])
        table |= {"face_similarity": value, "face_similarity_interval": interval}
    if (pack / "attributes" / "config.json").is_file():
        net = mini.load_attributes(pack / "attributes")
        truth = attribute_truth(pictures, net.config.kinds)
        rows = torch.arange(sum(map(len, again)))
        for name, kinds in DETAILS.items():
            for suffix, seen in (("_still", torch.cat(again)), ("", pictures.pixels[: len(rows)])):
                right = attributes_right(net, mini.to_unit(seen), truth, rows, kinds)
                asked = ~right.isnan()
                whose = pictures.person[rows][asked]
                value, interval = mean_interval(right[asked], whose)
                table |= {f"{name}_right{suffix}": value, f"{name}_right{suffix}_interval": interval}
                table[f"{name}_right{suffix}_n"] = float(len(whose.unique()))
    return table


def verification_scores(
    embeddings: Tensor, person: Tensor, *, pairs: int = 6000, seed: int = 0
) -> dict[str, float]:
    """Accuracy at the best threshold and true accepts at one false accept in a thousand.

    embeddings (N, D) unit length, person (N,). Half of `pairs` are of one person, half of two; the
    threshold of the true accepts comes from all pairs of two people, which are many.
    """
    similarity = embeddings.float() @ embeddings.float().T
    upper = torch.triu(torch.ones_like(similarity, dtype=torch.bool), 1)
    same = (person[:, None] == person[None, :]) & upper
    mates, strangers = similarity[same], similarity[upper & ~same]
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(mates), generator=generator)[: pairs // 2]
    others = torch.randperm(len(strangers), generator=generator)[: len(chosen)]
    few_mates, few_strangers = mates[chosen], strangers[others]
    thresholds = torch.cat([few_mates, few_strangers]).sort().values
    accept = (few_mates[None, :] >= thresholds[:, None]).float().mean(1)
    reject = (few_strangers[None, :] < thresholds[:, None]).float().mean(1)
    allowed = max(1, len(strangers) // 1000)
    threshold = strangers.topk(allowed).values[-1]
    best = thresholds[((accept + reject) / 2).argmax()]
    right = torch.cat([few_mates >= best, few_strangers < best]).float()
    # Pairs of one person are not independent: intervals are over people (of strangers, over the first).
    whose, of_strangers = (person[:, None].expand_as(similarity)[some] for some in (same, upper & ~same))
    accuracy, half = mean_interval(right, torch.cat([whose[chosen], of_strangers[others]]))
    accepted, interval = mean_interval((mates > threshold).float(), whose)
    return {
        "accuracy": accuracy,
        "accuracy_interval": half,
        "tar_at_far_1e-3": accepted,
        "tar_at_far_1e-3_interval": interval,
        "pairs": float(len(few_mates) * 2),
    }


@torch.no_grad()
def embed_faces(model: Any, faces: Tensor) -> Tensor:
    """uint8 faces (N, 3, 112, 112) -> (N, D) unit length."""
    parts = []
    for part in faces.split(64):
        with autocast("cpu"):
            parts.append(F.normalize(model(mini.to_unit(part)).float(), dim=-1))
    return torch.cat(parts)


def _verification(folder: str) -> Check:
    def check(pack: Path, pictures: Pictures) -> dict[str, float]:
        from likeness.packs.recipes.recogniser import aligned_faces

        model = mini.load_recogniser(pack / folder)
        faces = aligned_faces(pictures, jitter=0.012, seed=1)
        return verification_scores(embed_faces(model, faces), pictures.person)

    check.__doc__ = f"{folder}: pairs of unseen people, everything but the person different."
    return check


@torch.no_grad()
def landmark_error(pack: Path, pictures: Pictures) -> dict[str, float]:
    """Landmark network: mean distance of the five, in face sizes, and the share within 3 %; how often it says
    that there is a face, and how often, as the detector of whole pictures, it finds just the one."""
    from PIL import Image

    from likeness.faces.detect import find_detector
    from likeness.packs.recipes.landmarks import landmark_errors

    errors, found = landmark_errors(mini.load_landmarks(pack / "landmarks"), pictures)
    whose = pictures.person[:, None].expand(-1, 5)[pictures.visible[:, :5]]
    value, interval = mean_interval(errors, whose)
    within, within_interval = mean_interval((errors < 0.03).float(), whose)
    people = int(pictures.person.max()) + 1
    detector = find_detector("sitters", pack / "landmarks")
    seen = pictures.pixels[:1000].permute(0, 2, 3, 1).numpy()
    detected = int(pictures.person[len(seen) - 1]) + 1
    one = sum(len(detector(Image.fromarray(picture))) == 1 for picture in seen) / len(seen)
    return {
        "error": value,
        "error_interval": interval,
        "within_3_percent": within,
        "within_3_percent_interval": within_interval,
        "found": float(found.float().mean()),
        "found_interval": share_interval(float(found.float().mean()), people),
        "one_face_detected": one,
        "one_face_detected_interval": share_interval(one, detected),
        "one_face_detected_n": float(detected),
    }


@torch.no_grad()
def parsing_overlap(pack: Path, pictures: Pictures) -> dict[str, float]:
    """Parser: intersection over union of each class over all pixels, and their mean over the classes."""
    from likeness.faces.parsing import CLASSES, load_parser
    from likeness.packs.recipes.parser import parsing_of

    net = load_parser(pack / "parser")
    count = len(CLASSES)
    tables = []
    for rows in torch.arange(len(pictures)).split(64):
        found = net.parse(mini.to_unit(pictures.pixels[rows])).long()
        cells = parsing_of(pictures.labels[rows]) * count + found
        tables += [torch.bincount(one.flatten(), minlength=count * count) for one in cells]
    of_pictures = torch.stack(tables).view(-1, count, count).double()
    table = torch.zeros(int(pictures.person.max()) + 1, count, count).double()
    table.index_add_(0, pictures.person, of_pictures)

    def overlaps(sums: Tensor) -> Tensor:
        both = sums.diagonal()
        return both / (sums.sum(0) + sums.sum(1) - both).clamp_min(1)

    overlap = overlaps(table.sum(0))
    mean = {
        "mean_iou": float(overlap.mean()),
        "mean_iou_interval": resampled_interval(table, lambda sums: overlaps(sums).mean()),
    }
    return mean | {f"iou_{name}": float(value) for name, value in zip(CLASSES, overlap, strict=True)}


def same_person_chances(pack: Path, pictures: Pictures) -> dict[str, float]:
    """Calibration: how far the chances of each set of recognisers are from the shares they claim, over
    pairs of people on whom nothing was fitted; half of the pairs are of one person."""
    import numpy as np

    found = Calibrations.read(pack / calibration.FILE)
    faces, person, _ = calibration.embedded(pack, pictures)
    one, two, same = calibration.pairs_of(person, calibration.PAIRS)
    table: dict[str, float] = {"pairs": float(len(same))}
    rng = np.random.default_rng(0)
    again = [rng.integers(len(same), size=len(same)) for _ in range(200)]
    for fitted in found.sets:
        cosines = calibration.cosines_of(faces, fitted.encoders, one, two)
        chance = chances(cosines, fitted.weights, fitted.bias)
        name = " + ".join(fitted.encoders)
        spread = np.std([calibration_error(chance[rows], same[rows]) for rows in again])
        table |= {
            f"{name}: calibration_error": calibration_error(chance, same),
            f"{name}: calibration_error_interval": float(1.96 * spread),
            f"{name}: right": float(((chance > 0.5) == same).mean()),
        }
    return table


CHECKS: dict[str, Check] = {
    "autoencoder": reconstruction,
    "clip": retrieval,
    "instructions": instructions_read,
    "landmarks": landmark_error,
    "recogniser": _verification("recogniser"),
    "judge_recogniser": _verification("judge_recogniser"),
    "calibration": same_person_chances,
    "parser": parsing_overlap,
    "attributes": attribute_accuracy,
    "vit": garments,
    "unet": painting,
}


def check_pack(
    pack: Path, pictures: Pictures, parts: tuple[str, ...] | None = None
) -> dict[str, dict[str, float]]:
    """Measure parts of a pack, by default those it has, on pictures of people none of them was trained on.

    Beside each number, `NAME_interval` is half its 95 % interval and `NAME_n` how many it counts, people
    mostly, where that is another number than the part's `n`: the people it was shown, unless it used fewer.

    Raises: MissingWeightsError for one of `parts` that it has not, or when it has none at all.
    """
    needs = {
        "autoencoder": ("vae/config.json",),
        "clip": ("text_encoder/config.json", "image_encoder/config.json"),
        "instructions": ("text_encoder/config.json",),
        "calibration": (calibration.FILE,),
        "unet": ("unet/config.json", "attributes/config.json"),
    }
    there = [
        part
        for part in CHECKS
        if all((pack / file).is_file() for file in needs.get(part, (f"{part}/config.json",)))
    ]
    for part in parts or ():
        if part not in there:
            raise MissingWeightsError(f"The pack in {pack} has no {part} to check: build it first.")
    if not there:
        raise MissingWeightsError(
            f"The pack in {pack} has no part to check; run `likeness pack build` with --pack first."
        )
    everybody = {"n": float(len(pictures.person.unique()))}
    return {part: everybody | CHECKS[part](pack, pictures) for part in parts or there}
