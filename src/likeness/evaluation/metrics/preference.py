"""Scores that only downloaded models can give: what people prefer, and how good a picture looks.

None of these weights comes along; without them a score is "not measured".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likeness.evaluation.case import Case
    from likeness.evaluation.embedders import Clip
    from likeness.evaluation.multi_preference import MultiPreference
    from likeness.evaluation.preference_models import LevelRater

__all__ = ["HumanPreference", "MultiDimensionalPreference", "VisualLevel"]


@dataclass(frozen=True, slots=True)
class HumanPreference:
    """HPSv2: cosine of prompt and picture, by a CLIP trained on what people preferred."""

    clip: Clip
    name: ClassVar[str] = "HPSv2"
    unit: ClassVar[str] = "cosine"
    higher_is_better: ClassVar[bool] = True
    source: ClassVar[str] = "Wu et al. 2023 (arXiv 2306.09341), section 4"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`; nan without a prompt."""
        texts = self.clip.texts([case.prompt for case in cases])
        cosines = (self.clip.images([case.image for case in cases]) * texts).sum(1)
        return np.where([bool(case.prompt) for case in cases], cosines, np.nan)


@dataclass(frozen=True, slots=True)
class MultiDimensionalPreference:
    """MPS: like HPSv2, but the picture is looked at through those words that matter to people."""

    model: MultiPreference
    name: ClassVar[str] = "MPS"
    unit: ClassVar[str] = "logit"
    higher_is_better: ClassVar[bool] = True
    source: ClassVar[str] = "Zhang et al. 2024 (arXiv 2405.14705), section 4, overall condition"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`; nan without a prompt."""
        return np.array([self.model(c.image, c.prompt) if c.prompt else np.nan for c in cases], np.float64)


@dataclass(frozen=True, slots=True)
class VisualLevel:
    """Q-Align: the level a vision-language model gives, from 1 (bad) to 5 (excellent)."""

    rater: LevelRater
    of: Literal["quality", "aesthetics"]
    unit: ClassVar[str] = "level of 1 to 5"
    higher_is_better: ClassVar[bool] = True
    source: ClassVar[str] = "Wu et al. 2023 (arXiv 2312.17090), eq. 1"

    @property
    def name(self) -> str:
        """Such as "Q-Align quality"."""
        return f"Q-Align {self.of}"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`."""
        return np.array([self.rater(case.image, self.of) for case in cases], np.float64)
