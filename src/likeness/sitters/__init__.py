"""People who do not exist: drawn from a seed, rendered with their ground truth, put into words.

`render(scene)` is in `likeness.sitters.render`; with `Picture` and `render_many` it is imported on
first use, because it compiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from likeness.sitters.parameters import Identity, Scene
from likeness.sitters.sample import (
    FACTORS,
    HELD_OUT_SEEDS,
    JUDGE_SEEDS,
    TRAINING_SEEDS,
    PairKind,
    edited,
    partner,
    sample_identity,
    sample_scene,
    straightened,
    with_other_light,
    with_other_view,
    with_same_person,
    with_same_scene,
)
from likeness.sitters.words import attributes, captions, instructions, vocabulary

if TYPE_CHECKING:
    from likeness.sitters.render import LABELS, LANDMARKS, Picture, render_many

__all__ = [
    "FACTORS",
    "HELD_OUT_SEEDS",
    "JUDGE_SEEDS",
    "LABELS",
    "LANDMARKS",
    "TRAINING_SEEDS",
    "Identity",
    "PairKind",
    "Picture",
    "Scene",
    "attributes",
    "captions",
    "edited",
    "instructions",
    "partner",
    "render_many",
    "sample_identity",
    "sample_scene",
    "straightened",
    "vocabulary",
    "with_other_light",
    "with_other_view",
    "with_same_person",
    "with_same_scene",
]

_COMPILED = ("LABELS", "LANDMARKS", "Picture", "render_many")


def __getattr__(name: str) -> Any:
    if name in _COMPILED:
        from likeness.sitters.render import LABELS, LANDMARKS, Picture, render_many

        return {"LABELS": LABELS, "LANDMARKS": LANDMARKS, "Picture": Picture, "render_many": render_many}[
            name
        ]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
