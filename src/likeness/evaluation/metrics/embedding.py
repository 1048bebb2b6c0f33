"""How near pictures are to words and to each other, by CLIP and DINO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likeness.evaluation.case import Case
    from likeness.evaluation.embedders import Clip, ImageEmbedder

__all__ = ["ClipImage", "ClipText", "DinoImage"]


@dataclass(frozen=True, slots=True)
class ClipText:
    """CLIP-T: cosine of the painted picture and its prompt."""

    clip: Clip
    name: ClassVar[str] = "CLIP-T"
    unit: ClassVar[str] = "cosine"
    higher_is_better: ClassVar[bool] = True
    source: ClassVar[str] = "CLIPScore (arXiv 2104.08718) without its factor of 2.5 and floor at 0"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`."""
        pictures = self.clip.images([case.image for case in cases])
        cosines: NDArray[np.float64] = (pictures * self.clip.texts([case.prompt for case in cases])).sum(1)
        return cosines


def to_references(cases: Sequence[Case], embedder: ImageEmbedder) -> NDArray[np.float64]:
    """Mean cosine of each painted picture with its references, (N,); nan without references."""
    painted = embedder.images([case.image for case in cases])
    flat = [picture for case in cases for picture in case.references]
    known = embedder.images(flat)
    ends = np.cumsum([len(case.references) for case in cases])
    out = np.full(len(cases), np.nan)
    for row, (case, end) in enumerate(zip(cases, ends, strict=True)):
        if case.references:
            out[row] = (known[end - len(case.references) : end] @ painted[row]).mean()
    return out


@dataclass(frozen=True, slots=True)
class ClipImage:
    """CLIP-I: cosine of the painted picture and the reference. High alone, it may be copy and paste."""

    clip: Clip
    name: ClassVar[str] = "CLIP-I"
    unit: ClassVar[str] = "cosine"
    higher_is_better: ClassVar[bool] = True
    source: ClassVar[str] = "DreamBooth (arXiv 2208.12242), section 4.2; mean over several references"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`."""
        return to_references(cases, self.clip)


@dataclass(frozen=True, slots=True)
class DinoImage:
    """DINO-I: cosine of the painted picture and the reference, by a network that tells instances apart."""

    dino: ImageEmbedder
    name: ClassVar[str] = "DINO-I"
    unit: ClassVar[str] = "cosine"
    higher_is_better: ClassVar[bool] = True
    source: ClassVar[str] = "DreamBooth (arXiv 2208.12242), section 4.2; mean over several references"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`."""
        return to_references(cases, self.dino)
