"""Several processes training one model: each draws its own batch, gradients are averaged.

`torchrun --nproc-per-node 2 -m likeness pack build mini` is all it takes, or `accelerate launch` in its
place. It pays on a CPU too: small layers gain little from a second thread.
"""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import distributed

from likeness.training.launch import PLACES, start_those_meant

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["World", "join_world"]


@dataclass(frozen=True, slots=True)
class World:
    """This process's place among those that train together; alone unless `join_world` found others.

    sharded: what is trained is split over them (`training.sharding`).
    """

    rank: int = 0
    size: int = 1
    sharded: bool = False

    @staticmethod
    def here() -> World:
        """The world this process has joined."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return World()
        wanted = os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("true", "1")
        return World(distributed.get_rank(), distributed.get_world_size(), wanted)

    @property
    def writes(self) -> bool:
        """Whether this is the one process that writes files and prints."""
        return self.rank == 0

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            distributed.barrier()

    def as_first(self, values: list[float]) -> list[float]:
        """The numbers of the first process, such as its clock, in all of them."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        distributed.broadcast(tensor, 0)
        return [float(v) for v in tensor]

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes; all must have the same ones."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.float().reshape(-1) for g in gradients])
        distributed.all_reduce(flat)
        flat /= self.size
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def join_world(device: torch.device | str = "cpu") -> World:
    """Join the processes that torchrun, accelerate or MPI started with this one, where one did; at most once.

    Where `accelerate launch` meant several and started one, this becomes those several.
    """
    start_those_meant()
    if not distributed.is_initialized() and any(name in os.environ for name in PLACES):
        from accelerate import PartialState

        on_cpu = torch.device(device).type == "cpu"
        # gloo beside nccl: clocks and stop flags are numbers on the CPU.
        PartialState(cpu=on_cpu, backend="gloo" if on_cpu else "cpu:gloo,cuda:nccl")
        # Before the interpreter goes: threads of a group that is still there then abort now and then.
        atexit.register(_leave)
    return World.here()


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
