"""Processes that share a folder do each piece of work once, also when one of them dies over it."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

from likeness.files.sharing import work_off

PIECES = ("base", "a", "b", "c", "d")
NEEDS = {"b": "base", "c": "base"}


def share(folder: Path, fatal: str = "") -> None:
    def work(piece: str) -> None:
        if piece in NEEDS:
            assert (folder / NEEDS[piece]).is_file(), "what it needs was done before"
        with (folder / "log").open("a") as log:
            log.write(f"{piece} {os.getpid()}\n")
        time.sleep(0.3)
        if piece == fatal:
            os._exit(9)
        (folder / piece).touch()

    work_off(PIECES, folder / "locks", work, lambda piece: (folder / piece).is_file(), NEEDS)
    assert all((folder / piece).is_file() for piece in PIECES), "nobody leaves before all is done"


def log_of(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "log").read_text().splitlines()]


def test_two_processes_do_each_piece_once(tmp_path: Path) -> None:
    spawned = multiprocessing.get_context("spawn")
    both = [spawned.Process(target=share, args=(tmp_path,)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
        assert one.exitcode == 0
    log = log_of(tmp_path)
    assert sorted(piece for piece, _ in log) == sorted(PIECES)
    assert len({process for _, process in log}) == 2, "both took part"


def test_what_a_dead_process_had_in_hand_is_done_by_another(tmp_path: Path) -> None:
    dies = multiprocessing.get_context("spawn").Process(target=share, args=(tmp_path, "base"))
    dies.start()
    while not (tmp_path / "log").exists():
        time.sleep(0.02)
    share(tmp_path)  # while the other has "base" in hand
    dies.join()
    assert dies.exitcode == 9
    assert [piece for piece, _ in log_of(tmp_path)].count("base") == 2
