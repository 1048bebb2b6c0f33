"""A set of portraits on disk: files, scores, warnings, and what Ctrl-C leaves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from likeness.errors import Cancelled, InputError
from likeness.evaluation.judge import Judge
from likeness.faces.calibration import Calibration, Calibrations
from likeness.files.images import read_image, read_recipe
from likeness.files.provenance import pixels_sha256
from likeness.portraits import SITTERS_ONLY, folder_for, make_portraits, slug
from likeness.types import PortraitPipeline, PortraitRequest
from tests import tiny
from tests.methods.toys import MiddleDetector, PixelEncoder, ToyConsistentID, picture

PROMPTS = ["a man wearing a red hat", "a woman smiling"]
SETTINGS = {"steps": 2, "size_px": (64, 64)}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> PortraitPipeline:
    return ToyConsistentID(tiny.write_mini(tmp_path_factory.mktemp("toy") / "mini")).pipeline()


def judge(name: str = "another encoder") -> Judge:
    fitted = Calibration(encoders=(name,), weights=(5.0,), bias=-1.0, own_pictures=0.9)
    calibrations = Calibrations(digests={name: ""}, people=2, first_seed=0, pairs=2, sets=(fitted,))
    return Judge([PixelEncoder(name)], MiddleDetector(), calibrations)


def test_everything_is_saved(pipeline: PortraitPipeline, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    document = make_portraits(
        pipeline,
        [picture(0)],
        PROMPTS,
        2,
        10,
        tmp_path,
        judge=judge(),
        on_progress=lambda step, steps: seen.append((step, steps)),
        **SETTINGS,
    )
    assert document == json.loads((tmp_path / "result.json").read_text())
    assert [p["seed"] for p in document["pictures"]] == [10, 11, 10, 11]
    assert seen == [(step, 8) for step in range(1, 9)]
    for entry in document["pictures"]:
        file = tmp_path / entry["file"]
        image, recipe = read_image(file), read_recipe(file)
        assert image.size == (64, 64)
        assert pixels_sha256(image) == entry["pixels_sha256"] == recipe["pixels_sha256"]
        assert recipe["request"]["prompt"] == entry["prompt"]
        assert recipe["scores"]["likeness"] == entry["likeness"]
        assert 0 <= entry["likeness"] <= 1
        assert {weights["role"] for weights in recipe["weights"]} >= {"unet", "adapter", "identity encoder"}
    assert document["likeness"]["encoders"] == {"another encoder": "none"}
    assert document["likeness"]["own_pictures"] == 0.9
    scores = [entry["likeness"] for entry in document["pictures"]]
    assert document["likeness"]["mean"] == pytest.approx(np.mean(scores), abs=1e-4)
    sheet = read_image(tmp_path / document["contact_sheet"])
    assert sheet.width > sheet.height, "two rows of the reference and two pictures"
    assert {p.name for p in tmp_path.iterdir()} == {
        "result.json",
        "contact-sheet.png",
        *(entry["file"] for entry in document["pictures"]),
    }


def test_the_score_is_the_judges_chance(pipeline: PortraitPipeline, tmp_path: Path) -> None:
    document = make_portraits(pipeline, [picture(0)], PROMPTS[:1], 1, 0, tmp_path, judge=judge(), **SETTINGS)
    from likeness.faces.align import align_arcface

    detector, encoder = MiddleDetector(), PixelEncoder()
    painted = read_image(tmp_path / document["pictures"][0]["file"])
    rows = encoder([align_arcface(image, detector(image)[0]) for image in (picture(0), painted)])
    (entry,), cosine = document["pictures"], float(rows[0] @ rows[1])
    assert entry["cosines"] == {"another encoder": pytest.approx(cosine, abs=1e-4)}
    assert entry["likeness"] == pytest.approx(1 / (1 + np.exp(1 - 5 * cosine)), abs=1e-3)
    assert bool(entry["explained"]) == (entry["likeness"] < 0.5), "toy pictures are small and no photos"


def test_the_likest_of_several_is_kept(pipeline: PortraitPipeline, tmp_path: Path) -> None:
    """It is the one the method's own encoder finds most like, and its seed alone paints it again."""
    ticks: list[tuple[int, int]] = []
    document = make_portraits(
        pipeline, [picture(0)], PROMPTS[:1], 2, 5, tmp_path / "best", best_of=3, judge=judge(),
        on_progress=lambda *at: ticks.append(at), **SETTINGS,
    )  # fmt: skip
    assert ticks == [(step, 12) for step in range(1, 13)]
    own = Judge([PixelEncoder()], MiddleDetector())
    for first, entry in zip((5, 8), document["pictures"], strict=True):
        tried = {int(seed): value for seed, value in entry["resemblance_by_seed"].items()}
        assert list(tried) == [first, first + 1, first + 2] and len(set(tried.values())) == 3
        assert entry["seed"] == max(tried, key=tried.__getitem__)
        for seed, value in tried.items():
            again = make_portraits(
                pipeline, [picture(0)], PROMPTS[:1], 1, seed, tmp_path / str(seed), **SETTINGS
            )
            assert (again["pictures"][0]["pixels_sha256"] == entry["pixels_sha256"]) == (
                seed == entry["seed"]
            )
            result = pipeline([PortraitRequest(PROMPTS[0], (picture(0),), seed=seed, **SETTINGS)])[0]
            assert own.compare(result.image, [picture(0)]).cosines == {"pixels": value}
    with pytest.raises(InputError, match="best_of must be at least 1, got 0"):
        make_portraits(pipeline, [picture(0)], PROMPTS, 1, 0, tmp_path / "none", best_of=0, **SETTINGS)


