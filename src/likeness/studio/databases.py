"""Where the studio keeps its rows: one SQLite file, or a PostgreSQL server that several machines share.

Both speak the same few lines of SQL with `?` for values; what differs is named here.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from likeness.errors import InputError, MissingWeightsError, ServiceError

__all__ = ["Database", "Rows", "Sqlite", "open_database"]

BUSY_S = 30
"""How long a writer waits for another one."""


class Rows(Protocol):
    """Inside a transaction."""

    def __call__(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Run one statement; the rows it returns."""
        ...


class Database(Protocol):
    """now: SQL for the seconds since 1970 by the database's clock. locked: what keeps two workers from the
    same row. identity: type of a number that counts up by itself."""

    now: str
    locked: str
    identity: str

    def writing(self) -> Any:
        """A transaction that either happens or does not: `with database.writing() as rows`."""
        ...

    def reading(self) -> Any:
        """One that changes nothing."""
        ...

    def settle(self) -> None:
        """Leave nothing of what was deleted in any file."""
        ...


class Sqlite:
    """A file in WAL mode: readers never wait, writers take turns; a commit survives a kill."""

    now = "((julianday('now') - 2440587.5) * 86400.0)"
    locked = ""
    identity = "INTEGER PRIMARY KEY AUTOINCREMENT"

    def __init__(self, file: Path) -> None:
        self.file = file
        self._own = threading.local()

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if found is None:
            found = sqlite3.connect(self.file, timeout=BUSY_S, isolation_level=None)
            found.row_factory = sqlite3.Row
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "secure_delete=ON"):
                found.execute(f"PRAGMA {pragma}")
            self._own.connection = found
        return found

    @contextmanager
    def writing(self) -> Iterator[Rows]:
        """See `Database`."""
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield _rows(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    @contextmanager
    def reading(self) -> Iterator[Rows]:
        """See `Database`."""
        yield _rows(self._connection())

    def settle(self) -> None:
        """See `Database`: deleted rows are overwritten, and the log that may still hold them is emptied."""
        self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _rows(connection: sqlite3.Connection) -> Rows:
    def run(sql: str, *values: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in connection.execute(sql, values).fetchall()]

    return run


class Postgres:
    """A server, by URL. A connection that broke is opened again with the next transaction."""

    now = "extract(epoch from clock_timestamp())::float8"
    locked = "FOR UPDATE SKIP LOCKED"
    identity = "BIGSERIAL PRIMARY KEY"

    def __init__(self, url: str) -> None:
        try:
            import psycopg
        except ImportError:
            raise MissingWeightsError(
                "PostgreSQL needs its driver, which is not installed: pip install 'likeness[postgres]'."
            ) from None
        self.url, self._driver = url, psycopg
        self._own = threading.local()
        self._connection()

    def _connection(self) -> Any:
        found = getattr(self._own, "connection", None)
        if found is None or found.closed or found.broken:
            from psycopg.rows import dict_row

            try:
                found = self._driver.connect(self.url, row_factory=dict_row, connect_timeout=10)
            except self._driver.OperationalError as error:
                said = " ".join(str(error).split())
                raise ServiceError(f"The database does not answer: {said:.200}.") from None
            self._own.connection = found
        return found

    @contextmanager
    def writing(self) -> Iterator[Rows]:
        """See `Database`."""
        with self._connection().transaction():
            yield self._run

    reading = writing

    def settle(self) -> None:
        """See `Database`: the server overwrites deleted rows with its own vacuum."""

    def _run(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        cursor = self._own.connection.execute(sql.replace("?", "%s"), values)
        return list(cursor.fetchall()) if cursor.description else []


def open_database(where: str | None, folder: Path) -> Database:
    """The database at a postgresql:// URL, or by default the file `studio.sqlite` in the data folder.

    Raises: InputError for another kind of URL; ServiceError for a server that does not answer.
    """
    if where is None:
        return Sqlite(folder / "studio.sqlite")
    if where.startswith(("postgresql://", "postgres://")):
        return Postgres(where)
    raise InputError(f"--database takes a postgresql:// address, not {where!r}; SQLite needs none.")
