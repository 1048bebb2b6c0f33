"""The option of the commands that paint, for pictures that are to be sold."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Commercial"]

Commercial = Annotated[
    bool,
    typer.Option("--commercial", help="Refuse weights that are not for commercial use, or do not say so."),
]
