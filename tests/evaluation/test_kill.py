"""An evaluation killed in the middle of its work, as a crash or a reboot would, and started again."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
import traceback
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from likeness.evaluation.people import Person
from likeness.evaluation.protocol import Prompt, Protocol
from likeness.evaluation.run import Painted, measure, paint_cases, write_cases
from likeness.evaluation.suite import Suite
from likeness.evaluation.tasks import tasks_of
from tests.evaluation.still import Blot, picture

PROTOCOL = Protocol(
    "quick",
    "consistentid",
    "a toy",
    2,
    tuple(Prompt("hats", f"a {{person}} wearing hat {n}") for n in range(3)),
    {},
)


def work(folder: Path, log: Path) -> list[Painted]:
    """Six tasks of two pictures each: sources are painted first, as SPF-Portrait's are."""
    people = [Person(f"p{n}", "man", (picture(n),)) for n in range(2)]
    tasks = [
        replace(task, source_request=replace(task.request, prompt="before"))
        for task in tasks_of(PROTOCOL, people, 7)
    ]
    return paint_cases(Blot(log), tasks, folder)


def forked(folder: Path, log: Path) -> int:
    """The same in a process of its own; its number."""
    child = os.fork()
    if child:
        return child
    try:
        work(folder, log)
        os._exit(0)
    except BaseException:  # noqa: BLE001  a test's process must not go on as a second pytest
        traceback.print_exc()
        os._exit(1)


def lines(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*.png"))
    }


def table(folder: Path, painted: list[Painted]) -> str:
    write_cases(measure(painted, Suite(), PROTOCOL, base="b", seed=7), folder)
    return json.dumps(pq.read_table(folder / "cases.parquet").to_pylist())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_nothing_is_lost_and_nothing_painted_twice(tmp_path: Path) -> None:
    cut, log = tmp_path / "cut", tmp_path / "log"
    child = forked(cut, log)
    end = time.monotonic() + 60
    while len(lines(log)) < 5 and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, "it was still at work"
    begun, kept = lines(log), digests(cut)
    assert 5 <= len(begun) < 12 and len(kept) >= 4
    again = forked(cut, log)
    assert os.waitpid(again, 0)[1] == 0
    twice = lines(log)[len(begun) :]
    # What was being painted when it was killed is painted again; nothing else is.
    assert len(begun) + len(twice) in (12, 13)
    assert not set(twice) & set(begun[:-1])
    after = digests(cut)
    assert {name: after[name] for name in kept} == kept, "what was there is as it was"
    painted = work(cut, tmp_path / "nothing")
    assert lines(tmp_path / "nothing") == [], "all is there"
    assert table(cut, painted) == table(tmp_path / "whole", work(tmp_path / "whole", tmp_path / "other"))
    assert after == digests(cut) == digests(tmp_path / "whole") and len(after) == 14
