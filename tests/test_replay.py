"""A picture from its own recipe: the same again, or what differs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from likeness.errors import ImageError, InputError
from likeness.files.images import read_image, read_recipe, to_json, write_png
from likeness.files.provenance import pixels_sha256, recipe_of
from likeness.replay import compared, known_pictures, loading_of, request_from
from likeness.types import PortraitPipeline, PortraitResult
from tests import tiny
from tests.methods.toys import REFERENCE, ToyConsistentID, picture


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyConsistentID:
    return ToyConsistentID(tiny.write_mini(tmp_path_factory.mktemp("toy") / "mini"))


@pytest.fixture(scope="module")
def pipeline(toy: ToyConsistentID) -> PortraitPipeline:
    return toy.pipeline()


@pytest.fixture(scope="module")
def painted(
    toy: ToyConsistentID, pipeline: PortraitPipeline, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, PortraitResult]:
    request = toy.request(7, options={"second_pass": 0, "identity_scale": [[0, 0.5], [0.5, 1]]})
    [result] = pipeline([request])
    file = tmp_path_factory.mktemp("painted") / "pictures" / "one.png"
    write_png(result.image, file, recipe_of(result))
    write_png(REFERENCE, file.parent.parent / "reference.png")
    return file, result


def test_the_same_picture_again(pipeline: PortraitPipeline, painted: tuple[Path, PortraitResult]) -> None:
    file, before = painted
    known = known_pictures([file.parent, file.parent.parent])
    request = request_from(read_recipe(file), lambda digest: read_image(known[digest]))
    assert replace(request, references=()) == replace(before.request, references=(), steps=request.steps)
    [after] = pipeline([request])
    assert compared(read_recipe(file), read_image(file), after) == []
    assert loading_of(read_recipe(file)) == {"name": "consistentid", "base": "mini"}


def test_what_differs_is_named(pipeline: PortraitPipeline, painted: tuple[Path, PortraitResult]) -> None:
    file, before = painted
    recipe = json.loads(to_json(read_recipe(file)))
    [other] = pipeline([replace(before.request, seed=8)])
    told = {one.what: one for one in compared(recipe, before.image, other)}
    assert set(told) == {"pixels"} and "grey levels" in told["pixels"].now
    recipe["version"] = "0.0.9"
    recipe["weights"][0]["sha256"] = "f" * 64
    recipe["settings"]["device"] = "cuda:0"
    link = recipe["weights"][0]
    told = {one.what: one for one in compared(recipe, before.image, other)}
    assert set(told) == {"version", f"weights: {link['role']} {link['name']}", "device", "pixels"}
    assert (told["device"].before, told["device"].now) == ("cuda:0", "cpu")
    assert told["version"].before == "0.0.9"
    assert "ffffffffffff then" in str(told[f"weights: {link['role']} {link['name']}"])
    touched = before.image.rotate(90)
    assert compared(recipe, touched, other)[-1].before == "changed since it was painted"
    assert compared(recipe, before.image, before) == [], "where the pixels are the same nothing matters"


def test_photos_that_are_missing_are_asked_for(painted: tuple[Path, PortraitResult], tmp_path: Path) -> None:
    recipe = read_recipe(painted[0])
    with pytest.raises(InputError, match=rf"96 x 96 px, pixels' sha256 {pixels_sha256(REFERENCE)[:12]}"):
        request_from(recipe, lambda _: None)
    for broken in ({}, {"format": 1}, {**recipe, "request": {"prompt": "x"}}, {"sitter": {}, "format": 2}):
        with pytest.raises(InputError, match="recipe"):
            request_from(broken, lambda _: REFERENCE)
    with pytest.raises(InputError, match="no method and base"):
        loading_of({"method": "consistentid"})
    (tmp_path / "notes.png").write_text("no picture")
    write_png(picture(3), tmp_path / "a.png")
    assert list(known_pictures([tmp_path]).values()) == [tmp_path / "a.png"], (
        "what is no picture is passed by"
    )
    with pytest.raises(ImageError):
        known_pictures([tmp_path / "notes.png"])
