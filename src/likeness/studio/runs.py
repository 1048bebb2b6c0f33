"""Where data sets and trainings lie, and what a training has written so far. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likeness.errors import InputError

if TYPE_CHECKING:
    from likeness.studio.library import Library

__all__ = ["curves", "dataset_folder", "newest_run"]

POINTS = 400
"""Of a curve at most; a longer log is thinned."""


def dataset_folder(library: Library, job: str) -> tuple[Path, dict[str, Any]]:
    """The folder of the data set that a job made, and what the job says of it. Raises: InputError."""
    with library.database.reading() as rows:
        found = rows("SELECT result FROM jobs WHERE id = ? AND kind = 'dataset' AND state = 'done'", job)
    if not found:
        raise InputError("There is no such data set.")
    about: dict[str, Any] = json.loads(found[0]["result"])
    return library.folder / "datasets" / about["dataset"] / "set", about


def newest_run(library: Library, job: str) -> Path | None:
    """The run folder of a job's newest attempt that has one."""
    folders = (library.folder / "runs").glob(f"{job}.*")
    return max(folders, key=lambda path: int(path.suffix[1:]), default=None)


def curves(run: Path) -> dict[str, Any]:
    """Of a run, also while it is going: losses, scores and validation pictures by step."""
    from likeness.training.tracking import read_log

    rows = read_log(run / "log.jsonl")
    keep = max(1, -(-len(rows) // POINTS))
    scores = read_log(run / "validation" / "scores.jsonl")
    shown = sorted(file.name for file in (run / "validation").glob("*.png"))
    return {"losses": rows[::keep], "scores": scores, "validation": shown}
