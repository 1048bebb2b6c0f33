"""What the attribute judge learns from: mirrored pictures with mirrored words, and pictures moved aside."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import torch

from likeness.faces.attributes import NOT_SHOWN
from likeness.packs.check_words import attributes_right
from likeness.packs.recipes.attributes import SHIFT_PX, SWAP, Truth, shifted, truth_of
from likeness.sitters import Scene, sample_scene


def reverse(scene: Scene) -> Scene:
    """What a mirror shows."""
    e, pose, light, camera = scene.expression, scene.pose, scene.light, scene.camera
    return dataclasses.replace(
        scene,
        expression=dataclasses.replace(
            e, gaze_right=-e.gaze_right, winking_eye="left" if e.winking_eye == "right" else "right"
        ),
        pose=dataclasses.replace(pose, yaw_deg=-pose.yaw_deg, roll_deg=-pose.roll_deg),
        light=dataclasses.replace(light, azimuth_deg=-light.azimuth_deg),
        camera=dataclasses.replace(camera, shift_x=-camera.shift_x),
        seed=None,
    )


def test_a_mirrored_picture_is_told_as_the_mirrored_scene() -> None:
    scenes = [sample_scene(seed) for seed in range(400)]
    truth = truth_of(scenes)
    mirrored, wanted = truth.mirrored(), truth_of([reverse(one) for one in scenes], truth.kinds)
    assert torch.equal(mirrored.shown, wanted.shown)
    assert (mirrored.shown != truth.shown).any(0).sum() == 5  # gaze, light, tilt, turn, winking eye
    torch.testing.assert_close(mirrored.pose_deg, wanted.pose_deg)
    torch.testing.assert_close(mirrored.light, wanted.light)
    assert torch.equal(mirrored.mirrored().shown, truth.shown)


def test_what_has_no_mirror_image_among_the_words_is_left_out() -> None:
    scenes = [s for s in map(sample_scene, range(60)) if s.pose.yaw_deg < -30]
    truth = truth_of(scenes)
    [column] = [i for i, kind in enumerate(truth.kinds) if kind == "turn"]
    assert set(truth.kinds["turn"]) & {"left", "right"} in ({"left"}, {"right"})
    assert (truth.mirrored().shown[:, column] == -100).all() and set(SWAP) == set(SWAP.values())


def test_pictures_move_by_whole_pixels_and_their_border_goes_on() -> None:
    pictures = torch.arange(2 * 3 * 20 * 24).view(2, 3, 20, 24)
    found = shifted(pictures, torch.Generator().manual_seed(1))
    for one, moved in zip(pictures, found, strict=True):
        moves = range(-SHIFT_PX, SHIFT_PX + 1)
        same = [
            (down, across)
            for down in moves
            for across in moves
            if torch.equal(
                one[
                    :,
                    (torch.arange(20) + down).clamp(0, 19)[:, None],
                    (torch.arange(24) + across).clamp(0, 23),
                ],
                moved,
            )
        ]
        assert len(same) == 1
    assert not torch.equal(found[0] - pictures[0], found[1] - pictures[1])


def test_right_answers_are_counted_of_what_is_shown() -> None:
    kinds = {"hat": [NOT_SHOWN, "cap"], "pattern": [NOT_SHOWN, "dots", "stripes"]}
    shown = torch.tensor([[1, 2], [1, 1], [0, 1], [0, 0]])
    truth = Truth(kinds, shown, torch.zeros(4, 3), torch.zeros(4, 3))
    said = {"hat": torch.eye(2)[[1, 0, 1, 0]], "pattern": torch.eye(3)[[2, 2, 1, 0]]}
    rows, pictures = torch.arange(4), torch.zeros(4, 3, 8, 8)

    def judge(pixels: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=said)

    everything = attributes_right(judge, pictures, truth, rows)
    assert everything[:3].tolist() == [1.0, 0.0, 1.0]  # a cap where there is none is not asked for
    assert everything[3].isnan()
    hats = attributes_right(judge, pictures, truth, rows, ["hat"])
    assert hats[:2].tolist() == [1.0, 0.0]
    assert hats[2:].isnan().all()
