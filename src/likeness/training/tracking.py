"""What a run says about itself: one JSON object a line."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["JsonlLog", "read_log"]


class JsonlLog:
    """Appends rows to `log.jsonl`; every row gets the time it was written (seconds since 1970)."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        if path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            with path.open(
                "a", encoding="utf-8"
            ) as file:  # a row cut short by a crash shall not cost the next
                file.write("\n")

    def write(self, row: dict[str, Any]) -> None:
        """Append one row; it is on disk when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**row, "time": round(time.time(), 3)}) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """All complete rows of a log; a last line cut short by a crash is left out."""
    rows: list[dict[str, Any]] = []
    if not path.is_file():
        return rows
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows
