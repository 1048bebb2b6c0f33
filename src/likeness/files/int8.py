"""Weights at half the size of fp16: one byte a number, and a scale for each output channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from likeness.errors import IncompatibleWeightsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["INT8_FILE", "from_int8", "to_int8"]

INT8_FILE = "int8.safetensors"
"""Stands in a model's folder in place of its weights file."""
SCALE = ".int8_scale"


def to_int8(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and kernels (O, ...) as int8 beside scales (O,) named `NAME.int8_scale`; the rest in fp16.

    The largest number of an output channel becomes 127, so rounding moves none by more than 1/254 of it.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2 or not tensor.is_floating_point():
            found[name] = tensor.half() if tensor.is_floating_point() else tensor
            continue
        rows = tensor.detach().float().flatten(1)
        scale = (rows.abs().amax(1) / 127).clamp_min(1e-30)  # of an empty row, which stays so
        whole = (rows / scale[:, None]).round().clamp(-127, 127)
        found[name] = whole.to(torch.int8).view(tensor.shape)
        found[name + SCALE] = scale
    return found


def from_int8(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `to_int8` was given, rounded, in fp32.

    Raises: IncompatibleWeightsError where a scale is missing.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALE):
            continue
        if tensor.dtype != torch.int8:
            found[name] = tensor.float() if tensor.is_floating_point() else tensor
            continue
        scale = tensors.get(name + SCALE)
        if scale is None:
            raise IncompatibleWeightsError(f"The int8 weights {name} have no {name + SCALE} beside them.")
        found[name] = (tensor.flatten(1).float() * scale[:, None]).view(tensor.shape)
    return found
