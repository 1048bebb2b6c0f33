"""Edits of held-out sitters whose truth is known: what a picture should become, and what must stay.

The test of two factors: an instruction names two changes; the attribute judge looks at the input and at what
was painted. The two have to be as the truth has them, and of everything else no more may change than the
judge itself changes its mind about between two true pictures.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from likeness.errors import InputError
from likeness.packs.data import close_up
from likeness.packs.mini import first_seed
from likeness.sitters import Scene, attributes, captions, edited, instructions, sample_scene, straightened
from likeness.sitters.instruct import GROUPS, changed_groups

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["Edit", "FactorsKept", "Seen", "held_out_edits", "two_factors"]

Seen = Mapping[str, str]
FLOOR = 0.95
"""Of the true pictures have as few further changes as are allowed."""
TRIES = 50


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """One case. before, after: the input and what it truly becomes. caption: of `after`.

    named: the groups of attributes the instruction changes. told_before, told_after: what can be seen.
    """

    id: str
    before: Image.Image
    after: Image.Image
    instruction: str
    caption: str
    named: tuple[str, ...]
    told_before: Seen
    told_after: Seen


@dataclass(frozen=True, slots=True, eq=False)
class FactorsKept:
    """The test's outcome for N edits, as 0 and 1; `truth` are the same numbers of the true pictures.

    changed: every named group is as the truth has it. kept: no more of the rest changed than `floor`
    attributes. passed: both.
    """

    changed: NDArray[np.float64]
    kept: NDArray[np.float64]
    passed: NDArray[np.float64]
    truth: NDArray[np.float64]
    floor: int


def held_out_edits(
    count: int, seed: int, size_px: int, factors: Sequence[int] = (1, 2), *, near: bool = False
) -> list[Edit]:
    """Edits of `count` held-out sitters drawn by `seed`, of so many factors in turn, straight to the camera.

    Each changes as many things that can be seen as it has factors; what is hidden is drawn again.
    near: as close-ups, for packs smaller than mini.
    Raises: InputError for more people than are held out for measuring.
    """
    from PIL import Image

    from likeness.sitters import render_many

    start, end = first_seed("held_out"), first_seed("calibration")
    if not 1 <= count <= end - start:
        raise InputError(f"There are 1 to {end - start} held-out sitters to edit, not {count}.")
    drawn = random.Random(seed).sample(range(start, end), count)
    scenes = [_visible_edit(number, factors[place % len(factors)]) for place, number in enumerate(drawn)]
    if near:
        scenes = [(close_up(one), close_up(other)) for one, other in scenes]
    pictures = [
        Image.fromarray(one.rgb) for one in render_many([s for pair in scenes for s in pair], size_px)
    ]
    return [
        Edit(
            id=f"sitter-{number}",
            before=pictures[2 * row],
            after=pictures[2 * row + 1],
            instruction=instructions(one, other, number, 1)[0],
            caption=captions(other, 1, number)[0],
            named=tuple(_named(one, other)),
            told_before=attributes(one),
            told_after=attributes(other),
        )
        for row, (number, (one, other)) in enumerate(zip(drawn, scenes, strict=True))
    ]


def two_factors(
    edits: Sequence[Edit],
    painted: Sequence[Image.Image],
    judge: Callable[[Sequence[Image.Image]], Sequence[Seen]],
) -> FactorsKept:
    """See the module. judge: pictures -> what each shows, absent kinds left out (`AttributeNet.describe`).

    Raises: InputError for another number of pictures than of edits.
    """
    if len(edits) != len(painted):
        raise InputError(f"Every edit needs its picture: got {len(edits)} and {len(painted)}.")
    before, truly, found = (
        list(judge(pictures))
        for pictures in ([e.before for e in edits], [e.after for e in edits], list(painted))
    )
    seen = {kind for rows in (before, truly, found) for one in rows for kind in one}
    others = [_others(one, seen) for one in edits]
    truth = np.array([_differences(*rows) for rows in zip(before, truly, others, strict=True)])
    floor = int(np.quantile(truth, FLOOR, method="higher"))
    more = np.array([_differences(*rows) for rows in zip(before, found, others, strict=True)])
    changed, possible = (
        np.array([_as_told(edit, one) for edit, one in zip(edits, rows, strict=True)], np.float64)
        for rows in (found, truly)
    )
    kept = (more <= floor).astype(np.float64)
    return FactorsKept(changed, kept, changed * kept, possible * (truth <= floor), floor)


def _visible_edit(number: int, factors: int) -> tuple[Scene, Scene]:
    first = straightened(sample_scene(number))
    for again in range(TRIES):
        second = edited(first, number * TRIES + again, factors)
        if len(_named(first, second)) == factors:
            return first, second
    raise AssertionError(f"sitter {number} has no edit that can be seen")  # 50 draws of 9 factors


def _named(one: Scene, other: Scene) -> list[str]:
    whole = attributes(one, hidden=True), attributes(other, hidden=True)
    return changed_groups(whole, (attributes(one), attributes(other)))


def _as_told(edit: Edit, seen: Seen) -> bool:
    """Whether everything that changes in the named groups is seen as it is after."""
    kinds = [kind for group in edit.named for kind in GROUPS[group]]
    return all(
        seen.get(kind) == edit.told_after.get(kind)
        for kind in kinds
        if edit.told_before.get(kind) != edit.told_after.get(kind)
    )


def _others(edit: Edit, seen: Collection[str]) -> list[str]:
    """The kinds that stay as they are, those included of which neither picture shows anything."""
    kinds = {*seen, *edit.told_before, *edit.told_after}
    return sorted(kind for kind in kinds if edit.told_before.get(kind) == edit.told_after.get(kind))


def _differences(one: Seen, other: Seen, kinds: Sequence[str]) -> int:
    return sum(one.get(kind) != other.get(kind) for kind in kinds)
