"""Held-out edits, and the test of two factors against judges whose every answer is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from PIL import Image

from likeness.errors import InputError
from likeness.evaluation.edits import Edit, Seen, held_out_edits, two_factors
from likeness.packs.mini import first_seed
from likeness.sitters.instruct import GROUPS


def test_edits_change_as_many_things_as_they_have_factors() -> None:
    edits = held_out_edits(6, seed=3, size_px=32)
    assert [len(one.named) for one in edits] == [1, 2] * 3
    numbers = [int(one.id.removeprefix("sitter-")) for one in edits]
    assert len(set(numbers)) == 6
    assert all(first_seed("held_out") <= number < first_seed("calibration") for number in numbers)
    for one in edits:
        assert one.before.size == one.after.size == (32, 32) and one.instruction and one.caption
        assert np.any(np.asarray(one.before) != np.asarray(one.after))
        for group in one.named:
            assert any(one.told_before.get(kind) != one.told_after.get(kind) for kind in GROUPS[group])
    again = held_out_edits(6, seed=3, size_px=32)
    assert [one.instruction for one in again] == [one.instruction for one in edits]
    with pytest.raises(InputError, match="held-out sitters to edit, not 0"):
        held_out_edits(0, seed=0, size_px=32)


BEFORE = {"hat": "beanie", "hat_colour": "red", "background": "sea", "eyes": "blue", "skin": "tan"}
AFTER = {"background": "studio", "background_colour": "grey", "eyes": "blue", "skin": "tan"}


def edit(number: int) -> Edit:
    before, after = (Image.new("RGB", (4, 4), (number, which, 0)) for which in (0, 1))
    return Edit(str(number), before, after, "", "", ("hat", "background"), BEFORE, AFTER)


def judge(painted: dict[int, Seen], truth: dict[int, Seen] | None = None) -> Callable[..., list[Seen]]:
    """Answers by the colour of the picture: number, and whether it is the input, the truth or painted."""

    def answers(pictures: Sequence[Image.Image]) -> list[Seen]:
        found: list[Seen] = []
        for one in pictures:
            number, which, _ = one.getpixel((0, 0))  # type: ignore[misc]
            found.append((BEFORE, (truth or {}).get(number, AFTER), painted.get(number, AFTER))[which])
        return found

    return answers


def test_both_factors_have_to_change_and_nothing_else() -> None:
    edits = [edit(number) for number in range(6)]
    painted = [Image.new("RGB", (4, 4), (number, 2, 0)) for number in range(6)]
    answers: dict[int, Seen] = {
        1: {**AFTER, "hat": "beanie", "hat_colour": "red"},  # the hat stayed
        2: {**AFTER, "background_colour": "blue"},  # another wall than was asked for
        3: {**AFTER, "eyes": "green"},  # more than was asked for
        4: {**AFTER, "scarf": "red"},  # of a kind that the truth says nothing of
        5: BEFORE,
    }
    found = two_factors(edits, painted, judge(answers))
    assert found.floor == 0
    assert found.changed.tolist() == [1, 0, 0, 1, 1, 0]
    assert found.kept.tolist() == [1, 1, 1, 0, 0, 1]
    assert found.passed.tolist() == [1, 0, 0, 0, 0, 0] and found.truth.tolist() == [1] * 6
    with pytest.raises(InputError, match="Every edit needs its picture: got 6 and 5"):
        two_factors(edits, painted[:5], judge(answers))


def test_what_the_judge_changes_its_mind_about_between_true_pictures_is_allowed() -> None:
    edits = [edit(number) for number in range(10)]
    painted = [Image.new("RGB", (4, 4), (number, 2, 0)) for number in range(10)]
    wavering: dict[int, Seen] = {number: {**AFTER, "eyes": "green"} for number in range(4)}
    found = two_factors(
        edits,
        painted,
        judge({0: {**AFTER, "skin": "dark"}, 1: {**AFTER, "skin": "dark", "eyes": "green"}}, wavering),
    )
    assert found.floor == 1
    assert found.kept.tolist() == [1, 0, *[1] * 8] and found.truth.tolist() == [1] * 10
