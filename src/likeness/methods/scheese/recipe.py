"""How the mini pack's SCheese is trained: sitters of one sitting, and what leads from one view to another.

First Fusion IP-Adapter's image half learns as IP-Adapter does, a picture and its caption ("zero-shot" in the
ablation); the variant that is wanted begins from it and learns from triplets, whose instructions are the
renderer's truth. Everything the frozen parts say is computed once and kept.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from likeness.diffusion.image_encoder import load_image_encoder
from likeness.diffusion.load import Base, load_base
from likeness.faces.embed import load_encoder
from likeness.methods.scheese.config import SCheeseTraining
from likeness.methods.scheese.training import SCheesePhase
from likeness.methods.scheese.weights import new_adapter, save_adapter
from likeness.packs import mini
from likeness.packs.data import collection_views
from likeness.packs.recipes.landmarks import face_affines
from likeness.packs.recipes.recogniser import persons_of
from likeness.packs.recipes.unet import PERSON_LABELS, label_shares, latent_spread, latents_of
from likeness.sitters.words import instructions
from likeness.training import cosine
from likeness.training.loop import seeded
from likeness.training.precision import autocast

if TYPE_CHECKING:
    from collections.abc import Callable

    from likeness.diffusion.image_encoder import ImageEncoder
    from likeness.methods.scheese.model import SCheese
    from likeness.packs.data import Pictures
    from likeness.packs.workshop import Workshop
    from likeness.training import Moment, TrainResult
    from likeness.training.phase import Batch

__all__ = ["FOLDER", "batches_of", "instructions_of", "train_adapter", "train_variant"]

FOLDER = "adapters/scheese"  # in the pack
MINUTES = 60.0
FIRST_SHARE = 0.25
"""Of the training that the image half alone takes."""
BATCH = 24
RATE = 5e-4
"""The adapter is small and trained for minutes; the paper's 1e-5 is for SDXL's."""
FACE_WEIGHT, IDENTITY_WEIGHT = 2.0, 0.6
"""What a small base needs besides the paper's losses, as the mini ConsistentID does (`SCheesePhase`)."""


def train_adapter(shop: Workshop) -> TrainResult:
    """The whole method, in the time or steps of one part; needs every part of the base."""
    shop, first = shop.budgeted(MINUTES), None
    if not shop.further:
        first, result = train_variant(shop.part_of(FIRST_SHARE), "zero-shot", "scheese-first")
        if not result.over:
            return result
        shop = shop.part_of(1 - FIRST_SHARE)
    adapter, result = train_variant(shop, "scheese", "scheese", first)
    if result.finished:
        _write(shop, adapter)
    return result


def train_variant(
    shop: Workshop,
    variant: str,
    part: str,
    start: SCheese | None = None,
    identity_weight: float = IDENTITY_WEIGHT,
) -> tuple[SCheese, TrainResult]:
    """A row of the ablation (`config.VARIANTS`); `part` names the run.

    start: an adapter whose weights it begins with, as far as it has the same. identity_weight: of what the
    recogniser says. Returns the averaged weights,
    and what became of the run.
    """
    base = load_base(shop.pack, device=shop.device, dtype=torch.float32)
    pictures = shop.pictures("collections")
    encoder = load_image_encoder(shop.part("image_encoder"), device=shop.device, dtype=torch.float32)
    torch.manual_seed(shop.seed)
    adapter = new_adapter(base, encoder, variant)
    if start is not None:  # the words, the reference's attention and ConsistencyNet begin anew
        adapter.load_state_dict(start.state_dict(), strict=False)
    shop.begin(adapter, FOLDER)
    adapter.sizes = replace(adapter.sizes, taught_by=load_encoder(shop.part("recogniser")).name)
    settings = SCheeseTraining(learning_rate=RATE, batch_size=BATCH)
    phase = SCheesePhase(
        adapter.to(shop.device),
        base,
        cosine(RATE, warmup_steps=100),
        settings,
        face_weight=FACE_WEIGHT,
        recogniser=mini.load_recogniser(shop.part("recogniser")).to(shop.device),
        identity_weight=identity_weight,
    )
    batches = batches_of(shop, base, encoder, pictures, triplets=adapter.sizes.has.triplets)
    result = shop.train([phase], batches, part, ema_decay=0.998)
    trained: Any = result.emas[phase.name].module
    return trained, result


