"""Similarity, warping, crops: against hand-worked cases and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from likeness.errors import InputError
from likeness.faces.align import (
    ARCFACE_TEMPLATE,
    align_arcface,
    invert_affine,
    paste_back,
    portrait_crop,
    similarity,
    transform_points,
    warp,
)
from likeness.types import Face


def smooth_picture(width: int, height: int) -> Image.Image:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    waves = [np.sin(x / 17 + k) * np.cos(y / 13 - k) * 100 + 128 for k in range(3)]
    return Image.fromarray(np.stack(waves, -1).astype(np.uint8))


def test_similarity_worked_by_hand() -> None:
    # a quarter turn (x, y) -> (-y, x), doubled, then moved by (10, 20)
    source = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]])
    target = np.array([[10.0, 20.0], [10.0, 28.0], [4.0, 20.0]])
    np.testing.assert_allclose(similarity(source, target), [[0, -2, 10], [2, 0, 20]], atol=1e-9)


def test_similarity_equals_opencv_on_noisy_points() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        source = ARCFACE_TEMPLATE * rng.uniform(0.5, 8) + rng.normal(0, 3, (5, 2))
        ours = similarity(source, ARCFACE_TEMPLATE)
        theirs, _ = cv2.estimateAffinePartial2D(source, ARCFACE_TEMPLATE, method=cv2.LMEDS)
        residual = np.linalg.norm(transform_points(ours, source) - ARCFACE_TEMPLATE)
        # least squares: nothing is better on the sum of squares
        assert residual <= np.linalg.norm(transform_points(theirs, source) - ARCFACE_TEMPLATE) + 1e-9
        for change in np.eye(4) * 1e-3:
            a, b, x, y = change
            other = ours + np.array([[a, -b, x], [b, a, y]])
            assert residual <= np.linalg.norm(transform_points(other, source) - ARCFACE_TEMPLATE)


def test_similarity_never_mirrors_and_refuses_one_point() -> None:
    mirrored = ARCFACE_TEMPLATE * np.array([-1, 1])
    assert np.linalg.det(similarity(mirrored, ARCFACE_TEMPLATE)[:, :2]) > 0
    with pytest.raises(InputError, match="one point"):
        similarity(np.ones((5, 2)), ARCFACE_TEMPLATE)


def test_align_puts_landmarks_on_the_template() -> None:
    # five white discs at the landmarks of a turned, enlarged, moved template
    turn = similarity(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[60.0, 40.0], [62.6, 41.5]]))
    landmarks = transform_points(turn, ARCFACE_TEMPLATE)
    canvas = np.zeros((500, 500), np.uint8)
    for x, y in landmarks:
        cv2.circle(canvas, (round((x - 0.5) * 16), round((y - 0.5) * 16)), 16 * 8, 255, -1, cv2.LINE_AA, 4)
    face = Face((0, 0, 500, 500), landmarks.astype(np.float32))
    aligned = np.asarray(align_arcface(Image.fromarray(canvas).convert("RGB"), face))[..., 0].astype(float)
    for x, y in ARCFACE_TEMPLATE:
        window = aligned[int(y) - 5 : int(y) + 6, int(x) - 5 : int(x) + 6]
        rows, columns = np.mgrid[int(y) - 5 : int(y) + 6, int(x) - 5 : int(x) + 6] + 0.5
        centre = np.array([(window * columns).sum(), (window * rows).sum()]) / window.sum()
        np.testing.assert_allclose(centre, [x, y], atol=0.15)


def test_warp_equals_opencv_when_enlarging() -> None:
    picture = smooth_picture(120, 90)
    affine = similarity(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[5.3, -7.1], [6.9, -6.4]]))
    ours = np.asarray(warp(picture, affine, (100, 100))).astype(int)
    # OpenCV counts from pixel centres, we from corners
    half = affine.copy()
    half[:, 2] += affine[:, :2] @ [0.5, 0.5] - 0.5
    theirs = cv2.warpAffine(
        np.asarray(picture), half, (100, 100), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    ).astype(int)
    assert np.abs(ours - theirs).mean() < 1
    assert np.percentile(np.abs(ours - theirs), 99) <= 4


def test_warp_shrinks_without_false_detail() -> None:
    board = np.indices((800, 800)).sum(0) % 2 * 255
    fine = Image.fromarray(np.repeat(board[..., None], 3, 2).astype(np.uint8))
    small = np.asarray(warp(fine, np.array([[0.13, 0, 0], [0, 0.13, 0]]), (104, 104))).astype(float)
    assert small.std() < 3  # one-pixel squares must melt into grey, not into a moire
    assert abs(small.mean() - 127.5) < 3


def test_portrait_crop_holds_the_face_and_pastes_back() -> None:
    picture = smooth_picture(400, 300)
    face = Face((150, 100, 210, 180), ARCFACE_TEMPLATE.astype(np.float32) * 0.5 + 150)
    crop, affine = portrait_crop(picture, face, 128, margin=0.4)
    assert crop.size == (128, 128)
    corners = transform_points(affine, np.array([[150.0, 100], [210, 180]]))
    assert (corners > 0).all()
    assert (corners < 128).all()
    np.testing.assert_allclose(
        transform_points(invert_affine(affine), corners), [[150, 100], [210, 180]], atol=1e-9
    )
    black = Image.new("RGB", crop.size)
    pasted = np.asarray(paste_back(picture, black, affine))
    assert (pasted[:80, :100] == np.asarray(picture)[:80, :100]).all()  # far away: bit for bit
    assert (pasted[130:150, 170:190] == 0).all()
    same = np.asarray(paste_back(picture, crop, affine)).astype(int)
    assert np.abs(same - np.asarray(picture)).mean() < 1


def test_portrait_crop_over_the_border_repeats_edge_pixels() -> None:
    picture = Image.new("RGB", (100, 100), (10, 200, 30))
    crop, _ = portrait_crop(picture, Face((-30, -30, 60, 60), np.zeros((5, 2), np.float32)), 64, margin=0.5)
    assert (np.asarray(crop) == [10, 200, 30]).all()
    with pytest.raises(InputError, match="empty"):
        portrait_crop(picture, Face((5, 5, 5, 5), np.zeros((5, 2), np.float32)), 64)
