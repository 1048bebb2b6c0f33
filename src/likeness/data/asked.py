"""Captions written by a vision-language model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from likeness.data.build import QUESTIONS, Captions
from likeness.data.engine import RejectedError
from likeness.errors import AnswerError
from likeness.files.vision_language import Question

if TYPE_CHECKING:
    from PIL import Image

    from likeness.files.vision_language import VisionLanguageModel

__all__ = ["Description", "asked"]


class Description(BaseModel):
    """description: in plain sentences."""

    description: str = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class _Describer:
    server: VisionLanguageModel

    def tell(self, path: Path, read: Callable[[], Image.Image]) -> tuple[str, str]:
        picture = read()
        try:
            whole, face = (
                self.server.ask(Question(text, (picture,), Description)).description for text in QUESTIONS
            )
        except AnswerError as error:
            raise RejectedError("no usable answer", str(error)) from None
        return whole, face


def asked(server: VisionLanguageModel) -> Captions:
    """Captions by the two questions of FGID, each asked once."""
    return Captions(f"{server.model} at {server.url}", _Describer(server).tell, threads=server.concurrency)
