"""Exponential moving average of weights."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Ema"]


class Ema:
    """A second copy of a module that follows it slowly.

    After `n` updates the decay is `min(decay, (1 + n) / (10 + n))`, so that the average forgets
    its random start. `module` is the averaged copy, ready for use; buffers are copied as they are.
    """

    def __init__(self, module: nn.Module, decay: float = 0.999) -> None:
        self.decay = decay
        self.updates = 0
        self.module = copy.deepcopy(module).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards `module` (the module it was made from)."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        mine: list[torch.Tensor] = list(self.module.parameters())
        theirs: list[torch.Tensor] = [p.detach() for p in module.parameters()]
        torch._foreach_lerp_(mine, theirs, 1 - decay)
        for own, other in zip(self.module.buffers(), module.buffers(), strict=True):
            own.copy_(other)
        self.updates += 1
