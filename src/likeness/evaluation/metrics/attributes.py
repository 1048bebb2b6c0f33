"""What a picture of a sitter shows, read by a network and held against the truth: words followed, factor by
factor, head and light in degrees, and which details are wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from PIL import Image

from likeness.diffusion.pixels import to_pixels
from likeness.evaluation.case import touched
from likeness.faces.attributes import INPUT_PX, NOT_SHOWN, light_direction
from likeness.packs.check_words import CATEGORIES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likeness.evaluation.case import Case, Truth
    from likeness.faces.attributes import AttributeNet

__all__ = ["AttributeViews", "DetailsWrong", "LightError", "PoseError", "Seen", "WordsFollowed"]

SOURCE = "ours: what a network trained on sitters reads off the picture, against what the sitter was drawn of"


@dataclass(frozen=True, slots=True)
class Seen:
    """shown: kind -> value, `NOT_SHOWN` where there is nothing of the kind. pose_deg: yaw, pitch, roll.
    light: unit vector towards the key light (`AttributesFound`)."""

    shown: Mapping[str, str]
    pose_deg: NDArray[np.float64]
    light: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class AttributeViews:
    """What each picture shows, read once; pictures are kept, so that no other comes by their id."""

    net: AttributeNet
    _known: dict[int, tuple[Image.Image, Seen]] = field(default_factory=dict)

    def see(self, picture: Image.Image) -> Seen:
        """RGB of any size; it is looked at as a square of 128 px."""
        if id(picture) not in self._known:
            self._known[id(picture)] = (picture, self._read(picture))
        return self._known[id(picture)][1]

    @torch.inference_mode()
    def _read(self, picture: Image.Image) -> Seen:
        small = picture.convert("RGB").resize((INPUT_PX, INPUT_PX), Image.Resampling.LANCZOS)
        found = self.net(to_pixels(small))
        kinds: Mapping[str, Sequence[str]] = self.net.config.kinds
        shown = {kind: kinds[kind][int(found.logits[kind][0].argmax())] for kind in kinds}
        return Seen(shown, found.pose_deg[0].double().numpy(), found.light[0].double().numpy())

    def turned_from(self, picture: Image.Image, pose_deg: Sequence[float]) -> float:
        """By how many degrees the head is off a yaw, pitch and roll, on the axis where it is off most."""
        return float(np.abs(self.see(picture).pose_deg - np.array(pose_deg)).max())

    def share(self, picture: Image.Image, wanted: Mapping[str, str]) -> float:
        """Of the values wanted, how many the picture shows; nan where it knows none of the kinds."""
        kinds: Mapping[str, Sequence[str]] = self.net.config.kinds
        asked = {kind: value for kind, value in wanted.items() if value in kinds.get(kind, ())}
        if not asked:
            return float("nan")
        shown = self.see(picture).shown
        return float(np.mean([shown[kind] == value for kind, value in asked.items()]))


def of_factor(values: Mapping[str, str], factor: str | None) -> dict[str, str]:
    """Those of one category's kinds; of all without one."""
    return {k: value for k, value in values.items() if factor is None or k in CATEGORIES[factor]}


@dataclass(frozen=True, slots=True)
class WordsFollowed:
    """Share of what the words ask for that the picture shows. factor: a category of `CATEGORIES`, or all."""

    views: AttributeViews
    factor: str | None = None
    unit: ClassVar[str] = "share"
    higher_is_better: ClassVar[bool] = True
    source: ClassVar[str] = SOURCE

    @property
    def name(self) -> str:
        """Such as "followed: hair"."""
        return "followed" if self.factor is None else f"followed: {self.factor}"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`; nan where the words ask for nothing of the factor."""
        return np.array(
            [
                self.views.share(c.image, of_factor(c.truth.asked, self.factor)) if c.truth else np.nan
                for c in cases
            ],
            np.float64,
        )


@dataclass(frozen=True, slots=True)
class DetailsWrong:
    """Share of what is to stay that the picture shows otherwise. part: a category, or all of them."""

    views: AttributeViews
    part: str | None = None
    unit: ClassVar[str] = "share"
    higher_is_better: ClassVar[bool] = False
    source: ClassVar[str] = SOURCE

    @property
    def name(self) -> str:
        """Such as "wrong: clothes"."""
        return "details wrong" if self.part is None else f"wrong: {self.part}"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`; nan where nothing of the part is to stay."""
        return np.array(
            [
                1 - self.views.share(c.image, of_factor(self._kept(c, c.truth), self.part))
                if c.truth
                else np.nan
                for c in cases
            ],
            np.float64,
        )

    def _kept(self, case: Case, truth: Truth) -> Mapping[str, str]:
        """What the truth says, or the source shows, but for what was asked."""
        if truth.kept is not None:
            return truth.kept
        if case.source is None:
            return {}
        seen = self.views.see(case.source).shown
        free = touched(truth.asked)
        return {k: value for k, value in seen.items() if k not in free and value != NOT_SHOWN}


@dataclass(frozen=True, slots=True)
class PoseError:
    """How far the head is turned from where it has to be: the worst of yaw, pitch and roll."""

    views: AttributeViews
    name: ClassVar[str] = "pose error"
    unit: ClassVar[str] = "degrees"
    higher_is_better: ClassVar[bool] = False
    source: ClassVar[str] = SOURCE

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`; nan where any pose will do."""
        out = np.full(len(cases), np.nan)
        for row, case in enumerate(cases):
            if case.truth and case.truth.pose_deg is not None:
                out[row] = self.views.turned_from(case.image, case.truth.pose_deg)
        return out


@dataclass(frozen=True, slots=True)
class LightError:
    """Angle between where the light comes from and where it has to."""

    views: AttributeViews
    name: ClassVar[str] = "light error"
    unit: ClassVar[str] = "degrees"
    higher_is_better: ClassVar[bool] = False
    source: ClassVar[str] = SOURCE

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`; nan where any light will do."""
        out = np.full(len(cases), np.nan)
        for row, case in enumerate(cases):
            if case.truth and case.truth.light_deg is not None:
                wanted = light_direction(*torch.tensor([case.truth.light_deg]).double().unbind(1))[0].numpy()
                cosine = float(self.views.see(case.image).light @ wanted)
                out[row] = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        return out
