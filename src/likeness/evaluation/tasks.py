"""A protocol and people become tasks: one picture to paint each, and what it has to show."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from likeness.errors import InputError
from likeness.evaluation.case import Truth, touched
from likeness.faces.attributes import NOT_SHOWN
from likeness.packs.check_words import CATEGORIES
from likeness.sitters import attributes, captions, instructions, with_same_person
from likeness.sitters.describe import pronouns
from likeness.types import RESTYLING, PortraitRequest

if TYPE_CHECKING:
    from PIL import Image

    from likeness.evaluation.people import Person, Style
    from likeness.evaluation.protocol import Prompt, Protocol
    from likeness.sitters import Scene

__all__ = ["Task", "tasks_of"]

COLLECTED = ("hair", "clothes", "accessories", "makeup", "background", "light")
"""Factors of a scene that stay as they are within a collection."""


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One picture to paint.

    group: of its prompt. truth: what it has to show, where that is known. source: what is to be kept but for
    what was asked; source_request: or how it is painted first. words: what the picture is held against,
    where that is more than the request's prompt.
    """

    id: str
    person: Person
    group: str
    request: PortraitRequest
    truth: Truth | None = None
    source: Image.Image | None = None
    source_request: PortraitRequest | None = None
    words: str = ""


def tasks_of(
    protocol: Protocol,
    people: Sequence[Person],
    seed: int,
    limit: int | None = None,
    *,
    styles: Sequence[Style] = (),
) -> list[Task]:
    """Every picture of a protocol, each with a seed of its own; of many, `limit` drawn by `seed`.

    styles: the pictures that "restyle" puts people into.
    Raises: InputError for a limit under 1, or no styles where they are needed.
    """
    if limit is not None and limit < 1:
        raise InputError(f"At least 1 case is needed, not {limit}.")
    rng = random.Random(seed)
    if protocol.kind == "restyle":
        tasks = _restyled(people, styles, rng)
    elif protocol.kind == "customise":
        tasks = _customised(protocol, people, rng)
    elif protocol.kind == "collect" and not protocol.prompts:
        tasks = _collected(protocol, people, rng)
    else:
        told = {"portrait": _portrait_truth, "edit": _edit_truth}.get(protocol.kind)
        tasks = _told(protocol, people, rng, told, keeps_photo=protocol.kind == "edit")
    if limit is None or limit >= len(tasks):
        return tasks
    chosen = sorted(rng.sample(range(len(tasks)), limit))
    return [tasks[i] for i in chosen]


def _told(
    protocol: Protocol,
    people: Sequence[Person],
    rng: random.Random,
    truth: Callable[[Scene, Mapping[str, str]], Truth] | None,
    *,
    keeps_photo: bool,
) -> list[Task]:
    """Every prompt with every person."""
    return [
        Task(
            f"{person.id}-{number:02d}",
            person,
            prompt.group,
            PortraitRequest(_worded(prompt, person), person.references, seed=rng.randrange(2**31)),
            truth(person.scene, prompt.shows) if person.scene and truth else None,
            person.references[0] if keeps_photo and person.references else None,
        )
        for person in people
        for number, prompt in enumerate(protocol.prompts)
    ]


def _restyled(people: Sequence[Person], styles: Sequence[Style], rng: random.Random) -> list[Task]:
    if not styles:
        raise InputError("Style references are needed to put people into, and there are none.")
    return [
        Task(
            f"{person.id}-{style.id}",
            person,
            style.group,
            PortraitRequest(
                "", person.references, seed=rng.randrange(2**31), image=style.image, strength=RESTYLING
            ),
            _restyle_truth(person.scene, style.scene) if person.scene and style.scene else None,
            style.image,
        )
        for person in people
        for style in styles
        if style.word in ("", person.word)
    ]


