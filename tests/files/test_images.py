from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from likeness.errors import ImageError, InputError
from likeness.files.images import (
    contact_sheet,
    read_image,
    read_recipe,
    to_json,
    whole_file,
    write_bytes,
    write_json,
    write_png,
)
from tests.files.zoo import ZOO, Animal, card, noise, populate, saved

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 60), (40, 60, 210), (255, 255, 255)


def quarters(image: Image.Image) -> list[tuple[int, ...]]:
    return [image.getpixel(spot) for spot in ((10, 10), (50, 10), (10, 50), (50, 50))]  # type: ignore[misc]


def near(image: Image.Image, *colours: tuple[int, int, int], within: int = 4) -> bool:
    return bool(np.abs(np.array(quarters(image)) - np.array(colours)).max() <= within)


def read(folder: Path, name: str) -> Image.Image:
    [animal] = [animal for animal in ZOO if animal.name == name]
    (folder / name).write_bytes(animal.make())
    return read_image(folder / name)


@pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
def test_zoo(animal: Animal, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / animal.name
    path.write_bytes(animal.make())
    if animal.expected is None:
        image = read_image(path)
        assert (type(image), image.mode, image.info) == (Image.Image, "RGB", {})
    else:
        with pytest.raises(ImageError) as caught:
            read_image(path)
        message = str(caught.value)
        assert animal.expected in message
        assert message.startswith(str(path)), "the file comes first"
        assert message.endswith(".")
        assert "\n" not in message
        assert caught.value.exit_code == 3
    assert capfd.readouterr() == ("", ""), "decoders keep quiet"


def test_the_zoo_is_large_enough(tmp_path: Path) -> None:
    files = populate(tmp_path)
    assert sum(expected is not None for _, expected in files) >= 40
    assert len({path.name for path, _ in files}) == len(files)


def test_other_things_than_files(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for name, words in [
        ("folder.jpg", "is a folder"),
        ("pipe.jpg", "not a regular file"),
        ("loop.jpg", "cannot be read"),
        ("missing.jpg", "does not exist"),
        ("nul\0.jpg", "cannot be read"),
        ("n" * 5000, "cannot be read"),
    ]:
        with pytest.raises(ImageError, match=words) as caught:
            read_image(tmp_path / name)
        assert len(str(caught.value)) < 400


def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "locked.png"
    path.write_bytes(saved("PNG"))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads files without permission (root)")
    with pytest.raises(ImageError, match="may not be read"):
        read_image(path)


@pytest.mark.parametrize(
    ("name", "turned"),
    [
        ("turned_2.jpg", (GREEN, RED, WHITE, BLUE)),
        ("turned_3.jpg", (WHITE, BLUE, GREEN, RED)),
        ("turned_4.jpg", (BLUE, WHITE, RED, GREEN)),
        ("turned_5.jpg", (RED, BLUE, GREEN, WHITE)),
        ("turned_6.jpg", (BLUE, RED, WHITE, GREEN)),
        ("turned_7.jpg", (WHITE, GREEN, BLUE, RED)),
        ("turned_8.jpg", (GREEN, WHITE, RED, BLUE)),
        ("turned_in_png.png", (BLUE, RED, WHITE, GREEN)),
        ("senseless_rotation.jpg", (RED, GREEN, BLUE, WHITE)),
    ],
)
def test_exif_rotation(tmp_path: Path, name: str, turned: tuple[tuple[int, int, int], ...]) -> None:
    assert near(read(tmp_path, name), *turned)


@pytest.mark.parametrize(
    "name",
    [
        "animated.gif",
        "animated.webp",
        "two_pages.tiff",
        "rgb_16_bit.png",
        "cmyk.jpg",
        "cmyk.tiff",
        "cmyk_wrong_profile.jpg",
        "lab.tiff",
        "profile.png",
        "broken_profile.png",
    ],
)
def test_colours(tmp_path: Path, name: str) -> None:
    assert near(read(tmp_path, name), RED, GREEN, BLUE, WHITE)


@pytest.mark.parametrize(
    "name",
    ["grey.jpg", "int_32_bit.tiff", "float_0_to_1.tiff", "float_0_to_255.tiff", "float_0_to_65535.tiff"],
)
def test_grey(tmp_path: Path, name: str) -> None:
    grey = card().convert("L").convert("RGB")
    assert near(read(tmp_path, name), *quarters(grey), within=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["grey_16_bit.png", "grey_16_bit.tiff"])
def test_16_bit_grey(tmp_path: Path, name: str) -> None:
    red_channel = card().getchannel("R").convert("RGB")
    assert near(read(tmp_path, name), *quarters(red_channel), within=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["alpha.png", "alpha.webp", "alpha.tiff"])
def test_alpha_is_laid_on_white(tmp_path: Path, name: str) -> None:
    assert near(read(tmp_path, name), WHITE, GREEN, BLUE, WHITE)


def test_an_ink_profile_is_used(tmp_path: Path) -> None:
    red, green, blue = quarters(read(tmp_path, "cmyk_profile.jpg"))[
        0
    ]  # black ink, were it not for the profile
    assert red > 120
    assert max(green, blue) < red - 50


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
    st.floats(0, 1),
)
def test_damaged_files_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, format_: str, damage: list[tuple[float, int]], keep: float
) -> None:
    data = bytearray(saved(format_, noise(32)))
    for where, byte in damage:
        data[min(int(where * len(data)), len(data) - 1)] = byte
    if keep < 0.3:
        data = data[: int(len(data) * (0.4 + keep))]
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(data)
    try:
        assert read_image(path).mode == "RGB"
    except ImageError as error:
        assert str(error).endswith(".")


