"""The training loop.

Everything random in a step is a function of (seed, step, phase) and batches are functions of the
step, so going on from a checkpoint gives the very numbers of a run that never stopped, as long as
the budget counts steps. A budget in minutes ends on time instead: its learning rate follows the
clock, and the same run twice differs.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from likeness.errors import InputError
from likeness.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from likeness.training.ema import Ema
from likeness.training.optim import make_optimizer
from likeness.training.precision import autocast, trainable_attention
from likeness.training.sharding import fill, shard, share_out, whole
from likeness.training.tracking import JsonlLog
from likeness.training.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

    from torch import Generator

    from likeness.training.phase import Batch, Phase

__all__ = ["Batches", "Budget", "Moment", "TrainResult", "seeded", "train"]


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a run stands: steps taken, and how far through its budget it is (0 to 1).

    draw: number of this process's batch; the step, unless several processes train together, each
          of which has other draws.
    """

    step: int
    progress: float
    draw: int


Batches: TypeAlias = "Callable[[Moment], Batch]"


@dataclass(frozen=True, slots=True)
class Budget:
    """When a run is finished.

    steps:   total steps; the learning rate follows them and resuming is exact.
    minutes: with `steps`, a limit on this call's wall clock (checkpoint, stop, go on later);
             alone, the whole training's length, and the learning rate follows the clock.
    """

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise InputError("A training budget needs a number of steps or of minutes; neither was given.")
        if (self.steps is not None and self.steps < 1) or (self.minutes is not None and self.minutes <= 0):
            raise InputError("A training budget must be positive: give at least one step or some minutes.")

    def progress(self, step: int, seconds: float) -> float:
        """How much of the whole training is done after `step` steps and `seconds` of work."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        return min(1.0, seconds / (60 * (self.minutes or 1.0)))


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a call of `train` ended: "finished", "minutes" (limit reached) or "signal".

    "elsewhere": finished, and another process of the world has the result to export.
    """

    step: int
    seconds: float
    stopped_by: str
    emas: dict[str, Ema]

    @property
    def finished(self) -> bool:
        """Whether the whole budget is used and the weights are to be exported here."""
        return self.stopped_by == "finished"

    @property
    def over(self) -> bool:
        """Whether the whole budget is used, wherever the export is made: a next stage may begin."""
        return self.stopped_by in ("finished", "elsewhere")


def seeded(seed: int, step: int, stream: int = 0) -> Generator:
    """The generator of one step: independent streams for every (seed, step, stream)."""
    return torch.Generator().manual_seed(((seed * 1_000_003 + step) * 64 + stream) % (2**63 - 1))


def train(
    phases: Sequence[Phase],
    batches: Batches,
    run: Path,
    budget: Budget,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    bf16: bool | None = None,
    ema_decay: float | None = 0.999,
    weight_decay: float = 0.01,
    max_grad_norm: float = 1.0,
    checkpoint_minutes: float = 5.0,
    resume: bool = False,
    log_every: int = 20,
    on_log: Callable[[dict[str, Any]], None] | None = None,
    checkpoint_at: Sequence[int] = (),
    accumulate: int = 1,
    on_save: Callable[[int, dict[str, Ema]], None] | None = None,
) -> TrainResult:
    """Train the phases' modules in place until the budget is used or a signal asks to stop.

    batches(moment) gives the tensors of one step; it must depend on nothing but its argument.
    The batch is moved to `device`; forward passes run under bf16 autocast where that pays.
    SIGINT and SIGTERM end the step in hand, write a checkpoint and return "signal". With `resume`
    the newest checkpoint of the run folder is continued; without, a folder that has one is refused.
    checkpoint_at: steps after which a checkpoint is written in addition to the timed ones.
    accumulate: batches whose gradients are averaged into one step, as many processes' are.
    on_save(step, emas): after every checkpoint, in the process that writes; the training waits for it.
    In a `World` of several processes each draws its own batch and the first one writes; where it is sharded,
    `emas` are put together for `on_save` and the result.
    """
    world = World.here()
    modules = {p.name: p.trainable for p in phases}
    if len(modules) != len(phases):
        raise InputError("Two phases of one run have the same name; give each its own.")
    optimizers = {name: make_optimizer(m, weight_decay=weight_decay) for name, m in modules.items()}
    emas = {} if ema_decay is None else {name: Ema(m, ema_decay) for name, m in modules.items()}
    step, before = _begin(run, resume, modules, optimizers, emas)
    averaged = emas
    if world.sharded:
        averaged, optimizers = _split(modules, optimizers, emas, weight_decay)
    log = JsonlLog(run / "log.jsonl")
    started = saved_at = time.monotonic()
    sums = _Sums()

    def save() -> None:
        for name, split in averaged.items():
            if split is not emas[name]:
                fill(emas[name].module, split.module)
                emas[name].updates = split.updates
        if not world.writes and not world.sharded:
            return
        seconds = before + time.monotonic() - started
        save_checkpoint(
            run, step=step, seconds=seconds, modules=modules, optimizers=optimizers, emas=emas,
            writes=world.writes,
        )  # fmt: skip
        if not world.writes:
            return
        if on_save is not None:
            on_save(step, emas)

    with _stop_on_signal() as stop:
        while True:
            now = time.monotonic()
            late = float(now - saved_at > 60 * checkpoint_minutes)
            spent, stopped, late = world.as_first([now - started, stop.is_set(), late])
            progress = budget.progress(step, before + spent)
            reason = _reason(budget, progress, spent, bool(stopped))
            if reason:
                break
            draws = [(step * accumulate + part) * world.size + world.rank for part in range(accumulate)]
            moments = [Moment(step, progress, draw) for draw in draws]
            drawn = [_on(device, batches(moment)) for moment in moments]
            for index, phase in enumerate(phases):
                if step % phase.every:
                    continue
                terms = _phase_step(
                    phase,
                    optimizers[phase.name],
                    [
                        (batch, moment, seeded(seed, moment.draw, index))
                        for batch, moment in zip(drawn, moments, strict=True)
                    ],
                    device,
                    bf16,
                    max_grad_norm,
                    world,
                )
                sums.add(phase.name, terms)
                if phase.name in averaged:
                    averaged[phase.name].update(phase.trainable)
            step += 1
            sums.pictures += world.size * sum(len(next(iter(batch.values()))) for batch in drawn)
            if step % log_every == 0 and world.writes:
                row = {"step": step, "progress": round(progress, 4), **sums.take()}
                log.write(row)
                if on_log is not None:
                    on_log(row)
            if step in checkpoint_at or late:
                save()
                saved_at = time.monotonic()
    save()
    world.wait()
    if reason == "finished" and not world.writes:
        reason = "elsewhere"
    return TrainResult(step, before + time.monotonic() - started, reason, emas)


