"""Real parts for the studio's tests: its server and workers as processes, PostgreSQL, and a browser."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

CHROMEDRIVER = shutil.which("chromedriver")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
INITDB = shutil.which("initdb") or next(
    (str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None
)
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
]  # fmt: skip


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(true: Callable[[], Any], seconds: float = 120, every: float = 0.05) -> Any:
    """What `true()` returns as soon as it is something."""
    ends = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < ends, "it took too long"
        time.sleep(every)
    return found


class Running:
    """`likeness studio` as a process, that can be killed and started again on the same data."""

    def __init__(self, data: Path, *options: str, **environment: str) -> None:
        self.data, self.options, self.port = data, options, free_port()
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = (data.parent / f"{data.name}.log").open("ab")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Running:
        command = [sys.executable, "-m", "likeness", "studio", "--data", str(self.data)]
        command += ["--port", str(self.port), *self.options]
        self.process = subprocess.Popen(command, env=self.environment, stdout=self.log, stderr=self.log)
        until(self.answers)
        return self

    def answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.said()
        with suppress(OSError):
            urllib.request.urlopen(f"{self.url}/api/about", timeout=5).close()  # noqa: S310
            return True
        return False

    def said(self) -> str:
        return (self.data.parent / f"{self.data.name}.log").read_text("utf-8", "replace")[-2000:]

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def workers(self) -> list[int]:
        """Process ids of the workers, by what started them."""
        assert self.process is not None
        done = subprocess.run(
            ["/bin/ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)], capture_output=True, text=True
        )
        return [int(line.split()[0]) for line in done.stdout.splitlines() if "studio.worker" in line]

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        self.log.close()


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """An application on a thread of this process; its URL."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@contextmanager
def running(data: Path, *options: str, **environment: str) -> Iterator[Running]:
    one = Running(data, *options, **environment).start()
    try:
        yield one
    finally:
        one.stop()


def ask(
    url: str, method: str = "GET", data: bytes | None = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data, named, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=120) as reply:  # noqa: S310  our own server
            return reply.status, reply.read(), {k.lower(): v for k, v in reply.headers.items()}
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), {k.lower(): v for k, v in error.headers.items()}


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL server of our own; its URL. It refuses to run as root, so root gives it to "postgres"."""
    assert INITDB is not None
    tools, port = Path(INITDB).resolve().parent, free_port()
    place = Path("/tmp") / f"likeness-postgres-{os.getpid()}"  # noqa: S108  where that user may go
    place.mkdir(mode=0o700)
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(place, "postgres")
    quiet: dict[str, Any] = {
        "check": True,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.STDOUT,
        "cwd": "/",
    }
    try:
        make = [tools / "initdb", "-D", place / "data", "-A", "trust", "-U", "studio", "--no-sync"]
        subprocess.run([*as_user, *make], **quiet)
        options = f"-p {port} -k {place} -c listen_addresses=127.0.0.1 -c fsync=off"
        begin = [tools / "pg_ctl", "-D", place / "data", "-w", "-o", options, "-l", place / "log", "start"]
        subprocess.run([*as_user, *begin], **quiet)
        try:
            yield f"postgresql://studio@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run(
                [*as_user, tools / "pg_ctl", "-D", place / "data", "-m", "immediate", "stop"], **quiet
            )
    finally:
        shutil.rmtree(place, ignore_errors=True)


class Browser:
    """Chromium through ChromeDriver's own protocol, which is JSON over HTTP."""

    def __init__(self, profile: Path, width: int = 1280, height: int = 900, phone: bool = False) -> None:
        assert CHROMEDRIVER is not None and CHROMIUM is not None
        self.port = free_port()
        self._driver = subprocess.Popen(
            [CHROMEDRIVER, f"--port={self.port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._ready, 60)
        options: dict[str, Any] = {
            "binary": CHROMIUM,
            "args": [*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"],
        }
        if phone:
            metrics = {"width": width, "height": height, "pixelRatio": 2, "mobile": True}
            options["mobileEmulation"] = {"deviceMetrics": metrics}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        made = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{made['sessionId']}"

    def _ready(self) -> bool:
        with suppress(OSError):
            return bool(self._ask("GET", "/status")["ready"])
        return False

    def _ask(self, method: str, path: str, document: Any = None) -> Any:
        data = None if document is None else json.dumps(document).encode()
        status, said, _ = ask(
            f"http://127.0.0.1:{self.port}{path}", method, data, Content_Type="application/json"
        )
        value = json.loads(said)["value"]
        assert status == 200, value
        return value

    def open(self, url: str) -> None:
        self._ask("POST", f"{self.session}/url", {"url": url})

    def run(self, script: str, *values: Any) -> Any:
        return self._ask("POST", f"{self.session}/execute/sync", {"script": script, "args": list(values)})

    def until(self, script: str, seconds: float = 60) -> Any:
        return until(lambda: self.run(f"return {script}"), seconds)

    def errors(self) -> list[str]:
        """What the page wrote to its console that is wrong."""
        rows = self._ask("POST", f"{self.session}/se/log", {"type": "browser"})
        return [row["message"] for row in rows if row["level"] == "SEVERE"]

    def files(self, selector: str, *paths: Path) -> None:
        """Choose files in a file input."""
        found = self._ask("POST", f"{self.session}/element", {"using": "css selector", "value": selector})
        [element] = found.values()
        self._ask("POST", f"{self.session}/element/{element}/value", {"text": "\n".join(map(str, paths))})

    def screenshot(self, path: Path) -> None:
        import base64

        path.write_bytes(base64.b64decode(self._ask("GET", f"{self.session}/screenshot")))

    def close(self) -> None:
        with suppress(OSError, AssertionError):
            self._ask("DELETE", self.session)
        self._driver.kill()
        self._driver.wait()


@contextmanager
def browser(profile: Path, **settings: Any) -> Iterator[Browser]:
    one = Browser(profile, **settings)
    try:
        yield one
    finally:
        one.close()
