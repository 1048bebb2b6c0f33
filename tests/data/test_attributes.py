"""A folder with columns becomes a data set of attributes; filters, taking up, faults, and kinds apart."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from PIL import Image

from likeness.cli.main import main
from likeness.data.attributes import AttributeSet, read_attributes
from likeness.data.build_attributes import Filters, Scorer, build_attributes, columns
from likeness.data.kinds import check, kind_of, open_dataset, require
from likeness.errors import IncompatibleWeightsError, InputError
from likeness.files.images import write_png
from tests.methods.toys import picture


def write_rows(folder: Path, count: int = 10, **more: object) -> Path:
    """Pictures 0.png ... of five people; column hps is a tenth of the number."""
    rows = []
    for number in range(count):
        write_png(picture(number), folder / f"{number}.png")
        row = {"file_name": f"{number}.png", "base": f"A man, number {number}.", "target": "a red hat"}
        row |= {"attribute": "hat", "identity": f"person {number % 5}", "hps": number / 10, **more}
        rows.append(json.dumps(row))
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    return folder


class Brightness:
    """A scorer that counts its calls: how bright the middle is, and whether the words are right."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, image: Image.Image, words: str) -> float:
        self.seen.append(words)
        return image.convert("L").getpixel((48, 48)) / 255  # type: ignore[operator]


def built(source: Path, filters: Filters | None = None) -> AttributeSet:
    return build_attributes(
        source, source.parent / "set", words=columns(source), filters=filters, licence="CC0"
    )


def test_columns_become_rows(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "pictures")
    write_png(picture(0), source / "copy.png")  # not named, so not taken
    made = built(source)
    assert made.about.pictures == len(made.rows) == 10 and made.about.people == 5
    assert made.about.licence == "CC0" and made.about.keep == 1 and made.about.left_out == {}
    row = made.rows[3]
    assert (row.base, row.target, row.attribute) == ("A man, number 3.", "a red hat", "hat")
    assert made.path(row).samefile(source / "3.png") and row.size_px == picture(3).size
    assert made.people()["person 1"] == [1, 6] and made.targets() == {"hat": "a red hat"}
    assert check(made.folder) == [] and kind_of(made.folder) == "attributes"
    assert isinstance(open_dataset(made.folder), AttributeSet)
    require(made, "attributes", "SPF-Portrait")
    with pytest.raises(IncompatibleWeightsError, match="ConsistentID learns from a data set of kind fgid"):
        require(made, "fgid", "ConsistentID")


def test_the_best_share_stays_then_what_is_preferred(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "pictures")
    bright = Brightness()
    made = built(source, Filters(Scorer("bright", bright), 0.3, least={"hps": 0.45}))
    assert bright.seen[3] == "A man, number 3, a red hat"
    scores = {n: picture(n).convert("L").getpixel((48, 48)) / 255 for n in range(10)}
    best = sorted(scores, key=lambda n: -scores[n])[:3]  # type: ignore[operator]
    kept = {n for n in best if n / 10 >= 0.45}
    assert {int(Path(row.picture).stem) for row in made.rows} == kept
    reasons = {int(Path(name).stem): why for name, why in made.about.left_out.items()}
    assert set(reasons) == set(range(10)) - kept
    assert all("the best 30% by" in reasons[n] for n in set(range(10)) - set(best))
    assert all("hps gives it" in reasons[n] for n in set(best) - kept)

    more = built(source, Filters(Scorer("bright", bright), 0.8, least={"hps": 0.0}))
    assert len(more.rows) == 8 and len(bright.seen) == 10, "looser filters look at nothing again"
    with pytest.raises(InputError, match="alignment 'bright', not 'other'"):
        built(source, Filters(Scorer("other", bright)))
    with pytest.raises(InputError, match="let none of 10 pictures through"):
        built(source, Filters(Scorer("bright", bright), 0.3, least={"hps": 5.0}))


def test_hpsv2_s_own_file_scores_and_what_is_no_number_does_not(tmp_path: Path) -> None:
    from likeness.cli.dataset_attributes import _scorer
    from tests.evaluation.test_preference import clip, open_clip_names

    torch.save({"state_dict": open_clip_names(clip())}, tmp_path / "HPS_v2_compressed.pt")
    scorer = _scorer("hps", str(tmp_path / "HPS_v2_compressed.pt"))
    assert -1 <= scorer.score(picture(1), "a red hat") <= 1
    source = write_rows(tmp_path / "pictures")
    lines = (source / "metadata.jsonl").read_text().replace('"hps": 0.5}', '"hps": NaN}')
    assert "NaN" in lines
    (source / "metadata.jsonl").write_text(lines)
    made = built(source, Filters(None, 1.0, least={"hps": 0.0}))
    assert [why for why in made.about.left_out.values() if "no such number" in why]