def _on(device: torch.device | str, batch: Batch) -> Batch:
    return {k: v.to(device, non_blocking=True) for k, v in batch.items()}


def _begin(
    run: Path,
    resume: bool,
    modules: dict[str, torch.nn.Module],
    optimizers: dict[str, torch.optim.AdamW],
    emas: dict[str, Ema],
) -> tuple[int, float]:
    last = latest_checkpoint(run)
    if last is None:
        return 0, 0.0
    if not resume:
        raise InputError(
            f"The run folder {run} already holds {last.name}; resume it, or choose another folder."
        )
    state = load_checkpoint(last, modules=modules, optimizers=optimizers, emas=emas)
    return int(state["step"]), float(state["seconds"])


def _split(
    modules: dict[str, torch.nn.Module],
    optimizers: dict[str, torch.optim.AdamW],
    emas: dict[str, Ema],
    weight_decay: float,
) -> tuple[dict[str, Ema], dict[str, torch.optim.AdamW]]:
    """Split the modules over the processes; averages and optimizers that follow them, with the same state."""
    averaged, stepping = {}, {}
    for name, ema in emas.items():
        averaged[name] = Ema(ema.module, ema.decay)
        averaged[name].updates = ema.updates
        shard(averaged[name].module)
    for name, module in modules.items():
        shard(module)
        state = optimizers[name].state_dict()
        stepping[name] = make_optimizer(module, weight_decay=weight_decay)
        parameters = [p for group in stepping[name].param_groups for p in group["params"]]
        stepping[name].load_state_dict({**state, "state": share_out(state["state"], parameters)})
    return averaged, stepping


def _reason(budget: Budget, progress: float, seconds_now: float, stopped: bool) -> str:
    """Why to end before the next step, or nothing."""
    if progress >= 1.0:
        return "finished"
    if stopped:
        return "signal"
    if budget.steps is not None and budget.minutes is not None and seconds_now > 60 * budget.minutes:
        return "minutes"
    return ""


def _phase_step(
    phase: Phase,
    optimizer: torch.optim.Optimizer,
    parts: Sequence[tuple[Batch, Moment, Generator]],
    device: torch.device | str,
    bf16: bool | None,
    max_grad_norm: float,
    world: World,
) -> dict[str, torch.Tensor]:
    """One optimizer step of one phase over all parts; returns its terms' means over them, detached."""
    rate, moment = phase.learning_rate, parts[0][1]
    rate_now = rate(moment.step, moment.progress) if callable(rate) else rate
    for group in optimizer.param_groups:
        group["lr"] = rate_now
    optimizer.zero_grad(set_to_none=True)
    detached: dict[str, torch.Tensor] = {}
    for batch, _, generator in parts:
        with trainable_attention(device):  # on the way back too, where activations may be computed anew
            with autocast(device, enabled=bf16):
                terms = phase.loss(batch, generator)
            total = torch.stack([v.float() for k, v in terms.items() if not k.startswith("_")]).sum()
            (total / len(parts)).backward()
        for name, value in terms.items():
            detached[name] = detached.get(name, 0) + value.detach().float() / len(parts)
    moved = [p for p in phase.trainable.parameters() if p.grad is not None]
    if not world.sharded:  # there each process has its part of the mean already
        world.average_gradients(moved)
    norm = whole(torch.nn.utils.clip_grad_norm_(moved, max_grad_norm))
    if torch.isfinite(norm):  # a step with a broken gradient is left out rather than poisoning the weights
        optimizer.step()
    return {**detached, "_grad_norm": norm.detach(), "_lr": torch.tensor(rate_now)}


class _Sums:
    """Means of the logged terms since the last log row.

    Each term's sum is one tensor, on its device: numbers kept one by one would wait for the device, and
    thousands of little tensors would hold the memory between them.
    """

    def __init__(self) -> None:
        self.pictures = 0
        self._terms: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}
        self._since = time.monotonic()

    def add(self, phase: str, terms: dict[str, torch.Tensor]) -> None:
        for name, value in terms.items():
            key = f"{phase}/{name.lstrip('_')}"
            if key in self._terms:
                self._terms[key] += value
            else:
                self._terms[key] = value.float().clone()
            self._counts[key] = self._counts.get(key, 0) + 1

    def take(self) -> dict[str, float]:
        seconds = time.monotonic() - self._since
        row = {k: float(f"{v.item() / self._counts[k]:.5g}") for k, v in self._terms.items()}
        row["pictures_per_s"] = round(self.pictures / max(seconds, 1e-9), 2)
        self.pictures, self._terms, self._counts, self._since = 0, {}, {}, time.monotonic()
        return row


@contextlib.contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """An event set by SIGINT or SIGTERM; outside the main thread signals are left alone."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
