"""Options, settings and ablations of IC-Portrait. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from likeness.errors import IncompatibleWeightsError

__all__ = [
    "AGGREGATIONS",
    "MATCHING_STEPS",
    "NETS",
    "TRAINING",
    "Aggregation",
    "AggregationName",
    "IcPortraitOptions",
    "NetSettings",
    "Training",
]

AggregationName = Literal["annealed", "flat", "none"]
MATCHING_STEPS = 200
"""How long the matching net is trained (section 3.3): 100 to 200 steps, then it stays as it is."""


@dataclass(frozen=True, slots=True)
class Aggregation:
    """The constants of eq. 7, W_l = (1 - l / L) * alpha + beta."""

    alpha: float
    beta: float

    def weight(self, level: int, levels: int) -> float:
        """W_l of level `level` of L = `levels`: largest, alpha + beta, next to the input; beta at l = L."""
        return (1 - level / levels) * self.alpha + self.beta


AGGREGATIONS: dict[AggregationName, Aggregation] = {
    "annealed": Aggregation(alpha=0.8, beta=0.2),
    "flat": Aggregation(alpha=0.0, beta=0.6),
    "none": Aggregation(alpha=0.0, beta=0.0),
}
"""The method; Table 1's "w/o annealing", with the same mean weight at every level; nothing warped at all. The
paper names no numbers."""


class IcPortraitOptions(BaseModel):
    """What a caller may set per picture besides the fields of `PortraitRequest`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    sampling: float = Field(default=0.1, ge=0, le=1)
    """Share of the style reference's pixels that the nets see: more keeps its light better and the person
    less surely (Fig. 7). Trained between 0 and 0.2."""
    aggregation: AggregationName | None = None
    """How the warped features count at each level; None: as the weights were trained."""
    face_box: tuple[float, float, float, float] | None = None
    """(x0, y0, x1, y1) px of the face on the profile, where it is not found or not the only one."""
    control_scale: float = Field(default=1.0, ge=0, le=2)
    """How much both nets' features count; 0 paints from the picture's embedding alone."""


@dataclass(frozen=True, slots=True)
class NetSettings:
    """What stands beside the nets' weights, in `config.json`.

    family: of the base they were trained on. descriptor_blocks: the up blocks of the UNet, under the matching
    net, whose first layers' states are the descriptors D of eq. 5, counted from the last one. aggregation: as
    trained. guidance: away from the zero embedding, unless a picture asks for another. image_encoder: of the
    profile's embedding, as the hub names it, where a base has none. identity_encoder: the face encoder whose
    embedding of the profile the appearance net reads too; "" for none, as in the paper. person: whom a UNet
    beside the nets is customised for.
    """

    family: Literal["mini", "sd15"]
    descriptor_blocks: tuple[int, ...] = (-3, -2)
    aggregation: AggregationName = "annealed"
    guidance: float = 2.0
    image_encoder: str = "openai/clip-vit-large-patch14"
    identity_encoder: str = ""
    person: str = ""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetSettings:
        """Raises IncompatibleWeightsError for entries of another version or method."""
        try:
            found = cls(**values)
        except TypeError as error:
            raise IncompatibleWeightsError(
                f"The weights' config.json is not IC-Portrait's: {error}."
            ) from error
        return replace(found, descriptor_blocks=tuple(found.descriptor_blocks))


NETS: dict[str, NetSettings] = {
    "sd15": NetSettings("sd15"),
    # Its UNet has three up blocks.
    # What its small CLIP tells of a face is too little to know a person by.
    "mini": NetSettings("mini", (-2, -1), identity_encoder="mini-recogniser"),
}
"""How new nets begin on each family."""


@dataclass(frozen=True, slots=True)
class Training:
    """How both nets are trained (section 4).

    pixels: N of eq. 1, the largest share of pixels that is kept. drop: how often the embedding is zero.
    """

    pixels: float = 0.2
    drop: float = 0.1
    batch_size: int = 16
    learning_rate: float = 1e-5
    person_rate: float = 2e-6


TRAINING: dict[str, Training] = {
    "sd15": Training(),
    # The nets are small and trained for minutes; the paper's rates are for 361M parameters.
    "mini": Training(batch_size=8, learning_rate=8e-4, person_rate=5e-5),
}
