"""How the mini pack's adapter is trained: sitters as references, another picture of each as target.

Everything the frozen parts say is computed once and kept: latents of targets, image states and
identity embeddings of references, token ids. References are described by `identity_of_faces`, the
same function that painting uses; their faces come from the sitters' true landmarks.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from likeness.diffusion.image_encoder import load_image_encoder
from likeness.diffusion.load import load_base
from likeness.faces.embed import load_encoder
from likeness.methods.consistentid.conditioning import identity_of_faces
from likeness.methods.consistentid.config import ABLATIONS, CAPTION, PARTS, SIZES, Ablation
from likeness.methods.consistentid.losses import FACIAL_WEIGHT
from likeness.methods.consistentid.text import mark_prompt
from likeness.methods.consistentid.training import ConsistentIDPhase
from likeness.methods.consistentid.weights import new_adapter, save_adapter
from likeness.packs import mini
from likeness.packs.recipes.landmarks import face_affines, face_boxes
from likeness.packs.recipes.unet import FACE_LABELS, PERSON_LABELS, label_shares, latent_spread, latents_of
from likeness.training import cosine
from likeness.training.loop import seeded
from likeness.types import Face

if TYPE_CHECKING:
    from torch import Tensor

    from likeness.methods.consistentid.model import ConsistentIDAdapter
    from likeness.packs.data import Pictures
    from likeness.packs.workshop import Workshop
    from likeness.training import Moment, TrainResult
    from likeness.training.phase import Batch

__all__ = ["train_adapter", "train_variant"]

FOLDER = "adapters/consistentid"  # in the pack
BATCH = 24
MINUTES = 40.0
LEARNING_RATE = 1e-3  # the adapter is small and young; the paper's 1e-4 is for 200 times its weights
FACE_WEIGHT = 3.0  # the person is in face and hair; clothes and background only add noise to the gradient
IDENTITY_WEIGHT = 0.1  # of the recogniser's own loss, which the paper does without
REFERENCES = 2  # pictures of each person that serve as references; every picture is a target
CAPTIONS = (3, 4, 1)  # of each picture: two short ones and tags; half of them leave the hair to the reference

PART_LABELS: dict[str, tuple[str, ...]] = {
    "face": FACE_LABELS,
    "eyes": ("left eye", "right eye", "left brow", "right brow"),
    "ears": ("left ear", "right ear"),
    "nose": ("nose",),
    "mouth": ("upper lip", "lower lip", "mouth"),
}


@dataclass(frozen=True)
class References:
    """What is known of R reference pictures: the first `REFERENCES` of each person, in order."""

    crops: Tensor
    valid: Tensor
    states: Tensor
    embedding: Tensor


def train_adapter(shop: Workshop) -> TrainResult:
    """Train on the frozen mini base; needs every other part of the pack."""
    shop = shop.budgeted(MINUTES)
    trained, result, pictures = train_variant(shop, ABLATIONS["whole"], "consistentid")
    if trained is not None:
        save_adapter(trained, shop.pack / FOLDER)
        steps, hours = shop.spent("consistentid", FOLDER)
        shop.record(
            FOLDER,
            "portraits",
            parameters=sum(p.numel() for p in trained.parameters()),
            steps=steps,
            hours=hours,
            pictures=len(pictures),
        )
    return result


def train_variant(
    shop: Workshop, ablation: Ablation, part: str, identity_weight: float = IDENTITY_WEIGHT
) -> tuple[ConsistentIDAdapter | None, TrainResult, Pictures]:
    """Train the adapter, or one that lacks something; `part` names the run.

    identity_weight: of the recogniser's loss, through which most of the person is learned.

    Returns the averaged weights where the budget is used, what became of the run, and what it learned from.
    """
    base = load_base(shop.pack, device=shop.device, dtype=torch.float32)
    pictures = shop.pictures("portraits")
    views = int((pictures.person == 0).sum())
    references = kept_references(shop, pictures, views)
    latents = shop.kept("latents", "vae", lambda: latents_of(base.vae, pictures.pixels, shop.device))
    ids, part_tokens = marked_ids(base.tokenizers, pictures)
    affines = face_affines(pictures.landmarks)
    masks = label_shares(pictures.labels, [PART_LABELS[part] for part in PARTS], latents.shape[-1])
    persons = label_shares(pictures.labels, [PERSON_LABELS], latents.shape[-1])[:, 0]
    spread = latent_spread(base.vae)
    image_states = seen(shop, ablation, references)
    torch.manual_seed(shop.seed)
    wide = references.states.shape[-1]
    sizes = dataclasses.replace(
        SIZES["mini"],
        text_width=base.text_width,
        image_width=wide,
        part_width=wide,
        identity=ablation.identity,
        picture_width=image_states.shape[-1] if ablation.identity == "picture" else 0,
    )
    adapter = new_adapter(base, sizes)
    shop.begin(adapter, FOLDER)
    adapter = adapter.to(shop.device)
    only_what_it_has(adapter, ablation)

    def batches(moment: Moment) -> Batch:
        generator = seeded(shop.seed, moment.draw, 63)
        person = torch.randint(len(pictures) // views, (BATCH,), generator=generator)
        view = torch.randint(REFERENCES, (BATCH,), generator=generator)
        reference = person * REFERENCES + view
        other = (view + 1 + torch.randint(views - 1, (BATCH,), generator=generator)) % views
        target = person * views + other
        caption = torch.randint(len(CAPTIONS), (BATCH,), generator=generator)
        mean = latents[target].float()
        return {
            "latents": mean + spread * torch.randn(mean.shape, generator=generator),
            "text_ids": ids[target, caption].long(),
            "part_tokens": part_tokens[target, caption].long(),
            "crop_states": references.crops[reference].float(),
            "valid": references.valid[reference] & ablation.parts,
            "image_states": image_states[reference].float(),
            "id_embedding": references.embedding[reference],
            "part_masks": masks[target].float() / 255,
            "person_mask": persons[target].float() / 255,
            "face_affine": affines[target],
        }

    phase = ConsistentIDPhase(
        adapter,
        base,
        cosine(LEARNING_RATE, warmup_steps=100),
        facial_weight=FACIAL_WEIGHT if ablation.localised else 0.0,
        face_weight=FACE_WEIGHT,
        recogniser=mini.load_recogniser(shop.part("recogniser")).to(shop.device),
        identity_weight=identity_weight,
    )
    result = shop.train([phase], batches, part, ema_decay=0.998)
    trained: Any = result.emas[phase.name].module if result.finished else None
    return trained, result, pictures


def only_what_it_has(adapter: ConsistentIDAdapter, ablation: Ablation) -> None:
    """Switch off, and leave out of training, what an ablation lacks."""
    identity, lora = ablation.scales
    adapter.set_scales(identity, lora)
    adapter.FacialEncoder.requires_grad_(ablation.parts)
    adapter.image_proj.requires_grad_(ablation.overall)
    for name, parameter in adapter.adapter_modules.named_parameters():
        parameter.requires_grad_(bool(lora if "_lora." in name else identity))


def seen(shop: Workshop, ablation: Ablation, references: References) -> Tensor:
    """What the identity tokens may ask of each reference: its states, or its embedding (R, 1, P)."""
    if ablation.identity == "face":
        return references.states
    encoder = load_image_encoder(shop.part("image_encoder"), device=shop.device, dtype=torch.float32)
    parts = [encoder.embeds_of(few.float()).cpu() for few in references.states.split(256)]
    return torch.cat(parts)[:, None]


def kept_references(shop: Workshop, pictures: Pictures, views: int) -> References:
    """`describe`, done once for the same pictures and encoders."""
    described = functools.cache(lambda: describe(shop, pictures, views))
    return References(
        crops=shop.kept("reference-crops", "image_encoder", lambda: described().crops),
        valid=shop.kept("reference-valid", "image_encoder", lambda: described().valid),
        states=shop.kept("reference-states", "image_encoder", lambda: described().states),
        embedding=shop.kept("reference-embedding", "recogniser", lambda: described().embedding),
    )


@torch.no_grad()
def describe(shop: Workshop, pictures: Pictures, views: int) -> References:
    """Describe the first `REFERENCES` pictures of each person; image states are kept in bfloat16."""
    face_encoder = load_encoder(shop.part("recogniser"))
    image_encoder = load_image_encoder(shop.part("image_encoder"), device=shop.device, dtype=torch.float32)
    rows = torch.arange(len(pictures)).view(-1, views)[:, :REFERENCES].flatten()
    boxes = face_boxes(pictures.landmarks).tolist()
    parts: list[References] = []
    for row in rows.tolist():
        picture = Image.fromarray(np.ascontiguousarray(pictures.pixels[row].permute(1, 2, 0).numpy()))
        face = Face(tuple(boxes[row]), pictures.landmarks[row, :5].numpy())
        known = identity_of_faces([picture], [face], face_encoder, image_encoder)
        parts.append(
            References(
                known.crops.to(torch.bfloat16),
                known.valid,
                known.states.to(torch.bfloat16),
                known.embedding,
            )
        )
    return References(
        **{name: torch.stack([getattr(p, name) for p in parts]) for name in References.__dataclass_fields__}
    )


def marked_ids(tokenizers: tuple[Any, ...], pictures: Pictures) -> tuple[Tensor, Tensor]:
    """Token ids (N, captions, 77) int32 and the parts' places (N, captions, 5) int32."""
    ids, places = [], []
    for captions in pictures.captions:
        marked = [mark_prompt(tokenizers, captions[i], CAPTION, PARTS) for i in CAPTIONS]
        ids.append(torch.stack([m.ids[0] for m in marked]).int())
        places.append(torch.stack([m.part_tokens for m in marked]).int())
    return torch.stack(ids), torch.stack(places)