def test_recipe_round_trip(tmp_path: Path) -> None:
    recipe = {"prompt": "Ein Porträt, 肖像", "seed": 7, "guidance": 2.5, "size_px": [64, 64], "none": None}
    write_png(card(), tmp_path / "new" / "a.png", recipe)
    assert read_recipe(tmp_path / "new" / "a.png") == recipe
    assert np.array_equal(read_image(tmp_path / "new" / "a.png"), card())
    write_png(card(), tmp_path / "b.png", recipe)
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "new" / "a.png").read_bytes()


def test_long_recipe_survives(tmp_path: Path) -> None:
    recipe = {"prompt": "x" * 3_000_000}
    write_png(card(), tmp_path / "a.png", recipe)
    assert read_recipe(tmp_path / "a.png") == recipe


def test_no_recipe(tmp_path: Path) -> None:
    write_png(card(), tmp_path / "plain.png")
    (tmp_path / "photo.jpg").write_bytes(saved("JPEG"))
    for name, words in [
        ("plain.png", "holds no recipe"),
        ("photo.jpg", r"photo.jpg is no PNG, and recipes are kept in PNGs\.$"),
        ("missing.png", "does not exist"),
    ]:
        with pytest.raises(ImageError, match=words):
            read_recipe(tmp_path / name)
    from PIL import PngImagePlugin

    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("likeness", "{not json")
    card().save(tmp_path / "damaged.png", pnginfo=chunks)
    with pytest.raises(ImageError, match="is damaged"):
        read_recipe(tmp_path / "damaged.png")


def test_json(tmp_path: Path) -> None:
    document = {
        "path": Path("a/b"),
        "pair": (1, 2),
        "array": np.arange(3, dtype=np.float32),
        "number": np.float32(0.5),
        "set": {"b", "a"},
    }
    write_json(tmp_path / "d.json", document)
    import json

    assert json.loads((tmp_path / "d.json").read_text("utf-8")) == {
        "path": "a/b",
        "pair": [1, 2],
        "array": [0, 1, 2],
        "number": 0.5,
        "set": ["a", "b"],
    }
    with pytest.raises(ValueError, match="Out of range float"):
        to_json(float("nan"))
    with pytest.raises(TypeError, match="object"):
        to_json(object())


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    for failure in (KeyboardInterrupt, RuntimeError):
        with pytest.raises(failure), whole_file(path) as part:
            part.write_bytes(b"half")
            raise failure
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_kill_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    write_png(card(), path)
    before = path.read_bytes()
    script = (
        "import sys, time\n"
        "from likeness.files.images import whole_file\n"
        "with whole_file(sys.argv[1]) as part:\n"
        "    part.write_bytes(b'half'); print('writing', flush=True); time.sleep(60)\n"
    )
    source = Path(__file__).parents[2] / "src"
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(source)},
    )
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"writing\n"
        child.kill()
        assert child.wait() == -signal.SIGKILL
    assert path.read_bytes() == before
    assert sorted(tmp_path.glob("*.png")) == [path], "what is left over is hidden and no picture"


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "file" / "below", tmp_path / "folder", tmp_path / ("n" * 5000)):
        with pytest.raises(InputError, match="Cannot write"):
            write_bytes(place, b"data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_written_files_obey_the_umask(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_contact_sheet_margins_are_even() -> None:
    dark = Image.new("RGB", (200, 160))
    sheet = np.asarray(contact_sheet([dark] * 5, columns=3)).astype(int)
    columns = np.flatnonzero(np.diff((sheet.min(axis=(0, 2)) == 0).astype(int)))
    rows = np.flatnonzero(np.diff((sheet.min(axis=(1, 2)) == 0).astype(int)))
    gaps = np.diff([-1, *columns, sheet.shape[1] - 1])[::2]
    lines = np.diff([-1, *rows, sheet.shape[0] - 1])[::2]
    assert len(gaps) == 4
    assert len(lines) == 3
    assert set(gaps) == set(lines), "all margins are the same"
    assert (sheet[rows[2] + 5 :, columns[4] + 5 :] > 200).all(), "the sixth cell is empty"


def test_contact_sheet_labels_lie_below_their_picture() -> None:
    light = Image.new("RGB", (256, 256), (250, 249, 246))
    words = ["short", "a label of far more words than could ever be set in two lines of this width", ""]
    sheet = np.asarray(contact_sheet([light] * 3, columns=3, labels=words).convert("L")).astype(int)
    ink = (sheet < 150).reshape(sheet.shape[0], -1)
    third = sheet.shape[1] // 3
    counts = [int(ink[:, part * third : (part + 1) * third].sum()) for part in range(3)]
    assert 0 < counts[0] < counts[1]
    assert counts[2] == 0
    edge = 8
    assert not ink[:, :edge].any()
    assert not ink[:, -edge:].any()
    assert not ink[-edge:].any()


def test_contact_sheet_of_small_pictures_is_enlarged() -> None:
    assert contact_sheet([Image.new("RGB", (32, 32))], columns=9).width > 160


def test_contact_sheet_refusals() -> None:
    for arguments, words in [(([], 2), "at least one picture"), (([card()], 0), "one column")]:
        with pytest.raises(InputError, match=words):
            contact_sheet(*arguments)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="2 labels for 1 pictures"):
        contact_sheet([card()], 1, ["a", "b"])
