"""The queue on both databases: claims, leases, fences, and kills in the middle of everything."""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from likeness.errors import InputError
from likeness.studio.databases import Database, open_database
from likeness.studio.jobs import Conflict
from likeness.studio.library import Library
from likeness.studio.store import ATTEMPTS, JobStore
from likeness.studio.worker import Worker
from tests.studio.servers import INITDB, postgres


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if INITDB is None:
        pytest.skip("needs PostgreSQL (Debian's package postgresql)")
    pytest.importorskip("psycopg", reason="needs psycopg")
    with postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str | None, Path]:
    if request.param == "sqlite":
        return None, tmp_path
    url = request.getfixturevalue("server")
    database = open_database(url, tmp_path)
    with database.writing() as rows:
        for table in ("jobs", "job_people", "job_events", "counters"):
            rows(f"DROP TABLE IF EXISTS {table}")
    database.close()
    return url, tmp_path


@pytest.fixture
def store(where: tuple[str | None, Path]) -> Iterator[JobStore]:
    database = open_database(*where)
    yield JobStore(database)
    database.close()


def expire(database: Database) -> None:
    with database.writing() as rows:
        rows("UPDATE jobs SET lease_until = 0 WHERE state = 'running'")


def test_a_job_from_its_submission_to_its_end(store: JobStore) -> None:
    job, new = store.submit("paint", {"prompt": "x"}, key="mine", words="Paint 100%_of it", people=["anna"])
    assert (new, job.state, job.number) == (True, "queued", 1)
    assert store.submit("paint", {"prompt": "x"}, key="mine") == (job, False)
    with pytest.raises(Conflict, match="another request"):
        store.submit("paint", {"prompt": "y"}, key="mine")
    assert [one.id for one in store.listed(search="100%_OF paint")] == [job.id]
    assert store.listed(search="100%%of") == []
    claim = store.claim("w1")
    assert claim is not None and claim.name == f"{job.id}.1"
    assert store.claim("w2") is None, "one worker a job"
    assert store.progress(claim, 2, 5, "painting", 1)
    assert store.beat(claim) == store.look(claim) == (True, False)
    now = store.get(job.id)
    assert now is not None and (now.step, now.steps, now.doing, now.preview) == (2, 5, "painting", 1)
    assert store.finish(claim, {"pictures": []})
    assert not store.finish(claim, {"pictures": []}), "it ends once"
    assert not store.fail(claim, "late")
    assert [event.state for event in store.history(job.id)] == ["queued", "running", "done"]
    assert store.counts()["done"] == 1
    with pytest.raises(Conflict, match="is done"):
        store.retry(job.id)


def test_a_silent_workers_words_no_longer_count(store: JobStore) -> None:
    job, _ = store.submit("paint", {})
    lost = store.claim("w1")
    assert lost is not None
    expire(store.database)
    taken = store.claim("w2")
    assert taken is not None and taken.attempt == 2
    assert store.beat(lost) == (False, False)
    assert not store.progress(lost, 1, 2, "painting", 0)
    assert not store.finish(lost, {"who": "w1"})
    assert store.finish(taken, {"who": "w2"})
    ended = store.get(job.id)
    assert ended is not None and ended.result == {"who": "w2"}


def test_what_kills_every_worker_is_given_up(store: JobStore) -> None:
    job, _ = store.submit("paint", {})
    for attempt in range(ATTEMPTS):
        claim = store.claim("w")
        assert claim is not None and claim.attempt == attempt + 1
        expire(store.database)
    assert store.claim("w") is None
    ended = store.get(job.id)
    assert ended is not None and ended.state == "failed" and "died" in str(ended.error)


def test_cancel_retry_delete_and_forget(store: JobStore) -> None:
    waiting, _ = store.submit("paint", {"n": 1})
    assert store.cancel(waiting.id).state == "cancelled"  # type: ignore[union-attr]
    assert store.claim("w") is None
    again = store.retry(waiting.id)
    assert again is not None and again.state == "queued"
    claim = store.claim("w")
    assert claim is not None
    with pytest.raises(Conflict, match="cancel it first"):
        store.delete(waiting.id)
    assert store.cancel(waiting.id).cancelling  # type: ignore[union-attr]
    assert store.look(claim) == (True, True)
    assert store.stopped(claim)
    version = store.version()
    assert store.delete(waiting.id) and store.get(waiting.id) is None
    assert [job.state for job in store.changed(version)] == ["deleted"], "who listens hears of it"
    assert store.history(waiting.id) == []
    one, _ = store.submit("paint", {"secret": "anna"}, people=["anna"], key="k")
    running = store.claim("w")
    other, _ = store.submit("paint", {}, people=["bo"])
    assert running is not None
    forgotten = store.counter("forgotten")
    assert store.forget("anna") == [one.id]
    assert store.look(running) == (False, False) and not store.finish(running, {})
    assert store.counter("forgotten") == forgotten + 1
    assert [job.id for job in store.listed()] == [other.id]
    assert store.cancel("nobody") is None and store.retry("nobody") is None


