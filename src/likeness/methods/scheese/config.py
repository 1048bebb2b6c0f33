"""Options, sizes and training settings of SCheese. Imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from likeness.errors import IncompatibleWeightsError

__all__ = ["SIZES", "TRAINING", "VARIANTS", "SCheeseOptions", "SCheeseSizes", "SCheeseTraining", "Variant"]


class SCheeseOptions(BaseModel):
    """What a caller may set per picture besides the fields of `PortraitRequest`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    identity_scale: float = Field(default=1.0, ge=0, le=2)
    """Strength of the fused tokens: who it is, and what is to become of them."""
    detail_scale: float = Field(default=1.0, ge=0, le=1)
    """Share of the reference's attention in the average with self-attention: 1 is half of it, as trained;
    0 leaves ConsistencyNet out. Less copies less."""
    guide_details: bool = False
    """Let guidance strengthen the reference's details too, not the instruction alone: nearer, stiffer."""
    features: Literal["once", "per step"] = "once"
    """When the reference's features are computed. Both paint the same; "per step" is there to compare."""


@dataclass(frozen=True, slots=True)
class Variant:
    """What of the method takes part: a row of the ablation table.

    triplets: learned from reference, instruction and target; otherwise, as IP-Adapter is, from one picture
    and its caption. consistency: ConsistencyNet and its attention. fusion: the instruction joins the image
    tokens. alignment: weight of L_align. teacher_forcing: p_ro, how often the target's own tokens stand in.
    """

    triplets: bool = True
    consistency: bool = True
    fusion: bool = True
    alignment: float = 1.0
    teacher_forcing: float = 0.35


VARIANTS = {
    "zero-shot": Variant(False, False, False, 0.0, 0.0),
    "sft": Variant(True, False, False, 0.0, 0.0),
    "consistency": Variant(True, True, False, 0.0, 0.0),
    "fusion": Variant(True, True, True, 0.0, 0.0),
    "alignment": Variant(True, True, True, 1.0, 0.0),
    "scheese": Variant(),
}
"""The rows of the paper's ablation, each with one thing more: IP-Adapter, + SFT, + ConNet, + Fusion IP-A,
+ Align Loss, + Teacher."""


@dataclass(frozen=True, slots=True)
class SCheeseSizes:
    """Everything that differs between the adapters of SD1.5, SDXL and the mini pack.

    text_width: D, the width of the UNet's text rows. words_width: of the text tokens that are fused, the last
    columns of those rows: SDXL's second encoder is OpenCLIP ViT-G/14. image_width: of the image encoder's
    states. dim, depth, heads, queries: of the resampler `Proj`; queries is how many tokens it makes.
    taught_by: the recogniser of the weights' training, which may not judge their pictures, or "none".
    """

    family: Literal["mini", "sd15", "sdxl"]
    text_width: int
    words_width: int
    image_width: int
    dim: int
    heads: int
    depth: int = 4
    queries: int = 16
    ff_mult: int = 4
    image_encoder: str = "image_encoder in the pack"
    variant: str = "scheese"
    steps: int = 30
    guidance: float = 5.0
    taught_by: str = "none"

    @property
    def has(self) -> Variant:
        """What of the method takes part.

        Raises: IncompatibleWeightsError for a name that is no variant.
        """
        try:
            return VARIANTS[self.variant]
        except KeyError as error:
            raise IncompatibleWeightsError(
                f"There is no variant {self.variant!r} of SCheese; there are {', '.join(VARIANTS)}."
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `config.json`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SCheeseSizes:
        """Of a `config.json`. Raises: IncompatibleWeightsError for entries of another version or method."""
        known = {field.name for field in fields(cls)}
        try:
            sizes = cls(**{key: value for key, value in values.items() if key in known})
        except TypeError as error:
            raise IncompatibleWeightsError(f"The weights' config.json is not SCheese's: {error}.") from error
        _ = sizes.has
        return sizes


SIZES = {
    "mini": SCheeseSizes("mini", 192, 192, 192, dim=192, heads=3, depth=2, guidance=3.0),
    "sd15": SCheeseSizes(
        "sd15", 768, 768, 1280, dim=768, heads=12, image_encoder="laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
    ),
    "sdxl": SCheeseSizes(
        "sdxl", 2048, 1280, 1664, dim=1280, heads=20, image_encoder="laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"
    ),
}
"""Of SD1.5 and SDXL the resamplers are those of the published IP-Adapter-plus."""


@dataclass(frozen=True, slots=True)
class SCheeseTraining:
    """How it is trained ("Loss & Training"). drop_words: share of rows without instruction and fused tokens,
    drop_details: without the reference's features; for guidance."""

    learning_rate: float = 1e-5
    batch_size: int = 64
    steps: int = 50_000
    drop_words: float = 0.1
    drop_details: float = 0.05


TRAINING = SCheeseTraining()
"""The paper's; the mini recipe, trained for minutes, has a rate and a batch of its own."""
