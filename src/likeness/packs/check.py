"""What a pack measures on sitters it has never met. Each function: finished parts -> named numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch.nn import functional as F

from likeness.errors import MissingWeightsError
from likeness.packs import mini
from likeness.training.precision import autocast

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from likeness.packs.data import Pictures

__all__ = ["CHECKS", "check_pack", "mean_interval", "reconstruction", "retrieval", "verification_scores"]

Check: TypeAlias = "Callable[[Path, Pictures], dict[str, float]]"


def mean_interval(values: Tensor) -> tuple[float, float]:
    """Mean and half width of its 95 % interval (normal approximation)."""
    return float(values.mean()), float(1.96 * values.std() / max(len(values), 1) ** 0.5)


@torch.no_grad()
def reconstruction(pack: Path, pictures: Pictures) -> dict[str, float]:
    """Autoencoder: PSNR in dB of the mean's reconstruction; of half-size pictures from averaged latents."""
    from likeness.diffusion.patch_autoencoder import PatchAutoencoderKL

    vae: Any = PatchAutoencoderKL.from_pretrained(pack / "vae", torch_dtype=torch.float32).eval()
    full, half, latents = [], [], []
    for part in pictures.pixels[:512].split(32):
        wanted = mini.to_unit(part)
        mean = vae.encode(wanted).latent_dist.mean
        full.append(psnr(vae.decode(mean).sample, wanted))
        half.append(psnr(vae.decode(F.avg_pool2d(mean, 2)).sample, F.avg_pool2d(wanted, 2)))
        latents.append(mean)
    value, interval = mean_interval(torch.cat(full))
    return {
        "psnr_db": value,
        "psnr_db_interval": interval,
        "psnr_half_size_db": float(torch.cat(half).mean()),
        "latent_std": float(torch.cat(latents).std()),
    }


def psnr(out: Tensor, wanted: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] twice -> (B,) dB, of 8-bit pictures' full range."""
    error = ((out.float().clamp(-1, 1) - wanted) / 2).square().mean(dim=(1, 2, 3))
    return -10 * error.clamp_min(1e-12).log10()


