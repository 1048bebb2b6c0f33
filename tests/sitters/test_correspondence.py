"""Exact correspondence: against the landmarks, there and back, and what hides what."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from likeness.errors import InputError
from likeness.sitters import Scene, sample_scene, with_other_light, with_other_view, with_same_person
from likeness.sitters.correspondence import Correspondence, correspondence
from likeness.sitters.parameters import Hairstyle, Pose
from likeness.sitters.render import LANDMARKS, render

SIZE = 128


def turned(scene: Scene, yaw: float, pitch: float = 0.0, roll: float = 0.0) -> Scene:
    return dataclasses.replace(scene, pose=Pose(yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll), seed=None)


def sampled(found: Correspondence, at: np.ndarray) -> np.ndarray:
    """Where a point between pixel centres goes, by its four neighbours."""
    x, y = at - 0.5
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    a, b = x - x0, y - y0
    corners = found.source_px[y0 : y0 + 2, x0 : x0 + 2]
    weights = np.array([[(1 - a) * (1 - b), a * (1 - b)], [(1 - a) * b, a * b]])
    return np.asarray((corners * weights[..., None]).sum((0, 1)))


def test_the_same_picture_corresponds_to_itself() -> None:
    scene = sample_scene(3)
    found = correspondence(scene, scene, SIZE)
    centres = np.stack(np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5), -1)
    assert found.known.mean() > 0.1
    assert np.array_equal(found.visible, found.known)
    assert np.abs(found.source_px - centres)[found.known].max() < 1e-3


@pytest.mark.parametrize("pose", [(25, 0, 0), (-30, 8, 0), (10, -10, 12)])
def test_landmarks_go_where_the_renderer_puts_them(pose: tuple[float, float, float]) -> None:
    plain = dataclasses.replace(sample_scene(11), hair=Hairstyle("bald"), seed=None)
    plain = dataclasses.replace(plain, accessories=Scene().accessories)
    target, source = turned(plain, 0), turned(plain, *pose)
    found = correspondence(target, source, SIZE)
    before, after = render(target, SIZE), render(source, SIZE)
    seen = before.landmarks_visible & after.landmarks_visible
    on_the_surface = (
        "left eye inner",
        "right eye inner",
        "nose tip",
        "upper lip",
        "lower lip",
        "nose bridge",
    )
    errors = [
        np.abs(sampled(found, before.landmarks_px[i]) - after.landmarks_px[i]).max()
        for i in (LANDMARKS.index(name) for name in on_the_surface)
        if seen[i]
    ]
    assert len(errors) >= 4
    # The landmarks lie at most a few hundredths of a head beside the skin.
    assert max(errors) < 2.0
    assert np.median(errors) < 0.8


def test_there_and_back_is_where_it_began() -> None:
    first = sample_scene(5)
    second = with_other_light(with_other_view(first, 1), 2)
    there, back = correspondence(first, second, SIZE), correspondence(second, first, SIZE)
    ys, xs = np.nonzero(there.visible)
    errors = []
    for x, y in zip(xs[::7], ys[::7], strict=True):
        at = there.source_px[y, x]
        column, row = int(at[0]), int(at[1])
        if not (0 < column < SIZE - 1 and 0 < row < SIZE - 1):
            continue
        if back.visible[row - 1 : row + 2, column - 1 : column + 2].all():
            errors.append(np.abs(sampled(back, at) - (x + 0.5, y + 0.5)).max())
    assert len(errors) > 20
    assert np.median(errors) < 0.1


def test_what_is_turned_away_is_not_visible() -> None:
    front, side = turned(Scene(), 0), turned(Scene(), 50)
    found = correspondence(front, side, SIZE)
    half = SIZE // 2
    # The head turns to the picture's right: what was on that side is hidden.
    left, right = found.visible[:, :half].sum(), found.visible[:, half:].sum()
    assert left > 1.5 * right
    assert found.visible.sum() < 0.9 * found.known.sum()


def test_another_head_is_refused() -> None:
    scene = sample_scene(1)
    with pytest.raises(InputError, match="differ in hair"):
        correspondence(scene, with_same_person(scene, 1))
