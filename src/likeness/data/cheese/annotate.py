"""What the annotator of CHEESE is asked, and the annotator that is a vision-language model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, Field

from likeness.files.vision_language import Question

if TYPE_CHECKING:
    from PIL import Image

    from likeness.files.vision_language import VisionLanguageModel

__all__ = ["Annotator", "AskedAnnotator", "Attempt", "Expected", "Instruction", "PairVerdict", "Shot"]

PAIR = (
    "The two pictures are of one person. Are they near-duplicates, so alike that nobody could say what "
    "changed? And has the scene drifted, so that place, clothes or light are not of one series any more?"
)
ANNOTATE = (
    "The first picture is a reference, the second the target, of one person. Write the instruction that "
    "turns the reference into the target. It has to cover the camera (depth of field, viewpoint), the layout "
    "(framing, where the person is in the picture) and the person (pose, expression, orientation); say of "
    "each what changes, or that it stays. Tell nothing that stays as if it changed, and nothing that is not "
    "to be seen. `instruction` is one text that a retoucher could follow without the target."
)
AGAIN = (
    "An earlier instruction was {text!r}. From it and the reference alone the target could not be "
    "recognised: the similarity was {score:.3f} and has to be above {tau:g}. Look for what it misses or has "
    "wrong, and write a better one."
)
EXPECT = (
    "The picture is a reference. Somebody follows this instruction: {text!r}. Describe the picture that "
    "comes of it in one or two sentences, as a caption would: what of the reference stays, and what changed."
)


class PairVerdict(BaseModel):
    """Whether two pictures of a collection make a pair."""

    near_duplicates: bool
    scene_drifted: bool


class Instruction(BaseModel):
    """How a reference becomes a target."""

    camera: str = Field(min_length=1)
    layout: str = Field(min_length=1)
    subject: str = Field(min_length=1)
    instruction: str = Field(min_length=1)


class Expected(BaseModel):
    """description: of the target, from reference and instruction alone."""

    description: str = Field(min_length=1)


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One picture of a collection. name: as the source calls it; about: its row of `metadata.jsonl`."""

    name: str
    image: Image.Image
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One instruction, what was expected of it, how alike that is to the target, and the exchanges.

    number: 0 for the first of a pair. score: None where it is not verified.
    """

    number: int
    instruction: Instruction
    expected: str
    score: float | None
    asked: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """For the audit trail."""
        return {
            **self.instruction.model_dump(),
            "expected": self.expected,
            "score": None if self.score is None else round(self.score, 4),
            "asked": list(self.asked),
        }


class Annotator(Protocol):
    """Who looks at pairs. Each answer comes with the names of the exchanges it took.

    Raises: AnswerError where a question has no usable answer.
    """

    @property
    def name(self) -> str:
        """For the record."""

    @property
    def side_px(self) -> int | None:
        """Longer side of the pictures it is shown, at most; None: as they are."""

    def pair(self, reference: Shot, target: Shot) -> tuple[PairVerdict, tuple[str, ...]]:
        """Whether they make a pair."""

    def instruct(
        self, reference: Shot, target: Shot, last: Attempt | None, tau: float
    ) -> tuple[Instruction, tuple[str, ...]]:
        """T_m, or T_m' after an attempt that stayed under tau."""

    def expect(self, reference: Shot, instruction: Instruction) -> tuple[str, tuple[str, ...]]:
        """c_hat: what the target should show."""


@dataclass(frozen=True, slots=True)
class AskedAnnotator:
    """A vision-language model on a server."""

    server: VisionLanguageModel

    @property
    def name(self) -> str:
        """The model; where it was stands in the exchanges."""
        return self.server.model

    @property
    def side_px(self) -> int | None:
        """Of the server's."""
        return self.server.side_px

    def pair(self, reference: Shot, target: Shot) -> tuple[PairVerdict, tuple[str, ...]]:
        """See `Annotator`."""
        return self._ask(Question(PAIR, (reference.image, target.image), PairVerdict))

    def instruct(
        self, reference: Shot, target: Shot, last: Attempt | None, tau: float
    ) -> tuple[Instruction, tuple[str, ...]]:
        """See `Annotator`."""
        text = ANNOTATE
        if last is not None:
            text += " " + AGAIN.format(text=last.instruction.instruction, score=last.score, tau=tau)
        return self._ask(Question(text, (reference.image, target.image), Instruction))

    def expect(self, reference: Shot, instruction: Instruction) -> tuple[str, tuple[str, ...]]:
        """See `Annotator`."""
        question = Question(EXPECT.format(text=instruction.instruction), (reference.image,), Expected)
        answer, asked = self._ask(question)
        return answer.description, asked

    def _ask(self, question: Question[Any]) -> tuple[Any, tuple[str, ...]]:
        return self.server.ask(question), (self.server.name_of(question),)
