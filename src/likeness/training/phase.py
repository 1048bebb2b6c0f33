"""One optimizer's share of a training step, and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

__all__ = ["Batch", "Phase", "Schedule", "constant", "cosine"]

Batch: TypeAlias = "dict[str, Tensor]"
Schedule: TypeAlias = Callable[[int, float], float]
"""`schedule(step, progress)` -> learning rate; progress runs from 0 to 1 over the whole training."""


@runtime_checkable
class Phase(Protocol):
    """What `train` needs to know.

    name:          used in logs and checkpoints, unique within a run.
    trainable:     the module whose parameters with `requires_grad` this phase moves; nothing else moves.
    learning_rate: a number, or a schedule.
    every:         the phase takes its turn in steps divisible by this.
    loss:          batch of tensors -> named terms, scalars with a gradient, whose sum is minimised.
                   Terms whose name starts with "_" are only logged. All randomness comes from the
                   generator (on the CPU), which depends on the seed, the step and the phase alone.
    """

    @property
    def name(self) -> str:
        """Unique within a run."""

    @property
    def trainable(self) -> nn.Module:
        """The module this phase moves."""

    @property
    def learning_rate(self) -> float | Schedule:
        """A number, or a schedule."""

    @property
    def every(self) -> int:
        """The phase takes its turn in steps divisible by this."""

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """The terms whose sum is minimised; those named "_..." are only logged."""


def constant(rate: float, *, warmup_steps: int = 0) -> Schedule:
    """A constant learning rate after a linear warm-up."""
    return lambda step, progress: rate * min(1.0, (step + 1) / max(warmup_steps, 1))


def cosine(rate: float, *, warmup_steps: int = 100, final: float = 0.02) -> Schedule:
    """Linear warm-up by steps, then half a cosine over the whole training down to `final * rate`."""

    def schedule(step: int, progress: float) -> float:
        warm = min(1.0, (step + 1) / max(warmup_steps, 1))
        fall = final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
        return rate * warm * fall

    return schedule
