"""What a job is, to the API, to its history and to the worker that holds it; `store` keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

from likeness.errors import InputError

__all__ = ["STATES", "Claim", "Conflict", "Event", "Job", "State"]

State = Literal["queued", "running", "done", "failed", "cancelled", "deleted"]
STATES: tuple[State, ...] = get_args(State)


class Conflict(InputError):  # noqa: N818  as in `errors`, the thing itself
    """What is asked for does not go with the state that the thing is in."""


class Job(BaseModel):
    """A job as the API shows it.

    step, steps: how far it is; doing: in words. preview: how many pictures of the forming one there were.
    attempt: how often a worker took it up. Times are seconds since 1970. version: grows with every change of
    any job.
    """

    model_config = ConfigDict(extra="ignore")
    id: str
    number: int
    kind: str
    state: State
    request: dict[str, Any]
    group: str | None = None
    key: str | None = None
    created: float
    started: float | None = None
    finished: float | None = None
    attempt: int = 0
    worker: str | None = None
    cancelling: bool = False
    step: int = 0
    steps: int = 0
    doing: str = ""
    preview: int = 0
    result: dict[str, Any] | None = None
    error: str | None = None
    version: int


class Event(BaseModel):
    """A line of a job's history."""

    at: float
    state: State
    attempt: int
    words: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that a worker holds, by the number of its attempt."""

    job: Job
    attempt: int

    @property
    def name(self) -> str:
        """Of everything this attempt writes: no other attempt has it."""
        return f"{self.job.id}.{self.attempt}"
