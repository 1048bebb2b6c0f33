"""What else a fine-tune changed: a picture against the one that was painted before, from the same seed.

Every number is 0 where the two are the same to the pixel, exactly. Cases carry the earlier picture as
`source`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from likeness.evaluation.case import touched
from likeness.evaluation.metrics.perceptual import Lpips
from likeness.evaluation.metrics.segmentation import SegmentationConsistency

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from likeness.evaluation.case import Case
    from likeness.evaluation.embedders import Clip
    from likeness.evaluation.metrics.faces import FaceViews
    from likeness.evaluation.metrics.perceptual import PerceptualNet
    from likeness.evaluation.metrics.segmentation import Segmenter

__all__ = [
    "BackgroundChange",
    "Describer",
    "IdentityChange",
    "KindChange",
    "LayoutChange",
    "PictureChange",
    "ResponseGain",
    "kind_changes",
]


@dataclass(frozen=True, slots=True)
class IdentityChange:
    """1 - cosine of the two faces by a recogniser; 1 where there is a face on one of the pictures only."""

    views: FaceViews
    name: ClassVar[str] = "identity"
    unit: ClassVar[str] = "1 - cosine of the faces"
    higher_is_better: ClassVar[bool] = False
    source: ClassVar[str] = "SPF-Portrait, section 4.1 (ID)"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`; nan where neither picture shows a face."""
        return np.array([self._one(case) for case in cases], np.float64)

    def _one(self, case: Case) -> float:
        before = self.views.embedding(case.source) if case.source else None
        after = self.views.embedding(case.image)
        if before is None or after is None:
            return np.nan if before is after else 1.0
        return float(np.square(after - before).sum() / 2)  # of unit vectors, and 0 where they are one


@dataclass(frozen=True, slots=True)
class LayoutChange:
    """1 - mean IoU of what lies where (Seg-Cons)."""

    segmenter: Segmenter
    name: ClassVar[str] = "layout"
    unit: ClassVar[str] = "1 - mean IoU of regions"
    higher_is_better: ClassVar[bool] = False
    source: ClassVar[str] = "SPF-Portrait, section 4.1 (Seg-Cons)"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`."""
        return 1 - SegmentationConsistency(self.segmenter)(cases)


@dataclass(frozen=True, slots=True)
class PictureChange:
    """LPIPS: how different the whole pictures look."""

    net: PerceptualNet
    name: ClassVar[str] = "picture"
    unit: ClassVar[str] = "perceptual distance"
    higher_is_better: ClassVar[bool] = False
    source: ClassVar[str] = "SPF-Portrait, section 4.1 (LPIPS)"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`."""
        return Lpips(self.net)(cases)


@dataclass(frozen=True, slots=True)
class BackgroundChange:
    """Mean difference of colour where both pictures show background. background: its label."""

    segmenter: Segmenter
    background: int = 0
    name: ClassVar[str] = "background"
    unit: ClassVar[str] = "mean difference of colour, of 1"
    higher_is_better: ClassVar[bool] = False
    source: ClassVar[str] = "ours"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`; nan where they have no background in common."""
        return np.array([self._one(case) for case in cases], np.float64)

    def _one(self, case: Case) -> float:
        if case.source is None:
            return np.nan
        both = np.ones(case.image.size[::-1], bool)
        for picture in (case.image, case.source):
            both &= self.segmenter(picture) == self.background
        if not both.any():
            return np.nan
        one, two = (np.asarray(p.convert("RGB"), np.float64)[both] for p in (case.image, case.source))
        return float(np.abs(one - two).mean() / 255)


class Describer(Protocol):
    """Says of pictures what they show of each kind of attribute."""

    @property
    def name(self) -> str:
        """For records."""
        ...

    def __call__(self, images: Sequence[Image.Image]) -> Sequence[Mapping[str, str]]:
        """Kind -> value of every picture; a kind that is not there is absent."""
        ...


@dataclass(frozen=True, slots=True)
class KindChange:
    """Of the kinds of attribute that are on either picture, the share that changed; but for those that were
    asked for, with what they take along."""

    describer: Describer
    name: ClassVar[str] = "attributes"
    unit: ClassVar[str] = "share of attributes that changed"
    higher_is_better: ClassVar[bool] = False
    source: ClassVar[str] = "ours"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`; nan where nothing is shown."""
        table = list(kind_changes(self.describer, cases).values())
        counted = np.array(table, np.float64).reshape(len(table), len(cases))
        known = ~np.isnan(counted)
        with np.errstate(invalid="ignore"):
            shares: NDArray[np.float64] = np.where(known, counted, 0).sum(0) / known.sum(0)
        return shares


def kind_changes(describer: Describer, cases: Sequence[Case]) -> dict[str, NDArray[np.float64]]:
    """Of each kind, per case: 1 where its value changed, 0 where not, nan where neither picture shows it, or
    where the truth says that it was to change."""
    free = [touched(case.truth.asked) if case.truth else set() for case in cases]
    after = describer([case.image for case in cases])
    before = describer([case.source or case.image for case in cases])
    kinds = dict.fromkeys(kind for row in (*before, *after) for kind in row)
    return {
        kind: np.array(
            [
                np.nan
                if kind in asked or (kind not in one and kind not in two)
                else float(one.get(kind) != two.get(kind))
                for one, two, asked in zip(before, after, free, strict=True)
            ]
        )
        for kind in kinds
    }


@dataclass(frozen=True, slots=True)
class ResponseGain:
    """How much nearer the picture came to words in CLIP's space: its cosine less the earlier picture's."""

    clip: Clip
    words: Mapping[str, str]
    name: ClassVar[str] = "response"
    unit: ClassVar[str] = "gain of CLIP-T"
    higher_is_better: ClassVar[bool] = True
    source: ClassVar[str] = "SPF-Portrait, section 4.1 (CLIP-T)"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`. words: id of a case -> the words that count."""
        said = self.clip.texts([self.words[case.id] for case in cases])
        after = self.clip.images([case.image for case in cases])
        before = self.clip.images([case.source or case.image for case in cases])
        gained: NDArray[np.float64] = ((after - before) * said).sum(1)
        return gained
