"""Details kept and prompt followed, as a vision-language model judges them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from likeness.errors import ServiceError
from likeness.files.vision_language import Question

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likeness.evaluation.case import Case
    from likeness.files.vision_language import VisionLanguageModel

__all__ = ["JudgedDetails", "JudgedPrompt", "Rating"]

BEST = 4


class Rating(BaseModel):
    """copied: the new picture repeats the reference's pose, framing and place. score: 0 (worst) to 4."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field(max_length=600)
    copied: bool
    score: int = Field(ge=0, le=BEST)


DETAILS = (
    "The first picture is a reference of a person. The second was made from it by this request: {prompt!r}. "
    "Judge how well the second keeps what the request does not change: the person's face, hair and skin, and "
    "clothes, patterns and jewellery. 4: all of it, to the detail; 3: small differences; 2: some things "
    "differ; 1: most differ; 0: another person. The request wants a new picture: say in `copied` whether the "
    "second merely repeats the reference although the request asks for something else. First give the reason "
    "in a sentence."
)
PROMPT = (
    "The first picture is a reference of a person. The second was made from it by this request: {prompt!r}. "
    "Judge only how well the second does what the request asks. 4: all of it; 3: nearly all; 2: about half; "
    "1: little; 0: nothing. Likeness with the reference counts nothing here: say in `copied` whether "
    "the second merely repeats the reference although the request asks for something else. First give the "
    "reason in a sentence."
)
"""Judges like what resembles the reference; asked about copies first, they can be held to it."""


def rated(
    model: VisionLanguageModel, text: str, cases: Sequence[Case], copies_at_most: float
) -> NDArray[np.float64]:
    """Scores in [0, 1], (N,); a copy gets `copies_at_most`. nan without a reference or an answer.

    Raises: ServiceError where no case at all was answered.
    """
    rows = [row for row, case in enumerate(cases) if case.references]
    questions = [
        Question(text.format(prompt=cases[row].prompt), (cases[row].references[0], cases[row].image), Rating)
        for row in rows
    ]
    out = np.full(len(cases), np.nan)
    answers = model.ask_many(questions)
    failed = [answer for answer in answers if isinstance(answer, ServiceError)]
    if failed and len(failed) == len(answers):
        raise failed[0]
    for row, answer in zip(rows, answers, strict=True):
        if not isinstance(answer, ServiceError):
            score = answer.score / BEST
            out[row] = min(score, copies_at_most) if answer.copied else score
    return out


@dataclass(frozen=True, slots=True)
class JudgedDetails:
    """DP: what the prompt does not change is kept; a copy of the reference gets at most a half."""

    model: VisionLanguageModel
    name: ClassVar[str] = "DP"
    unit: ClassVar[str] = "rating of 0 to 1"
    higher_is_better: ClassVar[bool] = True
    source: ClassVar[str] = "SCheese, section 4; the wording is ours"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`."""
        return rated(self.model, DETAILS, cases, copies_at_most=0.5)


@dataclass(frozen=True, slots=True)
class JudgedPrompt:
    """PF: the prompt is followed; a copy of the reference gets nothing."""

    model: VisionLanguageModel
    name: ClassVar[str] = "PF"
    unit: ClassVar[str] = "rating of 0 to 1"
    higher_is_better: ClassVar[bool] = True
    source: ClassVar[str] = "SCheese, section 4; the wording is ours"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`."""
        return rated(self.model, PROMPT, cases, copies_at_most=0.0)
