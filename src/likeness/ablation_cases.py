"""What a method's ablations are painted and measured on: held-out sitters, by the mini pack's models."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from likeness.errors import FaceError
from likeness.evaluation.case import Case, Truth
from likeness.evaluation.edits import held_out_edits
from likeness.evaluation.embedders import loaded
from likeness.evaluation.judge import open_judge
from likeness.evaluation.metrics.attributes import AttributeViews, DetailsWrong, PoseError, WordsFollowed
from likeness.evaluation.metrics.changes import ResponseGain
from likeness.evaluation.metrics.perceptual import Lpips, TowerLayers
from likeness.evaluation.metrics.sharpness import Sharpness
from likeness.evaluation.people import Person, sitters
from likeness.evaluation.pollution import open_axes
from likeness.evaluation.protocol import load_protocol
from likeness.evaluation.suite import suite
from likeness.evaluation.tasks import Task, tasks_of
from likeness.files.images import read_image, write_png
from likeness.packs import mini, mini_path
from likeness.references import open_detector
from likeness.sitters import HELD_OUT_SEEDS
from likeness.sitters.taught import TAUGHT, attribute_of, taught_scene
from likeness.types import PortraitRequest

if TYPE_CHECKING:
    from likeness.evaluation.metrics import Metric
    from likeness.packs.ablations import Painting, Plan
    from likeness.types import PortraitPipeline

__all__ = ["AblationCase", "cases_of", "metrics_of", "painted_case"]

PEOPLE = 25
"""At most so many people in the cases of portraits."""


@dataclass(frozen=True, slots=True, eq=False)
class AblationCase:
    """A request, and what its picture is measured against. prompt: what CLIP compares with; source: the true
    edit, or what the base paints; truth: what is to be seen."""

    id: str
    request: PortraitRequest
    prompt: str
    profiles: tuple[Image.Image, ...] = ()
    source: Image.Image | None = None
    truth: Truth | None = None


def cases_of(
    method: str, plan: Plan, pack: Path, size_px: int, count: int, seed: int, originals: Path
) -> list[AblationCase]:
    """`count` cases of the plan's kind, drawn by `seed`.

    pack, size_px: what is painted with. originals: folder for what the base paints where targets are taught.
    """
    if plan.cases == "targets":
        return _targets(plan, pack, count, seed, originals)
    if plan.cases == "edits":
        near = size_px < mini.SIZE_PX
        edits = held_out_edits(count, seed, mini.SIZE_PX, near=near)
        return [
            AblationCase(
                edit.id,
                PortraitRequest(edit.instruction, (edit.before,), seed=number),
                edit.caption,
                (),
                edit.after,
            )
            for number, edit in enumerate(edits)
        ]
    protocol = load_protocol(method, sitters=True)
    who = sitters(min(count, PEOPLE), seed, mini.SIZE_PX)
    return [
        AblationCase(
            task.id,
            task.request,
            task.request.prompt,
            task.person.profiles,
            truth=task.truth if plan.cases == "collections" else None,
        )
        for task in tasks_of(protocol, who, seed, count)
    ]


def _targets(plan: Plan, pack: Path, count: int, seed: int, folder: Path) -> list[AblationCase]:
    """Words of held-out people and of one attribute each, `TAUGHT` by turns; and what the base paints of the
    first alone, from the same seed."""
    taught = [attribute_of(text) for text in TAUGHT]
    base, cases = plan.load(pack, None), list[AblationCase]()
    for person in random.Random(seed).sample(HELD_OUT_SEEDS, len(HELD_OUT_SEEDS)):
        number = len(cases)
        if number == count:
            break
        attribute = taught[number % len(taught)]
        found = taught_scene(person, taught, number % len(taught))
        if found is None:
            continue
        request = PortraitRequest(found.base, seed=number, options={"target": found.target})
        file = folder / f"{number}.png"
        if not file.is_file():
            [painted] = base([dataclasses.replace(request, options={})])
            write_png(painted.image, file)
        asked_for = Truth({attribute.kind: attribute.value})
        cases.append(AblationCase(str(number), request, found.target, (), read_image(file), asked_for))
    return cases


def metrics_of(pack: Path, plan: Plan, cases: Sequence[AblationCase]) -> list[Metric]:
    """By the mini pack's models, none of which a smaller pack was made with; its ViT where there is one."""
    detector = open_detector("mini", references_are_sitters=True)
    judge = open_judge("mini", detector, sitters=True)
    if plan.cases == "targets":
        axes = open_axes(mini_path(), judge)
        views = AttributeViews(mini.load_attributes(mini_path() / "attributes"))
        gain = [ResponseGain(axes.clip, {one.id: one.prompt for one in cases})] if axes.clip else []
        return [*axes.metrics, *gain, WordsFollowed(views)]
    taught_by = next((one.name for one in judge.encoders if one.name.endswith(" recogniser")), None)
    eyes = next((one for one in (mini_path(), pack) if (one / "vit").is_dir()), None)
    tasks = [Task(one.id, Person(one.id, "person", ()), "", one.request) for one in cases]
    looks = suite(judge, detector, tasks, without=taught_by, clip=mini_path(), dino=eyes)
    found = list(looks.metrics)
    if plan.cases == "collections":
        views = AttributeViews(mini.load_attributes(mini_path() / "attributes"))
        found += [WordsFollowed(views), DetailsWrong(views), PoseError(views)]
    if plan.cases == "edits":
        from transformers import CLIPVisionModelWithProjection

        tower = loaded(CLIPVisionModelWithProjection, mini_path() / "image_encoder")
        found += [Lpips(TowerLayers(tower.float(), "the mini pack's CLIP")), Sharpness()]
    return found


def painted_case(pipeline: PortraitPipeline, painting: Painting, case: AblationCase) -> Case | None:
    """A case's picture beside what it is measured against; None where no face was found to begin with."""
    options = {**case.request.options, **painting.options}
    request = dataclasses.replace(case.request, options=options, steps=painting.steps)
    try:
        image = pipeline([request])[0].image
    except FaceError:
        return None
    side = mini.SIZE_PX  # what the judges know; a smaller pack's pictures are enlarged
    if min(image.size) < side:
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    source = case.source.resize(image.size, Image.Resampling.BICUBIC) if case.source else None
    return Case(
        case.id, image, case.prompt, request.references, case.profiles, source=source, truth=case.truth
    )
