"""Captions written by a vision-language model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from likeness.data.build import QUESTIONS, Captions
from likeness.data.engine import BUILD, RejectedError
from likeness.errors import AnswerError
from likeness.files.vision_language import Question

if TYPE_CHECKING:
    from PIL import Image

    from likeness.files.vision_language import VisionLanguageModel

__all__ = ["Description", "asked", "begun_with"]


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


def asked(server: VisionLanguageModel, folder: Path) -> Captions:
    """Captions by the two questions of FGID, each asked once, for the data set in `folder`."""
    name = begun_with(folder, "captions", server.model)
    return Captions(name, _Describer(server).tell, threads=server.concurrency)


def begun_with(folder: Path, setting: str, model: str) -> str:
    """What a build's setting calls a model: its name, or "name at url" where the build in `folder` was begun
    when the server's address was part of it. A server that moved goes on with either."""
    file = folder / BUILD
    before = json.loads(file.read_text(encoding="utf-8")).get(setting) if file.is_file() else None
    return before if isinstance(before, str) and before.startswith(f"{model} at ") else model
