"""The queue: jobs that survive a kill of whoever works on them, and end exactly once.

A worker holds a job by a lease that it renews; each claim has a number of its own (`attempt`), and a worker's
words count only while the job still has its number. So whoever was thought dead and comes back changes
nothing, and what it wrote lies in a folder that nobody looks at.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from likeness.studio.jobs import STATES, Claim, Conflict, Event, Job, State

if TYPE_CHECKING:
    from likeness.studio.databases import Database, Rows

__all__ = ["ATTEMPTS", "LEASE_S", "JobStore"]

LEASE_S = 10.0
"""How long a silent worker keeps its job."""
ATTEMPTS = 8
"""A job whose workers died so often is not tried again: it is likely what kills them."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
INSERT INTO counters (name, value) VALUES ('version', 0) ON CONFLICT DO NOTHING;
INSERT INTO counters (name, value) VALUES ('forgotten', 0) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS jobs (
  id TEXT PRIMARY KEY, number BIGINT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
  request TEXT NOT NULL, words TEXT NOT NULL, client_key TEXT UNIQUE, group_id TEXT,
  created DOUBLE PRECISION NOT NULL, started DOUBLE PRECISION, finished DOUBLE PRECISION,
  attempt INTEGER NOT NULL DEFAULT 0, worker TEXT, lease_until DOUBLE PRECISION,
  cancel INTEGER NOT NULL DEFAULT 0, step INTEGER NOT NULL DEFAULT 0, steps INTEGER NOT NULL DEFAULT 0,
  doing TEXT NOT NULL DEFAULT '', preview INTEGER NOT NULL DEFAULT 0, result TEXT, error TEXT,
  version BIGINT NOT NULL);
CREATE INDEX IF NOT EXISTS jobs_waiting ON jobs (state, number);
CREATE INDEX IF NOT EXISTS jobs_changed ON jobs (version);
CREATE TABLE IF NOT EXISTS job_people (
  job TEXT NOT NULL, person TEXT NOT NULL, PRIMARY KEY (job, person));
