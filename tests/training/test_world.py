"""Two processes that train together equal one that sees both their batches; a killed one loses little."""

from __future__ import annotations

import atexit
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed, nn

from likeness.errors import InputError
from likeness.training import Budget, Moment, World, constant, join_world, train
from likeness.training.checkpoint import latest_checkpoint
from likeness.training.launch import PLACES, processes_meant
from likeness.training.tracking import read_log

STEPS = 5


class Fit:
    """Learns a sum; its loss draws nothing at random."""

    name = "fit"
    every = 1
    learning_rate = staticmethod(constant(1e-2))

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.trainable = nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 1))

    def loss(self, batch: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        return {"mse": (self.trainable(batch["x"]) - batch["x"].sum(1, keepdim=True)).square().mean()}


def draw(number: int) -> torch.Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(number))


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def main(folder: Path, **options: float) -> None:
    """One process of a training in `folder`; the steps in `options` may take a while each."""

    def at_the_end() -> None:  # what was registered first comes last
        (folder / f"left-{world.rank}").write_text(f"{distributed.is_initialized()}")

    atexit.register(at_the_end)
    world = join_world()
    fit, pause = Fit(), float(options.pop("pause", 0))

    def batches(moment: Moment) -> dict[str, torch.Tensor]:
        time.sleep(pause)
        return {"x": draw(moment.draw)}

    budget = Budget(steps=int(options.pop("steps", STEPS)))
    result = train([fit], batches, folder / "run", budget, bf16=False, log_every=1, **options)  # type: ignore[arg-type]
    found = {"averaged": weights(result.emas["fit"].module), "finished": result.finished}
    torch.save({**found, "world": (world.rank, world.size)}, folder / f"{world.rank}.pt")