def test_changes_come_in_order_and_none_is_missed(store: JobStore) -> None:
    jobs = [store.submit("paint", {"n": n})[0] for n in range(20)]
    seen, version = list[str](), 0
    while some := store.changed(version, limit=7):
        seen += [job.id for job in some]
        assert [job.version for job in some] == sorted({job.version for job in some})
        version = some[-1].version
    assert seen == [job.id for job in jobs]
    pages, before = list[int](), None
    while some := store.listed(before=before, limit=6):
        pages += [job.number for job in some]
        before = some[-1].number
    assert pages == list(range(20, 0, -1))


def work(where: tuple[str | None, Path], place: Path, seed: int) -> None:
    """A worker that writes one line a finished job; slow enough to be killed in the middle of one."""
    store, rng = JobStore(open_database(*where)), random.Random(seed)
    while True:
        claim = store.claim(f"w{os.getpid()}")
        if claim is None:
            time.sleep(0.01)
            continue
        time.sleep(rng.uniform(0, 0.03))
        if store.finish(claim, {"by": os.getpid(), "attempt": claim.attempt}):
            with (place / "ended").open("a") as out:
                out.write(f"{claim.job.id}\n")


def test_clients_and_kills_at_once(store: JobStore, where: tuple[str | None, Path], tmp_path: Path) -> None:
    """Every job ends once: as many end rows in the history as jobs, whatever was killed between."""
    ids, lock = list[str](), threading.Lock()

    def client(number: int) -> None:
        for index in range(10):
            key = f"{number}-{index}"
            first, _ = store.submit("paint", {"n": key}, key=key)
            second, new = store.submit("paint", {"n": key}, key=key)
            assert (second.id, new) == (first.id, False)
            with lock:
                ids.append(first.id)

    context, rng = multiprocessing.get_context("spawn"), random.Random(0)
    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for one in clients:
        one.start()
    workers: list[Any] = []
    for round_ in range(6):
        workers += [context.Process(target=work, args=(where, tmp_path, round_ * 10 + n)) for n in range(2)]
        for one in workers[-2:]:
            one.start()
        time.sleep(rng.uniform(0.1, 0.25))
        for one in workers[-2:]:
            one.kill()
            one.join()
        expire(store.database)
    last = context.Process(target=work, args=(where, tmp_path, 99))
    last.start()
    for one in clients:
        one.join()
    ends = time.monotonic() + 60
    while store.counts()["done"] < 40:
        assert time.monotonic() < ends, store.counts()
        time.sleep(0.05)
    last.kill()
    last.join()
    assert len(set(ids)) == 40 and store.counts() == {
        "queued": 0, "running": 0, "done": 40, "failed": 0, "cancelled": 0
    }  # fmt: skip
    for identifier in ids:
        states = [event.state for event in store.history(identifier)]
        assert states[0] == "queued" and states.count("done") == 1 and states[-1] == "done"
        job = store.get(identifier)
        assert job is not None and job.result is not None and job.result["attempt"] == job.attempt


def test_another_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="postgresql://"):
        open_database("mysql://x", tmp_path)


def test_a_full_gpu_is_said_and_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("likeness.studio.work.do", full)
    database = open_database(None, tmp_path)
    store = JobStore(database)
    job, _ = store.submit("paint", {"prompt": "x"}, words="x", people=[])
    worker = Worker(store, Library(database, tmp_path), device="cpu", base="mini")
    cleared: list[bool] = []
    monkeypatch.setattr(worker.kept, "clear", lambda: cleared.append(True))
    claim = store.claim(worker.name)
    assert claim is not None
    worker.do(claim)
    ended = store.get(job.id)
    assert ended is not None and ended.state == "failed"
    assert ended.error is not None and ended.error.startswith("The GPU's memory is full")
    assert cleared, "the next job is to have the room"
    database.close()
