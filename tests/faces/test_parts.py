"""Face parts by geometry."""

from __future__ import annotations

import numpy as np
from PIL import Image

from likeness.faces.align import ARCFACE_TEMPLATE
from likeness.faces.parts import PARTS, ear_boxes, part_boxes, part_crops
from likeness.types import Face
from tests.faces.places import needs_photos, photo, yunet

FRONTAL = Face((120, 110, 300, 340), (ARCFACE_TEMPLATE * 2 + 100).astype(np.float32))


def holds(box: tuple[float, float, float, float], point: np.ndarray) -> bool:
    return bool(box[0] < point[0] < box[2] and box[1] < point[1] < box[3])


def test_boxes_hold_their_landmarks_and_no_others() -> None:
    boxes = part_boxes(FRONTAL)
    assert tuple(boxes) == PARTS == ("face", "eyes", "ears", "nose", "mouth")
    left, right, nose, mouth_left, mouth_right = FRONTAL.landmarks_px
    assert holds(boxes["eyes"], left)
    assert holds(boxes["eyes"], right)
    assert holds(boxes["nose"], nose)
    assert holds(boxes["mouth"], mouth_left)
    assert holds(boxes["mouth"], mouth_right)
    assert not holds(boxes["eyes"], mouth_left)
    assert not holds(boxes["mouth"], nose)
    assert not holds(boxes["nose"], mouth_right)


def test_ears_stand_outside_the_eyes_and_the_far_one_hides() -> None:
    ear_left, ear_right = ear_boxes(FRONTAL)
    assert ear_left is not None
    assert ear_right is not None
    assert ear_left[2] < FRONTAL.landmarks_px[0, 0]
    assert ear_right[0] > FRONTAL.landmarks_px[1, 0]
    turned = FRONTAL.landmarks_px.copy()
    turned[2, 0] = turned[1, 0]  # the nose stands before the right eye
    far_left, far_right = ear_boxes(Face(FRONTAL.box_xyxy, turned))
    assert far_left is not None
    assert far_right is None


def test_crops_show_the_part_and_none_outside() -> None:
    canvas = np.zeros((500, 500, 3), np.uint8)
    mouth = FRONTAL.landmarks_px[3:].mean(0)
    canvas[int(mouth[1]) - 8 : int(mouth[1]) + 8, int(mouth[0]) - 8 : int(mouth[0]) + 8] = (255, 0, 0)
    crops = part_crops(Image.fromarray(canvas), FRONTAL, 64)
    assert tuple(crops) == PARTS
    shown = {name: np.asarray(crop)[..., 0].max() for name, crop in crops.items() if crop is not None}
    assert set(shown) == set(PARTS)
    assert shown["mouth"] > 200
    assert shown["eyes"] == 0
    away = Face((600, 600, 780, 830), FRONTAL.landmarks_px + 480)
    assert all(crop is None for crop in part_crops(Image.fromarray(canvas), away, 64).values())


@needs_photos
def test_crops_of_a_cut_face_leave_out_the_missing_ear() -> None:
    image = photo("partial_face.jpg")
    face = yunet()(image)[0]
    crops = part_crops(image, face, 96)
    assert crops["mouth"] is not None
    assert crops["ears"] is not None
    assert crops["ears"].size == (96, 96)