@torch.no_grad()
def retrieval(pack: Path, pictures: Pictures) -> dict[str, float]:
    """CLIP: in groups of 100 pictures, how often a caption (the longest) finds its own picture first."""
    from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

    tokenizer = CLIPTokenizer.from_pretrained(pack / "tokenizer")
    text: Any = CLIPTextModel.from_pretrained(pack / "text_encoder", dtype=torch.float32).eval()
    image: Any = CLIPVisionModelWithProjection.from_pretrained(
        pack / "image_encoder", dtype=torch.float32
    ).eval()
    right = []
    for start in range(0, min(len(pictures), 600) - 99, 100):
        captions = [max(c, key=len) for c in pictures.captions[start : start + 100]]
        ids = tokenizer(captions, padding=True, truncation=True, max_length=mini.TOKENS, return_tensors="pt")
        said = F.normalize(text(input_ids=ids["input_ids"]).pooler_output, dim=-1)
        pixels = mini.to_unit(pictures.pixels[start : start + 100])
        seen = F.normalize(image(pixel_values=pixels).image_embeds, dim=-1)
        right.append(((said @ seen.T).argmax(1) == torch.arange(100)).float())
    if not right:
        return {}
    value, interval = mean_interval(torch.cat(right))
    return {"right_of_100": value, "right_of_100_interval": interval}


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
    half = pairs // 2
    few_mates = mates[torch.randperm(len(mates), generator=generator)[:half]]
    few_strangers = strangers[torch.randperm(len(strangers), generator=generator)[: len(few_mates)]]
    thresholds = torch.cat([few_mates, few_strangers]).sort().values
    accept = (few_mates[None, :] >= thresholds[:, None]).float().mean(1)
    reject = (few_strangers[None, :] < thresholds[:, None]).float().mean(1)
    allowed = max(1, len(strangers) // 1000)
    threshold = strangers.topk(allowed).values[-1]
    return {
        "accuracy": float(((accept + reject) / 2).max()),
        "tar_at_far_1e-3": float((mates > threshold).float().mean()),
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
    """Landmark network: mean distance of the five, in face sizes, and the share within 3 %."""
    from likeness.packs.recipes.landmarks import landmark_errors

    errors, found = landmark_errors(mini.load_landmarks(pack / "landmarks"), pictures)
    value, interval = mean_interval(errors)
    return {
        "error": value,
        "error_interval": interval,
        "within_3_percent": float((errors < 0.03).float().mean()),
        "found": float(found.float().mean()),
    }


CATEGORIES: dict[str, tuple[str, ...]] = {
    "pose": ("turn", "nod", "tilt", "framing"),
    "light": ("light", "light_side"),
    "expression": ("expression", "winking_eye", "gaze"),
    "person": ("person", "age", "skin", "freckles", "eyes"),
    "hair": ("hair", "hair_colour", "greying", "fringe", "beard"),
    "clothes": ("garment", "garment_colour", "pattern", "pattern_colour", "inner_colour", "logo", "scarf"),
    "accessories": (
        "glasses", "glasses_colour", "hat", "hat_colour", "hat_trim_colour", "earrings", "earrings_metal",
        "necklace", "necklace_metal", "lipstick", "eyeshadow",
    ),
    "background": ("background", "background_colour"),
}  # fmt: skip
"""Which kinds of attribute (`sitters.attributes`) make up each category."""


@torch.no_grad()
def parsing_overlap(pack: Path, pictures: Pictures) -> dict[str, float]:
    """Parser: intersection over union of each class over all pixels, and their mean over the classes."""
    from likeness.faces.parsing import CLASSES, load_parser
    from likeness.packs.recipes.parser import parsing_of

    net = load_parser(pack / "parser")
    count = len(CLASSES)
    table = torch.zeros(count * count, dtype=torch.int64)
    for rows in torch.arange(len(pictures)).split(64):
        found = net.parse(mini.to_unit(pictures.pixels[rows])).long()
        table += torch.bincount(
            (parsing_of(pictures.labels[rows]) * count + found).flatten(), minlength=count * count
        )
    table = table.view(count, count)
    both = table.diagonal().double()
    overlap = both / (table.sum(0) + table.sum(1) - table.diagonal()).clamp_min(1)
    return {"mean_iou": float(overlap.mean())} | {
        f"iou_{name}": float(value) for name, value in zip(CLASSES, overlap, strict=True)
    }


@torch.no_grad()
def attribute_accuracy(pack: Path, pictures: Pictures) -> dict[str, float]:
    """Attribute judge: share of right answers in each category, and mean angles of head pose and light."""
    from likeness.packs.recipes.attributes import attribute_truth

    net = mini.load_attributes(pack / "attributes")
    truth = attribute_truth(pictures, net.config.kinds)
    right: dict[str, list[Tensor]] = {kind: [] for kind in truth.kinds}
    pose, light = [], []
    for rows in torch.arange(len(pictures)).split(64):
        found = net(mini.to_unit(pictures.pixels[rows]))
        for column, kind in enumerate(truth.kinds):
            right[kind].append((found.logits[kind].argmax(-1) == truth.shown[rows, column]).float())
        pose.append((found.pose_deg - truth.pose_deg[rows]).abs())
        light.append(torch.rad2deg((found.light * truth.light[rows]).sum(-1).clamp(-1, 1).acos()))
    out: dict[str, float] = {}
    for category, kinds in CATEGORIES.items():
        answers = torch.stack([torch.cat(right[kind]) for kind in kinds if kind in right])
        value, interval = mean_interval(answers.mean(0))
        out |= {category: value, f"{category}_interval": interval}
    out |= {f"kind_{kind}": float(torch.cat(values).mean()) for kind, values in right.items()}
    yaw, pitch, roll = torch.cat(pose).mean(0).tolist()
    return out | {
        "yaw_error_deg": yaw,
        "pitch_error_deg": pitch,
        "roll_error_deg": roll,
        "light_error_deg": float(torch.cat(light).mean()),
    }


CHECKS: dict[str, Check] = {
    "autoencoder": reconstruction,
    "clip": retrieval,
    "landmarks": landmark_error,
    "recogniser": _verification("recogniser"),
    "judge_recogniser": _verification("judge_recogniser"),
    "parser": parsing_overlap,
    "attributes": attribute_accuracy,
}


def check_pack(
    pack: Path, pictures: Pictures, parts: tuple[str, ...] = tuple(CHECKS)
) -> dict[str, dict[str, float]]:
    """Measure the parts that have been built, on pictures of people none of them was trained on."""
    folders = {"autoencoder": "vae", "clip": "text_encoder"}
    table: dict[str, dict[str, float]] = {}
    for part in parts:
        if (pack / folders.get(part, part) / "config.json").is_file():
            table[part] = CHECKS[part](pack, pictures)
    if not table:
        raise MissingWeightsError(
            f"The pack in {pack} has no part to check; run `likeness pack build mini` first."
        )
    return table
