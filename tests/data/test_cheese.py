"""CHEESE: pairs are annotated and verified, every request once, and errors are repaired."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import random
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from likeness.cli.main import main
from likeness.data.asked import begun_with
from likeness.data.cheese.annotate import AskedAnnotator, Expected, Instruction, PairVerdict, Shot
from likeness.data.cheese.build import CheeseBuilder
from likeness.data.cheese.truth import TruthAnnotator, right
from likeness.data.duplicates import difference_hash
from likeness.data.engine import Built, build
from likeness.data.reading import read_set
from likeness.data.triplets import read_triplets
from likeness.errors import AnswerError, InputError
from likeness.files.images import write_png
from likeness.files.vision_language import Question, VisionLanguageModel, asked_so_far
from likeness.finetune import split_people
from likeness.packs import mini_path
from likeness.sitters import Scene, sample_scene, with_same_person
from likeness.sitters.describe import describe
from likeness.sitters.words import attributes
from tests.methods.toys import picture

ANSWERS = {
    PairVerdict: '{"near_duplicates":false,"scene_drifted":false}',
    Instruction: '{"camera":"a","layout":"b","subject":"c","instruction":"nod"}',
    Expected: '{"description":"a nod"}',
}

refused: list[tuple[int, int]] = []
"""A size of pictures that the server wants not."""
seen: list[tuple[str | None, tuple[int, int]]] = []
"""Format and size of each picture that came to the server."""


class ToyClip:
    """Brightness of a picture, length of a text: vectors in the plane."""

    name = "toy"

    def images(self, images: list[Image.Image]) -> np.ndarray:
        return self._unit([np.asarray(image.convert("L")).mean() / 255 for image in images])

    def texts(self, texts: list[str]) -> np.ndarray:
        return self._unit([min(len(text) / 10, 1.5) for text in texts])

    def _unit(self, angles: list[float]) -> np.ndarray:
        return np.stack([np.cos(angles), np.sin(angles)], 1)


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A server on localhost that speaks the chat protocol, and the texts of the requests it had."""
    asked: list[str] = []
    refused.clear()
    seen.clear()

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(next(p["text"] for p in body["messages"][0]["content"] if p["type"] == "text"))
            urls = [p["image_url"]["url"] for p in body["messages"][0]["content"] if p["type"] != "text"]
            pictures = [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]
            seen.extend((one.format, one.size) for one in pictures)
            if refused and refused[0] in {one.size for one in pictures}:
                self.send_error(400, "This picture is too large")
                return
            [said] = [
                ANSWERS[k] for k in ANSWERS if k.__name__ == body["response_format"]["json_schema"]["name"]
            ]
            choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
            reply = {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [choice],
            }
            reply["usage"] = {"prompt_tokens": 300, "completion_tokens": 20, "total_tokens": 320}
            out = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(out)))
            self.end_headers()
            self.wfile.write(out)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/v1", asked
        httpd.shutdown()
        thread.join()


@pytest.fixture
def collections(tmp_path: Path) -> Path:
    """Two collections of three pictures; in the second two are nearly the same."""
    folder = tmp_path / "pictures"
    for name in ("one", "two"):
        for number in range(3):
            write_png(picture(number + 10 * len(name) + (name == "two")), folder / name / f"{number}.png")
    small = picture(77).resize((90, 90))
    write_png(small, folder / "two" / "1.png")
    write_png(small.resize((70, 70)), folder / "two" / "2.png")
    return folder


def builder(source: Path, folder: Path, annotator: object, **more: object) -> CheeseBuilder:
    settings = {"clip": ToyClip, "clip_name": "toy", "tau": -1.0, **more}
    return CheeseBuilder(source, folder, annotator, **settings)  # type: ignore[arg-type]


