"""Who an evaluation is about: held-out sitters, or the folders of a user's own people."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from likeness.errors import InputError
from likeness.files.images import read_image
from likeness.sitters import HELD_OUT_SEEDS, attributes, sample_scene, with_same_person

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Person", "people_in", "sitters"]

PICTURES = (".jpg", ".jpeg", ".png", ".webp")
PROFILES = 3
"""Further pictures of each sitter."""


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """id: unique. word: what a prompt calls them. references, profiles, groups: see `Case`."""

    id: str
    word: str
    references: tuple[Image.Image, ...]
    profiles: tuple[Image.Image, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)


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
        told = attributes(scene)
        others = [with_same_person(scene, n + 1) for n in range(PROFILES)]
        reference, *profiles = (Image.fromarray(render(one, size_px).rgb) for one in (scene, *others))
        people.append(
            Person(
                f"sitter-{number}",
                told["person"],
                (reference,),
                tuple(profiles),
                {"skin": told["skin"], "age": told["age"], "presents as": told["person"]},
            )
        )
    return people


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
