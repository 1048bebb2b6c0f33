"""Routes of the pages Train, Live and Study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from likeness.errors import InputError
from likeness.studio import runs
from likeness.studio.library import safe_file
from likeness.studio.routes_people import body_of

if TYPE_CHECKING:
    from likeness.studio.app import Studio

__all__ = ["router"]

JobId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]
StudyName = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,60}$")]
Rater = Annotated[str, Query(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f]*\S[^\x00-\x1f]*$")]
FRAME_BYTES = 4 * 2**20
FRAME: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class Given(BaseModel):
    """An answer in a study."""

    model_config = ConfigDict(extra="forbid")
    rater: str = Field(min_length=1, max_length=80)
    item: str = Field(max_length=40)
    question: str = Field(max_length=40)
    value: str = Field(max_length=40)


class NewStudy(BaseModel):
    """A study of comparisons made here. groups: those of jobs of the same words through two methods."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,60}$")
    kind: str = Field(default="pairs", pattern=r"^(pairs|ratings)$")
    groups: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]] = Field(
        min_length=1, max_length=200
    )


def router(studio: Studio) -> APIRouter:
    """Routes under /api."""
    routes = APIRouter()
    library = studio.library
    _training(routes, studio)

    @routes.post("/live/{method}/frame", tags=["live"], openapi_extra=FRAME, response_model=None)
    async def frame(
        request: Request,
        method: Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,60}$")],
        x_settings: Annotated[str, Header(max_length=4000)] = "{}",
    ) -> Response:
        """One frame, edited in one step. X-Settings: instruction, style, keep_background and steady as JSON
        (percent-encoded where it is not ASCII). The answer's X- headers say latency, rate and flicker."""
        from urllib.parse import unquote

        from likeness.studio.live import LiveSettings

        data = await body_of(request, FRAME_BYTES)
        if data is None:
            return JSONResponse({"error": "A frame may have 4 MiB at most."}, status_code=413)
        try:
            wanted = LiveSettings.model_validate_json(unquote(x_settings)).model_dump()
        except ValidationError as error:
            raise InputError(f"X-Settings: {error.errors()[0]['msg']}.") from None
        shown, told = await run_in_threadpool(lambda: studio.live(method).ask("frame", data, wanted))
        headers = {f"X-{key.replace('_', '-')}": str(value) for key, value in told.items()}
        return Response(shown, media_type="image/jpeg", headers=headers)

    def asked(what: str, name: str, *values: Any) -> Any:
        return studio.desk.ask("study", what, str(library.folder / "studies" / name), *values)

    @routes.get("/studies", tags=["studies"])
    def every_study() -> list[dict[str, Any]]:
        """Studies in the data folder, made here or by `likeness study build`."""
        if not any((library.folder / "studies").iterdir()):
            return []
        found: list[dict[str, Any]] = asked("listed", "")
        return found

    @routes.post("/studies", tags=["studies"], status_code=201)
    def make(given: NewStudy) -> dict[str, Any]:
        """Make a study of comparisons: of every group two methods' pictures, or all of them for ratings."""
        groups = [_variants(studio, group) for group in given.groups]
        made: dict[str, Any] = asked("make", "", given.name, given.kind, groups)
        return made

    @routes.get("/studies/{name}/items", tags=["studies"])
    def items(name: StudyName, rater: Rater) -> dict[str, Any]:
        """What a rater is to judge, in their order; never whose picture is whose."""
        found: dict[str, Any] = asked("items", name, rater.strip())
        return found

    @routes.post("/studies/{name}/answers", tags=["studies"])
    def take(name: StudyName, given: Given) -> dict[str, bool]:
        """Keep an answer; a second one to the same question replaces it."""
        asked("keep", name, given.rater, given.item, given.question, given.value)
        return {"kept": True}

    @routes.get("/studies/{name}/report", tags=["studies"])
    def report(name: StudyName) -> dict[str, Any]:
        """What the answers amount to, with intervals and agreement."""
        found: dict[str, Any] = asked("summary", name)
        return found

    @routes.get("/studies/{name}/pictures/{file}", tags=["studies"], response_model=None)
    def picture(name: StudyName, file: str) -> FileResponse | JSONResponse:
        """A study's picture."""
        path = safe_file(library.folder / "studies" / name / "pictures", file)
        if path is None or path.suffix != ".png":
            return JSONResponse({"error": "There is no such picture."}, status_code=404)
        return FileResponse(path, media_type="image/png")

    return routes


def _variants(studio: Studio, group: str) -> list[dict[str, Any]]:
    """What the methods of a comparison painted, each method once."""
    results, found = studio.library.folder / "results", dict[str, dict[str, Any]]()
    for job in studio.store.listed(group=group, state="done", kind="paint"):
        references = job.request["references"]
        if not references or not job.result or not studio.library.picture_file(references[0]).is_file():
            continue
        found[job.request["method"]] = {
            "method": job.request["method"],
            "prompt": job.request["prompt"],
            "people": studio.store.people_of(job.id),
            "reference": str(studio.library.picture_file(references[0])),
            "pictures": [str(results / job.result["folder"] / one["file"]) for one in job.result["pictures"]],
        }
    return [found[method] for method in sorted(found)]


def _training(routes: APIRouter, studio: Studio) -> None:
    library = studio.library

    @routes.get("/datasets/{job}/check", tags=["training"])
    def check(job: JobId) -> list[dict[str, Any]]:
        """What is wrong with a data set that a job made, by file, line and column; else nothing."""
        folder, _ = runs.dataset_folder(library, job)
        found: list[dict[str, Any]] = studio.desk.ask("check", str(folder))
        return found

    @routes.get("/runs/{job}", tags=["training"])
    def run(job: JobId) -> dict[str, Any]:
        """A training's losses and scores by step, also while it goes on, and its validation pictures."""
        folder = runs.newest_run(library, job)
        return runs.curves(folder) if folder else {"losses": [], "scores": [], "validation": []}

    @routes.get("/runs/{job}/validation/{file}", tags=["training"], response_model=None)
    def shown(job: JobId, file: str) -> FileResponse | JSONResponse:
        """A sheet of validation pictures."""
        folder = runs.newest_run(library, job)
        path = safe_file(folder / "validation", file) if folder else None
        if path is None or path.suffix != ".png":
            return JSONResponse({"error": "There is no such picture."}, status_code=404)
        return FileResponse(path, media_type="image/png")
