"""Two processes that train together equal one that sees both their batches."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from likeness.training import Budget, Moment, World, constant, join_world, train
from likeness.training.checkpoint import latest_checkpoint

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


def main(folder: Path) -> None:
    world = join_world()
    fit = Fit()
    result = train(
        [fit], lambda moment: {"x": draw(moment.draw)}, folder / "run", Budget(steps=STEPS), bf16=False
    )
    torch.save(
        {"weights": weights(fit.trainable), "finished": result.finished, "world": (world.rank, world.size)},
        folder / f"{world.rank}.pt",
    )


def test_two_processes_train_like_one_with_both_batches(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    surroundings = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    running = [
        subprocess.Popen(
            [sys.executable, __file__, str(tmp_path)],
            env={**surroundings, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [one.communicate(timeout=120)[1] for one in running]
    assert [one.returncode for one in running] == [0, 0], said

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
    for rank, one in enumerate(found):
        torch.testing.assert_close(one["weights"], weights(alone.trainable), rtol=0, atol=1e-6)
        assert one["world"] == (rank, 2)
    assert [one["finished"] for one in found] == [True, False]  # one process exports
    assert latest_checkpoint(tmp_path / "run") is not None


def test_alone_nothing_is_averaged_or_waited_for() -> None:
    world = World.here()
    assert (world.rank, world.size, world.writes) == (0, 1, True)
    world.wait()
    assert world.as_first([1.5, 2.0]) == [1.5, 2.0]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
