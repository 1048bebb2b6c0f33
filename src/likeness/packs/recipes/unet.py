"""Recipe of the text-to-image UNet: v-prediction on the autoencoder's latents, low resolution first.

While it trains, the UNet has further output channels that say which part of the sitter each cell of
the clean picture shows. To answer it must find the face in the noise, which is meant
to teach it faces sooner; REPA (Yu et al. 2025) asks for another network's features to the same end.
The finished UNet has the latents' channels only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from likeness.packs import mini
from likeness.packs.data import picture_rows
from likeness.packs.recipes.clip import all_captions
from likeness.sitters import Scene
from likeness.sitters.render import LABELS
from likeness.sitters.taught import attribute_of
from likeness.training import cosine
from likeness.training.precision import autocast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Generator, Tensor

    from likeness.packs.data import Pictures
    from likeness.packs.workshop import Workshop
    from likeness.training import Moment, Schedule, TrainResult
    from likeness.training.phase import Batch

__all__ = [
    "FACE_LABELS",
    "LOW_SHARE",
    "PERSON_LABELS",
    "UnetPhase",
    "label_shares",
    "latent_spread",
    "latents_of",
    "train_guide",
    "train_unet",
]

LOW_SHARE = 0.15
"""Share of the training spent on 8x8 latents, where a step of three times the batch costs the same."""
LOW_BATCH, BATCH = 96, 32
RATE, RATE_FURTHER = 6e-4, 4e-4
"""Learning rates from nothing, and of weights that were trained before."""
EMA = 0.998
"""About the last 500 steps: a longer memory would keep weights of the low resolution."""
FACE_LABELS = (
    "skin",
    "left brow",
    "right brow",
    "left eye",
    "right eye",
    "nose",
    "upper lip",
    "lower lip",
    "mouth",
)
"""Sitters' part labels that make up a face."""
PERSON_LABELS = (*FACE_LABELS, "left ear", "right ear", "hair", "beard")
"""Those of all that is the person's own."""
FACE = [LABELS.index(name) for name in FACE_LABELS]
DROP = 0.1
"""Share of captions replaced by the empty one, for classifier-free guidance."""


@dataclass
class UnetPhase:
    """Salimans & Ho 2022, appendix D: predict v = alpha * noise - sigma * x0.

    Steps are weighted by (min(SNR, gamma) + 1) / (SNR + 1): min-SNR weighting (Hang et al. 2023) of the
    x0 error, plus one so that the last step, pure noise here, is learned too. Cells of the face weigh
    more, up to 1 + `face`, as far as the noisy latents still show where it is (alpha^2): the eye judges
    a portrait by it. Channels of the output past those of the
    latents are logits of the parts' shares of each cell, a loss weighted by `parts`.
    """

    trainable: nn.Module
    scheduler: Any
    learning_rate: float | Schedule = field(default_factory=lambda: cosine(RATE, warmup_steps=150))
    name: str = "unet"
    every: int = 1
    gamma: float = 5.0
    face: float = 2.0
    parts: float = 0.1
    compiled: bool = False

    def __post_init__(self) -> None:
        # One compilation a resolution; `trainable` itself stays plain, for checkpoints and averages.
        self.forward: Any = torch.compile(self.trainable, dynamic=False) if self.compiled else self.trainable

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """batch: latents (B, C, h, w), text (B, 77, W) states, parts (B, P, h, w) shares that sum to 1."""
        latents = batch["latents"].float()
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        steps = stratified_steps(len(latents), self.scheduler.config.num_train_timesteps, generator)
        steps = steps.to(latents.device)
        noisy = self.scheduler.add_noise(latents, noise, steps)
        target = self.scheduler.get_velocity(latents, noise, steps)
        out = self.forward(noisy.to(memory_format=torch.channels_last), steps, batch["text"]).sample
        velocity, parts = out.float().split((latents.shape[1], batch["parts"].shape[1]), dim=1)
        alpha2 = self.scheduler.alphas_cumprod.to(latents.device)[steps]
        face = batch["parts"][:, FACE].sum(dim=1) * alpha2[:, None, None]
        error = (velocity - target).square().mean(dim=1)
        plain = error.mean()
        error = ((1 + self.face * face) * error).mean(dim=(1, 2))
        snr = alpha2 / (1 - alpha2)
        weight = (snr.clamp(max=self.gamma) + 1) / (snr + 1)
        return {
            "v": (weight * error).mean(),
            "parts": self.parts * F.cross_entropy(parts, batch["parts"]),
            "_v_plain": plain,
        }


