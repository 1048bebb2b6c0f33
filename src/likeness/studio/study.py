"""The page of a study: one item at a time, by mouse, touch or keys; answers go straight into the study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Query
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict

from likeness.errors import InputError
from likeness.evaluation.study import Answer, Item, Study, answer, answers_of, load_study, shown_to
from likeness.studio.pages import only_here, read_page

__all__ = ["serve_study", "study_app"]


class Given(BaseModel):
    """What the page sends."""

    model_config = ConfigDict(extra="forbid")
    rater: str
    item: str
    question: str
    value: str


def study_app(folder: Path) -> FastAPI:
    """The study in `folder`: GET / the page, GET /items?rater=NAME what to judge, POST /answers.

    The page is never told which variant painted a picture.
    Raises: InputError for a folder without a study.
    """
    study = load_study(folder)
    files = {name for item in study.items for name in (item.reference, *item.pictures) if name}
    app = FastAPI(title="Likeness study", docs_url=None, redoc_url=None)

    @app.get("/", response_class=HTMLResponse)
    def page() -> str:
        return read_page("study.html")

    @app.get("/items")
    def items(rater: Annotated[str, Query(min_length=1, max_length=80)]) -> dict[str, Any]:
        given = {f"{one.item} {one.question}": one.value for one in answers_of(folder, rater.strip())}
        return {
            "kind": study.kind,
            "questions": study.questions,
            "choices": study.choices,
            "items": [_shown(study, item, given) for item in shown_to(study, rater.strip())],
        }

    @app.post("/answers")
    def take(given: Given) -> JSONResponse:
        try:
            answer(folder, study, Answer(given.rater, given.item, given.question, given.value))
        except InputError as error:
            return JSONResponse({"error": str(error)}, status_code=422)
        return JSONResponse({"kept": True})

    @app.get("/{name:path}", response_model=None)
    def picture(name: str) -> FileResponse | JSONResponse:
        if name not in files:
            return JSONResponse({"error": f"There is no {name}."}, status_code=404)
        return FileResponse(folder / name, media_type="image/png")

    return app


def serve_study(folder: Path, host: str, port: int) -> None:
    """Serve `study_app` until Ctrl-C."""
    app = study_app(folder)
    only_here(app, host)
    uvicorn.run(app, host=host, port=port, log_level="warning")


def _shown(study: Study, item: Item, given: dict[str, str]) -> dict[str, Any]:
    return {
        "id": item.id,
        "prompt": item.prompt,
        "reference": item.reference,
        "pictures": item.pictures,
        "answers": {q: given[f"{item.id} {q}"] for q in study.questions if f"{item.id} {q}" in given},
    }
