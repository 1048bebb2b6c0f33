"""Work that processes started alike share: each piece is done once, by whoever comes first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["work_off"]


def work_off(
    pieces: Sequence[str],
    folder: Path,
    work: Callable[[str], object],
    finished: Callable[[str], bool],
    needs: Mapping[str, str] | None = None,
) -> None:
    """Do every piece that is not finished, together with other processes that share `folder`, for its locks.

    What another process has in hand is left to it; at the end it is waited for, and done here should that
    process have died. needs: for some pieces an earlier one that has to be finished before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    left, needs, idle = [one for one in pieces if not finished(one)], needs or {}, False
    while left:
        later: list[str] = []
        for piece in left:
            if piece in needs and not finished(needs[piece]):
                later.append(piece)
                continue
            lock = FileLock(folder / f"{piece}.lock")  # the system lets go of it if its process dies
            try:
                # The first that is left needs nothing that is unfinished: others have it in hand.
                held = lock.acquire(blocking=idle)
            except Timeout:
                later.append(piece)
                continue
            idle = False
            with held:
                if not finished(piece):
                    work(piece)
        idle = later == left
        left = [one for one in later if not finished(one)]