def stratified_steps(count: int, of: int, generator: Generator) -> Tensor:
    """`count` time steps in [0, of), one from each of `count` equal stretches: less noise in the loss."""
    where = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    return (where * of).long().clamp(max=of - 1)


@torch.no_grad()
def latents_of(vae: Any, pixels: Tensor, device: str = "cpu", chunk: int = 64) -> Tensor:
    """Means of the latents of uint8 pictures: (N, C, h, w) bfloat16 on the CPU, already scaled."""
    parts = []
    for part in pixels.split(chunk):
        with autocast(device):
            mean = vae.encode(mini.to_unit(part.to(device))).latent_dist.mean
        parts.append((mean * vae.config.scaling_factor).to("cpu", torch.bfloat16))
    return torch.cat(parts)


@torch.no_grad()
def text_states(encoder: Any, tokenizer: Any, captions: Sequence[Sequence[str]], chunk: int = 128) -> Tensor:
    """Last hidden states of equally many captions a picture: (N, captions, 77, W) bfloat16 on the CPU."""
    encoder.eval()
    flat = [caption for group in captions for caption in group]
    parts = []
    for start in range(0, len(flat), chunk):
        out = tokenizer(
            flat[start : start + chunk],
            padding="max_length",
            truncation=True,
            max_length=mini.TOKENS,
            return_tensors="pt",
        )
        with autocast(encoder.device):
            found = encoder(input_ids=out["input_ids"].to(encoder.device)).last_hidden_state
        parts.append(found.to("cpu", torch.bfloat16))
    whole = torch.cat(parts)
    return whole.view(len(captions), len(captions[0]), *whole.shape[1:])


def latent_spread(vae: Any) -> Tensor:
    """What the autoencoder was trained to bear: standard deviation a channel of scaled latents, (C, 1, 1)."""
    pixels = torch.zeros(1, 3, 64, 64, device=vae.device)
    spread: Tensor = vae.encode(pixels).latent_dist.std[0, :, :1, :1] * vae.config.scaling_factor
    return spread.detach().float().cpu()


def part_shares(labels: Tensor, size: int) -> Tensor:
    """(N, H, W) part labels -> (N, P, size, size) uint8, 255 where a part fills the cell."""
    out = torch.empty(len(labels), len(LABELS), size, size, dtype=torch.uint8)
    for rows in torch.arange(len(labels)).split(256):
        whole = F.one_hot(labels[rows].long(), len(LABELS)).permute(0, 3, 1, 2).float()
        out[rows] = (F.adaptive_avg_pool2d(whole, size) * 255).round().to(torch.uint8)
    return out


def label_shares(labels: Tensor, groups: Sequence[Sequence[str]], size: int) -> Tensor:
    """(N, H, W) part labels -> (N, groups, size, size) uint8, 255 where labels of a group fill the cell."""
    out = torch.empty(len(labels), len(groups), size, size, dtype=torch.uint8)
    wanted = [torch.tensor([LABELS.index(name) for name in group]) for group in groups]
    for rows in torch.arange(len(labels)).split(512):
        whole = torch.stack([torch.isin(labels[rows], label) for label in wanted], dim=1).float()
        out[rows] = (F.adaptive_avg_pool2d(whole, size) * 255).round().to(torch.uint8)
    return out


def rows_without(pictures: Pictures, held_back: Sequence[str]) -> Tensor:
    """Rows of the pictures that show none of some attributes, (N,) int64. Raises: InputError."""
    if not held_back:
        return torch.arange(len(pictures))
    wanted = [attribute_of(text) for text in held_back]
    scenes = (Scene.from_record(row["record"]) for row in picture_rows(pictures))
    shown = torch.tensor([any(one.shown_in(scene) for one in wanted) for scene in scenes])
    return (~shown).nonzero()[:, 0]


