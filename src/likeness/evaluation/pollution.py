"""The axes along which a fine-tune is asked what else it changed, with the models at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from likeness.diffusion.parts import load_part
from likeness.evaluation.embedders import Clip, load_clip
from likeness.evaluation.metrics.changes import (
    BackgroundChange,
    Describer,
    IdentityChange,
    KindChange,
    LayoutChange,
    PictureChange,
)
from likeness.evaluation.metrics.faces import FaceViews
from likeness.evaluation.metrics.perceptual import TowerLayers
from likeness.evaluation.segmenters import ParsedRegions
from likeness.faces.parsing import CLASSES, load_parser
from likeness.packs import mini
from likeness.sitters import phrases as say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likeness.evaluation.judge import Judge
    from likeness.evaluation.metrics import Metric
    from likeness.faces.attributes import AttributeNet

__all__ = ["AXES", "Axes", "ClipDescriber", "ParserDescriber", "open_axes"]

AXES = ("identity", "layout", "background", "picture", "attributes")
PARSER_PX = 512
"""Longer side that a parser is shown at most."""


@dataclass(frozen=True, slots=True)
class Axes:
    """metrics: what is measured. missing: name of an axis -> why it is not. clip: for response.

    describer: who names attributes; judges: who measured what, for the record.
    """

    metrics: tuple[Metric, ...]
    missing: Mapping[str, str]
    judges: Mapping[str, str]
    describer: Describer | None = None
    clip: Clip | None = None


def open_axes(
    pack: Path, judge: Judge, *, parser: Path | None = None, clip: str | Path | None = None
) -> Axes:
    """What can be measured on pictures of a base that lies in `pack`, were it one.

    judge: its first encoder compares faces. parser: what `load_parser` takes; clip: a CLIPModel or a pack;
    by default the pack's. Attributes are named by the pack's judge of them, else by CLIP, else by the parser.
    Raises: MissingWeightsError, IncompatibleWeightsError for models that are given and cannot be loaded.
    """
    metrics: list[Metric] = []
    missing: dict[str, str] = {}
    judges: dict[str, str] = {}

    def add(metric: Metric, by: str) -> None:
        metrics.append(metric)
        judges[metric.name] = by

    if judge.encoders and judge.detector is not None:
        add(IdentityChange(FaceViews(judge.encoders[0], judge.detector)), judge.encoders[0].name)
    else:
        missing["identity"] = judge.reason
    folder = parser or (pack / "parser" if (pack / "parser" / "config.json").is_file() else None)
    regions = ParsedRegions(load_parser(folder)) if folder else None
    if regions and folder:
        add(LayoutChange(regions), folder.name)
        add(BackgroundChange(regions), folder.name)
    else:
        missing |= dict.fromkeys(("layout", "background"), "no face parser was given")
    own = pack if (pack / "pack.json").is_file() and (pack / "image_encoder").is_dir() else None
    towers = load_clip(clip or own) if clip or own else None  # type: ignore[arg-type]
    if towers is not None and (tower := _tower(Path(clip or own or ""))) is not None:
        add(PictureChange(tower), tower.name)
    else:
        missing["picture"] = "no CLIP was given"
    describer: Describer | None = None
    if (pack / "attributes" / "config.json").is_file():
        describer = JudgedAttributes(mini.load_attributes(pack / "attributes"))
    elif towers is not None:
        describer = ClipDescriber(towers)
    elif regions is not None:
        describer = ParserDescriber(regions)
    if describer is not None:
        add(KindChange(describer), describer.name)
    else:
        missing["attributes"] = "there is no judge of attributes, no CLIP and no face parser"
    return Axes(tuple(metrics), missing, judges, describer, towers)


@dataclass(frozen=True, slots=True, eq=False)
class JudgedAttributes:
    """A pack's judge of attributes."""

    net: AttributeNet
    name: str = "attribute judge"

    def __call__(self, images: Sequence[Image.Image]) -> list[dict[str, str]]:
        """See `Describer`."""
        from likeness.faces.attributes import INPUT_PX

        small = [
            image.convert("RGB").resize((INPUT_PX, INPUT_PX), Image.Resampling.LANCZOS) for image in images
        ]
        pixels = torch.from_numpy(np.stack([np.asarray(one, np.float32) for one in small]))
        return self.net.describe(pixels.permute(0, 3, 1, 2) / 127.5 - 1)


def _ways(table: Mapping[str, Sequence[str]], lead: str) -> dict[str, str]:
    """The first plain way to say each value."""
    return {value: f"{lead} {_plain(ways[0])}" for value, ways in table.items() if ways and value != "hair"}


def _plain(text: str) -> str:
    for name in ("{colour} and {second} ", "{colour} ", "{metal} "):
        text = text.replace(name, "")
    return text


SAID: Mapping[str, Mapping[str, str]] = {
    "person": {value: f"a {ways[0]}" for value, ways in say.NOUN.items() if value != "person"},
    "age": _ways({value: ways for value, ways in say.AGE.items() if ways[0]}, "a person who is"),
    "hair": _ways(say.HAIR, "a person with"),
    "expression": _ways(say.EXPRESSION_HAVING, "a person with"),
    "garment": _ways(say.GARMENT, "a person wearing a"),
    "hat": {**_ways(say.HAT, "a person wearing a"), "none": "a person with hair"},
    "background": _ways(say.PLACE_NOUN, "a person in front of"),
    "light": _ways(say.LIGHT_NOUN, "a person in"),
}
"""What CLIP chooses from, of each kind."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipDescriber:
    """CLIP's choice among a few texts of each kind: coarse, but any base has one."""

    clip: Clip

    @property
    def name(self) -> str:
        """The CLIP's."""
        return f"{self.clip.name}, choosing words"

    def __call__(self, images: Sequence[Image.Image]) -> list[dict[str, str]]:
        """See `Describer`."""
        seen = self.clip.images(images)
        rows: list[dict[str, str]] = [{} for _ in images]
        for kind, texts in SAID.items():
            values = list(texts)
            best = (seen @ self.clip.texts(list(texts.values())).T).argmax(1)
            for row, index in zip(rows, best, strict=True):
                row[kind] = values[index]
        return rows


@dataclass(frozen=True, slots=True, eq=False)
class ParserDescriber:
    """What a face parser sees worn: hat, glasses, earrings, necklace, each there or not."""

    regions: Callable[[Image.Image], NDArray[np.int64]]
    name: str = "face parser, of what is worn"

    def __call__(self, images: Sequence[Image.Image]) -> list[dict[str, str]]:
        """See `Describer`."""
        worn = {"hat": "hat", "glasses": "eye_g", "earrings": "ear_r", "necklace": "neck_l"}
        rows = []
        for image in images:
            labels = self.regions(image)
            least = max(2.0, 5e-4 * labels.size)
            there = {kind: (labels == CLASSES.index(name)).sum() >= least for kind, name in worn.items()}
            rows.append({kind: "there" if shown else "not there" for kind, shown in there.items()})
        return rows


def _tower(source: Path) -> TowerLayers | None:
    """The vision tower of a pack's CLIP, or of a folder of a CLIPModel."""
    from transformers import CLIPModel, CLIPVisionModelWithProjection

    if (source / "image_encoder").is_dir():
        model = load_part(source / "image_encoder", CLIPVisionModelWithProjection, torch.float32)
        return TowerLayers(model, f"{source.name} pack's CLIP")
    if source.is_dir():
        return TowerLayers(load_part(source, CLIPModel, torch.float32).vision_model, source.name)
    return None
