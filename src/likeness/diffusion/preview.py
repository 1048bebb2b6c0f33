"""Looking on while a picture forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["tell", "watched"]

_watcher: ContextVar[Callable[[Callable[[], Tensor]], None] | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(look: Callable[[Callable[[], Tensor]], None]) -> Iterator[None]:
    """Inside, every step of `schedule.denoised` in this thread calls `look(clean)`.

    clean() works out the clean latents (B, C, h, w) that the step's prediction amounts to, as the base's
    autoencoder decodes them; who does not ask pays nothing.
    """
    before = _watcher.set(look)
    try:
        yield
    finally:
        _watcher.reset(before)


def tell(clean: Callable[[], Tensor]) -> None:
    """What `schedule.denoised` does at each step."""
    look = _watcher.get()
    if look is not None:
        look(clean)
