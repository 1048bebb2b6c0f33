"""How the mini pack's nets are trained: sitters from two sides, every other pair in two lights.

First their condition layers alone, then the matching net for its few steps, then the appearance net by its
guidance; both nets begin from the pack's UNet.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from likeness.diffusion.image_encoder import load_image_encoder
from likeness.diffusion.load import load_base
from likeness.diffusion.parts import load_part
from likeness.methods.ic_portrait.config import MATCHING_STEPS, NETS, TRAINING
from likeness.methods.ic_portrait.model import Nets, control_net
from likeness.methods.ic_portrait.training import AppearancePhase, ConditionPhase, MatchingPhase
from likeness.methods.ic_portrait.weights import save_nets
from likeness.packs import mini
from likeness.packs.recipes.landmarks import face_affines
from likeness.packs.recipes.recogniser import identities_of, persons_in
from likeness.packs.recipes.unet import PERSON_LABELS, label_shares, latent_spread, latents_of
from likeness.training import constant, cosine
from likeness.training.loop import seeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from likeness.diffusion.image_encoder import ImageEncoder
    from likeness.diffusion.load import Base
    from likeness.packs.data import Pictures
    from likeness.packs.workshop import Workshop
    from likeness.training import Moment, TrainResult
    from likeness.training.phase import Batch

__all__ = ["FOLDER", "SETTINGS", "embeddings_of", "train_adapter", "view_batches"]

FOLDER = "adapters/ic-portrait"  # in the pack
MINUTES = 90.0
SETTINGS = replace(NETS["mini"], image_encoder="the pack's own")
BATCH = TRAINING["mini"].batch_size
CONDITION_STEPS = 1000
FACE_WEIGHT = 3.0
"""How much more than other places those of the target's person count."""
STAND_INS = 0.8
"""How often the pixels that are left of a target, and the latents that its noise begins from, are another
person's in its pose and light: what a style reference shows. Of one person only, the nets learn to believe
them, and paint whoever they are of."""


