"""What a caller may choose of a training on their own data, whatever the method."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["DEFAULTS", "TrainingOptions"]


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """None stands for the method's own choice.

    adapter: the weights to begin with; from_nothing: instead, new ones. size_px: side of the pictures.
    checkpoint_gradients: less memory, more time. sitters: the pictures show synthetic people. seed: of new
    weights, batches and noise.
    """

    adapter: str | Path | None = None
    from_nothing: bool = False
    batch_size: int | None = None
    learning_rate: float | None = None
    size_px: int | None = None
    checkpoint_gradients: bool = False
    sitters: bool = False
    device: str | None = None
    seed: int = 0

    def prepare(self, unet: Any) -> None:
        """Have a UNet compute its activations anew on the way back, where that is chosen."""
        if self.checkpoint_gradients:
            unet.enable_gradient_checkpointing()
            unet.train()  # diffusers checkpoints in training mode only; there is no dropout to switch on


DEFAULTS = TrainingOptions()
"""All left to the method."""
