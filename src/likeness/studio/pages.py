"""The pages: one file each as they are served, with the style that they share inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["only_here", "read_page"]

FOLDER = Path(__file__).parent
PLACE = "/* style.css */"


def read_page(name: str) -> str:
    """The HTML of a page beside this file, whole: it asks for nothing else."""
    style = (FOLDER / "style.css").read_text(encoding="utf-8")
    return (FOLDER / name).read_text(encoding="utf-8").replace(PLACE, style.rstrip())


def only_here(app: FastAPI, host: str) -> None:
    """Listening on this machine only, answer to its names only: no site reaches it by a name of its own."""
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    if host in ("127.0.0.1", "localhost"):
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
