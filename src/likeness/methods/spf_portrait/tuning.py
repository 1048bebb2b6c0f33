"""What is learned: weights that stand in for some of the base's, while the base stays as it is.

The tuned model is the base's UNet called with these weights, the original model the same UNet called without:
one UNet in memory, and only what differs twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from likeness.errors import InputError
from likeness.methods.spf_portrait.config import WeightSet

__all__ = ["Tuning", "changed", "tuned_names"]

_CROSS = re.compile(r"\.attn2\.(?:to_q|to_k|to_v|to_out\.0)\.")


def tuned_names(unet: nn.Module, weights: WeightSet) -> list[str]:
    """Names of the parameters that a weight set trains, or puts a LoRA on. Raises: InputError."""
    names = [name for name, _ in unet.named_parameters()]
    if weights == "all":
        return names
    found = [name for name in names if _CROSS.search(name)]
    if weights == "lora":
        found = [name for name in found if name.endswith(".weight")]
    if not found:
        raise InputError(f"The UNet has no cross-attention to train ({weights}).")
    return found


class Tuning(nn.Module):
    """The trained weights of a UNet.

    start: tensors that stand in for the base's to begin with, such as stage 1's; those that are not trained
    stay as they are. weights: what is trained.
    """

    def __init__(
        self,
        unet: nn.Module,
        weights: WeightSet,
        start: Mapping[str, Tensor] | None = None,
        lora_rank: int = 16,
    ) -> None:
        super().__init__()
        base = dict(unet.named_parameters())
        start = start or {}
        self.names = tuned_names(unet, weights)
        self.kind = weights
        self._keys = {name: name.replace(".", "/") for name in self.names}
        first = {name: start.get(name, base[name]).detach() for name in self.names}
        self._first = first if weights == "lora" else {}
        self._rest = {name: tensor.detach() for name, tensor in start.items() if name not in first}
        if weights == "lora":
            self.down = nn.ParameterDict()
            self.up = nn.ParameterDict()
            for name, tensor in first.items():
                self.down[self._keys[name]] = nn.Parameter(
                    torch.randn(lora_rank, tensor.shape[1], device=tensor.device) / lora_rank
                )
                self.up[self._keys[name]] = nn.Parameter(
                    torch.zeros(tensor.shape[0], lora_rank, device=tensor.device)
                )
        else:
            self.whole = nn.ParameterDict(
                {self._keys[name]: nn.Parameter(tensor.float().clone()) for name, tensor in first.items()}
            )

    def weights(self) -> dict[str, Tensor]:
        """All that stands in for the base's, with gradients for what is trained."""
        if self.kind == "lora":
            trained = {
                name: first + self.up[key] @ self.down[key]
                for (name, first), key in zip(self._first.items(), self._keys.values(), strict=True)
            }
        else:
            trained = {name: self.whole[key] for name, key in self._keys.items()}
        return {**self._rest, **trained}

    def predict(self, unet: Any, *inputs: Any, **more: Any) -> Tensor:
        """The tuned model's prediction; `unet` itself is the base's and is not touched."""
        out: Tensor = functional_call(unet, self.weights(), inputs, more).sample
        return out

    @torch.no_grad()
    def delta(self, unet: nn.Module) -> dict[str, Tensor]:
        """What was learned, tensor by tensor, as a difference to the base; what did not move is left out."""
        base = dict(unet.named_parameters())
        found = {name: tensor.float() - base[name].float() for name, tensor in self.weights().items()}
        return {name: tensor for name, tensor in found.items() if tensor.any()}


@contextmanager
def changed(unet: nn.Module, delta: Mapping[str, Tensor], scale: float = 1.0) -> Iterator[None]:
    """Inside the block the UNet's weights have `scale * delta` added; on leaving they are what they were.

    Raises: InputError for a delta of another UNet.
    """
    base = dict(unet.named_parameters())
    for name, tensor in delta.items():
        if name not in base or base[name].shape != tensor.shape:
            raise InputError(f"The delta is not for this base: its {name} does not fit.")
    before = {name: base[name].data for name in delta}
    try:
        if scale:
            for name, tensor in delta.items():
                base[name].data = before[name] + (scale * tensor).to(before[name])
        yield
    finally:
        for name, tensor in before.items():
            base[name].data = tensor
