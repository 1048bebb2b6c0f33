"""How the mini pack's editors are trained: sitters before and after an edit, in the same pose.

Every two pictures of a person are a pair, and the renderer's truth says what changed between them. First
IDE-Net learns from the pack's own UNet, then IPNet from IDE-Net, by the paper's three stages.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from likeness.diffusion.load import Base, load_base
from likeness.diffusion.openvino import OpenVinoUnet, has_openvino
from likeness.diffusion.parts import load_part
from likeness.faces.embed import load_encoder
from likeness.methods.instant_portrait.config import STAGES, T_MAX, EditSettings, IdeTraining
from likeness.methods.instant_portrait.model import Backbone, Discriminator, editing_unet
from likeness.methods.instant_portrait.training import DiscriminatorPhase, IdeNetPhase, IpNetPhase
from likeness.methods.instant_portrait.weights import save_editor
from likeness.packs import mini
from likeness.packs.data import edited_views
from likeness.packs.recipes.landmarks import face_affines
from likeness.packs.recipes.unet import latent_spread, latents_of
from likeness.sitters.words import instructions
from likeness.training import cosine
from likeness.training.loop import seeded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from likeness.methods.instant_portrait.config import DistillStage
    from likeness.packs.data import Pictures
    from likeness.packs.workshop import Workshop
    from likeness.training import Moment, Phase, TrainResult
    from likeness.training.loop import Batches
    from likeness.training.phase import Batch

__all__ = [
    "IDE_NET",
    "IP_NET",
    "edit_settings",
    "instructions_of",
    "load_backbone",
    "pair_batches",
    "train_adapter",
    "train_ide_net",
    "train_ip_net",
]

IP_NET, IDE_NET = "adapters/instant-portrait", "adapters/instant-portrait-teacher"  # in the pack
COARSE = {IDE_NET: 2}
"""How coarsely offsets are rounded (`files.int8`): more the teacher's, who is asked from three steps on."""
MINUTES = 60.0
TEACHER_SHARE = 0.6
"""Of the training that IDE-Net takes."""
BEGIN_SHARE = 0.5
"""Of IPNet's training that its student takes at the noisiest time step alone, before it is distilled."""
SHARES = (1 / 2, 7 / 16, 1 / 16)
"""Of the rest, of each of the paper's stages: the first, whose teacher sees too much noise to tell eyes,
mends what the words change, and the others sharpen it."""
BATCH = 24
IDENTITY_ROWS = 6
ADVERSARIAL, LATER_GUIDANCE = 0.1, 1.5
"""At the paper's weight the adversarial loss paints lips pink within minutes, of whomever. And beyond the
first stage, nearer to the student's own picture, full guidance exaggerates what it exaggerated before."""
CHANGE_SHARE = 0.5
"""Of the loss, for the places that an edit changes, which may be few: a smile (`place_weight`)."""
TEACHER_RATE, STUDENT_RATE, DISCRIMINATOR_RATE = 3e-4, 1.5e-4, 5e-3
"""The networks are small and trained for minutes; the paper's are for 859M parameters."""


def train_adapter(shop: Workshop) -> TrainResult:
    """IDE-Net, then IPNet, in the time or steps of one part; needs every other part of the pack."""
    base = load_base(shop.pack, device=shop.device, dtype=torch.float32)
    pictures = shop.pictures("edits")
    batches = pair_batches(shop, base, pictures)
    shop = shop.budgeted(MINUTES)
    settings = edit_settings(shop, "ide-net")
    part = "instant-portrait-teacher"
    taught, result = train_ide_net(shop.part_of(TEACHER_SHARE), base, batches, IdeTraining(), part)
    if taught is None:
        return result
    if result.finished:
        _write(shop, taught, settings, IDE_NET, [part], pictures)
    taught = taught.to(shop.device).eval().requires_grad_(False)
    rest = shop.part_of(1 - TEACHER_SHARE)
    stages = [
        dataclasses.replace(one, share=share, adversarial=ADVERSARIAL)
        for one, share in zip(STAGES, SHARES, strict=True)
    ]
    student, result = train_ip_net(rest, base, batches, taught, stages, "instant-portrait")
    if student is not None and result.finished:
        runs = [f"instant-portrait-{number}" for number in range(len(stages) + 1)]
        _write(shop, student, edit_settings(shop, "ipnet"), IP_NET, runs, pictures)
    return result


