"""The studio: everything in a browser, on jobs that survive kills. The only code that speaks HTTP to people.

store, databases    the queue, in SQLite or PostgreSQL     worker, work, training   what does the jobs
library             people, pictures, consent              app, routes_*            the server and its API
desk, handlers      answers at once: doctor, sitters       client                   the API from Python
front               the built page; its sources are in web/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from likeness.studio.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    if name == "Client":
        from likeness.studio.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
