"""Attributes to be taught: scenes that show one, scenes that show none of some, and the words for both.

An attribute is a kind and a value of `words.attributes`, written "hair=afro". A caption is split into the
words of the rest of the picture (base) and its own (target): "A man with brown eyes.", "with a big afro".
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from likeness.errors import InputError
from likeness.files.images import png_bytes, to_json, write_bytes
from likeness.sitters import phrases as say
from likeness.sitters.describe import describe, hair_phrase, with_articles, worn_phrase
from likeness.sitters.parameters import Scene
from likeness.sitters.sample import sample_scene, straightened, with_same_person
from likeness.sitters.words import attributes

__all__ = [
    "TAUGHT",
    "Attribute",
    "TaughtScene",
    "attribute_of",
    "hiding",
    "showing",
    "split_caption",
    "taught_scene",
    "write_taught",
]

TAUGHT = ("hair=pigtails", "hat=bobble hat", "glasses=sunglasses", "pattern=camouflage")
"""A hairstyle, two accessories and a pattern: what is held back from a base that is to be taught them."""

HAIR, HAT = ("hair", "hair_colour", "greying", "fringe"), ("hat", "hat_colour", "hat_trim_colour")
CLOTHES = ("garment", "garment_colour", "pattern", "pattern_colour", "inner_colour", "logo")
KINDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "hair": (("hair", "accessories"), HAIR),
    "beard": (("hair",), ("beard",)),
    "hat": (("accessories",), HAT),
    "glasses": (("accessories",), ("glasses", "glasses_colour")),
    "earrings": (("accessories", "hair"), ("earrings", "earrings_metal")),
    "necklace": (("accessories", "clothes"), ("necklace", "necklace_metal")),
    "garment": (("clothes",), CLOTHES),
    "pattern": (("clothes",), CLOTHES),
    "lipstick": (("makeup",), ("lipstick",)),
    "eyeshadow": (("makeup", "accessories"), ("eyeshadow",)),
}
"""Of each kind: the factors that are drawn anew to show it, and the attributes its words speak of."""
TRIES = 400
"""Factors are drawn so often before a person counts as one who does not wear it."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """Such as hair, afro."""

    kind: str
    value: str

    def __str__(self) -> str:
        return f"{self.kind}={self.value}"

    def shown_in(self, scene: Scene) -> bool:
        """Whether the picture shows it."""
        return attributes(scene).get(self.kind) == self.value


def attribute_of(text: str) -> Attribute:
    """ "hair=afro" taken apart. Raises: InputError for a kind or a value that cannot be taught."""
    kind, _, value = text.partition("=")
    if kind not in KINDS:
        raise InputError(f"{text!r} cannot be taught; give KIND=VALUE of the kinds {', '.join(KINDS)}.")
    values = _values(kind)
    if value not in values:
        raise InputError(f"There is no {kind} {value!r}; there are {', '.join(values)}.")
    return Attribute(kind, value)


def showing(scene: Scene, attribute: Attribute, seed: int) -> Scene | None:
    """The same moment with the attribute; None for a person who would not wear it.

    Only the factors it belongs to are new. `seed` of the new scene is None: no single seed makes it.
    """
    return _drawn(scene, KINDS[attribute.kind][0], attribute.shown_in, seed)


def hiding(scene: Scene, held_back: Sequence[Attribute], seed: int) -> Scene:
    """The same moment with none of the attributes; itself where it shows none."""
    for attribute in held_back:
        if attribute.shown_in(scene):
            factors = KINDS[attribute.kind][0]
            found = _drawn(scene, factors, lambda one: not any(a.shown_in(one) for a in held_back), seed)
            scene = found or scene
    return scene


def split_caption(scene: Scene, attribute: Attribute, seed: int) -> tuple[str, str]:
    """A medium or long caption without a word about what the attribute belongs to, and the words of that.

    Raises: InputError for a scene that does not show it.
    """
    seen = attributes(scene)
    if seen.get(attribute.kind) != attribute.value:
        raise InputError(f"The scene does not show {attribute}.")
    rng = random.Random(f"taught {seed}")
    rest = {name: value for name, value in seen.items() if name not in KINDS[attribute.kind][1]}
    base = describe(rest, rng.choice(("medium", "long")), rng)
    return base, with_articles(_words(seen, attribute.kind, rng))


@dataclass(frozen=True, slots=True)
class TaughtScene:
    """A scene that shows an attribute, told apart into the words of the rest and its own."""

    scene: Scene
    base: str
    target: str


def taught_scene(person: int, taught: Sequence[Attribute], number: int) -> TaughtScene | None:
    """The `number`th of the attributes on a person, none of the other kinds beside it; None for a person who
    would not wear it. The same every time."""
    attribute, seed = taught[number], person * len(taught) + number
    others = [one for one in taught if one.kind != attribute.kind]
    scene = showing(hiding(straightened(sample_scene(person)), others, person), attribute, seed)
    if scene is None or any(one.shown_in(scene) for one in others):
        return None
    return TaughtScene(scene, *split_caption(scene, attribute, seed))


def write_taught(
    folder: Path,
    taught: Sequence[Attribute],
    people: Sequence[int],
    size_px: int = 128,
    *,
    framed: Callable[[Scene], Scene] = lambda scene: scene,
    workers: int | None = None,
    on_picture: Callable[[int, int], None] | None = None,
) -> int:
    """A picture of each attribute of each person who would wear it: an image folder for `dataset build`.

    people: their seeds. Writes `images/` and `metadata.jsonl` with the columns `text`, `base`, `target`,
    `attribute` and `identity`; returns the number of pictures. The other attributes of `taught` are
    not on a picture. framed: what is drawn of each scene, such as a close-up.
    Raises: InputError where nobody would wear any.
    """
    from PIL import Image

    from likeness.sitters.render import render_many

    scenes, rows = [], []
    for person in people:
        for number, attribute in enumerate(taught):
            found = taught_scene(person, taught, number)
            if found is None:
                continue
            name = f"images/{person:08d}-{attribute.kind}-{attribute.value.replace(' ', '-')}.png"
            scenes.append(framed(found.scene))
            rows.append(
                {
                    "file_name": name,
                    "text": f"{found.base.rstrip('.')}, {found.target}.",
                    "base": found.base,
                    "target": found.target,
                    "attribute": attribute.value,
                    "identity": f"sitter-{person}",
                }
            )
    if not rows:
        raise InputError(f"None of {len(people)} people would wear {' or '.join(map(str, taught))}.")
    for done, (row, picture) in enumerate(
        zip(rows, render_many(scenes, size_px, workers=workers), strict=True)
    ):
        image = Image.fromarray(picture.rgb)
        write_bytes(folder / row["file_name"], png_bytes(image, {"sitter": row["identity"]}))
        if on_picture is not None:
            on_picture(done + 1, len(rows))
    lines = "".join(to_json(row, indent=None) + "\n" for row in rows)
    write_bytes(folder / "metadata.jsonl", lines.encode())
    return len(rows)


def _drawn(scene: Scene, factors: Sequence[str], wanted: Callable[[Scene], bool], seed: int) -> Scene | None:
    for attempt in range(TRIES):
        other = with_same_person(scene, seed * TRIES + attempt)
        changes = {name: getattr(other, name) for name in factors}
        found = dataclasses.replace(scene, **changes, seed=None)
        if wanted(found):
            return found
    return None


def _words(seen: Mapping[str, str], kind: str, rng: random.Random) -> str:
    if kind == "hair":
        return f"with {hair_phrase(seen, rng)}"
    if kind == "beard":
        return f"with {rng.choice(say.BEARD[seen['beard']])}"
    return f"wearing {worn_phrase(seen, 'garment' if kind == 'pattern' else kind, rng)}"


def _values(kind: str) -> list[str]:
    from likeness.sitters.palette import EYESHADOW, LIPSTICK

    tables: Mapping[str, Sequence[str] | Mapping[str, object]] = {
        "hair": say.HAIR, "beard": say.BEARD, "hat": say.HAT, "glasses": say.GLASSES,
        "earrings": say.EARRINGS, "necklace": say.NECKLACE, "garment": say.GARMENT, "pattern": say.PATTERN,
        "lipstick": LIPSTICK, "eyeshadow": EYESHADOW,
    }  # fmt: skip
    return [value for value in tables[kind] if (kind, value) not in (("hair", "hair"), ("pattern", "plain"))]
