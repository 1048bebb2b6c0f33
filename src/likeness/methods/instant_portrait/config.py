"""Options and training settings of InstantPortrait. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from likeness.errors import IncompatibleWeightsError

__all__ = ["STAGES", "Annealing", "DistillStage", "EditSettings", "IdeTraining", "InstantPortraitOptions"]

T_MAX = 999
"""The noisiest time step, where one-step editing begins and eq. 4's weight is 1."""
TAU = 200
"""tau of eq. 9: the noisiest time step that is reached by inversion."""


class InstantPortraitOptions(BaseModel):
    """What a caller may set per picture besides the fields of `PortraitRequest`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    style: float = Field(default=1.0, ge=0, le=4)
    """Strength of the instruction against the person's look: 0 leaves the picture as it is read, 1 is what
    was trained, more exaggerates. In one step any value but 1 takes the UNet twice."""
    image_guidance: float | None = Field(default=None, ge=1, le=20)
    """How closely the input is kept, in several steps (InstructPix2Pix, eq. 3's s_I). None: 1.5."""
    style_boost: bool = False
    """Feed the output in once more: a stronger style (section 3.2.4)."""
    keep_background: bool = False
    """Put the input's background back where neither picture shows the person; needs a face parser."""


@dataclass(frozen=True, slots=True)
class EditSettings:
    """What stands beside an editing UNet's weights, in `config.json`.

    family: of the base it belongs to. stage: "ide-net" edits in `steps` steps, "ipnet" in one. taught_by:
    the recogniser whose loss it was trained with, which may not judge its pictures.
    """

    family: Literal["mini", "sd15"]
    stage: Literal["ide-net", "ipnet"]
    steps: int
    guidance: float = 5.0
    image_guidance: float = 1.5
    taught_by: str = "none"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EditSettings:
        """Raises IncompatibleWeightsError for entries of another version or method."""
        try:
            return cls(**values)
        except TypeError as error:
            raise IncompatibleWeightsError(
                f"The weights' config.json is not InstantPortrait's: {error}."
            ) from error


@dataclass(frozen=True, slots=True)
class Annealing:
    """W_a(t, T_max) of eq. 4 and Table 5.

    linear: a t / T + b. cosine: 0.5 a (1 + cos(pi t' / T)) + (1 - a), t' = T - t. constant: 1 (L_cid).
    """

    kind: Literal["linear", "cosine", "constant"] = "linear"
    a: float = 1.0
    b: float = 0.0


ANNEALINGS = {
    "t/T": Annealing(),
    "t/T + .1": Annealing(b=0.1),
    "cosine": Annealing("cosine"),
    "cosine .9": Annealing("cosine", a=0.9),
    "constant": Annealing("constant"),
}
"""Table 5's, and the constant weight of L_cid."""


@dataclass(frozen=True, slots=True)
class IdeTraining:
    """Stage 1: `L_dm + identity_weight * L_aid` (eq. 5, Table 6). identity_weight 0 is the baseline."""

    identity_weight: float = 0.7
    annealing: Annealing = field(default_factory=Annealing)
    drop_text: float = 0.05
    drop_image: float = 0.05
    drop_both: float = 0.05


@dataclass(frozen=True, slots=True)
class DistillStage:
    """A row of Table 6: the teacher's time steps, the weights of the losses, and how much it is trained.

    inversion: at time steps up to `TAU` the teacher's own noise in place of a random one, eq. 9's first case;
    without it noise is random everywhere. space: where teacher and student are compared; the paper found
    pixels better than latents. share: of stage 2's steps.
    """

    low: int
    high: int
    adversarial: float = 1.0
    distill: float = 1.0
    triplet: float = 0.0
    inversion: bool = False
    space: Literal["pixel", "latent"] = "pixel"
    share: float = 1.0


STAGES = (
    DistillStage(400, 800, distill=1.0, share=25 / 41),
    DistillStage(200, 400, distill=0.3, inversion=True, share=15 / 41),
    DistillStage(150, 200, distill=0.3, triplet=1.0, inversion=True, share=1 / 41),
)
"""Table 6; of the second stage only t = `TAU` is inverted."""

ABLATIONS: dict[str, tuple[DistillStage, ...]] = {
    "adv": (DistillStage(400, 800, distill=0.0),),
    "adv+sds": tuple(DistillStage(s.low, s.high, distill=s.distill, share=s.share) for s in STAGES),
    "adv+distill": tuple(
        DistillStage(s.low, s.high, distill=s.distill, inversion=s.inversion, share=s.share) for s in STAGES
    ),
    "ipnet": STAGES,
}
"""Table 2's rows of one-step models."""
MARGIN = 0.15
"""m of eq. 11."""