def test_a_server_annotates_and_every_request_is_made_once(
    server: tuple[str, list[str]], collections: Path, tmp_path: Path
) -> None:
    url, requests = server
    out = tmp_path / "set"
    asker = AskedAnnotator(VisionLanguageModel(url, "m", kept=out / "asked", concurrency=2))
    whole = builder(collections, out, asker, threads=2)

    class Stops(AskedAnnotator):
        def expect(self, reference: Shot, instruction: Instruction) -> tuple[str, tuple[str, ...]]:
            if asked_so_far(out / "asked").questions > 8:
                raise KeyboardInterrupt
            return super().expect(reference, instruction)

    with pytest.raises(KeyboardInterrupt):
        build(dataclasses.replace(whole, annotator=Stops(asker.server)), out, chunk=2)
    assert 8 < asked_so_far(out / "asked").requests < 30
    made = build(whole, out, chunk=2)
    assert len(made.rows) == 10 and made.reasons() == {"near-duplicate": 2}
    spent = asked_so_far(out / "asked")
    assert spent.requests == len(requests), "what was answered is never asked again"
    assert spent.failed == 0 and spent.request_tokens == 300 * spent.requests
    row = made.rows[0]
    assert (row["camera"], row["instruction"], row["expected"], row["attempts"]) == ("a", "nod", "a nod", 1)
    assert (
        row["reference"] != row["target"]
        and row["identity"] == "one"
        and row["made_by"].split()[2] == "cheese"
    )
    [attempt] = json.loads(row["trail"])
    for exchange in attempt["asked"]:
        kept = json.loads((out / "asked" / exchange[:2] / f"{exchange}.json").read_text())
        assert kept["answer"] is not None
    assert len(attempt["asked"]) == 3
    files = read_set(out).files(0)
    assert files["reference.png"] == (collections / row["reference"]).read_bytes()
    assert files["target.png"] == (collections / row["target"]).read_bytes()
    told = json.loads((out / "statistics.json").read_text())
    assert told["triplets"] == 10 and told["pairs"] == 12 and told["cost"]["requests"] == spent.requests
    assert told["rate"]["pairs"] >= 12 and told["rate"]["pairs_per_s"] > 0
    page = (out / "statistics.html").read_text()
    assert "10 triplets of 2 collections" in page and "http" not in page.replace(url, "")


def test_an_instruction_under_tau_is_given_back_m_times(
    server: tuple[str, list[str]], collections: Path, tmp_path: Path
) -> None:
    asker = AskedAnnotator(VisionLanguageModel(server[0], "m", kept=tmp_path / "asked"))
    made = build(builder(collections, tmp_path / "set", asker, tau=1.0, retries=2), tmp_path / "set")
    assert not made.rows and made.reasons() == {"not verified": 10, "near-duplicate": 2}
    reject = next(row for row in made.rejects if row["reason"] == "not verified")
    assert "The best of 3 instructions scored" in reject["message"]
    trail = json.loads(reject["trail"])
    assert len(trail) == 3
    texts = [json.loads(file.read_text())["text"] for file in (tmp_path / "asked").rglob("*.json")]
    again = [text for text in texts if "An earlier instruction was 'nod'" in text]
    assert again and all(f"{trail[0]['score']:.3f}"[:3] in text or "similarity was" in text for text in again)
    assert all("has to be above 1" in text for text in again)


def test_a_refused_request_is_a_reject_and_the_build_goes_on(
    server: tuple[str, list[str]], tmp_path: Path
) -> None:
    for number, side in enumerate((60, 64, 70)):
        write_png(picture(number).resize((side, side)), tmp_path / "in" / "anna" / f"{number}.png")
    asker = AskedAnnotator(VisionLanguageModel(server[0], "m", kept=tmp_path / "asked"))
    refused.append((70, 70))
    made = build(builder(tmp_path / "in", tmp_path / "set", asker), tmp_path / "set")
    assert len(made.rows) == 2 and made.reasons() == {"no usable answer": 4}
    assert all("with status 400" in row["message"] for row in made.rejects)
    for row in made.rejects:
        [failed] = row["asked"]
        kept = json.loads((tmp_path / "asked" / failed[:2] / f"{failed}.json").read_text())
        assert kept["refused"] == row["message"] and kept["answer"] is None
    spent = asked_so_far(tmp_path / "asked")
    assert spent.failed == 4 and spent.requests == len(server[1])


