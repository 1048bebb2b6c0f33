"""Routes of people: their pictures and the doctor's verdict, their consent, and being forgotten; sitters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from likeness.errors import InputError, LikenessError
from likeness.files.images import read_recipe
from likeness.studio.library import UPLOAD_BYTES, Consent, Person, Picture, safe_file

if TYPE_CHECKING:
    from likeness.studio.app import Studio

__all__ = ["body_of", "router"]

PersonId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]
PictureId = Annotated[str, Path(pattern=r"^[0-9a-f]{24}$")]
Layer = Literal["picture", "labels", "depth", "normals", "landmarks"]
HEARD_OUT = 4
"""A body of up to so many times the limit is read before it is refused."""
BINARY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class NewPerson(BaseModel):
    """Somebody to add. kind: "sitter" for one who does not exist; a real person has to agree first."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")
    kind: Literal["sitter", "real"] = "real"


class FromJob(BaseModel):
    """A painted picture to be used as a reference. job, file: where it is."""

    model_config = ConfigDict(extra="forbid")
    job: str = Field(pattern=r"^[0-9a-f]{16}$")
    file: str = Field(max_length=200)


class Forgotten(BaseModel):
    """How much of a person was deleted: pictures, and jobs with everything they made."""

    pictures: int
    jobs: int


class Sitter(BaseModel):
    """A synthetic person. seed: who; picture: which picture of them, 0 is the first. changes: factor -> field
    -> value, of what `GET /api/sitters/{seed}` lists. layer: the picture, or its ground truth."""

    model_config = ConfigDict(extra="forbid")
    seed: int = Field(ge=0, lt=2**53)
    picture: int = Field(default=0, ge=0, lt=2**31)
    changes: dict[str, dict[str, float | bool | str]] = {}
    size_px: int = Field(default=320, ge=64, le=1024)
    layer: Layer = "picture"