def train_adapter(shop: Workshop) -> TrainResult:
    """The matching net, then the appearance net; needs autoencoder, image encoder, recogniser and UNet of the
    pack.

    Of a number of steps the condition layers and the matching net take a tenth each, at most
    `CONDITION_STEPS` and `MATCHING_STEPS`.
    """
    base = load_base(shop.pack, device=shop.device, dtype=torch.float32)
    pictures = shop.pictures("views")
    batches = view_batches(shop, base, pictures)
    training = TRAINING["mini"]
    torch.manual_seed(shop.seed)
    nets = Nets(_begun(shop, base, "appearance"), _begun(shop, base, "matching"), SETTINGS)

    shop = shop.budgeted(MINUTES)

    def first(most: int) -> Workshop:
        steps = most if shop.steps is None else min(most, max(1, shop.steps // 10))
        return replace(shop, minutes=None, steps=steps)

    if not shop.further:
        condition = ConditionPhase(
            nets.appearance.controlnet_cond_embedding, training, cosine(3e-3, warmup_steps=50)
        )
        result = first(CONDITION_STEPS).train([condition], batches, "ic-portrait-condition", ema_decay=None)
        if not result.over:
            return result
        nets.matching.controlnet_cond_embedding.load_state_dict(condition.layers.state_dict())
        rate = constant(training.learning_rate, warmup_steps=10)
        matching = MatchingPhase(nets.matching, base, training, rate)
        result = first(MATCHING_STEPS).train([matching], batches, "ic-portrait-matching", ema_decay=None)
        if not result.over:
            return result
    nets.matching.requires_grad_(False).eval()

    rate = cosine(training.learning_rate, warmup_steps=100)
    recogniser = mini.load_recogniser(shop.part("recogniser")).to(shop.device)
    appearance = AppearancePhase(nets, base, training, rate, recogniser, FACE_WEIGHT)
    result = shop.train([appearance], batches, "ic-portrait", ema_decay=0.998)
    if result.finished:
        trained: Any = result.emas["appearance"].module
        finished = Nets(trained.to("cpu"), nets.matching.to("cpu"), SETTINGS)
        save_nets(finished, shop.pack / FOLDER, int8=True, start=shop.part("unet"))
        shop.record(
            FOLDER,
            "views",
            parameters=sum(p.numel() for net in (trained, nets.matching) for p in net.parameters()),
            steps=result.step,
            hours=result.seconds / 3600,
            pictures=len(pictures) + len(shop.pictures("stand-ins")),
        )
    return result


def view_batches(shop: Workshop, base: Base, pictures: Pictures) -> Callable[[Moment], Batch]:
    """Batches of `training`'s keys: two pictures of a person, either the profile of the other.

    `pixels_target`, of which a share is left, is not always of the target (`STAND_INS`).
    """
    views = int((pictures.person == 0).sum())
    stand_ins = shop.pictures("stand-ins")
    latents = shop.kept("latents", "vae", lambda: latents_of(base.vae, pictures.pixels, shop.device), "views")
    of_stand_ins = shop.kept(
        "latents", "vae", lambda: latents_of(base.vae, stand_ins.pixels, shop.device), "stand-ins"
    )
    encoder = load_image_encoder(shop.part("image_encoder"), device=shop.device, dtype=torch.float32)
    embeddings = shop.kept(
        "embeddings", "image_encoder", lambda: embeddings_of(encoder, pictures.pixels), "views"
    )
    identities = shop.kept("identities", "recogniser", lambda: identities_of(shop, pictures), "views")
    persons = persons_in(identities, views)
    own = label_shares(pictures.labels, [PERSON_LABELS], latents.shape[-1])[:, 0]
    affines, spread = face_affines(pictures.landmarks), latent_spread(base.vae)

    def batches(moment: Moment) -> Batch:
        generator = seeded(shop.seed, moment.draw, 63)
        person = torch.randint(len(pictures) // views, (BATCH,), generator=generator)
        one = torch.randint(views, (BATCH,), generator=generator)
        other = (one + 1 + torch.randint(views - 1, (BATCH,), generator=generator)) % views
        target, profile = person * views + one, person * views + other
        replaced = torch.rand(BATCH, 1, 1, 1, generator=generator) < STAND_INS
        left = torch.where(replaced, stand_ins.pixels[target], pictures.pixels[target])

        def drawn(rows: Tensor) -> Tensor:
            mean = latents[rows].float()
            return mean + spread * torch.randn(mean.shape, generator=generator)

        latents_target = drawn(target)
        return {
            "pixels_target": mini.to_unit(left),
            "pixels_profile": mini.to_unit(pictures.pixels[profile]),
            "latents_target": latents_target,
            "latents_style": torch.where(replaced, of_stand_ins[target].float(), latents_target),
            "latents_profile": drawn(profile),
            "embedding": embeddings[profile].float(),
            "identity": identities[profile],
            "face_affine": affines[target],
            "person_mask": own[target].float() / 255,
            "id_embedding": persons[person],
        }

    return batches


@torch.no_grad()
def embeddings_of(encoder: ImageEncoder, pixels: Tensor, chunk: int = 128) -> Tensor:
    """uint8 pictures (N, 3, H, W) -> the image encoder's embeddings (N, D) bfloat16 on the CPU."""
    found = [encoder.embeds(encoder.normalised(part)) for part in pixels.split(chunk)]
    return torch.cat(found).to("cpu", torch.bfloat16)


def _begun(shop: Workshop, base: Base, part: str) -> Any:
    """A net begun from the UNet, or the pack's with `further`."""
    from diffusers import ControlNetModel

    if shop.further and (shop.pack / FOLDER / part).is_dir():
        net = load_part(shop.pack / FOLDER / part, ControlNetModel, torch.float32, shop.part("unet"))
    else:
        net = control_net(base.unet)
    return net.requires_grad_(True).train()