def train_ide_net(
    shop: Workshop, base: Base, batches: Batches, training: IdeTraining, part: str
) -> tuple[Any, TrainResult]:
    """Stage 1 in the shop's budget; `part` names the run. The averaged UNet, or None where it was stopped."""
    torch.manual_seed(shop.seed)
    unet = _begun(shop, IDE_NET, editing_unet(base.unet).requires_grad_(True))
    phase = IdeNetPhase(
        unet,
        base,
        mini.load_recogniser(shop.part("recogniser")).to(shop.device),
        training,
        cosine(TEACHER_RATE, warmup_steps=100),
        identity_rows=IDENTITY_ROWS,
        change_share=CHANGE_SHARE,
        forward=torch.compile(unet, dynamic=False) if shop.compiled else None,
    )
    result = shop.train([phase], batches, part, ema_decay=0.998)
    return result.emas[phase.name].module if result.over else None, result


def train_ip_net(
    shop: Workshop,
    base: Base,
    batches: Batches,
    teacher: Any,
    stages: Sequence[DistillStage],
    part: str,
) -> tuple[Any, TrainResult]:
    """Stage 2 in the shop's budget, stage after stage, from a frozen teacher; runs are `part`-0, `part`-1 ...

    First the student learns by IDE-Net's losses at T_MAX alone, where it begins: its teacher saw that time
    step once in a thousand, and is hazy there. The student, or None where it was stopped.
    """
    torch.manual_seed(shop.seed)
    student = _begun(shop, IP_NET, editing_unet(teacher).requires_grad_(True))
    begun = IdeNetPhase(
        student,
        base,
        mini.load_recogniser(shop.part("recogniser")).to(shop.device),
        IdeTraining(drop_image=0.0, drop_both=0.0),
        cosine(TEACHER_RATE, warmup_steps=20),
        identity_rows=IDENTITY_ROWS,
        change_share=CHANGE_SHARE,
        at=T_MAX,
    )
    result = shop.part_of(BEGIN_SHARE).train([begun], batches, f"{part}-0", ema_decay=0.99)
    if not result.over:
        return None, result
    student.load_state_dict(result.emas[begun.name].module.state_dict())
    asked = OpenVinoUnet(teacher) if shop.device == "cpu" and has_openvino() else teacher
    backbone = load_backbone(shop.part("vit")).to(shop.device)
    discriminator = Discriminator(backbone).to(shop.device)
    taught = edit_settings(shop, "ide-net")
    for number, stage in enumerate(stages, start=1):
        distilled = IpNetPhase(
            student,
            asked,
            discriminator,
            backbone,
            base,
            stage,
            cosine(STUDENT_RATE, warmup_steps=20),
            guidance=taught.guidance if number == 1 else LATER_GUIDANCE,
            image_guidance=taught.image_guidance if number == 1 else 1.0,
            crop_px=shop.preset.SIZE_PX // 2,
        )
        phases: list[Phase] = [distilled, DiscriminatorPhase(discriminator, distilled, DISCRIMINATOR_RATE)]
        result = shop.part_of((1 - BEGIN_SHARE) * stage.share).train(
            phases, batches, f"{part}-{number}", ema_decay=0.99
        )
        if not result.over:
            return None, result
        student.load_state_dict(result.emas["ipnet"].module.state_dict())
    return student, result


def edit_settings(shop: Workshop, stage: Literal["ide-net", "ipnet"]) -> EditSettings:
    """What stands beside the weights of a stage."""
    taught_by = load_encoder(shop.part("recogniser")).name
    if stage == "ipnet":
        return EditSettings("mini", stage, steps=1, guidance=1.0, taught_by=taught_by)
    return EditSettings("mini", stage, steps=20, guidance=3.0, taught_by=taught_by)