def test_pictures_are_sent_small_and_a_build_keeps_to_its_size(
    server: tuple[str, list[str]], tmp_path: Path
) -> None:
    for number in range(2):
        write_png(picture(number).resize((100, 80)), tmp_path / "in" / "anna" / f"{number}.png")

    def made(side_px: int | None) -> Built:
        asker = AskedAnnotator(VisionLanguageModel(server[0], "m", kept=tmp_path / "asked", side_px=side_px))
        return build(builder(tmp_path / "in", tmp_path / "set", asker), tmp_path / "set")

    assert made(50).rows[0]["reference_size_px"] == [100, 80]
    assert set(seen) == {("JPEG", (50, 40))}
    with pytest.raises(InputError, match="was built with side_px 50, not None"):
        made(None)
    VisionLanguageModel(server[0], "m", kept=tmp_path / "asked").ask(Question("?", (picture(0),), Expected))
    assert seen[-1] == ("PNG", picture(0).size)


def test_a_server_that_moved_goes_on_with_the_build(server: tuple[str, list[str]], tmp_path: Path) -> None:
    for number in range(2):
        write_png(picture(number), tmp_path / "in" / "anna" / f"{number}.png")
    out, moved = tmp_path / "set", server[0].replace("127.0.0.1", "localhost")

    def made(url: str, model: str = "m") -> int:
        asker = AskedAnnotator(VisionLanguageModel(url, model, kept=out / "asked"))
        return len(build(builder(tmp_path / "in", out, asker), out).rows)

    assert made(server[0]) == 2
    write_png(picture(5), tmp_path / "in" / "anna" / "5.png")
    assert made(moved) == 6
    begun = json.loads((out / "build.json").read_text())
    assert begun["annotator"] == "m"
    (out / "build.json").write_text(json.dumps({**begun, "annotator": f"m at {server[0]}"}))
    assert made(moved) == 6, "as builds were begun once"
    assert begun_with(out, "annotator", "m") == f"m at {server[0]}"
    with pytest.raises(InputError, match="was built with annotator"):
        made(moved, "n")


class Named:
    """An annotator that says which picture becomes which."""

    name = "named"
    side_px = None

    def pair(self, *_: object) -> tuple[PairVerdict, tuple[str, ...]]:
        return PairVerdict(near_duplicates=False, scene_drifted=False), ()

    def instruct(self, reference: Shot, target: Shot, *_: object) -> tuple[Instruction, tuple[str, ...]]:
        words = f"{reference.name}>{target.name}"
        return Instruction(camera="c", layout="l", subject="s", instruction=words), ()