def without_parts(model: Any, plain: Any) -> Any:
    """`plain`, a UNet that ends in the latents' channels, with the weights of one that also tells parts."""
    channels = plain.config.out_channels
    state = {k: v[:channels] if k.startswith("conv_out.") else v for k, v in model.state_dict().items()}
    plain.load_state_dict(state)
    return plain


def train_unet(shop: Workshop) -> TrainResult:
    """Train on 8x8 averages of the latents first, then on the latents; needs vae, tokenizer, text_encoder."""
    return _train(shop, "unet", shop.preset.unet, "portraits")


def train_guide(shop: Workshop) -> TrainResult:
    """The UNet that guidance leads away from (`diffusion.guidance`): smaller, young, on heads of every turn.

    One that is much worse than the UNet (twice its loss) dyes and darkens pictures. One of a quarter of the
    size, on the same portraits, mended fewer faces; which of the two it was is not known.
    """
    return _train(shop, "guide", shop.preset.guide, "train")


def _train(shop: Workshop, part: str, preset: Callable[..., Any], split: str) -> TrainResult:
    from diffusers.models.attention_processor import AttnProcessor
    from transformers import CLIPTextModel, CLIPTokenizer

    from likeness.diffusion.patch_autoencoder import PatchAutoencoderKL
    from likeness.training.loop import seeded

    vae = PatchAutoencoderKL.from_pretrained(shop.part("vae"), torch_dtype=torch.float32)
    vae.to(shop.device, memory_format=torch.channels_last).requires_grad_(False)
    text = CLIPTextModel.from_pretrained(shop.part("text_encoder"), dtype=torch.float32).to(shop.device)
    tokenizer = CLIPTokenizer.from_pretrained(shop.pack / "tokenizer")
    pictures = shop.pictures(split)
    latents = shop.kept("latents", "vae", lambda: latents_of(vae, pictures.pixels, shop.device), split)
    spread = latent_spread(vae)
    parts = part_shares(pictures.labels, latents.shape[-1])
    captions = all_captions(pictures.captions)
    states = shop.kept("text", "text_encoder", lambda: text_states(text, tokenizer, captions), split)
    empty = text_states(text, tokenizer, [[""]])[0, 0]
    allowed = rows_without(pictures, shop.held_back)
    torch.manual_seed(shop.seed)
    model = preset(out_channels=latents.shape[1] + parts.shape[1])
    for name, parameter in model.named_parameters():
        if ".proj_out." in name:  # attention begins as no change, as in the published UNets
            nn.init.zeros_(parameter)
    begun = shop.begin(model, part)
    model = model.to(shop.device, memory_format=torch.channels_last)
    if shop.device == "cpu":  # torch's fused attention goes backwards slowly on CPUs: 1.5 times the step
        model.set_attn_processor(AttnProcessor())

    def batches(moment: Moment) -> Batch:
        low = not begun and moment.progress < LOW_SHARE
        size = LOW_BATCH if low else BATCH
        generator = seeded(shop.seed, moment.draw, 63)
        # Drawn anew each step: the batch size changes on the way, so epochs have no fixed length.
        rows = allowed[torch.randint(len(allowed), (size,), generator=generator)]
        mean = latents[rows].float()
        noisy = mean + spread * torch.randn(mean.shape, generator=generator)
        drawn = states[rows, torch.randint(states.shape[1], (size,), generator=generator)].float()
        drawn[torch.rand(size, generator=generator) < DROP] = empty.float()
        shares = parts[rows].float() / 255
        if low:
            noisy, shares = F.avg_pool2d(noisy, 2), F.avg_pool2d(shares, 2)
        return {"latents": noisy, "text": drawn, "parts": shares}

    phase = UnetPhase(
        model,
        shop.preset.scheduler(),
        cosine(RATE_FURTHER if begun else RATE, warmup_steps=150),
        compiled=shop.compiled,
    )
    result = shop.train([phase], batches, part, ema_decay=EMA)
    if result.finished:
        shop.preset.scheduler().save_pretrained(shop.pack / "scheduler")
        averaged: Any = result.emas["unet"].module
        plain = without_parts(averaged.to("cpu"), preset())
        held_back = len(pictures) - len(allowed)
        measures: dict[str, Any] = {"pictures_held_back": held_back} if held_back else {}
        shop.export(part, part, plain, split, int8=part == "guide", **measures)
    return result
