"""A folder of pictures becomes a data set, is taken up again, and every fault is named where it is."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likeness.cli.main import main
from likeness.data.build import QUESTIONS, Captions, build, parse, sidecar
from likeness.data.image_folder import listed_pictures
from likeness.data.manifest import Dataset, check, read_dataset
from likeness.errors import InputError
from likeness.faces.parsing import CLASSES, ParserNet
from likeness.files.images import write_png
from likeness.methods.consistentid.config import CAPTION
from likeness.packs import mini_path
from likeness.sitters import HELD_OUT_SEEDS, sample_scene, straightened, with_same_person
from likeness.sitters.render import render
from tests.methods.toys import MiddleDetector, PixelEncoder, picture


class Some(MiddleDetector):
    """Finds a face in the middle of all pictures but grey ones, and counts."""

    looked = 0

    def __call__(self, image):  # type: ignore[no-untyped-def]
        type(self).looked += 1
        return [] if image.getextrema()[0][0] == image.getextrema()[0][1] else super().__call__(image)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for person in ("anna", "ben"):
        for number in range(2):
            write_png(picture(len(person) * 10 + number), folder / person / f"{number}.png")
    (folder / "anna" / "0.txt").write_text("Anna,\n  laughing.")
    write_png(picture(99), folder / "carl.png")
    write_png(Image.new("RGB", (96, 96), "grey"), folder / "wall.png")
    shutil.copy(folder / "carl.png", folder / "ben" / "9.png")
    (folder / "ben" / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.md").write_text("not looked at")
    return folder


def built(photos: Path, **more: object) -> Dataset:
    settings = {"detector": Some(), "encoder": PixelEncoder(), "encoder_sha256": "0" * 64}
    settings["captions"] = sidecar("woman")
    return build(photos, photos.parent / "set", **{**settings, **more})  # type: ignore[arg-type]


def test_a_folder_becomes_a_data_set(photos: Path) -> None:
    seen: list[tuple[int, int]] = []
    made = built(photos, licence="CC0-1.0", on_picture=lambda *at: seen.append(at))
    assert seen[-1] == (7, 7) and len(made.rows) == 5, "a copy is not looked at"
    assert {person: len(rows) for person, rows in made.people().items()} == {"anna": 2, "ben": 3}
    assert made.about.pictures == 5 and made.about.people == 2 and made.about.licence == "CC0-1.0"
    reasons = {Path(name).name: why for name, why in made.about.left_out.items()}
    assert set(reasons) == {"broken.jpg", "wall.png", "carl.png"}
    assert "It is the same as" in reasons["carl.png"] and "no face" in reasons["wall.png"].lower()
    first = made.rows[0]
    assert first.face_caption == CAPTION, "the method's own fixed description"
    assert first.caption == "Anna, laughing." and made.rows[1].caption == "a photo of a woman"
    assert first.face.face.box_xyxy == (24, 19.2, 72, 76.8) and set(first.parts) >= {"face", "eyes", "nose"}
    assert made.path(first).samefile(photos / "anna" / "0.png")
    assert made.embeddings.shape == (5, 48) and np.allclose(np.linalg.norm(made.embeddings, axis=1), 1)
    assert check(made.folder) == []
    (photos.parent / "elsewhere").mkdir()
    for name in ("photos", "set"):
        shutil.move(photos.parent / name, photos.parent / "elsewhere" / name)
    moved = photos.parent / "elsewhere" / "set"
    assert check(moved) == [], "pictures and data set move together"


def test_an_image_folder_says_who_and_what(tmp_path: Path) -> None:
    from likeness.sitters.export import ExportSettings, export

    source = tmp_path / "sitters"
    export(ExportSettings(count=2, pairs="everything", truths=("labels",)), source)
    truth = [json.loads(line) for line in (source / "metadata.jsonl").read_text().splitlines()]
    (source / truth[0]["file_name"]).with_suffix(".txt").write_text("By hand.")
    made = built(source, captions=sidecar("woman", source))
    assert made.about.pictures == 4, "labels are pictures too, and not listed"
    by_name = {Path(row.picture).name: row for row in made.rows}
    for index, one in enumerate(truth):
        row = by_name[Path(one["file_name"]).name]
        assert row.person == one["identity"]
        assert row.caption == ("By hand." if index == 0 else one["text"])
    assert "metadata.jsonl" in made.about.captions


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", r"metadata.jsonl:1:2: this is no JSON"),
        ('{"text": "x"}', "needs `file_name`"),
        ('{"file_name": "gone.png"}', "gone.png is not there"),
        ('{"file_name": "carl.png", "text": 3}', "text is no text"),
    ],
)
def test_a_wrong_row_of_an_image_folder_is_named(photos: Path, line: str, said: str) -> None:
    (photos / "metadata.jsonl").write_text(line)
    with pytest.raises(InputError, match=said):
        built(photos)


def test_built_again_only_what_is_new_is_looked_at(photos: Path) -> None:
    before = built(photos)
    write_png(picture(7), photos / "anna" / "2.png")
    (photos / "ben" / "0.png").unlink()
    (photos / "ben" / "1.txt").write_text("Ben, at last.")
    Some.looked = 0
    again = built(photos)
    assert [row.caption for row in again.rows if row.picture.endswith("ben/1.png")] == ["Ben, at last."]
    assert Some.looked == 2, "the new one, and the one without a face"
    assert len(again.rows) == 5 and again.people().keys() == before.people().keys()
    kept = {row.picture: tuple(e) for row, e in zip(before.rows, before.embeddings, strict=True)}
    same = [
        tuple(e) == kept[r.picture]
        for r, e in zip(again.rows, again.embeddings, strict=True)
        if r.picture in kept
    ]
    assert len(same) == 4 and all(same)
    with pytest.raises(InputError, match="was built with licence 'not declared', not 'MIT'"):
        built(photos, licence="MIT")


def test_who_it_is_can_be_corrected(photos: Path) -> None:
    def told(who: str) -> list[str]:
        rows = [{"file_name": "anna/0.png", "identity": "anna"}, {"file_name": "carl.png", "identity": who}]
        (photos / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return [row.person for row in built(photos).rows]

    assert told("anna") == ["anna", "anna"]
    assert told("carl") == ["anna", "carl"]


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85"])
def test_captions_may_have_any_line_mark(photos: Path, mark: str) -> None:
    text = f"A man.{mark}He laughs."
    made = built(photos, captions=Captions("m", lambda *_: (text, "A face.")))
    assert made.rows[0].caption == text and check(made.folder) == []
    row = {"file_name": "carl.png", "text": text}
    (photos / "metadata.jsonl").write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    assert listed_pictures(photos)[photos / "carl.png"] == row


def test_words_of_another_encoding_are_named(photos: Path) -> None:
    (photos / "anna" / "0.txt").write_bytes("Renée".encode("latin-1"))
    with pytest.raises(InputError, match=r"0.txt is no UTF-8 text"):
        built(photos)


def test_what_was_done_before_a_stop_is_kept(photos: Path) -> None:
    def tell(path: Path, read: object) -> tuple[str, str]:
        if path.parent.name == "ben" and path.name == "1.png":
            raise KeyboardInterrupt
        return "somebody", "a face"

    with pytest.raises(KeyboardInterrupt):
        built(photos, captions=Captions("me", tell))
    assert len(read_dataset(photos.parent / "set").rows) == 3
    Some.looked = 0
    assert len(built(photos, captions=Captions("me", lambda *_: ("somebody", "a face"))).rows) == 5
    assert Some.looked == 3


def test_a_parser_gives_label_pictures(photos: Path) -> None:
    parser = ParserNet(width=12)
    made = built(photos, parser=("toy", parser))
    assert check(made.folder) == []
    labels = np.asarray(Image.open(made.folder / str(made.rows[0].parsing)))
    assert labels.shape == (96, 96) and labels.max() < len(CLASSES)
    assert np.array_equal(labels, parse(parser, Image.open(made.path(made.rows[0]))))
    assert parse(parser, picture(0).resize((1000, 333))).shape == (333, 1000)


def change(folder: Path, line: int, edit: Callable[[str], str]) -> None:
    lines = (folder / "manifest.jsonl").read_text().splitlines()
    lines[line - 1] = edit(lines[line - 1])
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("edit", "field", "words"),
    [
        (lambda t: t.replace('"person": "anna"', '"person": ""'), '"person"', "at least 1 character"),
        (lambda t: t.replace('"score": 1.0', '"score": 7'), '"score"', "face.score"),
        (lambda t: t.replace('"parts"', '"bits"'), '"bits"', "Extra inputs"),
        (
            lambda t: t.replace("[24.0, 19.2, 72.0", "[240.0, 19.2, 720.0"),
            '"box_xyxy"',
            "outside of the picture",
        ),
        (lambda t: t.replace("[24.0, 19.2, 72.0", "[72.0, 19.2, 24.0"), '"box_xyxy"', "no area"),
        (lambda t: t.replace("1.png", "7.png"), '"picture"', "is not there"),
        (lambda t: t.replace('"size_px": [96', '"size_px": [95'), '"size_px"', "has 96 x 96 px"),
        (lambda t: t.replace('"parsing": null', '"parsing": "p.png"'), '"parsing"', "p.png is not there"),
    ],
)
def test_a_fault_is_named_by_file_line_and_column(
    photos: Path, edit: Callable[[str], str], field: str, words: str
) -> None:
    folder = built(photos).folder
    change(folder, 2, edit)
    text = (folder / "manifest.jsonl").read_text().splitlines()[1]
    found = [problem for problem in check(folder) if words in problem.text]
    assert len(found) == 1
    assert (found[0].file, found[0].line, found[0].column) == ("manifest.jsonl", 2, text.index(field) + 1)


def test_broken_files_are_named(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = built(photos).folder
    change(
        folder, 3, lambda text: text[:30] + text[31:] if text[30] == '"' else text.replace('": "', '" "', 1)
    )
    with pytest.raises(SystemExit) as stop:
        main(["dataset", "check", str(folder)])
    assert stop.value.code == 2
    assert capsys.readouterr().out.startswith("manifest.jsonl:3:")
    with pytest.raises(InputError, match=r"cannot be used: manifest.jsonl:3:\d+: is no JSON"):
        read_dataset(folder)
    assert len(built(photos).rows) == 5, "built again it is whole"
    (photos / "ben" / "0.png").write_bytes((photos / "ben" / "1.png").read_bytes())
    assert [p.text for p in check(folder)] == ["../photos/ben/0.png was changed after the data set was built"]
    assert check(folder, hashes=False) == []
    np.save(folder / "embeddings.npy", 2 * read_dataset(folder).embeddings)
    assert sum(p.file == "embeddings.npy" for p in check(folder, hashes=False)) == 5
    np.save(folder / "embeddings.npy", np.ones(5))
    assert "has shape (5,) for 5 rows" in str(check(folder, hashes=False)[0])
    (folder / "embeddings.npy").write_bytes(b"")
    assert "is no array" in str(check(folder, hashes=False)[0])
    np.save(folder / "embeddings.npy", np.zeros((4, 48)))
    assert "has shape (4, 48) for 5 rows" in str(check(folder)[0])
    (folder / "dataset.json").unlink()
    assert str(check(folder)[0]).startswith("dataset.json: is missing")


def test_a_description_without_parts_is_warned_of(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = built(photos).folder
    assert checked(folder) == 0 and "warning" not in capsys.readouterr().out
    change(folder, 2, lambda text: text.replace(CAPTION, "Somebody with freckles."))
    change(folder, 3, lambda text: text.replace(CAPTION, "Left Ear, full Lips."))
    column = (folder / "manifest.jsonl").read_text().splitlines()[1].index('"face_caption"') + 1
    assert checked(folder) == 0
    out = capsys.readouterr().out
    assert out.count("warning") == 1 and f"warning: manifest.jsonl:2:{column}: names no face part" in out


def checked(folder: Path) -> object:
    with pytest.raises(SystemExit) as stop:
        main(["dataset", "check", str(folder)])
    return stop.value.code or 0


def test_a_folder_that_is_not_there_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["dataset", "check", str(tmp_path / "nowhere")])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and "There is no folder" in err and err.count("\n") == 1


@pytest.fixture
def describer() -> Iterator[tuple[str, list[str]]]:
    """A server on localhost that speaks the chat protocol and says which question it was asked."""
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = next(p["text"] for p in body["messages"][0]["content"] if p["type"] == "text")
            asked.append(text)
            said = "A face with a nose." if QUESTIONS[1] in text else "A sitter."
            message = {"role": "assistant", "content": json.dumps({"description": said})}
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


@pytest.mark.skipif(
    not (mini_path() / "pack.json").exists(), reason="the mini pack is not in this source tree"
)
def test_the_command_builds_from_sitters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], describer: tuple[str, list[str]]
) -> None:
    for seed in list(HELD_OUT_SEEDS)[:2]:
        scene = straightened(sample_scene(seed))
        for view, one in enumerate((scene, straightened(with_same_person(scene, 1)))):
            write_png(Image.fromarray(render(one, 128).rgb), tmp_path / "people" / str(seed) / f"{view}.png")
    url, asked = describer
    words = ["dataset", "build", "fgid", str(tmp_path / "people"), "-o", str(tmp_path / "set"), "--sitters"]
    with pytest.raises(SystemExit) as stop:
        main([*words, "--vlm", url, "--vlm-model", "describer", "--json"])
    out, err = capsys.readouterr()
    assert not stop.value.code, err
    document = json.loads(out)
    assert (
        document["pictures"] == 4 and document["people"] == 2 and document["encoder"] == "likeness recogniser"
    )
    made = read_dataset(tmp_path / "set")
    assert {(row.caption, row.face_caption) for row in made.rows} == {("A sitter.", "A face with a nose.")}
    assert len(asked) == 8
    same, other = made.embeddings[0] @ made.embeddings[1], made.embeddings[0] @ made.embeddings[2]
    assert same > other
    for mistake, told in (
        (["dataset", "build", "x", "y", "-o", "z"], "No such command 'x'"),
        ([*words, "--vlm", url], "belong together"),
        ([*words[:3], str(tmp_path / "none"), "-o", "z"], "is no folder"),
        (words[:-1], "Photos need --encoder"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(mistake)
        assert stop.value.code == 2 and told in capsys.readouterr().err
