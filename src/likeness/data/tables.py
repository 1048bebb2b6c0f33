"""Tables of plain rows as Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from likeness.errors import InputError
from likeness.files.images import whole_file

__all__ = ["read_table", "write_table"]


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows whole; a column is there when any row has it, and empty where a row has not.

    Raises: InputError when the place cannot be written to.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names: dict[str, None] = {name: None for row in rows for name in row}
    table = pa.table({name: [row.get(name) for row in rows] for name in names})
    with whole_file(path) as part:
        pq.write_table(table, part, compression="zstd")


def read_table(path: Path) -> Any:
    """A `pyarrow.Table`. Raises: InputError where there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} is no table that can be read ({str(error).splitlines()[0]}).") from None