def pair_batches(shop: Workshop, base: Base, pictures: Pictures) -> Batches:
    """Batches of `training`'s keys from "edits": two pictures of a person, and what leads to the second."""
    views = int((pictures.person == 0).sum())
    vae, text = base.vae, base.text_encoders[0]
    latents = shop.kept("latents", "vae", lambda: latents_of(vae, pictures.pixels, shop.device), "edits")
    spread = latent_spread(vae)
    affines = face_affines(pictures.landmarks)
    ids = instruction_ids(base.tokenizers[0], shop, len(pictures) // views, views)

    def batches(moment: Moment) -> Batch:
        generator = seeded(shop.seed, moment.draw, 63)
        person = torch.randint(len(pictures) // views, (BATCH,), generator=generator)
        before = torch.randint(views, (BATCH,), generator=generator)
        after = (before + 1 + torch.randint(views - 1, (BATCH,), generator=generator)) % views
        source, target = person * views + before, person * views + after
        mean = latents[target].float()
        with torch.no_grad():
            words = text(input_ids=ids[person, before, after].long().to(text.device)).last_hidden_state
        return {
            "pixels_before": mini.to_unit(pictures.pixels[source]),
            "pixels_after": mini.to_unit(pictures.pixels[target]),
            # The UNet reads the input unscaled, as InstructPix2Pix's do.
            "image_latents": latents[source].float() / vae.config.scaling_factor,
            "latents": mean + spread * torch.randn(mean.shape, generator=generator),
            "text": words.float(),
            "face_affine": affines[source],
        }

    return batches


def instruction_ids(tokenizer: Any, shop: Workshop, people: int, views: int) -> Tensor:
    """Token ids (people, views, views, 77) int32 of the way from each picture of a person to each other."""
    first = mini.first_seed("edits")
    texts = [text for seed in range(first, first + people) for text in instructions_of(seed, views)]
    found = tokenizer(
        texts, padding="max_length", truncation=True, max_length=mini.TOKENS, return_tensors="pt"
    )
    return found["input_ids"].int().view(people, views, views, -1)  # type: ignore[no-any-return]


def instructions_of(seed: int, views: int) -> list[str]:
    """Row by row what leads from each of a person's `edited_views` to each; to itself, nothing."""
    scenes = edited_views(seed, views)
    return [
        instructions(one, other, seed * views + number, 1)[0]
        for number, one in enumerate(scenes)
        for other in scenes
    ]


def load_backbone(folder: Path) -> Backbone:
    """A vision transformer, such as a pack's own or DINOv2, for the discriminator and the triplet loss."""
    from transformers import AutoConfig, AutoImageProcessor, AutoModel

    processor = AutoImageProcessor.from_pretrained(folder)
    # A ViT would have a pooler made up where the folder holds none, and say so.
    more = {"add_pooling_layer": False} if AutoConfig.from_pretrained(folder).model_type == "vit" else {}
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, **more)
    return Backbone(model, tuple(processor.image_mean), tuple(processor.image_std))


def _begun(shop: Workshop, folder: str, unet: nn.Module) -> Any:
    """A new editor, or the pack's with `further`."""
    known = shop.pack / folder / "unet"
    if shop.further and known.is_dir():
        begun = load_part(known, type(unet), torch.float32, shop.part("unet"))
        unet.load_state_dict(begun.state_dict())
    return unet


def _write(
    shop: Workshop, unet: Any, settings: EditSettings, folder: str, runs: list[str], pictures: Pictures
) -> None:
    """Into the pack, with its entry in the card."""
    start, coarse = shop.part("unet"), COARSE.get(folder, 1)
    save_editor(unet.to("cpu"), settings, shop.pack / folder, int8=True, start=start, coarse=coarse)
    trained: list[TrainResult] = [shop.trained[run] for run in runs]
    shop.record(
        folder,
        "edits",
        parameters=sum(p.numel() for p in unet.parameters()),
        steps=sum(one.step for one in trained),
        hours=sum(one.seconds for one in trained) / 3600,
        pictures=len(pictures),
    )
