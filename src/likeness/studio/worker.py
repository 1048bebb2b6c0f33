"""A worker: one process for one device, which takes jobs one after another and keeps models loaded.

It ends when whoever started it does. What it writes is whole or not there: an attempt works in a folder of
its own, which is moved to its place before the database hears of it.
"""

from __future__ import annotations

import argparse
import gc
import os
import secrets
import shutil
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likeness.errors import Cancelled, LikenessError, memory_full
from likeness.files.images import write_bytes
from likeness.studio.databases import open_database
from likeness.studio.jobs import Claim
from likeness.studio.library import Library
from likeness.studio.store import LEASE_S, JobStore

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Lost", "Progress", "Worker"]

BEAT_S = LEASE_S / 4
IDLE_S = 0.15
TELL_S = 0.1
"""Between two words about progress; the database need not hear of every step."""
PREVIEW_S = 0.3


class Lost(Exception):  # noqa: N818  no error of anybody's
    """The job is no longer this worker's; what it does counts for nothing."""


class Progress:
    """What a running job tells, and how it hears that it is to stop: by Cancelled or Lost at a step."""

    def __init__(self, store: JobStore, claim: Claim, previews: Path) -> None:
        self.store, self.claim, self.file = store, claim, previews / f"{claim.name}.jpg"
        self.at, self.of, self.doing, self.previews = 0, 0, "starting", 0
        self.cancelled = self.lost = False
        self._told = self._shown = 0.0
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._beat, daemon=True)
        self._beats.start()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                held, cancel = self.store.beat(self.claim)
            except Exception:  # noqa: BLE001, S112  a database away for a moment costs at most the lease
                continue
            self.lost, self.cancelled = self.lost or not held, self.cancelled or cancel

    def end(self) -> None:
        """No more beats, no more preview."""
        self._ended.set()
        self._beats.join()
        self.file.unlink(missing_ok=True)

    def check(self) -> None:
        """Ask whether to go on; called at every step."""
        held, cancel = self.store.look(self.claim)
        if self.lost or not held:
            raise Lost
        if self.cancelled or cancel:
            raise Cancelled("Stopped.")

    def say(self, doing: str) -> None:
        """What is done now, in a word or two."""
        self.doing = doing
        self._tell(force=True)
        self.check()

    def step(self, step: int, steps: int) -> None:
        """So many steps of all."""
        self.at, self.of = step, steps
        self._tell()
        self.check()

    def wants_preview(self) -> bool:
        """Whether the last one is old enough."""
        return time.monotonic() - self._shown >= PREVIEW_S

    def preview(self, picture: Image.Image) -> None:
        """Show the picture as it forms."""
        from io import BytesIO

        packed = BytesIO()
        picture.save(packed, "JPEG", quality=85)
        write_bytes(self.file, packed.getvalue())
        self._shown = time.monotonic()
        self.previews += 1
        self._tell(force=True)

    def _tell(self, force: bool = False) -> None:
        if not force and time.monotonic() - self._told < TELL_S and self.at != self.of:
            return
        self._told = time.monotonic()
        if not self.store.progress(self.claim, self.at, self.of, self.doing, self.previews):
            raise Lost


class Worker:
    """Takes jobs from the store and does them on one device."""

    def __init__(self, store: JobStore, library: Library, *, device: str | None, base: str) -> None:
        from likeness.studio.work import Kept

        self.store, self.library = store, library
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.kept = Kept(library, base, device)
        self._forgotten = store.counter("forgotten")

    def run(self, go_on: Callable[[], bool]) -> None:
        """Work until `go_on()` says no."""
        while go_on():
            try:
                self._remember_nobody()
                claim = self.store.claim(self.name)
            except LikenessError:  # a database that is away comes back
                time.sleep(1)
                continue
            if claim is None:
                time.sleep(IDLE_S)
            else:
                self.do(claim)

    def do(self, claim: Claim) -> None:
        """Do one job and say how it ended."""
        from likeness.studio.work import do

        if claim.attempt > 1:
            self.library.begin_again(claim.job.id)
        work = self.library.folder / "work" / claim.name
        progress = Progress(self.store, claim, self.library.folder / "previews")
        try:
            result = do(self.kept, claim, progress, work)
            self._commit(claim, work, result, self.store.finish)
        except Cancelled:
            self._commit(claim, work, self.kept.partial(work), self.store.stopped)
        except Lost:
            pass
        except LikenessError as error:
            self.store.fail(claim, str(error))
        except Exception as error:  # noqa: BLE001  one job's bug does not end the others
            full = memory_full(error)
            if full is not None:
                self.kept.clear()  # what is loaded would leave the next job as little room
                self.store.fail(claim, str(full))
                return
            traceback.print_exc()
            said = " ".join(f"{type(error).__name__}: {error}".split())
            self.store.fail(claim, f"This is a bug ({said:.300}); the studio's terminal shows where.")
        finally:
            progress.end()
            shutil.rmtree(work, ignore_errors=True)
            if self.store.get(claim.job.id) is None:  # forgotten meanwhile: nothing of it is to stay
                self.library.remove_of_job(claim.job.id)
            gc.collect()

    def _commit(
        self, claim: Claim, work: Path, result: dict[str, Any] | None, end: Callable[[Claim, Any], bool]
    ) -> None:
        """Files first, then the word: a kill between leaves a folder that no row names."""
        place = self.library.folder / "results" / claim.name
        if result is not None and work.is_dir():
            work.replace(place)
            result = {**result, "folder": claim.name}
        if not end(claim, result):
            shutil.rmtree(place, ignore_errors=True)

    def _remember_nobody(self) -> None:
        """Where somebody was forgotten, models that may remember them are dropped."""
        now = self.store.counter("forgotten")
        if now != self._forgotten:
            self._forgotten = now
            self.kept.clear()


def main() -> None:
    """`python -m likeness.studio.worker`, as the server starts it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--database")
    parser.add_argument("--base", default="mini")
    parser.add_argument("--device")
    parser.add_argument("--parent", type=int, required=True, help="Process that it ends with.")
    given = parser.parse_args()
    database = open_database(given.database or os.environ.get("LIKENESS_STUDIO_DATABASE"), given.data)

    def watch() -> None:
        while os.getppid() == given.parent:
            time.sleep(0.5)
        os._exit(0)  # in the middle of a job: its lease runs out, and another worker takes it up

    threading.Thread(target=watch, daemon=True).start()
    worker = Worker(JobStore(database), Library(database, given.data), device=given.device, base=given.base)
    try:
        worker.run(lambda: True)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
