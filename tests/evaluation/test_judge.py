"""Who judges, what a chance rests on, and what is said where there is none."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from likeness.cli.main import main
from likeness.errors import MissingWeightsError
from likeness.evaluation.judge import Judge, explanation, open_judge
from likeness.faces.align import align_arcface
from likeness.faces.calibration import Calibration, Calibrations
from likeness.files.images import write_png
from likeness.packs.mini import mini_path
from likeness.references import open_detector
from likeness.sitters import HELD_OUT_SEEDS, sample_scene, straightened, with_same_person
from likeness.sitters.render import render
from tests.faces.test_nets import onnx_mean_colour
from tests.methods.toys import MiddleDetector, PixelEncoder, picture

SHIPPED = mini_path()
needs_pack = pytest.mark.skipif(
    not (SHIPPED / "calibration.json").exists(), reason="the mini pack is not in this source tree"
)


def one_of(*names: str) -> Calibration:
    return Calibration(encoders=names, weights=(4.0,) * len(names), bias=-1.0, own_pictures=0.7)


CALIBRATIONS = Calibrations(
    digests={"a": "1", "b": "2"},
    people=2,
    first_seed=0,
    pairs=4,
    sets=(one_of("a"), one_of("b"), one_of("a", "b")),
)


def judge(*names: str, calibrations: Calibrations | None = CALIBRATIONS) -> Judge:
    return Judge([PixelEncoder(name) for name in names], MiddleDetector(), calibrations, "not calibrated")


def cosine(one: Image.Image, two: Image.Image) -> float:
    detector, encoder = MiddleDetector(), PixelEncoder()
    rows = encoder([align_arcface(image, detector(image)[0]) for image in (one, two)])
    return float(rows[0] @ rows[1])


def test_the_chance_is_that_of_the_mean_cosines() -> None:
    references = [picture(0), picture(1)]
    found = judge("a", "b").compare(picture(2), references)
    mean = np.mean([cosine(picture(2), one) for one in references])
    assert found.cosines == pytest.approx({"a": mean, "b": mean}, abs=1e-4)
    assert found.chance == pytest.approx(1 / (1 + np.exp(1 - 8 * mean)), abs=1e-3)
    assert judge("a").compare(picture(0), [picture(0)]).chance == pytest.approx(
        1 / (1 + np.exp(-3)), abs=1e-4
    )


def test_who_gave_the_identity_has_no_say() -> None:
    found = judge("a", "b").compare(picture(2), [picture(0)], without="a")
    assert set(found.cosines) == {"b"} and found.chance is not None
    alone = judge("a").compare(picture(2), [picture(0)], without="a")
    assert alone.chance is None and alone.reason == "a gave the picture its identity and may not judge it"


def test_without_a_chance_there_is_a_reason() -> None:
    class Blind(MiddleDetector):
        def __call__(self, image):  # type: ignore[no-untyped-def]
            return [] if image.width < 50 else super().__call__(image)

    small = picture(0).resize((32, 32))
    blind = Judge([PixelEncoder("a")], Blind(), CALIBRATIONS)
    assert blind.compare(small, [picture(0)]).reason == "no face was found on the painted picture"
    assert blind.compare(picture(0), [small]).reason == "the judge found no face on the reference"
    assert blind.compare(picture(0), [small, picture(0)]).chance is not None, "one reference is enough"
    assert Judge().compare(picture(0), [picture(0)]).reason == "no judge was given"
    raw = judge("a", calibrations=None).compare(picture(0), [picture(0)])
    assert raw.chance is None and raw.reason == "not calibrated" and raw.cosines["a"] == pytest.approx(1)


def test_the_baseline_is_the_persons_own_pictures_where_there_are_several() -> None:
    references = [picture(0), picture(1), picture(2)]
    one = judge("a")
    pairs = [
        one.compare(x, [y]).chance for x, y in zip(references, [*references[1:], references[0]], strict=True)
    ]
    assert one.own_pictures(references) == pytest.approx(np.mean(pairs), abs=1e-3)
    assert one.own_pictures(references[:1]) == 0.7
    assert judge("a", calibrations=None).own_pictures(references) is None


def test_a_further_encoder_has_no_say_before_it_is_calibrated() -> None:
    one = Judge([PixelEncoder("a"), PixelEncoder("mine")], MiddleDetector(), judge("a").calibrations)
    plain = judge("a").compare(picture(0), [picture(1)])
    both = one.compare(picture(0), [picture(1)])
    assert set(both.cosines) == {"a", "mine"} and both.chance == plain.chance
    assert one.compare(picture(0), [picture(1)], without="a").chance is None, "mine alone has no calibration"
    assert set(one.compare(picture(0), [picture(1)], without="a").cosines) == {"mine"}


def test_who_cannot_recognise_still_finds_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIKENESS_MODELS", raising=False)
    detector = MiddleDetector()
    found = open_judge("sd15", detector)
    assert found.detector is detector and not found.encoders
    assert found.compare(picture(0), [picture(1)]).reason.startswith("no judge")


def test_recognisers_are_found_where_models_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("w600k_r50.onnx", "face_recognition_sface_2021dec.onnx", "face_detection_yunet.onnx"):
        (tmp_path / name).write_bytes(onnx_mean_colour())
    monkeypatch.setenv("LIKENESS_MODELS", f"{tmp_path}{os.pathsep}{tmp_path / 'none'}")
    found = open_judge("sd15", MiddleDetector())
    assert [one.name for one in found.encoders] == ["face_recognition_sface_2021dec", "w600k_r50"]
    assert found.calibration() is None and "not calibrated" in found.reason
    assert [one.name for one in found.independent("w600k_r50")] == ["face_recognition_sface_2021dec"]
    given = open_judge("sd15", MiddleDetector(), further=[tmp_path / "w600k_r50.onnx"])
    assert [one.name for one in given.encoders] == ["w600k_r50"]
    assert open_judge("sd15", MiddleDetector(), [tmp_path / "w600k_r50.onnx"]).encoders[0].name == "w600k_r50"


@needs_pack
def test_a_pack_brings_its_judges_and_their_calibration(tmp_path: Path) -> None:
    detector = open_detector("mini", references_are_sitters=True)
    shipped = open_judge("mini", detector, sitters=True)
    assert [encoder.name for encoder in shipped.encoders] == [
        "likeness judge_recogniser",
        "likeness recogniser",
    ]
    assert shipped.calibration() and shipped.calibration("likeness recogniser")
    bare = tmp_path / "pack"
    for name in ("judge_recogniser", "landmarks"):
        shutil.copytree(SHIPPED / name, bare / name)
    shutil.copy(SHIPPED / "pack.json", bare)
    assert "are not calibrated" in open_judge(bare, detector, sitters=True).reason
    stale = json.loads((SHIPPED / "calibration.json").read_text())
    stale["digests"]["likeness judge_recogniser"] = "other weights"
    (bare / "calibration.json").write_text(json.dumps(stale))
    changed = open_judge(bare, detector, sitters=True)
    assert changed.calibration() is None and "changed" in changed.reason
    assert "not calibrated" in open_judge("mini", detector, [SHIPPED / "judge_recogniser"]).reason
    assert open_judge("sd15", detector).reason.startswith("no judge")
    photos = open_judge("mini", detector)
    assert photos.calibration() is None and "sitters only" in photos.reason
    with pytest.raises(MissingWeightsError):
        open_judge("mini", detector, [tmp_path])


@needs_pack
def test_the_sheet_beside_portraits_is_not_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    person = Image.fromarray(render(sample_scene(HELD_OUT_SEEDS[1]), 128).rgb)
    for name in ("reference.png", "001.png", "contact-sheet.png"):
        write_png(person, tmp_path / name)
    files = [str(tmp_path / name) for name in ("reference.png", "001.png", "contact-sheet.png")]
    with pytest.raises(SystemExit):
        main(["score", *files, "--sitters", "--json"])
    [row] = json.loads(capsys.readouterr().out)["pictures"]
    assert row["picture"] == files[1]


def test_score_tells_people_apart_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pairs of one person are given more than pairs of two; a blurred picture is named as such."""
    files = []
    for seed in list(HELD_OUT_SEEDS)[:6]:
        scene = straightened(sample_scene(seed))
        for view, one in enumerate((scene, straightened(with_same_person(scene, 1)))):
            files.append(tmp_path / f"{seed}-{view}.png")
            write_png(Image.fromarray(render(one, 128).rgb), files[-1], {"sitter": {}})
    own, others = [], []
    for at in range(0, len(files), 2):
        with pytest.raises(SystemExit) as stop:
            main(["score", str(files[at]), str(files[at + 1]), str(files[at - 1]), "--json"])
        out, err = capsys.readouterr()
        assert stop.value.code == 0, err
        mate, stranger = json.loads(out)["pictures"]
        own.append(mate["chance"])
        others.append(stranger["chance"])
    assert np.mean(own) > 0.7 and np.mean(others) < 0.3

    plain = tmp_path / "photo.png"
    Image.open(files[0]).convert("RGB").save(plain)
    for more, words in (([], "no score"), (["--sitters"], "the same person")):
        with pytest.raises(SystemExit):
            main(["score", str(files[1]), str(plain), *more])
        assert words in capsys.readouterr().out

    blurred = Image.open(files[0]).convert("RGB").filter(ImageFilter.GaussianBlur(5))
    write_png(blurred, tmp_path / "blurred.png", {"sitter": {}})
    with pytest.raises(SystemExit):
        main(["score", str(files[2]), str(tmp_path / "blurred.png")])
    told = capsys.readouterr().out
    assert "The portrait: " in told and "blur" in told
    sharp = Image.open(files[0]).convert("RGB")
    detector = open_detector("mini", references_are_sitters=True)
    assert not any("blur" in text for text in explanation(sharp, [sharp], detector, 48))
