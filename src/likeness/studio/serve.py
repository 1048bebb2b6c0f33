"""The studio as it runs: one server, and a worker process for each device, started again when it dies."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from likeness.errors import InputError
from likeness.studio.app import Studio, studio_app
from likeness.studio.databases import open_database

if TYPE_CHECKING:
    from likeness.studio.databases import Database

__all__ = ["LOOPBACK", "Workers", "devices_here", "open_studio", "serve", "sweep"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
DIED_S = 1.0
"""Before a worker that died is started again."""
OLD_S = 24 * 3600


@dataclass
class Workers:
    """The worker processes, one a device.

    database: a postgresql:// URL, or None for the data folder's own file; it reaches the workers by the
    environment, not by a command line that others can read.
    """

    data: Path
    database: str | None
    base: str
    devices: Sequence[str | None]
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._guard = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Start every worker, and keep them running."""
        for number in range(len(self.devices)):
            self._start(number)
        self._guard.start()

    def stop(self) -> None:
        """End them all; what they were at is taken up by the next ones."""
        self._ended.set()
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, number: int) -> None:
        command = [
            sys.executable,
            "-m",
            "likeness.studio.worker",
            "--data",
            str(self.data),
            "--base",
            self.base,
        ]
        command += ["--parent", str(os.getpid())]
        device = self.devices[number]
        command += ["--device", device] if device else []
        environment = dict(os.environ)
        if self.database:
            environment["LIKENESS_STUDIO_DATABASE"] = self.database
        self.processes[number] = subprocess.Popen(command, env=environment)  # noqa: S603  our own command

    def _watch(self) -> None:
        while not self._ended.wait(DIED_S):
            for number, process in list(self.processes.items()):
                if process.poll() is not None and not self._ended.is_set():
                    self._start(number)


def devices_here() -> list[str | None]:
    """A worker for each GPU; one for the processor where there is none. Imports no torch."""
    gpus = (
        sorted(Path("/proc/driver/nvidia/gpus").glob("*"))
        if Path("/proc/driver/nvidia/gpus").is_dir()
        else []
    )
    return [f"cuda:{number}" for number in range(len(gpus))] or [None]


def open_studio(
    data: Path,
    *,
    base: str = "mini",
    host: str = "127.0.0.1",
    database: str | None = None,
    token: str | None = None,
    device: str | None = None,
) -> Studio:
    """The studio on a data folder, made where it is missing. Off this machine's own addresses it has a token.

    Raises: InputError for a folder that cannot be made; ServiceError for a database that does not answer.
    """
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(f"{data} cannot be made ({error.strerror}); choose another --data.") from None
    opened: Database = open_database(database, data)
    local = host in LOOPBACK
    if not local and token is None:
        token = secrets.token_urlsafe(24)
    hosts = ("127.0.0.1", "localhost", "[::1]") if local and token is None else None
    return Studio(opened, data, base=base, device=device, token=token, hosts=hosts)


def sweep(studio: Studio) -> None:
    """Remove what kills left behind: folders that no job names, once they are a day old."""
    named = set()
    for state in ("done", "cancelled", "failed"):
        before: int | None = None
        while jobs := studio.store.listed(state=state, before=before, limit=200):
            named |= {str((job.result or {}).get("folder")) for job in jobs}
            before = jobs[-1].number
    for place in ("work", "results"):
        for folder in (studio.library.folder / place).iterdir():
            if folder.name not in named and time.time() - folder.stat().st_mtime > OLD_S:
                shutil.rmtree(folder, ignore_errors=True)


def serve(
    studio: Studio, workers: Workers | None, host: str, port: int, on_start: Callable[[], None]
) -> None:
    """Serve until Ctrl-C. Raises: InputError where the port is taken."""
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)  # now, so that a second server is told that the port is taken
    except OSError as error:
        raise InputError(
            f"The studio cannot listen on {host}:{port} ({(error.strerror or str(error)).lower()}); choose "
            "another --port."
        ) from None
    sweep(studio)
    if workers is not None:
        workers.start()
    on_start()
    config = uvicorn.Config(
        studio_app(studio), log_level="warning", server_header=False, timeout_graceful_shutdown=2
    )
    try:
        uvicorn.Server(config).run([listening])
    finally:
        if workers is not None:
            workers.stop()
