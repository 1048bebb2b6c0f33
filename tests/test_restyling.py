"""`likeness restyle`: from pictures to files, with the pack's own detector on sitters."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from likeness.cli.main import main
from likeness.errors import InputError
from likeness.faces.detect import FaceDetector
from likeness.faces.sitter_detector import SitterDetector
from likeness.files.images import read_image, read_recipe, write_png
from likeness.packs import mini_path
from likeness.restyling import lit_and_turned, numbered_faces, people_on, sitter_picture
from likeness.sitters import HELD_OUT_SEEDS, Scene, sample_scene, straightened
from likeness.sitters.render import render
from tests import tiny
from tests.methods.toys import ToyIcPortrait

LANDMARKS = mini_path() / "landmarks"
pytestmark = pytest.mark.skipif(
    not (LANDMARKS / "config.json").is_file(), reason="the mini pack is not in this source tree"
)


def portrait(seed: int) -> Image.Image:
    return Image.fromarray(render(straightened(sample_scene(HELD_OUT_SEEDS[seed])), 128).rgb)


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return SitterDetector(LANDMARKS)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy base and nets with the real landmark network and judge."""
    folder = tiny.write_mini(tmp_path_factory.mktemp("pack") / "toy-pack")
    torch.manual_seed(4)
    toy = ToyIcPortrait(folder)
    shutil.rmtree(folder / "image_encoder")
    tiny.write_image_encoder(folder / "image_encoder", toy.base.text_width)
    for part in ("landmarks", "judge_recogniser"):
        shutil.copytree(mini_path() / part, folder / part)
    toy.save(folder / "adapters" / "ic-portrait")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(4):
        write_png(portrait(number), folder / f"{number}.png", {"sitter": f"test-{number}"})
    group = Image.new("RGB", (256, 128))
    group.paste(portrait(2), (0, 0))
    group.paste(portrait(3), (128, 0))
    write_png(group, folder / "group.png", {"sitter": "group"})
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["restyle", *(str(word) for word in words)])
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def test_from_two_pictures_to_files(
    pack: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["--profile", photos / "0.png", "--style", photos / "1.png", "--base", pack, "--steps", 3]
    words += ["--show-matching", "--strength", 0.7, "--json"]
    code, text, err = run(capsys, *words, "-o", out)
    assert code == 0, err
    document = json.loads(text)
    [picture] = document["pictures"]
    assert document == json.loads((out / "result.json").read_text()) | {"out": str(out)}
    assert document["method"] == "ic-portrait" and document["matching"] == "matching.png"
    assert document["likeness"]["encoders"]
    assert picture["reason"] == "no face was found on the painted picture", "the toy paints noise"
    recipe = read_recipe(out / picture["file"])
    assert recipe["request"]["strength"] == 0.7
    assert {"appearance net", "matching net"} <= {one["role"] for one in recipe["weights"]}
    assert read_image(out / "matching.png").size == (1280, 320)
    before, after = (np.asarray(read_image(path)) for path in (photos / "1.png", out / picture["file"]))
    assert before.shape == after.shape
    assert np.array_equal(before[-4:], after[-4:]), "clothes below the head are as they were"
    assert not np.array_equal(before, after)
    assert run(capsys, *words, "-o", tmp_path / "again")[0] == 0
    assert np.array_equal(np.asarray(read_image(tmp_path / "again" / picture["file"])), after)


def test_a_group_is_painted_face_by_face(
    pack: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--style", photos / "group.png", "--base", pack, "--steps", 2, "--json", "-o", tmp_path / "out"]
    mapped = ["--map", f"1={photos / '0.png'}", f"2={photos / '1.png'}"]
    code, text, err = run(capsys, *words, *mapped)
    assert code == 0, err
    [picture] = json.loads(text)["pictures"]
    assert len(picture["people"]) == 2
    left, right = read_recipe(tmp_path / "out" / picture["file"])["settings"]["people_px"]
    assert left[0] < right[0]
    code, _, err = run(capsys, *words, "--profile", photos / "0.png")
    assert code == 2 and "has 2 faces, numbered from the left" in err


def test_a_box_says_who_of_a_group_is_the_profile(
    pack: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--profile", photos / "group.png", "--style", photos / "1.png", "--base", pack, "--steps", 1]
    code, text, err = run(capsys, *words, "--face-box", "150,30,234,118", "--json", "-o", tmp_path / "out")
    assert code == 0, err
    [picture] = json.loads(text)["pictures"]
    recipe = read_recipe(tmp_path / "out" / picture["file"])
    assert recipe["request"]["options"]["face_box"] == [150, 30, 234, 118]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--profile", "{0}"], "Give --style"),
        (["--style", "{1}"], "Give --profile"),
        (["--profile", "{0}", "--map", "1={1}", "--style", "{1}"], "Give --profile"),
        (
            ["--map", "1={0}", "--style", "{1}", "--face-box", "0,0,9,9"],
            "--face-box is the face on --profile",
        ),
        (["--profile", "{0}", "--style", "{1}", "--face-box", "0,0"], "--face-box takes four numbers"),
        (["--map", "one={0}", "--style", "{1}"], "--map takes N=PHOTO"),
        (["--map", "1={0}", "1={1}", "--style", "{1}"], "face 1 twice"),
        (["--map", "3={0}", "--style", "{1}"], "There is no face 3"),
        (["--profile", "{0}", "--refine", "{1}", "--yaw", "10"], "--refine is the style reference"),
        (["--profile", "{0}", "--style", "{1}", "--yaw", "10"], "render the style reference"),
        (["--profile", "{0}", "--light", "left"], "azimuth,elevation"),
        (["--profile", "{0}", "--light", "10,20,candle"], "no light 'candle'"),
        (["--profile", "{0}", "--yaw", "80"], "yaw_deg"),
    ],
)
def test_mistakes_are_one_sentence(
    pack: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    filled = [word.format(photos / "0.png", photos / "1.png") for word in words]
    code, _, err = run(capsys, *filled, "--base", pack, "-o", tmp_path / "out")
    assert code == 2 and told in err
    assert not (tmp_path / "out").exists()


def test_light_and_turn_come_from_a_rendered_style_reference(
    pack: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--profile", photos / "0.png", "--light=-60,20,sunset", "--yaw", 25, "--base", pack]
    code, text, err = run(capsys, *words, "--steps", 2, "--json", "-o", tmp_path / "out")
    assert code == 0, err
    [picture] = json.loads(text)["pictures"]
    assert read_image(tmp_path / "out" / picture["file"]).size == (256, 256)

    scene = lit_and_turned(Scene(), "-60,20,sunset", 25.0)
    assert (scene.light.azimuth_deg, scene.light.elevation_deg, scene.light.kind) == (-60, 20, "sunset")
    assert scene.pose.yaw_deg == 25 and scene.seed is None
    assert lit_and_turned(Scene(), "10,20", None).light == dataclasses.replace(
        Scene().light, azimuth_deg=10, elevation_deg=20
    )
    left, right = (
        np.asarray(sitter_picture(3, f"{azimuth},20,studio").convert("L"), np.float32)
        for azimuth in (-70, 70)
    )
    middle = slice(64, 192)
    lean = [one[middle, 64:128].mean() - one[middle, 128:192].mean() for one in (left, right)]
    assert lean[0] > lean[1] + 5, "light from the left brightens the left"


def test_faces_are_numbered_from_the_left(detector: FaceDetector, photos: Path) -> None:
    group = read_image(photos / "group.png")
    faces = numbered_faces(group, detector)
    middles = [(face.box_xyxy[0] + face.box_xyxy[2]) / 2 for face in faces]
    assert len(middles) == 2 and middles[0] < 128 < middles[1]
    [person] = people_on(group, detector, {2: photos / "0.png"})
    assert person.box_xyxy is not None and person.box_xyxy[0] > 100
    with pytest.raises(InputError, match="it has 2, numbered from the left"):
        people_on(group, detector, {3: photos / "0.png"})
