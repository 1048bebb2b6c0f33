"""The study's server, asked as the page asks it."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from likeness.errors import InputError
from likeness.evaluation.study import Study, answers_of, build_study
from likeness.studio.study import study_app
from tests.evaluation.test_study import two


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[str, Path, Study]]:
    folder = tmp_path / "study"
    study = build_study(two(tmp_path), folder, kind="pairs", seed=3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(study_app(folder), port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}", folder, study
    server.should_exit = True
    thread.join(10)


def ask(url: str, given: object = None) -> tuple[int, bytes]:
    data = None if given is None else json.dumps(given).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310  our own server
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_a_rater_answers_and_comes_back(place: tuple[str, Path, Study]) -> None:
    url, folder, study = place
    status, page = ask(url)
    assert status == 200 and b"<title>Likeness study</title>" in page and b"http" not in page
    assert b"--paper" in page and b"style.css" not in page, "the style is inside"
    _, content = ask(f"{url}/items?rater=anna")
    shown = json.loads(content)
    assert b"ours" not in content and b"theirs" not in content, "blind"
    assert {item["id"] for item in shown["items"]} == {item.id for item in study.items}
    first = shown["items"][0]
    for name in (first["reference"], *first["pictures"]):
        status, picture = ask(f"{url}/{name}")
        assert status == 200 and picture.startswith(b"\x89PNG")
    given = {"rater": "anna", "item": first["id"], "question": "person", "value": "left"}
    assert ask(f"{url}/answers", given)[0] == 200
    assert json.loads(ask(f"{url}/items?rater=anna")[1])["items"][0]["answers"] == {"person": "left"}
    assert json.loads(ask(f"{url}/items?rater=bo")[1])["items"][0]["answers"] == {}
    assert len(answers_of(folder)) == 1


def test_what_is_not_the_studys_is_refused(place: tuple[str, Path, Study], tmp_path: Path) -> None:
    url, folder, study = place
    for name in ("answers.sqlite", "study.json", "../ours/cases.parquet", "pictures/none.png"):
        assert ask(f"{url}/{name}")[0] == 404
    good = {"rater": "anna", "item": study.items[0].id, "question": "person", "value": "left"}
    for wrong in ({"value": "middle"}, {"item": "x"}, {"rater": " "}, {"extra": "1"}):
        assert ask(f"{url}/answers", {**good, **wrong})[0] == 422
    assert answers_of(folder) == []
    with pytest.raises(InputError, match="is no study"):
        study_app(tmp_path)
