"""The option of the commands that score likeness, for recognisers beside a pack's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Encoders"]

Encoders = Annotated[
    list[Path] | None,
    typer.Option(
        "--encoder",
        help="A face recogniser (folder or .onnx) that judges beside the pack's own; repeatable. "
        "Default: those in LIKENESS_MODELS.",
    ),
]
