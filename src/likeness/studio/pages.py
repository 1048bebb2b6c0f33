"""The pages: one file each as they are served, with the style that they share inside."""

from __future__ import annotations

from pathlib import Path

__all__ = ["read_page"]

FOLDER = Path(__file__).parent
PLACE = "/* style.css */"


def read_page(name: str) -> str:
    """The HTML of a page beside this file, whole: it asks for nothing else."""
    style = (FOLDER / "style.css").read_text(encoding="utf-8")
    return (FOLDER / name).read_text(encoding="utf-8").replace(PLACE, style.rstrip())
