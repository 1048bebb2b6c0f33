"""The loop stops, resumes and counts exactly."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import nn

from likeness.errors import IncompatibleWeightsError, InputError
from likeness.training import Budget, Moment, cosine, train
from likeness.training.checkpoint import latest_checkpoint
from likeness.training.phase import Schedule
from likeness.training.tracking import read_log


@dataclass
class Fit:
    """Learns a noisy line through a network with dropout (so the global generator matters too)."""

    trainable: nn.Module
    name: str = "fit"
    learning_rate: float | Schedule = field(default_factory=lambda: cosine(1e-2, warmup_steps=3))
    every: int = 1

    def loss(self, batch: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        noise = torch.randn(batch["x"].shape, generator=generator)
        out = self.trainable(batch["x"] + 0.1 * noise)
        return {"mse": ((out - batch["y"]) ** 2).mean(), "_spread": out.std()}


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Dropout(0.2), nn.Linear(16, 1))


def batches(moment: Moment) -> dict[str, torch.Tensor]:
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(moment.step))
    return {"x": x, "y": x.sum(1, keepdim=True)}


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_ten_and_ten_resumed_steps_equal_twenty(tmp_path: Path) -> None:
    whole, halves = network(), network()
    torch.manual_seed(5)
    a = train([Fit(whole)], batches, tmp_path / "a", Budget(steps=20))
    torch.manual_seed(5)
    budget = Budget(steps=20)

    def cut(moment: Moment) -> dict[str, torch.Tensor]:
        if moment.step == 9:
            os.kill(os.getpid(), signal.SIGTERM)
        return batches(moment)

    first = train([Fit(halves)], cut, tmp_path / "b", budget)
    assert (first.step, first.stopped_by) == (10, "signal")
    resumed = network()
    torch.manual_seed(77)  # the checkpoint's state must win over this
    b = train([Fit(resumed)], batches, tmp_path / "b", budget, resume=True)
    assert a.finished and b.finished and b.step == 20
    assert torch.equal(weights(whole), weights(resumed))
    assert torch.equal(weights(a.emas["fit"].module), weights(b.emas["fit"].module))
    assert not torch.equal(weights(whole), weights(halves))


def test_learns_and_logs(tmp_path: Path) -> None:
    model = network()
    train([Fit(model)], batches, tmp_path, Budget(steps=200), log_every=50)
    rows = read_log(tmp_path / "log.jsonl")
    assert [r["step"] for r in rows] == [50, 100, 150, 200]
    assert rows[-1]["fit/mse"] < 0.6 * rows[0]["fit/mse"]
    assert rows[-1]["fit/lr"] < 0.1 * rows[0]["fit/lr"]


def test_a_phase_moves_only_its_own_weights_and_keeps_its_turn(tmp_path: Path) -> None:
    one, two = network(), network()
    still = weights(two).clone()
    phases = [Fit(one, "one"), Fit(two, "two", every=50)]
    train(phases, batches, tmp_path / "r", Budget(steps=1))
    moved = weights(two).clone()
    assert not torch.equal(moved, still)  # step 0 is divisible by 50
    train(phases, batches, tmp_path / "r", Budget(steps=3), resume=True)
    assert torch.equal(weights(two), moved)


def test_attention_takes_the_way_that_goes_backwards_fast(tmp_path: Path) -> None:
    """On a CPU: not through the fused kernel, and only while a loss is computed."""
    kernels: list[set[str]] = []

    @dataclass
    class Attends(Fit):
        def loss(self, batch: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
            x = self.trainable(batch["x"]).view(1, 1, 8, 1)
            with torch.profiler.profile() as profile:
                out = torch.nn.functional.scaled_dot_product_attention(x, x, x)
            kernels.append({event.key for event in profile.key_averages()})
            return {"mse": out.square().mean()}

    train([Attends(network())], batches, tmp_path, Budget(steps=2))
    assert len(kernels) == 2
    assert all("aten::softmax" in seen or "aten::_softmax" in seen for seen in kernels)
    assert not any("flash" in name for seen in kernels for name in seen)
    assert torch.backends.cuda.flash_sdp_enabled()
    assert not torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()


def test_minutes_stop_on_time(tmp_path: Path) -> None:
    began = time.monotonic()
    by_clock = train([Fit(network())], batches, tmp_path / "a", Budget(minutes=0.02))
    assert by_clock.finished and 1.0 < time.monotonic() - began < 10
    limited = train([Fit(network())], batches, tmp_path / "b", Budget(steps=10**9, minutes=0.01))
    assert limited.stopped_by == "minutes"


def test_refusals(tmp_path: Path) -> None:
    train([Fit(network())], batches, tmp_path, Budget(steps=1))
    with pytest.raises(InputError, match="already holds"):
        train([Fit(network())], batches, tmp_path, Budget(steps=2))
    with pytest.raises(IncompatibleWeightsError, match="phases"):
        train([Fit(network(), "other")], batches, tmp_path, Budget(steps=2), resume=True)
    with pytest.raises(IncompatibleWeightsError, match="does not fit"):
        train([Fit(nn.Linear(4, 1))], batches, tmp_path, Budget(steps=2), resume=True)
    with pytest.raises(InputError, match="needs a number"):
        Budget()


def test_old_checkpoints_go_and_half_written_ones_do_not_count(tmp_path: Path) -> None:
    train([Fit(network())], batches, tmp_path, Budget(steps=5), checkpoint_at=(1, 2, 3))
    assert sorted(p.name for p in tmp_path.glob("checkpoint-*")) == [
        "checkpoint-00000003",
        "checkpoint-00000005",
    ]
    (tmp_path / ".checkpoint-00000009.partial").mkdir()
    last = latest_checkpoint(tmp_path)
    assert last is not None and last.name == "checkpoint-00000005"
