"""Ground truth in the place of a model: what sitters' scenes say of a pair, and an annotator that errs on
purpose, so that it can be counted what verification repairs."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from likeness.data.cheese.annotate import Attempt, Instruction, PairVerdict, Shot
from likeness.errors import InputError
from likeness.sitters.describe import Length, describe
from likeness.sitters.instruct import GROUPS, changed_groups, instruct
from likeness.sitters.parameters import Scene
from likeness.sitters.sample import sample_scene
from likeness.sitters.words import attributes

__all__ = ["TruthAnnotator", "right"]

Seen = Mapping[str, str]
EXPECTED: Length = "full"
CAMERA, LAYOUT = ("light", "light_side"), ("framing",)
SUBJECT = tuple(name for name in GROUPS if name not in (*CAMERA, *LAYOUT))


class Claim(Instruction):
    """An instruction that knows what it makes of the reference: attributes as seen, and with hidden ones."""

    visible: dict[str, str]
    whole: dict[str, str]


@dataclass(frozen=True, slots=True)
class TruthAnnotator:
    """Instructions from the scenes that sitters were rendered from (`record` in their metadata.jsonl).

    misread: chance that an instruction is that to another picture. slips: chance that one change is told
    wrongly, half of them left out, half with another value. Each attempt errs anew. It stands in for a model,
    and understands its own words: what it expects of an instruction is the reference with the changes that
    the instruction tells, right or wrong.
    """

    misread: float = 0.0
    slips: float = 0.0
    seed: int = 0

    @property
    def name(self) -> str:
        """For the record."""
        if not self.misread and not self.slips:
            return "ground truth"
        return f"ground truth, {self.misread:g} of it misread, {self.slips:g} of the changes slips"

    @property
    def side_px(self) -> None:
        """It looks at no picture."""

    def pair(self, reference: Shot, target: Shot) -> tuple[PairVerdict, tuple[str, ...]]:
        """A near-duplicate where no change can be seen; a drift where the place is another."""
        before, after = scene_of(reference), scene_of(target)
        drifted = before.background.kind != after.background.kind or before.identity != after.identity
        return PairVerdict(near_duplicates=not _changed(before, after), scene_drifted=drifted), ()

    def instruct(
        self, reference: Shot, target: Shot, last: Attempt | None, tau: float
    ) -> tuple[Instruction, tuple[str, ...]]:
        """See `Annotator`; `asked` counts the attempts, which each have errors of their own."""
        number = 0 if last is None else last.number + 1
        rng = random.Random(f"{self.seed} {reference.name} {target.name} {number}")
        before = scene_of(reference)
        visible, whole = self._claimed(before, scene_of(target), rng)
        ways = (attributes(before, hidden=True), whole), (attributes(before), visible)
        told = changed_groups(*ways)
        parts = {
            name: ", ".join(group for group in told if group in groups) or "stays"
            for name, groups in (("camera", CAMERA), ("layout", LAYOUT), ("subject", SUBJECT))
        }
        return Claim(**parts, instruction=instruct(*ways, rng), visible=visible, whole=whole), ()

    def expect(self, reference: Shot, instruction: Instruction) -> tuple[str, tuple[str, ...]]:
        """See `Annotator`. Raises: InputError for an instruction of somebody else."""
        if not isinstance(instruction, Claim):
            raise InputError("Ground truth understands its own instructions only.")
        return describe(instruction.visible, EXPECTED, random.Random(instruction.instruction)), ()

    def _claimed(
        self, before: Scene, after: Scene, rng: random.Random
    ) -> tuple[dict[str, str], dict[str, str]]:
        """The reference with the changes to the target, each right, left out or with another's value."""
        visible, whole = dict(attributes(before)), dict(attributes(before, hidden=True))
        other = sample_scene(rng.randrange(2**32))
        misread = rng.random() < self.misread
        for group in _changed(before, after):
            source = other if misread else after
            if rng.random() < self.slips:
                if rng.random() < 0.5:
                    continue
                source = other
            for seen, hidden in ((visible, False), (whole, True)):
                found = attributes(source, hidden=hidden)
                for name in GROUPS[group]:
                    seen.pop(name, None)
                    if name in found:
                        seen[name] = found[name]
        return visible, whole


def right(reference: Scene, target: Scene, claim: Mapping[str, str]) -> bool:
    """Whether an instruction tells every change that can be seen, each as it is. claim: `Claim.whole`."""
    truth = attributes(target, hidden=True)
    return all(
        claim.get(name) == truth.get(name) for group in _changed(reference, target) for name in GROUPS[group]
    )


def scene_of(shot: Shot) -> Scene:
    """Raises: InputError for a picture that is no sitter."""
    record = shot.about.get("record")
    if not isinstance(record, Mapping):
        raise InputError(
            f"{shot.name} has no `record` of a sitter's scene in metadata.jsonl; for photographs give --vlm."
        )
    return Scene.from_record(dict(record))


def _changed(before: Scene, after: Scene) -> list[str]:
    return changed_groups(
        (attributes(before, hidden=True), attributes(after, hidden=True)),
        (attributes(before), attributes(after)),
    )
