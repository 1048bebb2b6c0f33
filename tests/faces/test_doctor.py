"""The reference doctor: verdicts on photos, on damaged copies, and on drawn pictures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from likeness.errors import InputError
from likeness.faces.align import ARCFACE_TEMPLATE
from likeness.faces.doctor import Verdict, best_subset, inspect
from likeness.faces.quality import head_angle, light, sharpness
from likeness.types import Face
from tests.faces.places import needs_photos, photo, yunet


def subjects(verdict: Verdict) -> dict[str, str]:
    return {reason.subject: reason.status for reason in verdict.reasons}


@needs_photos
def test_verdicts_on_photos() -> None:
    detector = yunet()
    for name in ("biden.jpg", "mona_lisa.png", "obama.jpg"):
        verdict = inspect(photo(name), detector)
        assert (verdict.status, verdict.reasons) == ("usable", ()), name
        assert verdict.score > 0.4
    cut = inspect(photo("partial_face.jpg"), detector)
    assert cut.status != "usable"
    assert set(subjects(cut)) == {"border"}
    two = inspect(photo("two_people.jpg"), detector)
    assert len(two.faces) == 2
    assert subjects(two) == {"faces": "unusable"}
    chosen = inspect(photo("two_people.jpg"), detector, two.faces[1].box_xyxy)
    assert chosen.status == "usable"
    json.dumps(two.to_dict(), allow_nan=False)


@needs_photos
def test_damage_changes_the_verdict() -> None:
    detector, image = yunet(), photo("obama.jpg")
    face = detector(image)[0]
    size = face.size_px

    def after(picture: Image.Image) -> dict[str, str]:
        return subjects(inspect(picture, detector))

    assert after(image.filter(ImageFilter.GaussianBlur(0.01 * size))) in ({}, {"blur": "usable with care"})
    assert after(image.filter(ImageFilter.GaussianBlur(0.025 * size)))["blur"] == "unusable"
    assert after(image.point(lambda v: v * 0.3))["light"] == "usable with care"
    assert after(image.point(lambda v: v * 0.15))["light"] == "unusable"
    assert after(image.point(lambda v: min(255, v * 2.4)))["light"] == "unusable"
    small = image.resize((image.width // 5, image.height // 5), Image.Resampling.LANCZOS)
    assert after(small)["size"] == "usable with care"
    tiny = image.resize((image.width // 11, image.height // 11), Image.Resampling.LANCZOS)
    assert after(tiny)["size"] == "unusable"
    assert after(image.rotate(90, expand=True))["angle"] == "usable with care"
    assert after(image.rotate(40))["angle"] == "usable with care"
    blank = inspect(Image.new("RGB", (400, 300), (120, 90, 60)), detector)
    assert (blank.status, blank.face, blank.score) == ("unusable", None, 0.0)
    assert len(blank.tried) > 3


@needs_photos
def test_covered_parts_are_named() -> None:
    detector, image = yunet(), photo("obama.jpg")
    face = detector(image)[0]
    left, right, _, mouth_left, mouth_right = face.landmarks_px
    unit = float(right[0] - left[0])
    glasses = image.copy()
    draw = ImageDraw.Draw(glasses)
    for eye in (left, right):
        draw.ellipse(
            [eye[0] - 0.42 * unit, eye[1] - 0.26 * unit, eye[0] + 0.42 * unit, eye[1] + 0.3 * unit], "black"
        )
    verdict = inspect(glasses, detector)
    assert verdict.measures is not None
    assert {"left eye", "right eye"} <= set(verdict.measures.covered)
    mask = image.copy()
    ImageDraw.Draw(mask).rectangle(
        [
            mouth_left[0] - 0.4 * unit,
            mouth_left[1] - 0.35 * unit,
            mouth_right[0] + 0.4 * unit,
            mouth_right[1] + 0.5 * unit,
        ],
        (120, 170, 220),
    )
    verdict = inspect(mask, detector, tuple(map(float, face.box_xyxy)))  # type: ignore[arg-type]
    assert verdict.measures is not None
    assert "mouth" in verdict.measures.covered


@needs_photos
@pytest.mark.parametrize("name", ["biden.jpg", "mona_lisa.png", "obama.jpg"])
def test_sharpness_falls_with_blur_and_not_with_megapixels(name: str) -> None:
    image = photo(name)
    face = yunet()(image)[0]
    values = [
        sharpness(image.filter(ImageFilter.GaussianBlur(share * face.size_px)), face)
        for share in (0, 0.005, 0.01, 0.02, 0.04)
    ]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.4 * values[0]
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    box = tuple(v / 2 for v in face.box_xyxy)
    smaller = replace(face, box_xyxy=box, landmarks_px=face.landmarks_px / 2)
    assert sharpness(half, smaller) == pytest.approx(values[0], rel=0.15)
    dim = image.point(lambda v: v * 0.4)
    assert sharpness(dim, face) == pytest.approx(values[0], rel=0.15)


def test_light_measures_on_drawn_faces() -> None:
    even = light(Image.new("RGB", (112, 112), (180, 180, 180)))
    assert even.one_sided == 0
    assert even.median == pytest.approx(180 / 255)
    halves = np.full((112, 112, 3), 200, np.uint8)
    halves[:, :56] = 50
    assert light(Image.fromarray(halves)).one_sided == pytest.approx(150 / 125)
    assert light(Image.new("RGB", (112, 112), (255, 255, 255))).burnt == 1
    sides = []
    for dark in (190, 150, 100, 40):
        halves[:, :56] = dark
        sides.append(light(Image.fromarray(halves)).one_sided)
    assert sides == sorted(sides)


def test_head_angle_of_a_turned_head() -> None:
    """A head of other proportions than the ruler's, turned in space and projected."""
    head = np.array(
        [[-1.05, -0.6, 0.05], [1.05, -0.6, 0.05], [0, 0.6, 1.0], [-0.7, 1.65, 0.2], [0.7, 1.65, 0.2]]
    )
    found = []
    for yaw in (-40, -20, 0, 20, 40):
        a = np.radians(yaw)
        turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
        angle = head_angle((head @ turn.T)[:, :2] * 40 + 100)
        found.append(angle.yaw)
        assert abs(angle.yaw - yaw) < 6
        assert abs(angle.roll) < 1e-6
    assert found == sorted(found)
    rolled = np.radians(25)
    spin = np.array([[np.cos(rolled), -np.sin(rolled)], [np.sin(rolled), np.cos(rolled)]])
    angle = head_angle(head[:, :2] @ spin.T * 40)
    assert angle.roll == pytest.approx(25)
    assert abs(angle.yaw) < 3
    pitches = []
    for pitch in (-25, 0, 25):
        a = np.radians(pitch)  # positive: the nose (z > 0) moves up (y < 0)
        nod = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
        pitches.append(head_angle((head @ nod.T)[:, :2] * 40).pitch)
    assert pitches == sorted(pitches)
    assert pitches[2] - pitches[0] > 25


def verdict_of(score: float) -> Verdict:
    face = Face((0, 0, 100, 100), ARCFACE_TEMPLATE.astype(np.float32))
    return Verdict("usable" if score else "unusable", (), (face,), face, None, "test", (), score)


def test_best_subset_keeps_one_person() -> None:
    rng = np.random.default_rng(0)
    anna, bert = np.linalg.qr(rng.normal(size=(64, 2)))[0].T
    rows = [anna, anna, bert, anna, anna, bert]
    noisy = np.stack([row + 0.05 * rng.normal(size=64) for row in rows])
    noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
    scores = [0.6, 0.9, 0.95, 0.0, 0.5, 0.9]
    verdicts = [verdict_of(score) for score in scores]
    assert best_subset(verdicts, noisy, 3) == [1, 0, 4]  # not Bert, though sharper; not the unusable one
    assert best_subset(verdicts, noisy, 1) == [1]
    assert best_subset(verdicts, None, 2) == [2, 1]
    assert best_subset([verdict_of(0)], None, 2) == []
    with pytest.raises(InputError, match="embeddings"):
        best_subset(verdicts, noisy[:2], 2)
    with pytest.raises(InputError, match="1 or more"):
        best_subset(verdicts, noisy, 0)