def test_taken_up_only_what_changed_is_looked_at(tmp_path: Path) -> None:
    source, bright = write_rows(tmp_path / "pictures"), Brightness()
    filters = Filters(Scorer("bright", bright), 1.0, (Scorer("nice", bright),), {"nice": 0.0})
    built(source, filters)
    assert len(bright.seen) == 20
    text = (source / "metadata.jsonl").read_text().replace("number 4.", "number four.")
    (source / "metadata.jsonl").write_text(text)
    again = built(source, filters)
    assert len(bright.seen) == 22 and again.rows[4].base == "A man, number four."
    calls = 0

    def stops(image: Image.Image, words: str) -> float:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return 0.5

    fresh = tmp_path / "fresh"
    with pytest.raises(KeyboardInterrupt):
        build_attributes(source, fresh, words=columns(source), filters=Filters(Scorer("s", stops), 1.0))
    assert len(read_attributes(fresh).rows) == 3
    build_attributes(source, fresh, words=columns(source), filters=Filters(Scorer("s", stops), 1.0))
    assert calls == 11, "the three from before are not scored again"


def test_faults_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_rows(tmp_path / "pictures", target="")
    with pytest.raises(InputError, match="needs the columns base and target"):
        built(source)
    made = built(write_rows(tmp_path / "pictures"))
    lines = (made.folder / "manifest.jsonl").read_text().splitlines()
    lines[1] = lines[1].replace('"base": "A man', '"base": "A man in a red hat')
    lines[2] = lines[2].replace('"target": "a red hat"', '"target": ""')
    (made.folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(SystemExit) as stop:
        main(["dataset", "check", str(made.folder), "--json"])
    assert stop.value.code == 2
    problems = {p["line"]: p for p in json.loads(capsys.readouterr().out)["problems"]}
    assert "the target's words 'a red hat'" in problems[2]["text"]
    assert lines[1][problems[2]["column"] - 1 :].startswith('"base"')
    assert "target: String should have at least 1 character" in problems[3]["text"]
    with pytest.raises(InputError, match=r"cannot be used: manifest.jsonl:3"):
        read_attributes(made.folder)
    (source / "5.png").write_bytes((source / "6.png").read_bytes())
    assert any("5.png was changed" in str(one) for one in check(made.folder))


@pytest.fixture
def splitter() -> Iterator[tuple[str, list[str]]]:
    """A server on localhost that splits every picture's words alike and keeps what it was asked."""
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(next(p["text"] for p in body["messages"][0]["content"] if p["type"] == "text"))
            said = {"base": "A man by the sea.", "target": "with a quiff", "attribute": "quiff"}
            message = {"role": "assistant", "content": json.dumps(said)}
            reply = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]}
            reply["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
            out = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(out)))
            self.end_headers()
            self.wfile.write(out)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], splitter: tuple[str, list[str]]
) -> None:
    url, asked = splitter
    photos = tmp_path / "photos"
    for number in range(2):
        write_png(picture(number), photos / "anna" / f"{number}.png")
    (photos / "anna" / "0.txt").write_text("Anna at the sea.")
    words = ["dataset", "build", "attributes", str(photos), "-o", str(tmp_path / "set")]
    asking = ["--vlm", url, "--vlm-model", "m", "--about", "the hairstyle"]
    with pytest.raises(SystemExit) as stop:
        main([*words, *asking, "--licence", "all mine", "--json"])
    out, err = capsys.readouterr()
    assert not stop.value.code, err
    document = json.loads(out)
    assert document["pictures"] == 2 and document["targets"] == {"quiff": "with a quiff"}
    assert document["words"] == f"m at {url}, about the hairstyle"
    assert "without a word about the hairstyle" in asked[0] and "Anna at the sea." in asked[0]
    assert "caption" not in asked[1]
    source = write_rows(tmp_path / "pictures")
    for mistake, told in (
        ([*words, "--vlm", url, "--vlm-model", "m"], "Say with --about"),
        ([*words, "--least", "hps"], "--least takes NAME=NUMBER"),
        ([*words, "--prefer", "hps=x"], "--prefer hps filters nothing without"),
        (words, "was built with words"),
        ([*words[:-1], str(tmp_path / "three")], "needs the columns base and target"),
        ([*words[:3], str(source), "-o", str(tmp_path / "two"), "--least", "beauty=1"], "no such number"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(mistake)
        assert stop.value.code == 2 and told in capsys.readouterr().err, told
