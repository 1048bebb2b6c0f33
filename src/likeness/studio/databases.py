"""Where the studio keeps its rows: one SQLite file, or a PostgreSQL server that several machines share.

Both speak the same few lines of SQL with `?` for values; what differs is named here.
"""

from __future__ import annotations

import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from likeness.errors import InputError, MissingWeightsError, ServiceError

__all__ = ["Database", "Rows", "Sqlite", "open_database"]

BUSY_S = 30
"""How long a writer waits for another one."""
CONNECTIONS = 16
"""Kept open at most."""


class Rows(Protocol):
    """Inside a transaction."""

    def __call__(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Run one statement; the rows it returns."""
        ...


class Database(Protocol):
    """In its statements `:now` are the seconds since 1970 by the database's clock, and `:locked` keeps two
    workers from the same row."""

    def writing(self) -> Any:
        """A transaction that either happens or does not: `with database.writing() as rows`."""
        ...

    def reading(self) -> Any:
        """One that changes nothing."""
        ...

    def settle(self) -> None:
        """Leave nothing of what was deleted in any file."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


class _Pool(ABC):
    """Connections that threads borrow for one transaction. now, locked: see `Database`."""

    now = ""
    locked = ""

    def __init__(self) -> None:
        self._free: list[Any] = []
        self._lock = threading.Lock()
        self._closed = False

    @abstractmethod
    def _open(self) -> Any: ...

    @abstractmethod
    def _usable(self, connection: Any) -> bool: ...

    @abstractmethod
    def _run(self, connection: Any, sql: str, values: tuple[Any, ...]) -> list[dict[str, Any]]: ...

    def _runner(self, connection: Any) -> Rows:
        def run(sql: str, *values: Any) -> list[dict[str, Any]]:
            return self._run(
                connection, sql.replace(":now", self.now).replace(":locked", self.locked), values
            )

        return run

    @contextmanager
    def _borrowed(self) -> Iterator[Any]:
        with self._lock:
            connection = self._free.pop() if self._free else None
        if connection is None or not self._usable(connection):
            connection = self._open()
        try:
            yield connection
        finally:
            with self._lock:
                keep = not self._closed and len(self._free) < CONNECTIONS
                if keep:
                    self._free.append(connection)
            if not keep:
                connection.close()

    def close(self) -> None:
        """Close every connection; what is borrowed is closed when it comes back."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for connection in free:
            connection.close()


class Sqlite(_Pool):
    """A file in WAL mode: readers never wait, writers take turns; a commit survives a kill."""

    now = "((julianday('now') - 2440587.5) * 86400.0)"

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def _open(self) -> sqlite3.Connection:
        try:
            found = sqlite3.connect(self.file, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            found.row_factory = sqlite3.Row
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "secure_delete=ON"):
                found.execute(f"PRAGMA {pragma}")
        except sqlite3.Error as error:
            raise ServiceError(f"{self.file} cannot be used ({error}); choose another --data.") from None
        return found

    def _usable(self, connection: sqlite3.Connection) -> bool:
        return True

    def _run(self, connection: sqlite3.Connection, sql: str, values: tuple[Any, ...]) -> list[dict[str, Any]]:
        return [dict(row) for row in connection.execute(sql, values).fetchall()]

    @contextmanager
    def writing(self) -> Iterator[Rows]:
        """See `Database`."""
        with self._borrowed() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._runner(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[Rows]:
        """See `Database`."""
        with self._borrowed() as connection:
            yield self._runner(connection)

    def settle(self) -> None:
        """See `Database`: deleted rows are overwritten, and the log that may still hold them is emptied."""
        with self._borrowed() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


class Postgres(_Pool):
    """A server, by URL. A connection that broke is opened again with the next transaction."""

    now = "extract(epoch from clock_timestamp())::float8"
    locked = "FOR UPDATE SKIP LOCKED"

    def __init__(self, url: str) -> None:
        super().__init__()
        try:
            import psycopg
        except ImportError:
            raise MissingWeightsError(
                "PostgreSQL needs its driver, which is not installed: pip install 'likeness[postgres]'."
            ) from None
        self.url, self._driver = url, psycopg

    def _open(self) -> Any:
        from psycopg.rows import dict_row

        try:
            return self._driver.connect(self.url, row_factory=dict_row, connect_timeout=10)
        except self._driver.OperationalError as error:
            said = " ".join(str(error).split())
            raise ServiceError(f"The database does not answer: {said:.200}.") from None

    def _usable(self, connection: Any) -> bool:
        usable = not (connection.closed or connection.broken)
        if not usable:
            connection.close()
        return usable

    def _run(self, connection: Any, sql: str, values: tuple[Any, ...]) -> list[dict[str, Any]]:
        cursor = connection.execute(sql.replace("?", "%s"), values)
        return list(cursor.fetchall()) if cursor.description else []

    @contextmanager
    def writing(self) -> Iterator[Rows]:
        """See `Database`."""
        with self._borrowed() as connection:
            try:
                with connection.transaction():
                    yield self._runner(connection)
            except self._driver.OperationalError as error:
                connection.close()
                said = " ".join(str(error).split())
                raise ServiceError(f"The database went away: {said:.200}.") from None

    reading = writing

    def settle(self) -> None:
        """See `Database`: the server overwrites deleted rows with its own vacuum."""


def open_database(where: str | None, folder: Path) -> Database:
    """The database at a postgresql:// URL, or by default the file `studio.sqlite` in the data folder.

    Raises: InputError for another kind of URL; ServiceError for a server that does not answer.
    """
    if where is None:
        return Sqlite(folder / "studio.sqlite")
    if where.startswith(("postgresql://", "postgres://")):
        return Postgres(where)
    raise InputError(f"--database takes a postgresql:// address, not {where!r}; SQLite needs none.")
