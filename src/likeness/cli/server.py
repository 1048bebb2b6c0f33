"""Options of the commands that ask a vision-language server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likeness.errors import InputError

if TYPE_CHECKING:
    from likeness.files.vision_language import VisionLanguageModel

__all__ = ["Vlm", "VlmModel", "vision_language"]

Vlm = Annotated[
    str | None,
    typer.Option(
        help="An OpenAI-compatible vision-language server, up to /v1: writes captions, rates pictures."
    ),
]
VlmModel = Annotated[
    str | None, typer.Option(help="Its model; its key, where it wants one, is $LIKENESS_VLM_KEY.")
]


def vision_language(url: str | None, model: str | None, kept: Path) -> VisionLanguageModel | None:
    """The server of --vlm and --vlm-model, its answers kept in a folder; None where neither is given.

    Raises: InputError for one without the other.
    """
    from likeness.files.vision_language import VisionLanguageModel

    if url is None and model is None:
        return None
    if url is None or model is None:
        raise InputError("--vlm and --vlm-model belong together: the server's address and its model's name.")
    return VisionLanguageModel(url, model, os.environ.get("LIKENESS_VLM_KEY") or "none", kept=kept)
