"""Processes that answer at once, beside the queue: the doctor, sitters and live frames.

The server itself loads no model: it starts in a second and is not slowed by painting. A desk is a process
with a pipe; it ends with the server, and is started again when it is asked after having died.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from likeness.errors import ImageError, InputError, LikenessError, ServiceError
from likeness.studio.jobs import Conflict

__all__ = ["Desk"]

ANSWER_S = 600
ERRORS: dict[str, type[LikenessError]] = {
    error.__name__: error for error in (Conflict, ImageError, InputError, LikenessError, ServiceError)
}


class Desk:
    """A process of its own that answers calls one after another.

    handlers: a function of a module; called there with `settings`, it returns the functions by name. quiet_s:
    the process ends after so long without a call, and its memory with it.
    """

    def __init__(self, handlers: Callable[..., Any], settings: dict[str, Any], quiet_s: float = 600) -> None:
        self.handlers, self.settings, self.quiet_s = handlers, settings, quiet_s
        self._lock = threading.Lock()
        self._process: Any = None
        self._pipe: Any = None

    def ask(self, name: str, *values: Any) -> Any:
        """What the function of that name returns.

        Raises: the errors of `likeness.errors` that it raises; ServiceError where the process died.
        """
        with self._lock:
            self._start()
            try:
                self._pipe.send((name, values))
                if not self._pipe.poll(ANSWER_S):
                    self._kill()
                    raise ServiceError("There was no answer for too long; try again.")
                kind, answer = self._pipe.recv()
            except (EOFError, OSError):
                self._kill()
                raise ServiceError("The process that was to answer ended; try again.") from None
        if kind == "answer":
            return answer
        raise ERRORS.get(kind, ServiceError)(answer)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._kill()

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.is_alive()

    def _start(self) -> None:
        if self.alive:
            return
        self._kill()
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_answer, args=(theirs, self.handlers, self.settings, self.quiet_s), daemon=True
        )
        self._process.start()
        theirs.close()

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
        self._process = None


def _answer(pipe: Any, handlers: Callable[..., Any], settings: dict[str, Any], quiet_s: float) -> None:
    """The process: reads calls until nobody asks any more."""
    known: dict[str, Callable[..., Any]] | None = None
    last = time.monotonic()
    while True:
        try:
            if not pipe.poll(1):
                if time.monotonic() - last > quiet_s:
                    return
                continue
            name, values = pipe.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        try:
            known = known or handlers(**settings)
            answer = ("answer", known[name](*values))
        except LikenessError as error:
            kind = next(
                (one.__name__ for one in type(error).__mro__ if one.__name__ in ERRORS), "LikenessError"
            )
            answer = (kind, str(error))
        except Exception as error:  # noqa: BLE001  one wrong call does not end the process
            traceback.print_exc()
            answer = (
                "ServiceError",
                f"This is a bug ({type(error).__name__}); see the studio's terminal.",
            )
        last = time.monotonic()
        pipe.send(answer)
