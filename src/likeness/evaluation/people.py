"""Who an evaluation is about: held-out sitters, or the folders of a user's own people; their styles."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from likeness.diffusion.pixels import to_pictures
from likeness.diffusion.text_to_image import paint_text
from likeness.errors import InputError
from likeness.files.images import read_image, write_png
from likeness.sitters import HELD_OUT_SEEDS, attributes, sample_scene, with_same_person

if TYPE_CHECKING:
    from PIL import Image

    from likeness.diffusion.load import Base
    from likeness.evaluation.protocol import Prompt
    from likeness.sitters import Scene

__all__ = [
    "Person",
    "Style",
    "groups_of",
    "painted_styles",
    "people_in",
    "sitter_styles",
    "sitters",
    "told_only",
]

PICTURES = (".jpg", ".jpeg", ".png", ".webp")
PROFILES = 3
"""Further pictures of each sitter."""


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """id: unique. word: what a prompt calls them. references, profiles, groups: see `Case`. scene: what the
    first reference was drawn from, of a sitter."""

    id: str
    word: str
    references: tuple[Image.Image, ...]
    profiles: tuple[Image.Image, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    scene: Scene | None = None


def sitters(count: int, seed: int, size_px: int) -> list[Person]:
    """`count` held-out sitters drawn by `seed`, with a reference and `PROFILES` further pictures each.

    Further pictures differ in everything but the person. Groups are the truth: skin, age, and
    "presents as", the word for the person.
    Raises: InputError for more people than are held out.
    """
    from PIL import Image

    from likeness.sitters.render import render

    if not 1 <= count <= len(HELD_OUT_SEEDS):
        raise InputError(f"There are 1 to {len(HELD_OUT_SEEDS)} held-out sitters to choose, not {count}.")
    people = []
    for number in random.Random(seed).sample(HELD_OUT_SEEDS, count):
        scene = sample_scene(number)
        others = [with_same_person(scene, n + 1) for n in range(PROFILES)]
        reference, *profiles = (Image.fromarray(render(one, size_px).rgb) for one in (scene, *others))
        people.append(
            Person(
                f"sitter-{number}",
                attributes(scene)["person"],
                (reference,),
                tuple(profiles),
                groups_of(scene),
                scene,
            )
        )
    return people


@dataclass(frozen=True, slots=True, eq=False)
class Style:
    """A picture whose pose, light and place somebody is put into.

    word: for whom it was painted, "" for anybody. scene: what it was drawn from, of a sitter.
    """

    id: str
    group: str
    image: Image.Image
    word: str = ""
    scene: Scene | None = None


def sitter_styles(count: int, seed: int, size_px: int) -> list[Style]:
    """Pictures of other held-out sitters, grouped by their light."""
    from PIL import Image

    from likeness.sitters.render import render

    numbers = random.Random(f"styles {seed}").sample(HELD_OUT_SEEDS, count)
    scenes = [sample_scene(number) for number in numbers]
    return [
        Style(f"style-{n:02d}", scene.light.kind, Image.fromarray(render(scene, size_px).rgb), "", scene)
        for n, scene in enumerate(scenes)
    ]


def painted_styles(
    base: Base, prompts: Sequence[Prompt], words: Sequence[str], seed: int, folder: Path
) -> list[Style]:
    """What the base alone paints for each prompt and each word for a person; kept in `folder`."""
    styles = []
    for word in sorted(set(words)):
        for number, prompt in enumerate(prompts):
            file = folder / f"{word}-{number:02d}.png"
            if not file.is_file():
                drawn = paint_text(base, [prompt.text.format(person=word)], [seed + number])
                write_png(to_pictures(drawn)[0], file)
            styles.append(Style(file.stem, prompt.group, read_image(file), word))
    return styles


def told_only(count: int, seed: int, *, of_sitters: bool) -> list[Person]:
    """People of whom there are only words: held-out sitters, or nobody in particular."""
    if not of_sitters:
        return [Person(f"caption-{number:04d}", "person", ()) for number in range(count)]
    scenes = [sample_scene(number) for number in random.Random(seed).sample(HELD_OUT_SEEDS, count)]
    return [
        Person(f"sitter-{scene.seed}", attributes(scene)["person"], (), (), groups_of(scene), scene)
        for scene in scenes
    ]


def groups_of(scene: Scene) -> dict[str, str]:
    """Whom a sitter belongs to: skin, age, and "presents as"."""
    told = attributes(scene)
    return {"skin": told["skin"], "age": told["age"], "presents as": told["person"]}


def people_in(folder: Path, word: str = "person") -> list[Person]:
    """One person a sub-folder: the first picture by name is the reference, the others are profiles.

    A sub-folder's name may start with what prompts call its person and two hyphens ("woman--anna").
    Raises: InputError for a folder without people, or a person without a picture.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give one that holds a folder of pictures for each person.")
    people = []
    for one in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        files = sorted(path for path in one.iterdir() if path.suffix.lower() in PICTURES)
        if not files:
            raise InputError(f"{one} holds no picture; put at least one of the person there.")
        first, *others = (read_image(path) for path in files)
        called, marked, _ = one.name.partition("--")
        people.append(Person(one.name, called if marked else word, (first,), tuple(others)))
    if not people:
        raise InputError(f"{folder} holds no folders; make one for each person, with their pictures in it.")
    return people
