from __future__ import annotations

from pathlib import Path

import pytest

from likeness.errors import IncompatibleWeightsError
from likeness.files.images import read_recipe, to_json, write_png
from likeness.files.provenance import pixels_sha256, recipe_of, record_weights, require_commercial
from likeness.types import PortraitRequest, PortraitResult, Provenance, WeightsRecord
from tests.files.zoo import card, noise


def result() -> PortraitResult:
    request = PortraitRequest("a red hat", (noise(32), noise(40)), seed=1, options={"merge_step": 30})
    chain = (WeightsRecord("mini", "base", "Apache-2.0", "00" * 32, "packs/mini"),)
    made = Provenance("consistentid", "0.1.0", 5, chain, {"steps": 20, "size_px": (64, 64)})
    return PortraitResult(
        card(), request, made, scores={"likeness": 0.5, "other": None}, timings_s={"paint": 1.23456}
    )


def test_recipe_goes_through_a_png(tmp_path: Path) -> None:
    recipe = recipe_of(result())
    write_png(card(), tmp_path / "a.png", recipe)
    back = read_recipe(tmp_path / "a.png")
    assert to_json(back) == to_json(recipe)
    assert back["request"]["seed"] == 5, "the seed it was painted with"
    assert back["settings"] == {"steps": 20, "size_px": [64, 64]}
    assert back["weights"][0]["licence"] == "Apache-2.0"
    assert back["scores"] == {"likeness": 0.5, "other": None}
    assert back["pixels_sha256"] == pixels_sha256(card())


def test_references_are_named_by_hash_only() -> None:
    references = recipe_of(result())["request"]["references"]
    assert [entry["size_px"] for entry in references] == [[32, 32], [40, 40]]
    assert references[0]["pixels_sha256"] == pixels_sha256(noise(32))
    assert len(to_json(references)) < 1000


def test_pixels_hash_knows_shape_and_pixels() -> None:
    picture = card()
    assert pixels_sha256(picture) == pixels_sha256(picture.convert("RGBA"))
    assert pixels_sha256(picture) != pixels_sha256(picture.rotate(90))
    assert pixels_sha256(picture.resize((32, 8))) != pixels_sha256(picture.resize((8, 32)))


def test_record_of_a_folder_covers_names_and_contents(tmp_path: Path) -> None:
    def digest() -> str:
        return record_weights(tmp_path / "pack", "base", "Apache-2.0").sha256

    (tmp_path / "pack" / "unet").mkdir(parents=True)
    file = tmp_path / "pack" / "unet" / "model.safetensors"
    file.write_bytes(b"one")
    first = digest()
    file.write_bytes(b"two")
    second = digest()
    file.rename(file.with_name("other.safetensors"))
    assert len({first, second, digest()}) == 3
    single = record_weights(file.with_name("other.safetensors"), "unet", "MIT", "here")
    assert (single.name, single.role, single.licence, single.source) == (
        "other.safetensors",
        "unet",
        "MIT",
        "here",
    )


def test_a_chain_is_as_commercial_as_its_least_link() -> None:
    free = WeightsRecord("unet", "unet", "CreativeML OpenRAIL-M"), WeightsRecord("yunet", "detector", "MIT")
    require_commercial(free)
    for licence in ("InsightFace, non-commercial research only", "not declared", "see its model card", ""):
        with pytest.raises(
            IncompatibleWeightsError, match=rf"\(recogniser arcface: {licence}\): take others"
        ):
            require_commercial((*free, WeightsRecord("arcface", "recogniser", licence)))