def batches_of(
    shop: Workshop, base: Base, encoder: ImageEncoder, pictures: Pictures, *, triplets: bool
) -> Callable[[Moment], Batch]:
    """Batches of `training`'s keys from "collections".

    triplets: two views of a sitting and the instruction; otherwise a picture, itself and its caption.
    """
    views = int((pictures.person == 0).sum())
    vae, tokenizer, text = base.vae, base.tokenizers[0], base.text_encoders[0]
    latents = shop.kept(
        "latents", "vae", lambda: latents_of(vae, pictures.pixels, shop.device), "collections"
    )
    states = shop.kept("states", "image_encoder", lambda: states_of(encoder, pictures.pixels), "collections")
    persons = shop.kept("persons", "recogniser", lambda: persons_of(shop, pictures, views), "collections")
    affines, spread = face_affines(pictures.landmarks), latent_spread(vae)
    own = label_shares(pictures.labels, [PERSON_LABELS], latents.shape[-1])[:, 0]
    people = len(pictures) // views
    texts = (
        [one for person in range(people) for one in instructions_of(_seed(person), views)]
        if triplets
        else [captions[0] for captions in pictures.captions]
    )
    ids = tokenizer(
        texts, padding="max_length", truncation=True, max_length=mini.TOKENS, return_tensors="pt"
    )["input_ids"].int()

    def batches(moment: Moment) -> Batch:
        generator = seeded(shop.seed, moment.draw, 63)
        person = torch.randint(people, (BATCH,), generator=generator)
        before = torch.randint(views, (BATCH,), generator=generator)
        step = 1 + torch.randint(views - 1, (BATCH,), generator=generator)
        after = (before + step) % views if triplets else before
        source, target = person * views + before, person * views + after
        told = source * views + after if triplets else target
        mean = latents[target].float()
        with torch.no_grad():
            words = text(input_ids=ids[told].long().to(text.device)).last_hidden_state
        return {
            "latents": mean + spread * torch.randn(mean.shape, generator=generator),
            "reference_latents": latents[source].float(),
            "reference_states": states[source].float(),
            "target_states": states[target].float(),
            "text": words.float(),
            "person_mask": own[target].float() / 255,
            "face_affine": affines[target],
            "id_embedding": persons[person],
        }

    return batches


def instructions_of(seed: int, views: int) -> list[str]:
    """Row by row what leads from each of a person's `collection_views` to each; to itself, nothing."""
    scenes = collection_views(seed, views)
    return [
        instructions(one, other, seed * views + number, 1)[0]
        for number, one in enumerate(scenes)
        for other in scenes
    ]


@torch.no_grad()
def states_of(encoder: ImageEncoder, pixels: Tensor, chunk: int = 64) -> Tensor:
    """The image encoder's states (N, S, W) bfloat16, on the CPU, of uint8 pictures of its own size."""
    parts = []
    for few in pixels.split(chunk):
        # The pack's encoder reads [-1, 1], as its own preprocessor makes it.
        with autocast(encoder.model.device):
            parts.append(encoder.states(mini.to_unit(few)).to("cpu", torch.bfloat16))
    return torch.cat(parts)


def _seed(person: int) -> int:
    return mini.first_seed("collections") + person


def _write(shop: Workshop, adapter: SCheese) -> None:
    """Into the pack, with its entry in the card."""
    save_adapter(adapter, shop.pack / FOLDER, int8=True, start=shop.part("unet"))
    steps, hours = shop.spent("scheese", FOLDER)
    shop.record(
        FOLDER,
        "collections",
        parameters=sum(p.numel() for p in adapter.parameters()),
        steps=steps,
        hours=hours,
        pictures=len(shop.pictures("collections")),
    )
