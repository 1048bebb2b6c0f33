"""YuNet's runner against OpenCV's own, on real photos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFilter

from likeness.errors import (
    FaceCutOffError,
    IncompatibleWeightsError,
    InputError,
    MissingWeightsError,
    NoFaceError,
    SeveralFacesError,
)
from likeness.faces.detect import (
    FaceDetector,
    box_iou,
    face_in_box,
    find_detector,
    find_one_face,
    suppress_overlaps,
)
from likeness.faces.yunet import CANVAS_PX, YuNet
from likeness.types import Face
from tests.faces.places import MODEL, needs_photos, photo, yunet

COUNTS = {"biden.jpg": 1, "mona_lisa.png": 1, "obama.jpg": 1, "partial_face.jpg": 1, "two_people.jpg": 2}


def canvas_of(name: str) -> np.ndarray:
    image = photo(name)
    image.thumbnail((CANVAS_PX, CANVAS_PX))
    canvas = np.zeros((CANVAS_PX, CANVAS_PX, 3), np.uint8)
    canvas[: image.height, : image.width] = np.asarray(image)
    return canvas


@needs_photos
@pytest.mark.parametrize("name", COUNTS)
def test_one_look_equals_opencv(name: str) -> None:
    canvas = canvas_of(name)
    theirs = cv2.FaceDetectorYN.create(str(MODEL), "", (CANVAS_PX, CANVAS_PX), 0.6, 0.3, 100)
    rows = theirs.detect(canvas[:, :, ::-1].copy())[1]
    ours = yunet().on_canvas(canvas)
    assert len(rows) == len(ours)
    for row in rows:
        x, y, w, h = row[:4]
        face = max(ours, key=lambda f: box_iou(f.box_xyxy, (x, y, x + w, y + h)))
        assert box_iou(face.box_xyxy, (x, y, x + w, y + h)) > 0.98
        np.testing.assert_allclose(face.landmarks_px, row[4:14].reshape(5, 2), atol=0.1)
        assert face.score == pytest.approx(row[14], abs=1e-3)


@needs_photos
@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_photos_have_the_right_faces(name: str, count: int) -> None:
    image = photo(name)
    faces = yunet()(image)
    assert len(faces) == count
    assert faces == sorted(faces, key=lambda f: -f.size_px)
    theirs = cv2.FaceDetectorYN.create(str(MODEL), "", image.size, 0.6, 0.3, 100)
    rows = theirs.detect(np.asarray(image)[:, :, ::-1].copy())[1]
    for face in faces:
        overlap = [box_iou(face.box_xyxy, (r[0], r[1], r[0] + r[2], r[1] + r[3])) for r in rows]
        row = rows[int(np.argmax(overlap))]
        assert max(overlap) > 0.85  # several scales averaged, so not the same pixel
        miss = np.linalg.norm(face.landmarks_px - row[4:14].reshape(5, 2), axis=1).mean()
        assert miss < 0.05 * face.size_px


@needs_photos
@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize("name", ["obama.jpg", "mona_lisa.png", "biden.jpg"])
def test_a_lying_picture_is_turned_and_said_so(name: str, degrees: int) -> None:
    image = photo(name)
    upright = yunet()(image)[0]
    turned = image.rotate(degrees, expand=True)
    found = yunet().search(turned)
    assert found.turned_degrees == (360 - degrees) % 360
    assert any("turned" in attempt for attempt in found.tried)
    # the same landmarks, in the turned picture's coordinates
    x, y = upright.landmarks_px[:, 0], upright.landmarks_px[:, 1]
    width, height = image.size
    expected = {90: (y, width - x), 180: (width - x, height - y), 270: (height - y, x)}[degrees]
    miss = np.linalg.norm(found.faces[0].landmarks_px - np.stack(expected, 1), axis=1)
    assert miss.mean() < 0.03 * upright.size_px


@needs_photos
def test_faces_of_very_different_size() -> None:
    image = photo("obama.jpg")
    close = image.crop((360, 80, 620, 420))  # nothing but the face
    assert len(yunet()(close)) == 1
    assert len(yunet()(close.resize((2600, 3400)))) == 1
    wide = Image.new("RGB", (2400, 1800), (90, 100, 110))
    wide.paste(image.resize((110, 137), Image.Resampling.LANCZOS), (1900, 1300))
    faces = yunet()(wide)
    assert len(faces) == 1
    assert 1930 < faces[0].box_xyxy[0] < 1960
    assert 20 < faces[0].size_px < 40


@needs_photos
def test_one_face_or_a_typed_error() -> None:
    detector = yunet()
    assert isinstance(detector, FaceDetector)
    assert find_one_face(photo("obama.jpg"), detector).score > 0.9
    with pytest.raises(SeveralFacesError, match="2 faces") as several:
        find_one_face(photo("two_people.jpg"), detector)
    assert several.value.tried
    with pytest.raises(FaceCutOffError, match="leaves the picture"):
        find_one_face(photo("partial_face.jpg"), detector)
    empty = Image.effect_noise((300, 200), 60).convert("RGB")
    with pytest.raises(NoFaceError, match="box") as none:
        find_one_face(empty, detector)
    assert len(none.value.tried) >= 4
    assert none.value.exit_code == 4


@needs_photos
def test_a_box_by_hand_is_the_way_out() -> None:
    detector = yunet()
    two = photo("two_people.jpg")
    right = next(f for f in detector(two) if f.box_xyxy[0] > 500)
    box = tuple(float(round(v)) for v in right.box_xyxy)
    face, source = face_in_box(two, detector, box)  # type: ignore[arg-type]
    assert source == "yunet"
    np.testing.assert_allclose(face.landmarks_px, right.landmarks_px, atol=4)
    face, source = face_in_box(two, detector, (20, 300, 120, 420))
    assert source == "average face"
    assert ((face.landmarks_px > [20, 300]) & (face.landmarks_px < [120, 420])).all()
    for bad in (
        (5.0, 5.0, 5.0, 50.0),
        (-5.0, 0.0, 50.0, 50.0),
        (0.0, 0.0, 1e9, 50.0),
        (0.0, 0.0, float("nan"), 9.0),
    ):
        with pytest.raises(InputError, match=r"box|Box"):
            face_in_box(two, detector, bad)


@needs_photos
def test_blur_and_darkness_do_not_hide_a_face() -> None:
    image = photo("obama.jpg")
    assert len(yunet()(image.filter(ImageFilter.GaussianBlur(6)))) == 1
    assert len(yunet()(image.point(lambda v: v * 0.3))) == 1


@needs_photos
def test_found_through_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIKENESS_MODELS", str(MODEL.parent))
    assert find_detector("yunet").name == "yunet"
    assert find_detector().licence == "MIT"


def test_missing_weights_and_wrong_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LIKENESS_OFFLINE", "1")
    monkeypatch.delenv("LIKENESS_MODELS", raising=False)
    for sitters in (None, tmp_path / "nothing"):
        with pytest.raises(MissingWeightsError, match="LIKENESS_MODELS"):
            find_detector(None, sitters)
    with pytest.raises(InputError, match="no face detector"):
        find_detector("retina")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="folder"):
        find_detector("sitters")
    with pytest.raises(MissingWeightsError, match="landmark network"):
        find_detector("sitters", tmp_path)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(IncompatibleWeightsError, match="cannot be read"):
        YuNet(broken)


def test_suppression_keeps_the_surest_and_neighbours() -> None:
    points = np.zeros((5, 2), np.float32)
    a, b = Face((0, 0, 100, 100), points, 0.8), Face((10, 0, 110, 100), points, 0.9)
    inside, beside = Face((30, 30, 60, 60), points, 0.7), Face((200, 0, 240, 40), points, 0.6)
    assert suppress_overlaps([a, b, inside, beside]) == [b, beside]
    assert box_iou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert box_iou((0, 0, 1, 1), (2, 2, 3, 3)) == 0
