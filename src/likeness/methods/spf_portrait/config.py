"""Options and training settings of SPF-Portrait. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ABLATIONS", "NaiveTraining", "SpfOptions", "SpfTraining", "WeightSet"]

WeightSet = Literal["all", "cross-attention", "lora"]
"""Which weights are trained (Table 4): every one of the UNet's, its cross-attention's, or a LoRA on these."""


class SpfOptions(BaseModel):
    """What a caller may set per picture besides the fields of `PortraitRequest`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    target: str = ""
    """The words of the new attribute (T_tar), put behind the prompt. Without them the picture stays the
    base's."""
    scale: float = Field(default=1.0, ge=0, le=2)
    """Strength of what was learned; 0 is the base itself."""


@dataclass(frozen=True, slots=True)
class NaiveTraining:
    """Stage 1: plain fine-tuning (eq. 1)."""

    weights: WeightSet = "all"
    learning_rate: float = 1e-5
    batch_size: int = 8
    lora_rank: int = 16


@dataclass(frozen=True, slots=True)
class SpfTraining:
    """Stage 2: `L_DM + att L_att + unet L_unet + target L_tar` (eq. 15).

    control_map: without it (w/o SFCM) the paths are held together everywhere. direct: eq. 14 in place of 13.
    """

    att: float = 0.2
    unet: float = 0.1
    target: float = 0.6
    control_map: bool = True
    direct: bool = False
    weights: WeightSet = "cross-attention"
    learning_rate: float = 5e-5
    batch_size: int = 2
    lora_rank: int = 16


ABLATIONS: dict[str, SpfTraining] = {
    "spf": SpfTraining(),
    "without the control map": SpfTraining(control_map=False),
    "without L_tar": SpfTraining(target=0.0),
    "without L_att": SpfTraining(att=0.0),
    "without L_unet": SpfTraining(unet=0.0),
    "direct supervision": SpfTraining(direct=True),
    "all weights": SpfTraining(weights="all"),
    "lora": SpfTraining(weights="lora"),
}
"""Tables 4 and 5."""
