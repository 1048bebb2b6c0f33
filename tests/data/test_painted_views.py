"""People painted by a base and turned by a novel-view model of the user's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likeness.cli.main import main
from likeness.data.build import FaceModels
from likeness.data.engine import build
from likeness.data.painted_views import Camera, PaintedViewsBuilder, ViewPainter, load_novel_view
from likeness.diffusion.load import load_base
from likeness.errors import InputError
from likeness.packs import mini_path
from tests import tiny
from tests.methods.toys import MiddleDetector, PixelEncoder

TURN = '''
"""Shears the picture by the yaw: what a novel-view model does, without the model."""

def views(picture, cameras):
    for camera in cameras:
        lean = camera.yaw_deg / 400
        yield picture.transform(picture.size, 0, (1, lean, -lean * picture.height / 2, 0, 1, 0))

NOT_A_FUNCTION = 3
'''


def sheared(picture: Image.Image, cameras: Sequence[Camera]) -> list[Image.Image]:
    return [picture.rotate(one.yaw_deg) for one in cameras]


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> ViewPainter:
    base = load_base(tiny.write_mini(tmp_path_factory.mktemp("base")))
    return ViewPainter(base, sheared, FaceModels(MiddleDetector(), PixelEncoder()))


def builder(folder: Path, painter: ViewPainter, **more: object) -> PaintedViewsBuilder:
    settings = {"count": 3, "steps": 2, "similarity": -1.0, "views": 2, "licence": "CC0-1.0", **more}
    names = ("Ann of the Hill", "a man")
    return PaintedViewsBuilder(folder, names, painter=lambda: painter, painter_name="toys", **settings)  # type: ignore[arg-type]


def test_everybody_is_painted_once_and_turned(painter: ViewPainter, tmp_path: Path) -> None:
    made = build(builder(tmp_path / "set", painter), tmp_path / "set")
    people = ["ann-of-the-hill-0", "a-man-1", "ann-of-the-hill-2"]
    assert [row["identity"] for row in made.rows] == [one for one in people for _ in range(3)]
    lines = [json.loads(line) for line in (tmp_path / "set/metadata.jsonl").read_text().splitlines()]
    assert [line["file_name"] for line in lines] == [
        f"pictures/{one}/{n}.png" for one in people for n in range(3)
    ]
    assert lines[3]["text"] == "a portrait photo of a man, looking at the camera"
    pictures = [np.asarray(Image.open(tmp_path / "set" / line["file_name"])) for line in lines]
    camera = made.rows[1]
    turned = Image.fromarray(pictures[0]).rotate(camera["yaw_deg"])
    assert camera["yaw_deg"] and np.array_equal(pictures[1], np.asarray(turned)), (
        "from the camera that is told"
    )
    assert not np.array_equal(pictures[0], pictures[6]), "the same name again is another picture"
    again = build(builder(tmp_path / "again", painter), tmp_path / "again")
    assert again.rows == made.rows, "same seed, same pixels"
    more = build(builder(tmp_path / "set", painter, count=4), tmp_path / "set")
    assert more.rows[:9] == made.rows and len(more.rows) == 12


def test_views_of_another_face_are_dropped(painter: ViewPainter, tmp_path: Path) -> None:
    made = build(builder(tmp_path / "set", painter, similarity=0.999999), tmp_path / "set")
    assert not made.rows and made.reasons() == {"no view": 3}


def test_a_model_that_gives_too_few_pictures_is_named(painter: ViewPainter, tmp_path: Path) -> None:
    lazy = ViewPainter(painter.base, lambda picture, cameras: [picture], painter.faces)
    made = build(builder(tmp_path / "set", lazy), tmp_path / "set")
    assert "gave 1 pictures for 2 cameras" in made.rejects[0]["message"]


def test_functions_are_found_in_files(tmp_path: Path) -> None:
    (tmp_path / "turn.py").write_text(TURN)
    turned = list(load_novel_view(f"{tmp_path}/turn.py:views")(Image.new("RGB", (8, 8)), [Camera(9, 0)]))
    assert turned[0].size == (8, 8)
    for name, message in (
        ("turn.py", "names no function"),
        (f"{tmp_path}/none.py:views", "There is no file"),
        ("module:views", "names no function"),
        (f"{tmp_path}/turn.py:NOT_A_FUNCTION", "has no function"),
    ):
        with pytest.raises(InputError, match=message):
            load_novel_view(name)
    with pytest.raises(InputError, match=r"has no \{person\}"):
        PaintedViewsBuilder(tmp_path, ("a",), 1, lambda: None, "x", prompt="a portrait")  # type: ignore[arg-type, return-value]


def test_what_was_painted_becomes_a_data_set_of_views(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "turn.py").write_text(TURN)
    (tmp_path / "names.txt").write_text("woman with long brown hair\nman with short black hair\n")
    painted, encoder = tmp_path / "painted", str(mini_path() / "recogniser")
    words = ["dataset", "build", "painted-views", str(tmp_path / "names.txt"), "-o", str(painted)]
    words += [
        "--count",
        "2",
        "--views",
        "2",
        "--novel-view",
        f"{tmp_path}/turn.py:views",
        "--encoder",
        encoder,
    ]
    words += ["--base", "mini", "--sitters", "--steps", "10", "--prompt", "a portrait of a {person}"]
    run([*words, "--yaw", "20", "--json"])
    made = json.loads(capsys.readouterr().out)
    assert made["pictures"] >= 4, made
    run(["dataset", "build", "views", str(painted), "-o", str(tmp_path / "set"), "--sitters"])
    run(["dataset", "check", str(tmp_path / "set")])


def run(words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
