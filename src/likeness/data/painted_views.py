"""The kind "painted-views": people seen from several sides whom no camera saw (IC-Portrait, "Data").

A text-to-image base paints each person from their name; a novel-view model, which the user brings, shows them
from other sides. Views without a face, or with another person's, are dropped. What comes of it is a folder of
pictures with a `metadata.jsonl`, a sub-folder a person: `likeness dataset build views` makes the data set.

    pictures/a-woman-of-40-0/0.png   as painted; 1.png ...: turned
    metadata.jsonl                   Hugging Face's image folder: file_name, text, identity
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

from likeness.data.engine import Built, Item, RejectedError, Sample, Work
from likeness.data.image_folder import METADATA
from likeness.diffusion.pixels import to_pictures
from likeness.diffusion.text_to_image import paint_text
from likeness.errors import FaceError, InputError
from likeness.files.images import to_json, write_bytes, write_png

if TYPE_CHECKING:
    from likeness.data.build import FaceModels
    from likeness.diffusion.load import Base

__all__ = ["Camera", "NovelView", "PaintedViewsBuilder", "ViewPainter", "load_novel_view"]

PERSON = "{person}"


@dataclass(frozen=True, slots=True)
class Camera:
    """Where a view is seen from, in degrees off the painted picture's: yaw to the sitter's left, pitch up."""

    yaw_deg: float
    pitch_deg: float


NovelView: TypeAlias = Callable[[Image.Image, Sequence[Camera]], Sequence[Image.Image]]
"""A picture, RGB, and cameras -> the same person from each of them. It is called once a person."""


@dataclass(frozen=True, slots=True, eq=False)
class ViewPainter:
    """What paints a person, turns them, and knows the faces."""

    base: Base
    turn: NovelView
    faces: FaceModels


@dataclass(frozen=True, slots=True, eq=False)
class PaintedViewsBuilder:
    """`count` people, every name once before any comes again with another seed.

    folder: where it is built. names: of people, put into `prompt` for "{person}". views: of each besides the
    painted one. yaw_deg, pitch_deg: cameras are drawn uniformly up to these. painter: opens the models, in
    each process that works; painter_name: for the record. similarity: cosine of each view's face with the
    painted one's at least. licence: of the base's pictures.
    """

    folder: Path
    names: Sequence[str]
    count: int
    painter: Callable[[], ViewPainter]
    painter_name: str
    prompt: str = "a portrait photo of {person}, looking at the camera"
    views: int = 5
    yaw_deg: float = 35.0
    pitch_deg: float = 12.0
    licence: str = "not declared"
    seed: int = 0
    similarity: float = 0.3
    steps: int = 30
    guidance: float = 5.0
    kind: str = "painted-views"
    threads: int = 1

    def __post_init__(self) -> None:
        if not self.names or self.count < 1 or self.views < 1:
            raise InputError("Painted views need at least one name, a count of 1 and one view.")
        if PERSON not in self.prompt:
            raise InputError(f"The prompt {self.prompt!r} has no {PERSON} for the name to stand in.")

    def settings(self) -> dict[str, Any]:
        """See `Builder`; a larger `count` goes on."""
        names = ("prompt", "views", "yaw_deg", "pitch_deg", "licence", "seed", "similarity", "steps")
        return {
            "painter": self.painter_name,
            "names": hashlib.sha256(repr(tuple(self.names)).encode()).hexdigest(),
            "guidance": self.guidance,
            **{name: getattr(self, name) for name in names},
        }

    def items(self) -> Iterator[Item]:
        """People, in the order of the names."""
        for number in range(self.count):
            again, name = divmod(number, len(self.names))
            person = f"{_slug(self.names[name])}-{number}"
            yield Item(person, {"name": name, "seed": self.seed + again, "number": number})

    def open(self) -> Work:
        """Paints one person and turns them."""
        painter = self.painter()

        def person(item: Item) -> list[Sample]:
            return self._person(painter, item)

        return person

    def finish(self, built: Built) -> None:
        """Write which pictures count, who is on them and what they show."""
        lines = [
            to_json(
                {"file_name": row["picture"], "text": row["text"], "identity": row["identity"]}, indent=None
            )
            for row in built.rows
        ]
        write_bytes(built.folder / METADATA, "".join(f"{line}\n" for line in lines).encode())

    def cameras(self, number: int) -> list[Camera]:
        """Those of person `number`."""
        drawn = np.random.default_rng([self.seed, number]).uniform(-1, 1, (self.views, 2))
        return [Camera(float(yaw * self.yaw_deg), float(pitch * self.pitch_deg)) for yaw, pitch in drawn]

    def _person(self, painter: ViewPainter, item: Item) -> list[Sample]:
        text = self.prompt.replace(PERSON, self.names[item.data["name"]])
        seed, cameras = item.data["seed"] * 1_000_003 + item.data["name"], self.cameras(item.data["number"])
        painted = paint_text(painter.base, [text], [seed], steps=self.steps, guidance=self.guidance)
        [picture] = to_pictures(painted)
        known = painter.faces.embedding(picture)
        turned = list(painter.turn(picture, cameras))
        if len(turned) != len(cameras):
            raise InputError(f"The novel-view model gave {len(turned)} pictures for {len(cameras)} cameras.")
        kept = [(Camera(0.0, 0.0), picture, 1.0)]
        for camera, view in zip(cameras, turned, strict=True):
            try:
                alike = round(float(known @ painter.faces.embedding(view)), 4)
            except FaceError:
                continue
            if alike >= self.similarity:
                kept.append((camera, view.convert("RGB"), alike))
        if len(kept) == 1:
            raise RejectedError("no view", f"None of {self.views} views shows the face that was painted.")
        samples = []
        for place, (camera, view, alike) in enumerate(kept):
            name = f"pictures/{item.key}/{place}.png"
            write_png(view, self.folder / name)
            columns = {
                "picture": name,
                "text": text,
                "yaw_deg": camera.yaw_deg,
                "pitch_deg": camera.pitch_deg,
                "similarity": alike,
                "seed": seed,
            }
            samples.append(Sample(f"{item.key}-{place}", item.key, self.painter_name, self.licence, columns))
        return samples


def load_novel_view(name: str) -> NovelView:
    """A function of the user's own, "turn.py:views": that file is run.

    Raises: InputError for what is not there or cannot be called.
    """
    file, _, function = name.rpartition(":")
    if not file.endswith(".py") or not function:
        raise InputError(f"{name!r} names no function; write FILE.py:FUNCTION.")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None or not Path(file).is_file():
        raise InputError(f"There is no file {file}.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: NovelView | None = getattr(module, function, None)
    if not callable(found):
        raise InputError(f"{file} has no function {function}.")
    return found


def _slug(name: str) -> str:
    """A name as a folder may be called: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "person"
