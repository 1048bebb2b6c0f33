"""Routes of jobs: submit, look, stop, try again; what they made; and their progress as it happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

import likeness
from likeness.errors import InputError
from likeness.studio.jobs import Event, Job, State
from likeness.studio.library import safe_file
from likeness.studio.methods import methods
from likeness.studio.tasks import MakeDataset, Paint, Replay, Train
from likeness.studio.tasks import Request as Task

if TYPE_CHECKING:
    from likeness.studio.app import Studio

__all__ = ["router"]

POLL_S = 0.1
QUIET_S = 15.0
"""A stream says something at least this often, so that a dead connection is noticed."""


class Jobs(BaseModel):
    """One page of jobs. next: give it as `before` for the one after, None at the end."""

    jobs: list[Job]
    next: int | None


class About(BaseModel):
    """The studio itself. counts: jobs in each state. version: of the last change of any job."""

    name: Literal["likeness studio"] = "likeness studio"
    version: str
    base: str
    counts: dict[str, int]
    change: int


def router(studio: Studio) -> APIRouter:
    """Routes under /api."""
    routes = APIRouter(tags=["jobs"])
    store, library = studio.store, studio.library

    @routes.get("/about")
    def about() -> About:
        """What this server is, and how much it has to do."""
        return About(
            version=likeness.__version__, base=studio.base, counts=store.counts(), change=store.version()
        )

    @routes.get("/methods")
    def every_method() -> list[dict[str, Any]]:
        """Every method: what it is, the JSON schema of its options, its weights here."""
        return methods(library, studio.base)

    @routes.post("/jobs", status_code=201, response_model=Job, responses={200: {"model": Job}})
    def submit(
        task: Task,
        reply: Response,
        idempotency_key: Annotated[
            str | None, Header(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")
        ] = None,
    ) -> Job:
        """Queue a job. 201: it is new; 200: it was submitted before with the same key."""
        people, words = _checked(studio, task)
        request = task.model_dump(mode="json", exclude={"group"})
        job, new = store.submit(
            task.kind,
            request,
            key=idempotency_key,
            group=getattr(task, "group", None),
            people=people,
            words=words.replace("\0", " "),
        )
        reply.status_code = 201 if new else 200
        return job

    @routes.get("/jobs")
    def listed(
        state: State | None = None,
        kind: Annotated[str | None, Query(max_length=40)] = None,
        group: Annotated[str | None, Query(max_length=64)] = None,
        search: Annotated[str, Query(max_length=200)] = "",
        before: Annotated[int | None, Query(ge=0, lt=2**53)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> Jobs:
        """Jobs, newest first. search: words of the prompt, the method or the kind."""
        if any("\0" in text for text in (kind or "", group or "", search)):
            raise InputError("There is no such text in any job.")
        jobs = store.listed(
            state=state, kind=kind, group=group, search=search, before=before, limit=limit + 1
        )
        more = len(jobs) > limit
        return Jobs(jobs=jobs[:limit], next=jobs[limit - 1].number if more else None)

    @routes.get("/jobs/{job}", response_model=Job)
    def one(job: str) -> Job | JSONResponse:
        """A job as it stands now."""
        return (_plain(job) and store.get(job)) or _none()

    @routes.get("/jobs/{job}/history", response_model=list[Event])
    def history(job: str) -> list[Event] | JSONResponse:
        """What became of a job: when it was queued, taken up by which worker, and how it ended."""
        return store.history(job) if _plain(job) and store.get(job) else _none()

    @routes.post("/jobs/{job}/cancel", response_model=Job)
    def cancel(job: str) -> Job | JSONResponse:
        """Stop a job: at once while it waits, within two steps while it paints. What has ended stays so."""
        return (_plain(job) and store.cancel(job)) or _none()

    @routes.post("/jobs/{job}/retry", response_model=Job)
    def retry(job: str) -> Job | JSONResponse:
        """Queue a job again that failed or was cancelled; a training goes on where it stopped."""
        found = store.get(job) if _plain(job) else None
        if found is None:
            return _none()
        if found.kind == "paint" and found.state in ("failed", "cancelled"):
            library.allowed(Paint(**found.request).pictures())
        return store.retry(job) or _none()

    @routes.delete("/jobs/{job}", status_code=204, response_model=None)
    def delete(job: str) -> Response | JSONResponse:
        """Take a job that has ended out of the history, with everything that it made."""
        if not _plain(job) or not store.delete(job):
            return _none()
        library.remove_of_job(job)
        return Response(status_code=204)

    @routes.get(
        "/jobs/{job}/preview",
        response_class=FileResponse,
        response_model=None,
        responses={204: {"description": "There is none yet, or no more."}},
    )
    def preview(job: str) -> Response:
        """The forming picture of a running job, a JPEG."""
        found = store.get(job) if _plain(job) else None
        if found is None:
            return _none()
        file = safe_file(library.folder / "previews", f"{job}.{found.attempt}.jpg")
        # A page asks for what it was just told of; the job may have ended since, which is no fault.
        return FileResponse(file, media_type="image/jpeg") if file else Response(status_code=204)

    @routes.get("/jobs/{job}/files/{name:path}", response_class=FileResponse, response_model=None)
    def file(job: str, name: str, download: bool = False) -> FileResponse | JSONResponse:
        """A file that a job made: one of its `result.pictures`, "contact-sheet.png" or "result.json"."""
        found = store.get(job) if _plain(job) else None
        if found is None or not found.result or "folder" not in found.result:
            return _none()
        folder = library.folder / "results" / found.result["folder"]
        path = safe_file(folder, name)
        if path is None or path.suffix not in (".png", ".json"):
            return _none("There is no such file.")
        kind = "image/png" if path.suffix == ".png" else "application/json"
        named = path.name if download else None
        return FileResponse(
            path, media_type=kind, filename=named, headers={"Cache-Control": "private, max-age=3600"}
        )

    @routes.get("/events", response_class=StreamingResponse)
    async def events(
        request: Request,
        since: Annotated[int | None, Query(ge=0, lt=2**53)] = None,
        limit: Annotated[int | None, Query(ge=1, le=10_000)] = None,
    ) -> StreamingResponse:
        """Server-sent events, one for every change of any job: `data` is the job, `id` its version.

        since: changes after this version, by default from now on; a browser that reconnects sends it itself
        (`Last-Event-ID`). limit: end after so many.
        """
        again = request.headers.get("last-event-id", "")
        start = int(again) if again.isdecimal() and len(again) < 16 else since
        return StreamingResponse(
            _stream(studio, request, start, limit),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    return routes


def _checked(studio: Studio, task: Paint | Replay | MakeDataset | Train) -> tuple[list[str], str]:
    """The people that a job is about, and words to find it by. Raises: InputError, NoConsent."""
    library = studio.library
    if isinstance(task, Paint):
        return library.allowed(task.pictures()), f"{task.method} {task.prompt} {task.kind}"
    if isinstance(task, Replay):
        job = studio.store.get(task.job)
        folder = (job.result or {}).get("folder") if job else None
        if job is None or folder is None or safe_file(library.folder / "results" / folder, task.file) is None:
            raise InputError("There is no such picture to replay.")
        task.file = f"{folder}/{task.file}"
        people = library.agreed(studio.store.people_of(job.id))  # also of a replay's replay
        return people, f"replay {job.request.get('prompt', '')}"
    if isinstance(task, MakeDataset):
        if task.person is None:
            return [], f"dataset {task.name}"
        person = library.person(task.person)
        if person is None:
            raise InputError("There is no such person.")
        return library.allowed([one.id for one in person.pictures]), f"dataset {task.name} {person.name}"
    made = studio.store.get(task.dataset)
    if made is None or made.kind != "dataset" or made.state != "done":
        raise InputError("There is no such data set; make one first.")
    if task.steps is None and task.minutes is None:
        raise InputError("Say how long to train: steps, or minutes.")
    people = [made.request["person"]] if made.request.get("person") else []
    return people, f"train {task.method} {made.request.get('name', '')}"


async def _stream(
    studio: Studio, request: Request, since: int | None, limit: int | None
) -> AsyncIterator[str]:
    version = await run_in_threadpool(studio.store.version) if since is None else since
    yield f"retry: 1000\n: from {version}\n\n"
    sent, quiet = 0, 0.0
    while limit is None or sent < limit:
        jobs = await run_in_threadpool(studio.store.changed, version)
        for job in jobs:
            version = job.version
            yield f"id: {job.version}\ndata: {json.dumps(job.model_dump(mode='json'))}\n\n"
            sent += 1
            if sent == limit:
                return
        quiet = 0.0 if jobs else quiet + POLL_S
        if quiet >= QUIET_S:
            quiet = 0.0
            yield ": still here\n\n"
        if await request.is_disconnected():
            return
        await asyncio.sleep(POLL_S)


def _plain(identifier: str) -> bool:
    """Whether a text can be a job's id; anything else is not even asked for."""
    return len(identifier) == 16 and all(letter in "0123456789abcdef" for letter in identifier)


def _none(words: str = "There is no such job.") -> JSONResponse:
    return JSONResponse({"error": words}, status_code=404)
