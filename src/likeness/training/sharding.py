"""FSDP: weights, gradients, moments and averages of what is trained, split over the processes.

`accelerate launch --use_fsdp ...` asks for it. What stays frozen is whole in every process. Everything is
loaded whole and split afterwards, and put together again to be written, so that checkpoints are the same
with and without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["fill", "shard", "share_out", "whole"]


def shard(module: nn.Module) -> nn.Module:
    """Split the trained parameters of `module` in place; each layer is put together while it computes.

    Layers are wrapped one by one (torch's `fully_shard`), for attention processors and losses call some
    of them without their parents.
    """
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    where = next(module.parameters()).device.type
    mesh = init_device_mesh(where, (distributed.get_world_size(),))
    for part in reversed(list(module.modules())):
        if any(True for _ in part.parameters(recurse=False)):
            fully_shard(part, mesh=mesh)
    return module


def whole(tensor: Tensor) -> Tensor:
    """A split tensor, put together; all processes have to ask. Others as they are."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def fill(module: nn.Module, split: nn.Module) -> nn.Module:
    """Give `module` the weights of `split`, the same one in parts; all processes have to."""
    found = {name: whole(tensor) for name, tensor in split.state_dict().items()}
    module.load_state_dict(found)
    return module


def share_out(
    state: Mapping[Any, Mapping[str, Tensor]], parameters: list[Tensor]
) -> dict[Any, dict[str, Any]]:
    """An optimizer's whole state, split as its parameters are. state: number of the parameter -> slots."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    out: dict[Any, dict[str, Any]] = {}
    for number, slots in state.items():
        like = parameters[number]
        out[number] = {
            name: distribute_tensor(value, like.device_mesh, like.placements)
            if isinstance(like, DTensor) and value.shape == like.shape
            else value
            for name, value in slots.items()
        }
    return out
