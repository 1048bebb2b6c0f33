"""Builds of every engine, whole or killed, give the same set; nothing is lost and nothing done twice."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from likeness.data.engine import SPLITS, Item, build, split_of
from likeness.data.workers import runner
from likeness.errors import InputError, LikenessError, ServiceError
from likeness.files.images import whole_file
from likeness.files.shards import read_member
from tests.data.squares import Dies, Squares

ROOT = Path(__file__).parents[2]
FILES = ("manifest.parquet", "rejects.parquet", "counts.json")


def program(folder: Path, *words: str) -> subprocess.Popen[str]:
    """`tests.data.squares` as a process of its own."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.data.squares", str(folder), *words]
    return subprocess.Popen(
        command, env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def same(one: Path, other: Path) -> None:
    """Tables and shards, byte by byte."""
    for name in FILES:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    shards = [sorted((folder / "shards").iterdir()) for folder in (one, other)]
    assert [path.name for path in shards[0]] == [path.name for path in shards[1]]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*shards, strict=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built in one go, in this process."""
    folder = tmp_path_factory.mktemp("whole")
    build(Squares(100), folder, chunk=5)
    return folder


def test_items_become_rows_files_and_counted_rejects(whole: Path) -> None:
    table = pq.read_table(whole / "manifest.parquet").to_pylist()
    left = {n for n in range(100) if n % 11 == 5}
    copies = {n for n in range(100) if n % 13 == 12 and n - 1 not in left} - left | {41}
    wanted = [n for n in range(100) if n not in left and n not in copies]
    assert [row["square"] for row in table] == [n * n for n in wanted]
    for row, n in zip(table, wanted, strict=True):
        assert (row["identity"], row["source"], row["licence"]) == (
            f"person {n % 7}",
            f"the number {n}",
            "CC0-1.0",
        )
        assert row["split"] == split_of(row["identity"]) and row["made_by"].startswith("likeness ")
        text, data = (read_member(whole / row["shard"], f["offset"], f["length"]) for f in row["files"])
        assert text == str(n * n).encode() and data == bytes([n]) * n
        with tarfile.open(whole / row["shard"]) as tar:
            assert tar.extractfile(f"s{n}.txt").read() == text  # type: ignore[union-attr]
    rejects = {row["item"]: row for row in pq.read_table(whole / "rejects.parquet").to_pylist()}
    assert {key for key, row in rejects.items() if row["reason"] == "eleventh"} == {f"n{n}" for n in left}
    assert {key for key, row in rejects.items() if row["reason"] == "copy"} == {f"n{n}" for n in copies}
    assert rejects["n41"]["message"] == "It is the same as n40."
    counts = json.loads((whole / "counts.json").read_text())
    assert counts["rejected"] == {"eleventh": len(left), "copy": len(copies)}
    assert (
        counts["rows"] == len(wanted)
        and counts["people"] == 7
        and counts["licences"] == {"CC0-1.0": len(wanted)}
    )
    assert not list(whole.rglob(".*"))


def test_several_processes_and_threads_give_the_same_set(whole: Path, tmp_path: Path) -> None:
    build(Squares(100), tmp_path / "processes", workers=2, chunk=5)
    same(whole, tmp_path / "processes")
    build(Squares(100, threads=3), tmp_path / "threads", chunk=5)
    same(whole, tmp_path / "threads")


def test_killed_at_any_moment_it_goes_on(whole: Path, tmp_path: Path) -> None:
    folder, journal = tmp_path / "set", tmp_path / "journal"
    for wanted in (12, 50):
        process = program(folder, "--journal", str(journal), "--pause", "0.02")
        end = time.monotonic() + 60
        while not journal.exists() or len(journal.read_text().splitlines()) < wanted:
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    done_before = {
        json.loads(p.read_text().splitlines()[0])["items"][0] for p in (folder / "parts").iterdir()
    }
    assert 8 <= len(done_before) < 20
    assert not (folder / "manifest.parquet").exists()
    before = Counter(line.split()[0] for line in journal.read_text().splitlines())
    with whole_file(folder / "shards" / "00019.tar") as part:
        part.write_bytes(b"half")
        half = part.rename(part.with_stem(part.stem + "x"))  # what a worker leaves that is killed here
        part.touch()
    (folder / "shards" / "00019.tar").unlink()
    build(Squares(100, journal), folder, chunk=5)
    assert half.name.endswith(".part") and not list(folder.rglob(".*"))
    same(whole, folder)
    after = Counter(line.split()[0] for line in journal.read_text().splitlines())
    again = {key for key in after if after[key] > 1}
    assert len(again) <= 10, "only what the two chunks under way held"
    assert all(after[key] == before[key] for key in done_before), "no finished chunk"
    build(Squares(100, journal), folder, chunk=5)
    assert Counter(line.split()[0] for line in journal.read_text().splitlines()) == after


def test_new_items_are_added_and_gone_ones_go(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    build(Squares(30, journal), tmp_path / "set", chunk=7)
    made = build(Squares(50, journal), tmp_path / "set", chunk=7)
    assert len(journal.read_text().splitlines()) == 49, "each once; 41 is a copy of 40"
    other = build(Squares(50), tmp_path / "other", chunk=7)
    known = ("shard", "files")
    assert [{k: v for k, v in row.items() if k not in known} for row in made.rows] == [
        {k: v for k, v in row.items() if k not in known} for row in other.rows
    ]
    fewer = build(Squares(20, journal), tmp_path / "set", chunk=7)
    assert max(row["square"] for row in fewer.rows) == 19 * 19
    assert len(journal.read_text().splitlines()) == 49


def test_what_was_done_before_an_error_is_kept(tmp_path: Path) -> None:
    class Breaks(Squares):
        def square(self, item: Item) -> list:  # type: ignore[type-arg]
            if item.key == "n8":
                raise ServiceError("The server is gone.")
            return super().square(item)

    with pytest.raises(ServiceError, match="is gone"):
        build(Breaks(20), tmp_path / "set", chunk=5)
    assert len(pq.read_table(tmp_path / "set" / "manifest.parquet")) == 7, "0 to 7 without 5"
    made = build(Squares(20), tmp_path / "set", chunk=5)
    assert [row["square"] for row in made.rows] == [n * n for n in range(20) if n % 11 != 5 and n != 12]


def test_mistakes_are_said(tmp_path: Path) -> None:
    build(Squares(3), tmp_path / "set")
    with pytest.raises(InputError, match="was built with version 1, not 2"):
        build(Squares(3, version=2), tmp_path / "set")
    with pytest.raises(InputError, match="no engine 'spark'"):
        build(Squares(3), tmp_path / "other", engine="spark")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least one worker"):
        runner("local", 0)

    class Local(Squares):
        """Cannot be found by another process."""

    with pytest.raises(InputError, match="runs in one process only"):
        build(Local(3), tmp_path / "other", workers=2)


def test_a_worker_that_dies_is_named(tmp_path: Path) -> None:
    with pytest.raises(LikenessError, match="run it again to go on"):
        build(Dies(20), tmp_path / "set", workers=2, chunk=2)
    made = build(Squares(20), tmp_path / "set", chunk=2)
    assert len(made.rows) == 18 - 1


def test_people_are_split_by_name_in_the_shares_told() -> None:
    found = Counter(split_of(f"person {n}") for n in range(20_000))
    for name, share in SPLITS.items():
        assert abs(found[name] / 20_000 - share) < 0.004
    assert split_of("anna") == split_of("anna") and {split_of(f"p{n}", 1) for n in range(999)} == set(SPLITS)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_ray_gives_the_same_set_though_a_node_is_killed(whole: Path, tmp_path: Path) -> None:
    folder, journal = tmp_path / "ray", tmp_path / "journal"
    process = program(folder, "--ray", "--journal", str(journal), "--pause", "0.1", "--kill-after", "30")
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    assert "killed" in out and "nodes alive 2" in out
    same(whole, folder)
    workers = Counter(line.split()[1] for line in journal.read_text().splitlines())
    assert len(workers) >= 2, "both nodes worked"
    assert {line.split()[2] for line in journal.read_text().splitlines()} <= {"0", "1"}, "each on one GPU"