def started(launcher: list[str], folder: Path, **options: float) -> subprocess.Popen[str]:
    surroundings = {name: value for name, value in os.environ.items() if name not in (*PLACES, "MASTER_PORT")}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", *launcher, __file__, str(folder), json.dumps(options)],
        env={**surroundings, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(launcher: list[str], folder: Path, **options: float) -> None:
    with started(launcher, folder, **options) as running:
        said = running.communicate(timeout=1500)[1]
    assert running.returncode == 0, said


@pytest.mark.parametrize(
    "launcher",
    [
        ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
        ["accelerate.commands.launch", "--cpu", "--num_processes", "2"],
        ["accelerate.commands.launch", "--use_fsdp", "--num_processes", "2", "--main_process_port", "0"],
    ],
    ids=["torchrun", "accelerate", "fsdp"],
)
def test_two_processes_train_like_one_with_both_batches(launcher: list[str], tmp_path: Path) -> None:
    finished(["-m", *launcher], tmp_path)

    def both(moment: Moment) -> dict[str, torch.Tensor]:
        return {"x": torch.cat([draw(2 * moment.step), draw(2 * moment.step + 1)])}

    alone = Fit()
    train([alone], both, tmp_path / "alone", Budget(steps=STEPS), bf16=False)
    slowly, saved = Fit(), []
    train(
        [slowly],
        lambda moment: {"x": draw(moment.draw)},
        tmp_path / "slowly",
        Budget(steps=STEPS),
        bf16=False,
        accumulate=2,
        checkpoint_at=(2,),
        on_save=lambda step, emas: saved.append((step, *emas)),
    )
    torch.testing.assert_close(weights(slowly.trainable), weights(alone.trainable), rtol=0, atol=1e-6)
    assert saved == [(2, "fit"), (STEPS, "fit")]
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert [one["world"] for one in found] == [(0, 2), (1, 2)]
    assert [(tmp_path / f"left-{rank}").read_text() for rank in range(2)] == ["False", "False"]
    assert [one["finished"] for one in found] == [True, False]  # one process exports
    mine, theirs = (latest_checkpoint(tmp_path / run) for run in ("run", "alone"))
    assert mine is not None and theirs is not None and mine.name == theirs.name
    whole, split = (load_file(one / "tensors.safetensors") for one in (theirs, mine))
    assert whole.keys() == split.keys()
    for name in whole:
        if "rng" not in name:
            torch.testing.assert_close(split[name], whole[name], rtol=0, atol=1e-6, msg=name)
    averaged = {k.removeprefix("phase.fit.ema."): v for k, v in whole.items() if ".ema." in k}
    fit = Fit()
    fit.trainable.load_state_dict(averaged)
    torch.testing.assert_close(found[0]["averaged"], weights(fit.trainable), rtol=0, atol=1e-6)


def test_split_over_processes_it_resumes_what_one_process_began(tmp_path: Path) -> None:
    alone = Fit()
    train(
        [alone], lambda m: {"x": draw(m.draw)}, tmp_path / "alone", Budget(steps=6), bf16=False, accumulate=2
    )
    half = Fit()
    train(
        [half], lambda m: {"x": draw(m.draw)}, tmp_path / "run", Budget(steps=3), bf16=False, accumulate=2,
    )  # fmt: skip
    fsdp = [
        "-m",
        "accelerate.commands.launch",
        "--use_fsdp",
        "--num_processes",
        "2",
        "--main_process_port",
        "0",
    ]
    finished(fsdp, tmp_path, steps=6, resume=True)
    one, other = (
        load_file(tmp_path / run / "checkpoint-00000006" / "tensors.safetensors") for run in ("alone", "run")
    )
    for name in one:
        if "rng" not in name:
            torch.testing.assert_close(other[name], one[name], rtol=0, atol=1e-6, msg=name)


def test_a_killed_run_loses_at_most_the_last_interval(tmp_path: Path) -> None:
    interval = 0.005
    running = started([], tmp_path, steps=10_000, pause=0.01, checkpoint_minutes=interval)
    run = tmp_path / "run"
    while latest_checkpoint(run) is None and running.poll() is None:
        time.sleep(0.01)
    time.sleep(0.5)  # into a step, or the next checkpoint
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert running.returncode == -signal.SIGKILL
    rows, kept = read_log(run / "log.jsonl"), latest_checkpoint(run)
    assert kept is not None
    at = int(kept.name.removeprefix("checkpoint-"))
    times = [row["time"] for row in rows]
    lost = times[at - 1 :]
    slowest = max(after - before for before, after in itertools.pairwise(times))
    assert lost[-1] - lost[0] <= 60 * interval + 2 * slowest, "what came after the last checkpoint"

    with (run / "log.jsonl").open("a") as log:
        log.write('{"step": 9, "fit/ms')  # as a kill may leave it
    finished([], tmp_path, steps=at + 5, resume=True)
    whole = Fit()
    train([whole], lambda m: {"x": draw(m.draw)}, tmp_path / "whole", Budget(steps=at + 5), bf16=False)
    folder = latest_checkpoint(run)
    assert folder is not None
    found = load_file(folder / "tensors.safetensors")
    for name, value in whole.trainable.state_dict().items():
        assert torch.equal(found[f"phase.fit.model.{name}"], value), "as if it had never been killed"
    assert read_log(run / "log.jsonl")[-1]["step"] == at + 5


def test_what_accelerate_was_told_is_read_from_its_command_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (*PLACES, "MASTER_PORT", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)
    told = ["python", "/bin/accelerate", "launch", "--cpu", "--num_processes", "3", "-m", "likeness", "train"]
    assert processes_meant(told) == 1, "nobody launched it"
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert processes_meant(told) == 1, "one process was meant: accelerate names no port then"
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert processes_meant(told) == 3
    assert processes_meant(["accelerate-launch", "--num_processes=2", "x.py", "--num_processes", "9"]) == 2
    config = tmp_path / "config.yaml"
    config.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\nuse_cpu: true\nnum_processes: 4\n"
    )
    module = ["python", "-m", "accelerate.commands.launch", "--config_file", str(config), "x.py"]
    assert processes_meant(module) == 4
    with pytest.raises(InputError, match="one process where several were meant"):
        processes_meant(["sh", "-c", "run"])
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert processes_meant(told) == 1


def test_alone_nothing_is_averaged_or_waited_for() -> None:
    world = World.here()
    assert (world.rank, world.size, world.writes) == (0, 1, True)
    world.wait()
    assert world.as_first([1.5, 2.0]) == [1.5, 2.0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), **json.loads(sys.argv[2]))
