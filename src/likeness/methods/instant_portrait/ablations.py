"""Tables 2 and 5: IDE-Net by each identity loss, and what is distilled from it by each set of losses."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from likeness.diffusion.load import load_base
from likeness.methods.instant_portrait.config import ABLATIONS, ANNEALINGS, IdeTraining
from likeness.methods.instant_portrait.pipeline import load
from likeness.methods.instant_portrait.recipe import (
    edit_settings,
    pair_batches,
    train_ide_net,
    train_ip_net,
)
from likeness.methods.instant_portrait.weights import load_editor, save_editor
from likeness.packs.ablations import Claim, Painting, Plan, Variant

if TYPE_CHECKING:
    from likeness.packs.workshop import Workshop
    from likeness.training import TrainResult
    from likeness.types import PortraitPipeline

__all__ = ["PLAN"]

IDE_NET, IP_NET = "IDE-Net", "IPNet"
TEACHERS = {
    "baseline": IdeTraining(identity_weight=0.0),
    IDE_NET: IdeTraining(),
    **{
        f"IDE-Net, {name}": IdeTraining(annealing=annealing)
        for name, annealing in ANNEALINGS.items()
        if name != "t/T"
    },
}
STUDENTS = {IP_NET if name == "ipnet" else name: stages for name, stages in ABLATIONS.items()}


def _teach(name: str, shop: Workshop, part: str, start: Path | None, folder: Path) -> TrainResult:
    base = load_base(shop.pack, device=shop.device, dtype=torch.float32)
    batches = pair_batches(shop, base, shop.pictures("edits"))
    unet, result = train_ide_net(shop, base, batches, TEACHERS[name], part)
    if unet is not None:
        save_editor(unet, edit_settings(shop, "ide-net"), folder)
    return result


def _distil(name: str, shop: Workshop, part: str, start: Path | None, folder: Path) -> TrainResult:
    base = load_base(shop.pack, device=shop.device, dtype=torch.float32)
    batches = pair_batches(shop, base, shop.pictures("edits"))
    teacher, _, _ = load_editor(start or folder, base)
    teacher = teacher.eval().requires_grad_(False)
    unet, result = train_ip_net(shop, base, batches, teacher, STUDENTS[name], part)
    if unet is not None:
        save_editor(unet, edit_settings(shop, "ipnet"), folder)
    return result


def _load(pack: Path, weights: Path) -> PortraitPipeline:
    return load(pack, weights, sitters=True)


CONSTANT, DISTILLED, TWICE = "IDE-Net, constant", "adv+distill", "IPNet, second pass"
OTHERS = ("t/T + .1", "cosine", "cosine .9")
TABLE_2 = (
    ("a constant identity loss keeps more of the person than an annealed one", "FaceSim", CONSTANT, IDE_NET),
    ("an annealed identity loss follows the words better than a constant one", "CLIP-T", IDE_NET, CONSTANT),
    ("an annealed identity loss keeps more of the person than none", "FaceSim", IDE_NET, "baseline"),
    ("by the adversarial loss alone the person is lost", "FaceSim", DISTILLED, "adv"),
    ("by the adversarial loss alone the words are lost", "CLIP-T", DISTILLED, "adv"),
    ("by the adversarial loss alone pictures are farther from the true edit", "LPIPS", DISTILLED, "adv"),
    ("distilled by inversion the words are followed better than by noise", "CLIP-T", DISTILLED, "adv+sds"),
    ("distilled by inversion pictures are sharper than by noise", "sharpness", DISTILLED, "adv+sds"),
    ("with the triplet loss the words are followed better", "CLIP-T", IP_NET, DISTILLED),
    ("with the triplet loss slightly less of the person is kept", "FaceSim", DISTILLED, IP_NET),
    ("one step follows the words as well as its teacher's 20, within .01", "CLIP-T", IP_NET, IDE_NET, -0.01),
    ("one step is as near to the true edit as its teacher's 20, within .01", "LPIPS", IP_NET, IDE_NET, -0.01),
    ("one step loses at most .03 of its teacher's likeness", "FaceSim", IP_NET, IDE_NET, -0.03),
)
TABLE_5 = (
    *((f"t/T keeps less of the person than {one}", "FaceSim", f"IDE-Net, {one}", IDE_NET) for one in OTHERS),
    *((f"t/T follows the words better than {one}", "CLIP-T", IDE_NET, f"IDE-Net, {one}") for one in OTHERS),
)
SECOND_PASS = Claim("a second pass follows the words more", "section 3.2.4", "CLIP-T", TWICE, IP_NET)


def _claim(source: str, text: str, metric: str, better: str, worse: str, margin: float = 0.0) -> Claim:
    return Claim(text, source, metric, better, worse, margin)


PLAN = Plan(
    cases="edits",
    variants=(
        *(Variant(name, partial(_teach, name)) for name in TEACHERS),
        *(Variant(name, partial(_distil, name), IDE_NET) for name in STUDENTS),
    ),
    paintings=(
        *(Painting(name, name) for name in (*TEACHERS, *STUDENTS)),
        Painting(TWICE, IP_NET, {"style_boost": True}),
    ),
    claims=(
        *(_claim("Table 2", *one) for one in TABLE_2),
        SECOND_PASS,
        *(_claim("Table 5", *one) for one in TABLE_5),
    ),
    load=_load,
)