def test_nobody_judges_his_own_teaching(pipeline: PortraitPipeline, tmp_path: Path) -> None:
    document = make_portraits(
        pipeline, [picture(0)], PROMPTS[:1], 1, 0, tmp_path, judge=judge("pixels"), **SETTINGS
    )
    assert document["likeness"]["mean"] is None
    assert "may not judge" in document["likeness"]["reason"]


def test_no_judge_and_no_face_are_reasons(pipeline: PortraitPipeline, tmp_path: Path) -> None:
    class Blind(MiddleDetector):
        def __call__(self, image):  # type: ignore[no-untyped-def]
            return [] if image.size == (64, 64) else super().__call__(image)

    none = make_portraits(pipeline, [picture(0)], PROMPTS[:1], 1, 0, tmp_path / "a", **SETTINGS)
    assert none["likeness"] == {
        "encoders": {},
        "own_pictures": None,
        "mean": None,
        "lowest": None,
        "reason": "no judge was given",
    }
    blind = Judge([PixelEncoder("x")], Blind())
    faceless = make_portraits(
        pipeline, [picture(0)], PROMPTS[:1], 1, 0, tmp_path / "b", judge=blind, **SETTINGS
    )
    assert faceless["pictures"][0]["reason"] == "no face was found on the painted picture"


@pytest.mark.parametrize("sitters", [False, True])
def test_the_pack_says_what_it_paints(pipeline: PortraitPipeline, tmp_path: Path, sitters: bool) -> None:
    document = make_portraits(
        pipeline,
        [picture(0)],
        ["a man by Banksy"],
        1,
        0,
        tmp_path,
        warnings=["Reference: it is small."],
        references_are_sitters=sitters,
        **SETTINGS,
    )
    assert (SITTERS_ONLY in document["warnings"]) is not sitters
    assert "Reference: it is small." in document["warnings"]
    assert any("Banksy" in warning for warning in document["warnings"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, Cancelled])
def test_stopping_keeps_what_is_finished(
    pipeline: PortraitPipeline, tmp_path: Path, error: type[BaseException]
) -> None:
    def stop_in_the_third(step: int, steps: int) -> None:
        if step == 5:
            raise error

    arguments = (pipeline, [picture(0)], PROMPTS, 2, 0, tmp_path)
    with pytest.raises(Cancelled, match="2 of 4 pictures"):
        make_portraits(*arguments, on_progress=stop_in_the_third, **SETTINGS)
    document = json.loads((tmp_path / "result.json").read_text())
    assert document["stopped"] is True
    assert len(document["pictures"]) == 2
    for file in tmp_path.glob("*.png"):
        read_image(file)
    assert len(list(tmp_path.iterdir())) == 4, "two pictures, the sheet, the result and nothing half-written"


def test_stopping_before_the_first_leaves_nothing(pipeline: PortraitPipeline, tmp_path: Path) -> None:
    def stop(step: int, steps: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Cancelled, match="no picture was finished"):
        make_portraits(pipeline, [picture(0)], PROMPTS, 1, 0, tmp_path / "out", on_progress=stop, **SETTINGS)
    assert not (tmp_path / "out").exists()


def test_impossible_orders(pipeline: PortraitPipeline, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    def cases() -> Iterator[tuple[list[str], int, Path, str]]:
        yield [], 1, tmp_path, "At least one prompt"
        yield PROMPTS, 0, tmp_path, "count must be at least 1"
        yield PROMPTS, 1, file, "is a file: give"
        yield PROMPTS, 1, file / "below" / "it", "file is a file, and .* would lie in it"

    def never(step: int, steps: int) -> None:
        raise AssertionError("nothing is painted that cannot be kept")

    for prompts, count, out, words in cases():
        with pytest.raises(InputError, match=words):
            make_portraits(pipeline, [picture(0)], prompts, count, 0, out, on_progress=never, **SETTINGS)


def test_a_place_that_may_not_be_written_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Path] = []

    def access(path: Path, mode: int) -> bool:
        asked.append(path)
        return mode == os.R_OK

    monkeypatch.setattr(os, "access", access)
    with pytest.raises(InputError, match="may not be written to"):
        folder_for(tmp_path / "new" / "out")
    assert asked == [tmp_path], "the nearest folder that is there"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may look everywhere")
def test_a_place_that_may_not_be_looked_into(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o000)
    with pytest.raises(InputError, match="closed may not be written to"):
        folder_for(closed / "out")


def test_slugs_are_file_names() -> None:
    assert slug("A man, wearing a RED hat!") == "a-man-wearing-a-red-hat"
    assert slug("../../etc/passwd") == "etc-passwd"
    assert slug("穿红色帽子") == "portrait"
    assert len(slug("word " * 50)) <= 40
