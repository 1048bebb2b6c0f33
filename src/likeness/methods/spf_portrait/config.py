"""Options and training settings of SPF-Portrait. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "ABLATIONS",
    "STAGES",
    "TIMES",
    "NaiveTraining",
    "Preset",
    "SpfOptions",
    "SpfTraining",
    "Stage",
    "Times",
    "WeightSet",
    "fitted",
]

Stage = Literal["naive", "contrastive"]
STAGES: tuple[Stage, ...] = ("naive", "contrastive")

WeightSet = Literal["all", "cross-attention", "lora", "adapter", "words"]
"""Which weights are trained (Table 4): every one of the UNet's, its cross-attention's, a LoRA on these, or a
second cross-attention beside each. "words" is ours: what is added to keys and values of the target's tokens
alone, so that by the base text alone nothing is changed."""


class SpfOptions(BaseModel):
    """What a caller may set per picture besides the fields of `PortraitRequest`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    target: str = ""
    """The words of the new attribute (T_tar), put behind the prompt. Without them the picture stays the
    base's."""
    scale: float = Field(default=1.0, ge=0, le=2)
    """Strength of what was learned; 0 is the base itself."""
    deltas: list[int] | None = None
    """Which of the pipeline's deltas take part, counted from 0; all by default."""
    show_map: int = Field(default=0, ge=0)
    """Every so many steps the control map is kept, as one more picture of the result; 0 never."""


@dataclass(frozen=True, slots=True)
class NaiveTraining:
    """Stage 1: plain fine-tuning (eq. 1)."""

    weights: WeightSet = "cross-attention"
    learning_rate: float = 1e-5
    batch_size: int = 8
    lora_rank: int = 16


@dataclass(frozen=True, slots=True)
class SpfTraining:
    """Stage 2: `L_DM + att L_att + unet L_unet + target L_tar` (eq. 15).

    control_map: without it (w/o SFCM) the paths are held together everywhere. direct: eq. 14 in place of 13.
    target_share: of a batch, those that L_tar decodes, one at least: decoding and CLIP cost as much as the
    UNet. target_at: their time steps are the nearest to this share of the schedule; of nearly clean latents
    one step predicts what was put in, whatever the UNet has learned, and of nearly pure noise nothing worth
    seeing.
    """

    att: float = 0.2
    unet: float = 0.1
    target: float = 0.6
    control_map: bool = True
    direct: bool = False
    target_share: float = 1 / 8
    target_at: float = 0.6
    weights: WeightSet = "cross-attention"
    learning_rate: float = 5e-5
    batch_size: int = 2
    lora_rank: int = 16


@dataclass(frozen=True, slots=True)
class Preset:
    """Settings of both stages."""

    naive: NaiveTraining = field(default_factory=NaiveTraining)
    contrastive: SpfTraining = field(default_factory=SpfTraining)


_PAPER = NaiveTraining(weights="all")
ABLATIONS: dict[str, Preset] = {
    "spf": Preset(),
    "paper": Preset(_PAPER, SpfTraining(target_share=1.0)),
    "no-map": Preset(contrastive=SpfTraining(control_map=False)),
    "no-target": Preset(contrastive=SpfTraining(target=0.0)),
    "no-attention": Preset(contrastive=SpfTraining(att=0.0)),
    "no-features": Preset(contrastive=SpfTraining(unet=0.0)),
    "direct": Preset(contrastive=SpfTraining(direct=True)),
    "all-weights": Preset(_PAPER, SpfTraining(weights="all")),
    "lora": Preset(NaiveTraining(weights="lora"), SpfTraining(weights="lora")),
    "adapter": Preset(NaiveTraining(weights="adapter"), SpfTraining(weights="adapter")),
    "words": Preset(
        NaiveTraining(weights="words", learning_rate=5e-5), SpfTraining(weights="words", learning_rate=1e-4)
    ),
}
"""Tables 1 and 4; Table 5's rows are one stage alone. "paper" moves all weights in stage 1, whose
delta is then as large as the UNet, and decodes every picture."""


@dataclass(frozen=True, slots=True)
class Times:
    """What the paper's numbers for SD1.5 are multiplied by on a base of another family: the learning rates of
    the stages, and the weights of L_att and L_unet."""

    naive: float = 1.0
    contrastive: float = 1.0
    alignment: float = 1.0


TIMES: dict[str, Times] = {"mini": Times(naive=40, contrastive=8, alignment=10), "sd15": Times()}
"""A pack's UNet is small and learns for minutes; its queries are small too, so that by the paper's weights
alignment counts for next to nothing beside what is learned."""


def fitted(settings: NaiveTraining | SpfTraining, family: str) -> NaiveTraining | SpfTraining:
    """The paper's settings, times what `TIMES` says of the family."""
    times = TIMES[family]
    if isinstance(settings, NaiveTraining):
        return replace(settings, learning_rate=settings.learning_rate * times.naive)
    return replace(
        settings,
        learning_rate=settings.learning_rate * times.contrastive,
        att=settings.att * times.alignment,
        unet=settings.unet * times.alignment,
    )
