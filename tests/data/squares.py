"""A builder without pictures, for the engine's tests; run as a program it is killed or runs on Ray."""

from __future__ import annotations

import argparse
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likeness.data.engine import Built, Item, RejectedError, Sample, Work, build


@dataclass(frozen=True)
class Squares:
    """Item n becomes n * n of person n % 7; every eleventh is rejected, every thirteenth holds a copy of the
    one before, and items 40 and 41 are copies themselves. journal: a line each time an item is worked on: the
    item, the process, its GPU."""

    count: int
    journal: Path | None = None
    pause_s: float = 0.0
    version: int = 1
    threads: int = 1
    kind: str = "squares"

    def settings(self) -> dict[str, Any]:
        return {"version": self.version}

    def items(self) -> Iterator[Item]:
        for n in range(self.count):
            yield Item(f"n{n}", {"n": n}, "twin" if n in (40, 41) else None)

    def open(self) -> Work:
        return self.square

    def square(self, item: Item) -> list[Sample]:
        n = item.data["n"]
        if self.journal is not None:
            with self.journal.open("a") as file:
                file.write(f"{item.key} {os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES', 'none')}\n")
        time.sleep(self.pause_s)
        if n % 11 == 5:
            raise RejectedError("eleventh", f"{n} leaves 5.")
        value = n - 1 if n % 13 == 12 else n
        return [
            Sample(
                f"s{n}", f"person {n % 7}", f"the number {n}", "CC0-1.0", {"square": n * n},
                {"txt": str(n * n).encode(), "bin": bytes([n % 256]) * n}, digest=f"of {value}",
            )
        ]  # fmt: skip

    def finish(self, built: Built) -> None:
        pass


class Dies(Squares):
    """Its process ends at item 9."""

    def square(self, item: Item) -> list[Sample]:
        if item.key == "n9":
            os._exit(1)
        return super().square(item)


def node_settings() -> dict[str, Any]:
    """Little memory, and ports of its own: Ray waits 30 s at most for agents to tell theirs."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(4)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in sockets]
    names = (
        "metrics_agent_port",
        "metrics_export_port",
        "dashboard_agent_listen_port",
        "runtime_env_agent_port",
    )
    return {
        "object_store_memory": 80 * 2**20,
        "include_dashboard": False,
        **dict(zip(names, ports, strict=True)),
    }


def on_ray(builder: Squares, folder: Path, kill_after: int) -> None:
    """A head that works on nothing and two nodes of one processor and, as they say, two GPUs, one of which is
    killed at its work."""
    # A machine with much else to do is slow to start three nodes, and no node is dead for being slow.
    patience = {
        "raylet_start_wait_time_s": 300,
        "worker_register_timeout_seconds": 300,
        "agent_register_timeout_ms": 300_000,
        "health_check_timeout_ms": 60_000,
    }
    for name, value in patience.items():
        os.environ[f"RAY_{name}"] = str(value)

    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **node_settings()})
    nodes = [cluster.add_node(num_cpus=1, num_gpus=2, **node_settings()) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)

    def kill() -> None:
        assert builder.journal is not None
        while not builder.journal.exists() or len(builder.journal.read_text().splitlines()) < kill_after:
            time.sleep(0.05)
        cluster.remove_node(nodes[1], allow_graceful=False)
        print("killed", flush=True)

    killer = threading.Thread(target=kill)
    if kill_after:
        killer.start()
    build(builder, folder, engine="ray", workers=2, chunk=5)
    if kill_after:
        killer.join()
    print("nodes alive", sum(node["Alive"] for node in ray.nodes()))
    ray.shutdown()
    cluster.shutdown()


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--count", type=int, default=100)
    arguments.add_argument("--journal", type=Path)
    arguments.add_argument("--pause", type=float, default=0.0)
    arguments.add_argument("--ray", action="store_true")
    arguments.add_argument("--kill-after", type=int, default=0)
    given = arguments.parse_args()
    squares = Squares(given.count, given.journal, given.pause)
    if given.ray:
        on_ray(squares, given.folder, given.kill_after)
    else:
        build(squares, given.folder, chunk=5)


if __name__ == "__main__":
    from tests.data import squares as here  # by this name other processes find the builder

    here.main()