def _collected(protocol: Protocol, people: Sequence[Person], rng: random.Random) -> list[Task]:
    """Sitters' triplets: another pose, expression and view, told as an instruction."""
    tasks = []
    for person in people:
        for number in range(protocol.each if person.scene else 0):
            assert person.scene is not None  # noqa: S101  or there were no numbers
            drawn = rng.randrange(2**31)
            after = with_same_person(person.scene, drawn, keep=COLLECTED)
            [words] = instructions(person.scene, after, drawn, 1)
            request = PortraitRequest(words, person.references, seed=rng.randrange(2**31))
            truth = _collect_truth(person.scene, after)
            tasks.append(Task(f"{person.id}-{number:02d}", person, "collection", request, truth))
    return tasks


def _customised(protocol: Protocol, people: Sequence[Person], rng: random.Random) -> list[Task]:
    """Triples: a base caption, what the base paints for it, and a target."""
    tasks = []
    for number, person in enumerate(people):
        if person.scene:
            target = rng.choice(_addable(protocol.targets, person.scene))
            caption = captions(person.scene, 4, number)[3]  # a short one
        else:
            target = rng.choice(protocol.targets)
            caption = protocol.prompts[number % len(protocol.prompts)].text
        words = PortraitRequest(caption, seed=rng.randrange(2**31))
        tasks.append(
            Task(
                person.id,
                person,
                target.group,
                replace(words, options={"target": target.text}),
                Truth(asked=target.shows, kept=None) if person.scene else None,
                source_request=replace(words, options={"scale": 0.0}),
                words=f"{caption.rstrip(' .')}, {target.text}",
            )
        )
    return tasks


def _worded(prompt: Prompt, person: Person) -> str:
    named = person.word if person.word in ("man", "woman") else "person"
    return prompt.text.format(person=person.word, **pronouns(named))


def _addable(targets: Sequence[Prompt], scene: Scene) -> list[Prompt]:
    """Those that add what the scene has nothing of."""
    shown = attributes(scene, hidden=True)
    return [one for one in targets if not any(kind in shown for kind in one.shows)] or list(targets[-1:])


def _portrait_truth(scene: Scene, shows: Mapping[str, str]) -> Truth:
    """A portrait keeps who it is; the rest is the prompt's."""
    gone = touched(shows)
    seen = attributes(scene)
    kept = {kind: seen[kind] for kind in CATEGORIES["person"] if kind in seen and kind not in gone}
    return Truth(shows, kept)


def _edit_truth(scene: Scene, shows: Mapping[str, str]) -> Truth:
    """An edit keeps everything else, pose and light included."""
    gone = touched(shows)
    kept = {kind: value for kind, value in attributes(scene).items() if kind not in gone}
    return Truth(shows, kept, _pose(scene), None if "light" in gone else _light(scene))


def _restyle_truth(scene: Scene, style: Scene) -> Truth:
    """The style's picture with the person in it; whose hair it is, the paper leaves open."""
    whole = attributes(replace(style, identity=scene.identity))
    kept = {kind: value for kind, value in whole.items() if kind not in CATEGORIES["hair"]}
    return Truth({}, kept, _pose(style), _light(style))


def _collect_truth(before: Scene, after: Scene) -> Truth:
    """What the instruction names of pose and face is asked for; what both pictures show is kept."""
    one, two = attributes(before), attributes(after)
    told = (*CATEGORIES["pose"], *CATEGORIES["expression"])
    asked = {kind: two.get(kind, NOT_SHOWN) for kind in told if one.get(kind) != two.get(kind)}
    kept = {kind: value for kind, value in two.items() if one.get(kind) == value}
    return Truth(asked, kept, _pose(after), _light(after))


def _pose(scene: Scene) -> tuple[float, float, float]:
    return scene.pose.yaw_deg, scene.pose.pitch_deg, scene.pose.roll_deg


def _light(scene: Scene) -> tuple[float, float]:
    return scene.light.azimuth_deg, scene.light.elevation_deg