CREATE TABLE IF NOT EXISTS job_events (
  job TEXT NOT NULL, at DOUBLE PRECISION NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL,
  words TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS job_events_of ON job_events (job, at);
"""


class JobStore:
    """The jobs in a database. Every method may be called from any thread of any process."""

    def __init__(self, database: Database) -> None:
        self.database = database
        with database.writing() as rows:
            for statement in SCHEMA.split(";"):
                if statement.strip():
                    rows(statement)

    def submit(
        self,
        kind: str,
        request: dict[str, Any],
        *,
        key: str | None = None,
        group: str | None = None,
        people: Sequence[str] = (),
        words: str = "",
    ) -> tuple[Job, bool]:
        """Put a job at the end of the queue; whether it is new.

        key: a client's own name for it: sent again, the same job is given back. words: what a search finds.
        Raises: Conflict where the key is of another request.
        """
        text = json.dumps(request, sort_keys=True)
        with self.database.writing() as rows:
            version = _next(rows, "version")  # taken first: the row's lock makes writers take turns
            if key is not None:
                known = rows("SELECT * FROM jobs WHERE client_key = ?", key)
                if known:
                    if known[0]["request"] != text or known[0]["kind"] != kind:
                        raise Conflict(f"The key {key!r} belongs to another request; give this one its own.")
                    return _job(known[0]), False
            identifier = secrets.token_hex(8)
            [row] = rows(
                "INSERT INTO jobs (id, number, kind, state, request, words, client_key, group_id, created, "
                "version) "
                "VALUES (?, (SELECT COALESCE(MAX(number), 0) + 1 FROM jobs), ?, 'queued', ?, ?, ?, ?, "
                ":now, ?) RETURNING *",
                identifier, kind, text, words.lower(), key, group, version,
            )  # fmt: skip
            for person in dict.fromkeys(people):
                rows("INSERT INTO job_people (job, person) VALUES (?, ?)", identifier, person)
            self._note(rows, identifier, "queued", 0)
        return _job(row), True

    def get(self, identifier: str) -> Job | None:
        """The job, or None. A deleted one is none."""
        with self.database.reading() as rows:
            found = rows("SELECT * FROM jobs WHERE id = ? AND state <> 'deleted'", identifier)
        return _job(found[0]) if found else None

    def history(self, identifier: str) -> list[Event]:
        """What became of a job, oldest first."""
        with self.database.reading() as rows:
            found = rows(
                "SELECT at, state, attempt, words FROM job_events WHERE job = ? ORDER BY at", identifier
            )
        return [Event(**row) for row in found]

    def listed(
        self,
        *,
        state: str | None = None,
        kind: str | None = None,
        group: str | None = None,
        search: str = "",
        before: int | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """Jobs, newest first. before: those of a smaller number. search: each word must be in the job's."""
        where, values = ["state <> 'deleted'"], list[Any]()
        for column, value in (("state", state), ("kind", kind), ("group_id", group)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        if before is not None:
            where.append("number < ?")
            values.append(before)
        for word in search.lower().split()[:8]:
            where.append("words LIKE ? ESCAPE '!'")
            escaped = word.replace("!", "!!").replace("%", "!%").replace("_", "!_")
            values.append(f"%{escaped}%")
        sql = f"SELECT * FROM jobs WHERE {' AND '.join(where)} ORDER BY number DESC LIMIT ?"  # noqa: S608  columns of ours
        with self.database.reading() as rows:
            return [_job(row) for row in rows(sql, *values, limit)]

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        with self.database.reading() as rows:
            found = rows("SELECT state, COUNT(*) AS n FROM jobs GROUP BY state")
        known = {row["state"]: int(row["n"]) for row in found}
        return {state: known.get(state, 0) for state in STATES if state != "deleted"}

    def changed(self, since: int, limit: int = 200) -> list[Job]:
        """Jobs that changed after a version, in the order of change; deleted ones among them."""
        with self.database.reading() as rows:
            found = rows("SELECT * FROM jobs WHERE version > ? ORDER BY version LIMIT ?", since, limit)
        return [_job(row) for row in found]

    def version(self) -> int:
        """Of the last change."""
        return self.counter("version")

    def counter(self, name: str) -> int:
        """One of the numbers that only grow: "version", "forgotten"."""
        with self.database.reading() as rows:
            return int(rows("SELECT value FROM counters WHERE name = ?", name)[0]["value"])

    # What workers do.

    def claim(self, worker: str) -> Claim | None:
        """The oldest job that waits, or whose worker has been silent for too long; None where none is."""
        with self.database.reading() as rows:  # most of the time there is nothing, and nobody is to wait
            if not rows(
                "SELECT 1 FROM jobs WHERE state = 'queued' OR (state = 'running' AND lease_until < :now) "
                "LIMIT 1"
            ):
                return None
        with self.database.writing() as rows:
            version = _next(rows, "version")
            for row in rows(
                "SELECT id FROM jobs WHERE state = 'running' AND lease_until < :now AND attempt >= ? :locked",
                ATTEMPTS,
            ):
                self._end(rows, row["id"], None, "failed", None, f"Its worker died {ATTEMPTS} times.")
            found = rows(
                "UPDATE jobs SET state = 'running', attempt = attempt + 1, worker = ?, step = 0, steps = 0, "
                "doing = 'starting', preview = 0, started = :now, lease_until = :now + ?, version = ? "
                "WHERE id = (SELECT id FROM jobs WHERE state = 'queued' "
                "OR (state = 'running' AND lease_until < :now) ORDER BY number LIMIT 1 "
                ":locked) RETURNING *",
                worker, LEASE_S, version,
            )  # fmt: skip
            if not found:
                return None
            self._note(rows, found[0]["id"], "running", found[0]["attempt"], worker)
        return Claim(_job(found[0]), found[0]["attempt"])

    def beat(self, claim: Claim) -> tuple[bool, bool]:
        """Renew the lease; whether the job is still this worker's, and whether it is to be stopped."""
        with self.database.writing() as rows:
            found = rows(
                "UPDATE jobs SET lease_until = :now + ? "
                "WHERE id = ? AND attempt = ? AND state = 'running' RETURNING cancel",
                LEASE_S, claim.job.id, claim.attempt,
            )  # fmt: skip
        return bool(found), bool(found and found[0]["cancel"])

    def look(self, claim: Claim) -> tuple[bool, bool]:
        """As `beat`, without renewing: cheap enough for every step."""
        with self.database.reading() as rows:
            found = rows(
                "SELECT cancel FROM jobs WHERE id = ? AND attempt = ? AND state = 'running'",
                claim.job.id, claim.attempt,
            )  # fmt: skip
        return bool(found), bool(found and found[0]["cancel"])

    def progress(self, claim: Claim, step: int, steps: int, doing: str, preview: int) -> bool:
        """Say how far a job is; whether it is still this worker's."""
        with self.database.writing() as rows:
            version = _next(rows, "version")
            found = rows(
                "UPDATE jobs SET step = ?, steps = ?, doing = ?, preview = ?, lease_until = :now + ?, "
                "version = ? WHERE id = ? AND attempt = ? AND state = 'running' RETURNING id",
                step, steps, doing, preview, LEASE_S, version, claim.job.id, claim.attempt,
            )  # fmt: skip
        return bool(found)

    def finish(self, claim: Claim, result: dict[str, Any]) -> bool:
        """The job is done, and this is what came of it; False where it is no longer this worker's."""
        with self.database.writing() as rows:
            _next(rows, "version")
            return self._end(rows, claim.job.id, claim.attempt, "done", result, None)

    def fail(self, claim: Claim, error: str, result: dict[str, Any] | None = None) -> bool:
        """The job cannot be done, for this reason."""
        with self.database.writing() as rows:
            _next(rows, "version")
            return self._end(rows, claim.job.id, claim.attempt, "failed", result, error)

    def stopped(self, claim: Claim, result: dict[str, Any] | None = None) -> bool:
        """The job was stopped as was asked for; result: what was finished before."""
        with self.database.writing() as rows:
            _next(rows, "version")
            return self._end(rows, claim.job.id, claim.attempt, "cancelled", result, None)

    def release(self, worker: str) -> None:
        """Give back what a worker held that is known to be dead."""
        with self.database.writing() as rows:
            _next(rows, "version")
            rows("UPDATE jobs SET lease_until = 0 WHERE worker = ? AND state = 'running'", worker)

    # What people do.

    def cancel(self, identifier: str) -> Job | None:
        """Take a job out of the queue, or ask its worker to stop; one that has ended stays as it is."""
        with self.database.writing() as rows:
            version = _next(rows, "version")
            waiting = rows(
                "UPDATE jobs SET state = 'cancelled', "
                "finished = :now, version = ? WHERE id = ? AND state = 'queued' RETURNING *",
                version, identifier,
            )  # fmt: skip
            if waiting:
                self._note(rows, identifier, "cancelled", waiting[0]["attempt"])
            else:
                rows(
                    "UPDATE jobs SET cancel = 1, doing = 'stopping', version = ? "
                    "WHERE id = ? AND state = 'running'",
                    version, identifier,
                )  # fmt: skip
        return self.get(identifier)

    def retry(self, identifier: str) -> Job | None:
        """Queue a job again that failed or was cancelled. Raises: Conflict for another state."""
        with self.database.writing() as rows:
            version = _next(rows, "version")
            found = rows(
                "UPDATE jobs SET state = 'queued', cancel = 0, error = NULL, result = NULL, finished = NULL, "
                "step = 0, steps = 0, doing = '', preview = 0, "
                "number = (SELECT MAX(number) + 1 FROM jobs), version = ? "
                "WHERE id = ? AND state IN ('failed', 'cancelled') RETURNING *",
                version, identifier,
            )  # fmt: skip
            if found:
                self._note(rows, identifier, "queued", found[0]["attempt"], "again")
                return _job(found[0])
        job = self.get(identifier)
        if job is not None:
            raise Conflict(f"The job is {job.state}; only one that failed or was cancelled is tried again.")
        return None

    def delete(self, identifier: str) -> bool:
        """Wipe a job that has ended: nothing of it stays but that there was one.

        Raises: Conflict for one that has not.
        """
        with self.database.writing() as rows:
            _next(rows, "version")
            found = rows("SELECT state FROM jobs WHERE id = ? AND state <> 'deleted'", identifier)
            if found and found[0]["state"] in ("queued", "running"):
                raise Conflict("The job has not ended; cancel it first.")
            if found:
                self._wipe(rows, identifier)
        return bool(found)

    def of_person(self, person: str) -> list[Job]:
        """Every job that a person's pictures took part in."""
        with self.database.reading() as rows:
            found = rows(
                "SELECT jobs.* FROM jobs JOIN job_people ON job_people.job = jobs.id "
                "WHERE job_people.person = ? AND state <> 'deleted'",
                person,
            )
        return [_job(row) for row in found]

    def people_of(self, identifier: str) -> list[str]:
        """Whose pictures took part in a job."""
        with self.database.reading() as rows:
            return [row["person"] for row in rows("SELECT person FROM job_people WHERE job = ?", identifier)]

    def forget(self, person: str) -> list[str]:
        """Wipe every job of a person, those running too: their workers find that they hold nothing.

        Returns: the jobs' ids. Workers drop what they remember of anybody (counter "forgotten").
        """
        jobs = [job.id for job in self.of_person(person)]
        with self.database.writing() as rows:
            _next(rows, "version")
            _next(rows, "forgotten")
            for identifier in jobs:
                self._wipe(rows, identifier)
        return jobs

    def _wipe(self, rows: Rows, identifier: str) -> None:
        rows(
            "UPDATE jobs SET state = 'deleted', request = '{}', words = '', result = NULL, error = NULL, "
            "client_key = NULL, group_id = NULL, doing = '', worker = NULL, version = ? WHERE id = ?",
            _version(rows), identifier,
        )  # fmt: skip
        rows("DELETE FROM job_people WHERE job = ?", identifier)
        rows("DELETE FROM job_events WHERE job = ?", identifier)

    def _end(
        self,
        rows: Rows,
        identifier: str,
        attempt: int | None,
        state: State,
        result: dict[str, Any] | None,
        error: str | None,
    ) -> bool:
        """One end a job: only a running one ends, and only at the word of who holds it (None: of nobody)."""
        held = "" if attempt is None else "AND attempt = ?"
        found = rows(
            "UPDATE jobs SET state = ?, result = ?, error = ?, cancel = 0, finished = :now, "  # noqa: S608
            f"doing = '', version = ? WHERE id = ? AND state = 'running' {held} RETURNING attempt",
            state, None if result is None else json.dumps(result), error, _version(rows), identifier,
            *(() if attempt is None else (attempt,)),
        )  # fmt: skip
        if found:
            self._note(rows, identifier, state, found[0]["attempt"], error or "")
        return bool(found)

    def _note(self, rows: Rows, identifier: str, state: State, attempt: int, words: str = "") -> None:
        rows(
            "INSERT INTO job_events (job, at, state, attempt, words) VALUES (?, :now, ?, ?, ?)",
            identifier, state, attempt, words,
        )  # fmt: skip


def _next(rows: Rows, counter: str) -> int:
    [row] = rows("UPDATE counters SET value = value + 1 WHERE name = ? RETURNING value", counter)
    return int(row["value"])


def _version(rows: Rows) -> int:
    return int(rows("SELECT value FROM counters WHERE name = 'version'")[0]["value"])


def _job(row: dict[str, Any]) -> Job:
    return Job(
        **{name: value for name, value in row.items() if name not in ("request", "result")},
        request=json.loads(row["request"]),
        result=json.loads(row["result"]) if row["result"] else None,
        group=row["group_id"],
        key=row["client_key"],
        cancelling=bool(row["cancel"]),
    )