def router(studio: Studio) -> APIRouter:
    """Routes under /api."""
    routes = APIRouter(tags=["people"])
    library = studio.library

    def judged(picture: Picture) -> Picture:
        """With the doctor's verdict; without one where nobody can give it."""
        try:
            file = str(library.picture_file(picture.id))
            verdict = studio.desk.ask("inspect", file, picture.sitter)
        except LikenessError as error:
            verdict = {"status": "not judged", "reasons": [{"sentence": str(error)}]}
        library.judged(picture.id, verdict)
        return picture.model_copy(update={"verdict": verdict})

    @routes.get("/people")
    def people() -> list[Person]:
        """Everybody whose pictures are here, newest first."""
        return library.people()

    @routes.post("/people", status_code=201)
    def add(given: NewPerson) -> Person:
        """Add somebody."""
        return library.add_person(given.name, given.kind)

    @routes.get("/people/{person}", response_model=Person)
    def person(person: PersonId) -> Person | JSONResponse:
        """One person with their pictures."""
        return library.person(person) or _nobody()

    @routes.put("/people/{person}/consent", response_model=Person)
    def consent(person: PersonId, given: Consent) -> Person | JSONResponse:
        """Record that a real person agreed: whose word it is, and to what. Before this nothing is painted."""
        return library.consent(person, given) or _nobody()

    @routes.delete("/people/{person}", response_model=Forgotten)
    def forget(person: PersonId) -> Forgotten | JSONResponse:
        """Forget a person: their pictures, every embedding, and every job with what it made are deleted.

        Jobs at work on them stop; workers and the doctor drop what they hold in memory.
        """
        if library.person(person) is None:
            return _nobody()
        jobs = studio.store.forget(person)
        pictures = library.forget(person)
        for job in jobs:
            library.remove_of_job(job)
        studio.database.settle()
        studio.desk.close()
        return Forgotten(pictures=len(pictures), jobs=len(jobs))

    @routes.post("/people/{person}/pictures", status_code=201, response_model=Picture, openapi_extra=BINARY)
    async def upload(
        request: Request,
        person: PersonId,
        label: Annotated[str, Query(max_length=200, pattern=r"^[^\x00-\x1f]*$")] = "",
    ) -> Picture | JSONResponse:
        """Add a picture: the file's bytes as the body (`curl --data-binary @me.jpg`), of 25 MiB and 40
        megapixels at most. Answered with the doctor's verdict."""
        data = await body_of(request, UPLOAD_BYTES)
        if data is None:
            return _too_large(UPLOAD_BYTES)
        if not data:
            raise InputError("The body is empty: send the picture's bytes.")

        def keep() -> Picture:
            return judged(library.add_picture(person, data, label))

        return await run_in_threadpool(keep)

    @routes.post("/people/{person}/pictures/from-job", status_code=201, response_model=Picture)
    def from_job(person: PersonId, given: FromJob) -> Picture | JSONResponse:
        """Use a painted picture as a reference of a person."""
        job = studio.store.get(given.job)
        folder = (job.result or {}).get("folder") if job else None
        file = safe_file(library.folder / "results" / folder, given.file) if folder else None
        if file is None or file.suffix != ".png" or job is None:
            return JSONResponse({"error": "There is no such picture."}, status_code=404)
        settings = read_recipe(file).get("settings", {}) if file.name != "contact-sheet.png" else {}
        sitter = settings.get("family") == "mini"
        return judged(library.add_picture(person, file.read_bytes(), f"painted: {file.stem}", sitter=sitter))

    @routes.get("/pictures/{picture}", response_model=Picture)
    def picture(picture: PictureId) -> Picture | JSONResponse:
        """What is known of a picture."""
        return library.picture(picture) or _no_picture()

    @routes.get("/pictures/{picture}/file", response_class=FileResponse, response_model=None)
    def file(picture: PictureId) -> FileResponse | JSONResponse:
        """The picture, a PNG without the metadata of the photo."""
        path = library.picture_file(picture)
        return FileResponse(path, media_type="image/png") if path.is_file() else _no_picture()

    @routes.delete("/pictures/{picture}", status_code=204, response_model=None)
    def remove(picture: PictureId) -> Response | JSONResponse:
        """Take one picture away."""
        return Response(status_code=204) if library.remove_picture(picture) else _no_picture()

    @routes.get("/sitters/{seed}")
    def sliders(
        seed: Annotated[int, Path(ge=0, lt=2**53)], picture: Annotated[int, Query(ge=0, lt=2**31)] = 0
    ) -> dict[str, Any]:
        """Every slider of a synthetic person and where it stands, and a caption of the picture."""
        from likeness.studio.handlers import sitter_schema

        return sitter_schema(seed, picture)

    @routes.post("/sitters/picture", response_class=Response, response_model=None)
    def render(given: Sitter) -> Response:
        """Paint a synthetic person, or a layer of the ground truth: a PNG."""
        data = studio.desk.ask("sitter", given.seed, given.picture, given.changes, given.size_px, given.layer)
        return Response(data, media_type="image/png")

    @routes.post("/sitters/reference", status_code=201)
    def use(given: Sitter) -> Person:
        """Make a person of a sitter, with the picture as their reference."""
        data = studio.desk.ask("sitter", given.seed, given.picture, given.changes, 320, "picture")
        changed = ", changed" if given.changes else ""
        made = library.add_person(f"Sitter {given.seed}{changed}", "sitter")
        judged(library.add_picture(made.id, data, f"seed {given.seed}{changed}"))
        return library.person(made.id) or made

    return routes


async def body_of(request: Request, limit: int) -> bytes | None:
    """The body, or None where it is larger than the limit.

    What is too large is read on for a while and thrown away: who is still sending would not hear the answer.
    """
    data, size = bytearray(), 0
    async for part in request.stream():
        size += len(part)
        if size <= limit:
            data += part
        else:
            data.clear()
        if size > HEARD_OUT * limit:
            return None
    return bytes(data) if size <= limit else None


def _too_large(limit: int) -> JSONResponse:
    return JSONResponse({"error": f"A picture may have {limit // 2**20} MiB at most."}, status_code=413)


def _nobody() -> JSONResponse:
    return JSONResponse({"error": "There is no such person."}, status_code=404)


def _no_picture() -> JSONResponse:
    return JSONResponse({"error": "There is no such picture."}, status_code=404)
