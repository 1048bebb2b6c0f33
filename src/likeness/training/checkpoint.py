"""Checkpoints: a folder of safetensors and JSON, written whole, never a pickle.

    run/checkpoint-000120/tensors.safetensors   phase.<name>.model.*  .ema.*  .optimizer.*  rng.torch
    run/checkpoint-000120/state.json            step, seconds, phases, optimizers' plain numbers

A checkpoint is written under a temporary name and renamed, so a folder that has its name is whole.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from likeness.errors import IncompatibleWeightsError
from likeness.training.sharding import whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from likeness.training.ema import Ema

__all__ = ["latest_checkpoint", "load_checkpoint", "save_checkpoint"]

PREFIX = "checkpoint-"


def latest_checkpoint(run: Path) -> Path | None:
    """The newest whole checkpoint of a run folder, or None."""
    found = sorted(run.glob(f"{PREFIX}[0-9]*")) if run.is_dir() else []
    return found[-1] if found else None


def save_checkpoint(
    run: Path,
    *,
    step: int,
    seconds: float,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    emas: Mapping[str, Ema],
    extra: Mapping[str, Any] | None = None,
    keep: int = 2,
    writes: bool = True,
) -> Path:
    """Write everything a run needs to go on; older checkpoints beyond `keep` are removed.

    The position in the data is the step: batches are functions of it (see `train`).
    writes: whether this process does; where tensors are split over several, all have to call.
    """
    tensors: dict[str, Tensor] = {"rng.torch": torch.get_rng_state()}
    state: dict[str, Any] = {"step": step, "seconds": seconds, "phases": {}, "extra": dict(extra or {})}
    for name, module in modules.items():
        tensors |= {f"phase.{name}.model.{k}": v for k, v in module.state_dict().items()}
        saved = optimizers[name].state_dict()
        for index, slots in saved["state"].items():
            tensors |= {f"phase.{name}.optimizer.{index}.{k}": torch.as_tensor(v) for k, v in slots.items()}
        about: dict[str, Any] = {"groups": saved["param_groups"]}
        if name in emas:
            about["ema_updates"] = emas[name].updates
            averaged = emas[name].module.state_dict()
            tensors |= {f"phase.{name}.ema.{k}": v for k, v in averaged.items()}
        state["phases"][name] = about
    target = run / f"{PREFIX}{step:08d}"
    # A copy of each: tied weights share storage, which safetensors refuses.
    together = {k: whole(v.detach()).cpu().contiguous().clone() for k, v in tensors.items()}
    if not writes:
        return target
    run.mkdir(parents=True, exist_ok=True)
    partial = run / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    save_file(together, partial / "tensors.safetensors")
    (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)
    for old in sorted(run.glob(f"{PREFIX}[0-9]*"))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def load_checkpoint(
    folder: Path,
    *,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    emas: Mapping[str, Ema],
) -> dict[str, Any]:
    """Put a checkpoint back into the given objects; returns its `state.json`.

    Raises IncompatibleWeightsError when it belongs to other phases or other sizes.
    """
    tensors = load_file(folder / "tensors.safetensors")
    state: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    if set(state["phases"]) != set(modules):
        raise IncompatibleWeightsError(
            f"The checkpoint {folder} holds the phases {sorted(state['phases'])} and this run has "
            f"{sorted(modules)}; start a new run folder or train with the recipe that wrote it."
        )
    for name, module in modules.items():
        about = state["phases"][name]
        try:
            module.load_state_dict(_under(tensors, f"phase.{name}.model."))
            if name in emas:
                emas[name].module.load_state_dict(_under(tensors, f"phase.{name}.ema."))
                emas[name].updates = about["ema_updates"]
        except RuntimeError as error:
            raise IncompatibleWeightsError(
                f"The checkpoint {folder} does not fit the model of phase '{name}': start a new run folder "
                f"or use the sizes it was made with."
            ) from error
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in _under(tensors, f"phase.{name}.optimizer.").items():
            index, slot = key.split(".", 1)
            slots.setdefault(int(index), {})[slot] = value
        optimizers[name].load_state_dict({"state": slots, "param_groups": about["groups"]})
    torch.set_rng_state(tensors["rng.torch"])
    return state


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
