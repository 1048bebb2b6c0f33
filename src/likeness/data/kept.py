"""What was made of rows of a data set, remembered as long as there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Kept", "bytes_of"]

Made = TypeVar("Made")


def bytes_of(tensors: Mapping[str, Tensor]) -> int:
    """Of all of them."""
    return sum(tensor.nbytes for tensor in tensors.values())


class Kept:
    """Makes a thing of a row once; what was not asked for longest goes first past `limit` bytes."""

    def __init__(self, limit: int, size: Callable[[Any], int] = bytes_of) -> None:
        self._limit, self._size = limit, size
        self._made: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self._bytes = 0

    def __call__(self, key: tuple[str, int], make: Callable[[int], Made]) -> Made:
        """`make(row)` of a key (kind, row)."""
        if key not in self._made:
            self._made[key] = make(key[1])
            self._bytes += self._size(self._made[key])
            while self._bytes > self._limit and len(self._made) > 1:
                self._bytes -= self._size(self._made.popitem(last=False)[1])
        self._made.move_to_end(key)
        made: Made = self._made[key]
        return made
