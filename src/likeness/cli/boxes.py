"""Boxes in pixels, as commands take them."""

from __future__ import annotations

from likeness.errors import InputError

__all__ = ["box_of"]


def box_of(text: str | None, option: str) -> tuple[float, float, float, float] | None:
    """x0,y0,x1,y1 as four numbers. option: its name, for the message. Raises: InputError otherwise."""
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = (float(word) for word in text.split(","))
    except ValueError:
        raise InputError(f"{option} takes four numbers x0,y0,x1,y1 in pixels, not {text!r}.") from None
    return x0, y0, x1, y1
