"""The client of vision-language servers against transformers' own server with a tiny model behind it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likeness.errors import AnswerError, ServiceError
from likeness.evaluation.case import Case
from likeness.evaluation.metrics.judged import JudgedDetails, JudgedPrompt, Rating, rated
from likeness.files.vision_language import Question, VisionLanguageModel
from tests.evaluation.tiny_vlm import NO_ANSWER, RATING, serve, write_model

PICTURES = tuple(Image.new("RGB", (56, 56), colour) for colour in ("red", "blue"))


class Riddle(Rating):
    """What the model says it cannot answer at first."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    folder = write_model(tmp_path_factory.mktemp("vlm") / "tiny")
    with serve(folder, tmp_path_factory.mktemp("home")) as url:
        yield url, str(folder)


def model(server: tuple[str, str], kept: Path, **settings: object) -> VisionLanguageModel:
    return VisionLanguageModel(*server, kept=kept, **settings)  # type: ignore[arg-type]


def test_an_answer_is_asked_once_and_kept(server: tuple[str, str], tmp_path: Path) -> None:
    asked = Question("How alike are these?", PICTURES, Rating)
    answer = model(server, tmp_path).ask(asked)
    assert answer == Rating.model_validate_json(RATING)
    [file] = tmp_path.rglob("*.json")
    kept = json.loads(file.read_text())
    assert kept["said"] == [RATING] and kept["text"] == asked.text and len(kept["images_sha256"]) == 2
    nowhere = VisionLanguageModel("http://127.0.0.1:9/v1", server[1], kept=tmp_path, attempts=1)
    assert nowhere.ask(asked) == answer, "read, not asked again"
    with pytest.raises(ServiceError, match="cannot be reached"):
        nowhere.ask(Question("How alike are these now?", PICTURES, Rating))
    with pytest.raises(ServiceError, match="cannot be reached"):
        nowhere.ask(Question(asked.text, PICTURES[::-1], Rating))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", b"<html>hello</html>"),
        ("application/json", b"<html>"),
        ("application/json", b'{"choices":[{"message":null}]}'),
    ],
)
def test_a_server_of_another_kind_is_named(kind: str, body: bytes, tmp_path: Path) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    other = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    asked = model((f"http://127.0.0.1:{other.server_port}", "m"), tmp_path, attempts=1)
    with pytest.raises(ServiceError, match="does not speak OpenAI's chat protocol"):
        asked.ask(Question("How alike are these?", PICTURES, Rating))
    other.shutdown()
    other.server_close()


def test_a_wrong_answer_is_sent_back(server: tuple[str, str], tmp_path: Path) -> None:
    riddle = Question("How alike are these?", PICTURES, Riddle)
    assert model(server, tmp_path / "a").ask(riddle).score == 3
    [file] = (tmp_path / "a").rglob("*.json")
    assert json.loads(file.read_text())["said"] == [NO_ANSWER, RATING]
    with pytest.raises(ServiceError, match=r"no usable answer in 1 attempts: There is no JSON object"):
        model(server, tmp_path / "b", repairs=0).ask(riddle)
    [failed] = (tmp_path / "b").rglob("*.json")
    assert json.loads(failed.read_text())["answer"] is None
    with pytest.raises(ServiceError, match="no usable answer"):  # a failure is kept, not believed
        model(server, tmp_path / "b", repairs=0).ask(riddle)
    cut = model(server, tmp_path / "c", max_tokens=12)
    with pytest.raises(ServiceError, match="in 3 attempts"):
        cut.ask(Question("How alike are these?", PICTURES, Rating))


def test_a_refusal_and_silence_are_said(server: tuple[str, str], tmp_path: Path) -> None:
    url, _ = server
    other = VisionLanguageModel(url, "no-such/model", kept=tmp_path, attempts=1)
    with pytest.raises(ServiceError, match="refused the request for 'no-such/model' with status"):
        other.ask(Question("?", PICTURES, Rating))
    with socket.socket() as silent:  # takes the connection and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        place = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        slow = VisionLanguageModel(place, "m", kept=tmp_path, timeout_s=0.3, attempts=2)
        started = time.monotonic()
        with pytest.raises(ServiceError, match=r"did not answer within 0\.3 s"):
            slow.ask(Question("?", PICTURES, Rating))
        assert time.monotonic() - started > 0.6, "tried twice"


def test_many_are_asked_at_once_and_failures_stand_in_their_places(
    server: tuple[str, str], tmp_path: Path
) -> None:
    asker = model(server, tmp_path, repairs=0, concurrency=2)
    kinds = (Rating, Riddle, Rating)
    progress: list[tuple[int, int]] = []
    answers = asker.ask_many(
        [Question(f"Question {n}", PICTURES[:1], kind) for n, kind in enumerate(kinds)],  # type: ignore[type-var]
        lambda *at: progress.append(at),
    )
    assert [type(answer) for answer in answers] == [Rating, AnswerError, Rating]
    assert progress == [(1, 3), (2, 3), (3, 3)] and threading.active_count() < 10


def test_cases_are_rated(server: tuple[str, str], tmp_path: Path) -> None:
    cases = [Case("a", PICTURES[0], "smiling", PICTURES[1:]), Case("b", PICTURES[0], "smiling", ())]
    for metric in (JudgedDetails(model(server, tmp_path)), JudgedPrompt(model(server, tmp_path))):
        assert metric(cases) == pytest.approx([0.75, np.nan], nan_ok=True)
    texts = {json.loads(file.read_text())["text"] for file in tmp_path.rglob("*.json")}
    assert len(texts) == 2 and all("'smiling'" in text for text in texts)


def test_a_server_that_never_answers_is_an_error_not_an_empty_column(tmp_path: Path) -> None:
    nowhere = VisionLanguageModel("http://127.0.0.1:9/v1", "m", kept=tmp_path, attempts=1)
    with pytest.raises(ServiceError, match="cannot be reached"):
        JudgedPrompt(nowhere)([Case("a", PICTURES[0], "smiling", PICTURES[1:])])


def test_a_copy_is_held_against_the_picture() -> None:
    class Says:
        def __init__(self, copied: bool, score: int) -> None:
            self.rating = Rating(reason="", copied=copied, score=score)

        def ask_many(self, questions):  # type: ignore[no-untyped-def]
            return [self.rating for _ in questions]

    case = Case("a", PICTURES[0], "smiling", PICTURES[1:])
    assert JudgedDetails(Says(True, 4))([case]) == 0.5  # type: ignore[arg-type]
    assert JudgedDetails(Says(True, 1))([case]) == 0.25  # type: ignore[arg-type]
    assert JudgedPrompt(Says(True, 4))([case]) == 0  # type: ignore[arg-type]
    assert JudgedPrompt(Says(False, 4))([case]) == 1  # type: ignore[arg-type]
    assert np.isnan(rated(Says(False, 4), "{prompt}", [Case("a", PICTURES[0], "", ())], 1)).all()  # type: ignore[arg-type]