def test_a_collection_named_in_a_row_is_one_person(tmp_path: Path) -> None:
    rows = []
    for shoot in range(4):
        for number in range(2):
            write_png(picture(10 * shoot + number), tmp_path / "in" / f"{shoot}-{number}.png")
            rows.append({"file_name": f"{shoot}-{number}.png", "collection": f"shoot {shoot}"})
    (tmp_path / "in" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    build(builder(tmp_path / "in", tmp_path / "set", Named(), verify=False), tmp_path / "set")
    triplets = read_triplets(tmp_path / "set")
    learned, held = split_people(triplets, 1)
    shown = [
        {name for row in rows for name in triplets.rows[row].instruction.split(">")}
        for rows in (learned, held)
    ]
    assert len(held) == 2 and not shown[0] & shown[1], "nobody is on both sides"


def test_a_pair_in_two_collections_counts_once(tmp_path: Path) -> None:
    for number in range(2):
        write_png(picture(number), tmp_path / "in" / "anna" / f"{number}.png")
    shutil.copytree(tmp_path / "in" / "anna", tmp_path / "in" / "best")
    made = build(builder(tmp_path / "in", tmp_path / "set", Named(), verify=False), tmp_path / "set")
    assert [row["identity"] for row in made.rows] == ["anna"] * 2 and made.reasons() == {"copy": 2}


def sitter_shots(folder: Path, count: int = 4) -> list[list[Scene]]:
    """Collections of three sitters each as an image folder; the pictures are noise, the scenes are true."""
    scenes, lines = [], []
    for seed in range(10_000_000, 10_000_000 + count):
        first = sample_scene(seed)
        mine = [first, *(with_same_person(first, n, keep=("background",)) for n in (1, 2))]
        scenes.append(mine)
        for number, scene in enumerate(mine):
            write_png(picture(seed % 1000 * 3 + number), folder / f"{seed}-{number}.png")
            row = {
                "file_name": f"{seed}-{number}.png",
                "identity": f"sitter-{seed}",
                "record": scene.record(),
            }
            lines.append(json.dumps(row))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return scenes


def test_ground_truth_is_right_and_noise_is_wrong_as_often_as_told(tmp_path: Path) -> None:
    scenes = sitter_shots(tmp_path, 60)
    shots = [
        [Shot(f"{n}/{k}", picture(0), {"record": s.record()}) for k, s in enumerate(c)]
        for n, c in enumerate(scenes)
    ]
    changes, wrong = 0, 0
    for mine, them in zip(scenes, shots, strict=True):
        told, _ = TruthAnnotator().instruct(them[0], them[1], None, 0.4)
        assert right(mine[0], mine[1], told.whole)  # type: ignore[attr-defined]
        noisy, _ = TruthAnnotator(slips=0.3).instruct(them[0], them[1], None, 0.4)
        truth = attributes(mine[1], hidden=True)
        named = told.subject.split(", ") + told.layout.split(", ")
        other, _ = TruthAnnotator(misread=1.0).instruct(them[0], them[1], None, 0.4)
        assert not right(mine[0], mine[1], other.whole)  # type: ignore[attr-defined]
        changes += len([name for name in named if name in truth])
        wrong += len([n for n in named if n in truth and noisy.whole.get(n) != truth[n]])  # type: ignore[attr-defined]
    assert changes > 300 and 0.2 < wrong / changes < 0.32, "some wrong values are right by chance"
    expected, _ = TruthAnnotator().expect(shots[0][0], TruthAnnotator().instruct(*shots[0][:2], None, 0)[0])
    assert (
        expected
        == describe(
            TruthAnnotator().instruct(*shots[0][:2], None, 0)[0].visible,  # type: ignore[attr-defined]
            "full",
            random.Random(TruthAnnotator().instruct(*shots[0][:2], None, 0)[0].instruction),
        )
    )
    with pytest.raises(InputError, match="its own instructions"):
        TruthAnnotator().expect(
            shots[0][0], Instruction(camera="a", layout="b", subject="c", instruction="d")
        )
    with pytest.raises(InputError, match="no `record` of a sitter's scene"):
        TruthAnnotator().pair(Shot("a.png", picture(0)), Shot("b.png", picture(1)))


def test_feedback_is_asked_for_until_the_score_is_above_tau(tmp_path: Path) -> None:
    scores = iter([0.2, 0.4, 0.6])
    seen: list[float | None] = []

    class Counts(TruthAnnotator):
        def instruct(self, reference, target, last, tau):  # type: ignore[no-untyped-def]
            seen.append(None if last is None else last.score)
            return super().instruct(reference, target, last, tau)

    class Scores(ToyClip):
        def images(self, images: list[Image.Image]) -> np.ndarray:
            return np.array([[1.0, 0.0]])

        def texts(self, texts: list[str]) -> np.ndarray:
            score = next(scores)
            return np.array([[score, (1 - score**2) ** 0.5]])

    scene = sample_scene(10_000_000)
    shots = [
        Shot(str(n), picture(n), {"record": one.record()})
        for n, one in enumerate((scene, with_same_person(scene, 1, keep=("background",))))
    ]
    made = builder(tmp_path, tmp_path, Counts(), tau=0.5, retries=5).annotated(Scores(), *shots)
    assert [attempt.score for attempt in made] == [0.2, 0.4, 0.6] and seen == [None, 0.2, 0.4]
    assert len({attempt.instruction.instruction for attempt in made}) > 1, "each attempt is a new one"

    class Mute(TruthAnnotator):
        def instruct(self, *_: object) -> tuple[Instruction, tuple[str, ...]]:
            raise AnswerError("It talks of the weather.")

    with pytest.raises(InputError, match="talks of the weather") as rejected:
        builder(tmp_path, tmp_path, Mute()).annotated(ToyClip(), *shots)
    assert rejected.value.reason == "no usable answer"  # type: ignore[attr-defined]

    class Falls(TruthAnnotator):
        def pair(self, *_: object) -> tuple[PairVerdict, tuple[str, ...]]:
            return PairVerdict(near_duplicates=False, scene_drifted=False), ("first",)

        def expect(self, *_: object) -> tuple[str, tuple[str, ...]]:
            raise AnswerError("It sleeps.", "last.failed")

    with pytest.raises(InputError, match="It sleeps") as rejected:
        builder(tmp_path, tmp_path, Falls()).annotated(ToyClip(), *shots)
    assert rejected.value.columns["asked"] == ("first", "last.failed")  # type: ignore[attr-defined]
    [unverified] = builder(tmp_path, tmp_path, Falls(), verify=False).annotated(ToyClip(), *shots)
    assert unverified.score is None and unverified.record()["score"] is None
    assert unverified.asked == ("first",)


def test_the_hash_knows_a_picture_again() -> None:
    one, other = picture(1), picture(2)
    assert (difference_hash(one) ^ difference_hash(one.resize((61, 61)))).bit_count() <= 4
    assert 15 < (difference_hash(one) ^ difference_hash(other)).bit_count() < 50
    flat = difference_hash(Image.new("L", (9, 8)))
    ramp = Image.fromarray(np.tile(np.arange(9, dtype=np.uint8) * 20, (8, 1)))
    assert flat == 0 and difference_hash(ramp) == 2**64 - 1


@pytest.mark.skipif(
    not (mini_path() / "pack.json").exists(), reason="the mini pack is not in this source tree"
)
def test_the_command_takes_ground_truth_for_sitters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sitter_shots(tmp_path / "sitters", 2)
    words = ["dataset", "build", "cheese", str(tmp_path / "sitters"), "-o", str(tmp_path / "set")]
    with pytest.raises(SystemExit) as stop:
        main([*words, "--words", "truth", "--tau", "-1", "--licence", "CC0-1.0", "--json"])
    out, err = capsys.readouterr()
    assert not stop.value.code, err
    assert json.loads(out) == {"out": str(tmp_path / "set"), "triplets": 12, "rejected": {}}
    rows = pq.read_table(tmp_path / "set" / "manifest.parquet").to_pylist()
    assert {row["licence"] for row in rows} == {"CC0-1.0"} and all(row["instruction"] for row in rows)
    for number in range(2):
        write_png(picture(number), tmp_path / "photos" / "anna" / f"{number}.png")
    photos = [*words[:3], str(tmp_path / "photos"), "-o", str(tmp_path / "none of it")]
    for mistake, told in (
        ([*photos, "--words", "truth"], "all 2 items were rejected, most for 'input': anna/0.png has no"),
        ([*words, "--words", "truth", "--concurrency", "0"], "Invalid value for '--concurrency'"),
        (words, "Give either --vlm and --model, or --words truth"),
        ([*words, "--words", "guess"], "no words 'guess'"),
        ([*words, "--words", "truth", "--tau", "7"], "tau is a cosine"),
        ([*words, "--words", "truth", "--misread", "7"], "Invalid value for '--misread'"),
        ([*words, "--words", "truth", "--chunk", "0"], "Invalid value for '--chunk'"),
        ([*words[:3], str(tmp_path / "none"), *words[4:], "--words", "truth"], "is no folder"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(mistake)
        assert stop.value.code == 2 and told in capsys.readouterr().err
