"""Words against pictures: what a caption says about a picture can be measured in it."""

from __future__ import annotations

import numpy as np
import pytest

from likeness.sitters.parameters import Accessories, Camera, Expression, Hairstyle, Pose, Scene
from likeness.sitters.render import LABELS, LANDMARKS, Picture, render
from likeness.sitters.sample import sample_scene
from likeness.sitters.words import attributes

SIZE = 96


def point(picture: Picture, name: str) -> tuple[float, float]:
    x, y = picture.landmarks_px[LANDMARKS.index(name)]
    return float(x), float(y)


def pixels(picture: Picture, *names: str) -> int:
    return int(np.isin(picture.labels, [LABELS.index(name) for name in names]).sum())


@pytest.mark.parametrize("side", ["left", "right"])
def test_turned_and_tilted_as_said(side: str) -> None:
    sign = 1 if side == "right" else -1
    straight, turned = Scene(), Scene(pose=Pose(yaw_deg=30.0 * sign))
    assert attributes(turned)["turn"] == side
    nose = point(render(turned, SIZE), "nose tip")[0] - point(render(straight, SIZE), "nose tip")[0]
    assert nose * sign > 3
    tilted = Scene(pose=Pose(roll_deg=12.0 * sign))
    assert attributes(tilted)["tilt"] == side
    picture = render(tilted, SIZE)
    assert (point(picture, "nose bridge")[0] - point(picture, "chin")[0]) * sign > 3


def test_raised_and_lowered_as_said() -> None:
    noses = {}
    for pitch in (-15.0, 15.0):
        scene = Scene(pose=Pose(pitch_deg=pitch))
        noses[attributes(scene)["nod"]] = point(render(scene, SIZE), "nose tip")[1]
    assert noses["up"] < noses["down"] - 4


@pytest.mark.parametrize(
    ("gaze", "said"),
    [((0.35, 0.0), "right"), ((-0.35, 0.0), "left"), ((0.0, 0.2), "up"), ((0.0, -0.2), "down")],
)
def test_looks_where_it_is_said_to(gaze: tuple[float, float], said: str) -> None:
    """The dark of the eye (iris, pupil) lies on that side of where it is when looking at the camera."""

    def iris(expression: Expression) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        scene = Scene(expression=expression, camera=Camera(zoom=1.3))
        picture = render(scene, 256)
        eyes = np.isin(picture.labels, [LABELS.index("left eye"), LABELS.index("right eye")])
        y, x = np.nonzero(eyes)
        darkness = np.clip(150.0 - picture.rgb[y, x].mean(1), 0, None)
        return np.array([(x * darkness).sum(), (-y * darkness).sum()]) / darkness.sum()

    looking = Expression(gaze_right=gaze[0], gaze_up=gaze[1])
    assert attributes(Scene(expression=looking))["gaze"] == said
    moved = iris(looking) - iris(Expression())
    axis, sign = (
        (0, 1) if said == "right" else (0, -1) if said == "left" else (1, 1) if said == "up" else (1, -1)
    )
    assert moved[axis] * sign > 0.8, moved


def test_the_winking_eye_is_the_closed_one() -> None:
    for side, other in (("left", "right"), ("right", "left")):
        scene = Scene(expression=Expression(kind="winking", winking_eye=side))  # type: ignore[arg-type]
        picture = render(scene, SIZE)
        assert attributes(scene)["winking_eye"] == side
        assert pixels(picture, f"{side} eye") < 0.4 * pixels(picture, f"{other} eye")


def test_what_is_said_to_be_worn_is_in_the_picture() -> None:
    labels = {
        "hat": ("hat",),
        "glasses": ("glasses", "dark lenses"),
        "scarf": ("scarf",),
        "earrings": ("earring",),
    }
    told: dict[str, list[bool]] = {name: [] for name in labels}
    for seed in range(3000, 3080):
        scene = sample_scene(seed)
        picture, seen = render(scene, 64), attributes(scene)
        for name, parts in labels.items():
            if name in seen:
                told[name].append(pixels(picture, *parts) > 0)
            else:
                assert name == "earrings" or pixels(picture, *parts) == 0, (seed, name)
    for name, found in told.items():
        assert found and sum(found) / len(found) > 0.95, (name, found)


def test_a_hat_hides_the_haircut_it_is_said_to_hide() -> None:
    bun, hatted = Hairstyle(kind="bun"), Accessories(hat="beanie")
    above = [
        pixels(render(Scene(hair=bun, accessories=worn), SIZE), "hair") for worn in (Accessories(), hatted)
    ]
    assert above[1] < above[0] / 2
    assert "hair" in attributes(Scene(hair=bun, accessories=hatted))
