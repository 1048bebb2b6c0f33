"""The studio under load: jobs that end once through random kills, the queue's speed, and memory over time.

python benchmarks/studio_jobs.py [--jobs 200] [--clients 8] [--kills 20] [--database URL]
python benchmarks/studio_jobs.py --fuzz      # needs schemathesis on the path
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from record import ROOT, record, single

sys.path.insert(0, str(ROOT))  # where the tests' server lies

from likeness.errors import LikenessError
from likeness.evaluation.result import MetricValue
from likeness.studio import Client
from tests.studio.servers import Running

PAINT: dict[str, Any] = {
    "method": "consistentid",
    "prompt": "A woman wearing a red hat, smiling.",
    "steps": 2,
}


def insist(client: Client, key: str, request: dict[str, Any]) -> dict[str, Any]:
    """Submit until there is an answer, as a client does whose server is killed meanwhile."""
    while True:
        try:
            return client.submit("paint", key=key, **request)
        except LikenessError:
            time.sleep(0.3)


def once_each(running: Running, picture: str, jobs: int, clients: int, kills: int) -> dict[str, MetricValue]:
    """Every job ends once and its picture is whole, while worker and server are killed at random."""
    client, rng, ids, lock = Client(running.url), random.Random(0), list[str](), threading.Lock()
    request = {**PAINT, "references": [picture]}

    def submit(number: int) -> None:
        for index in range(number, jobs, clients):
            job = insist(Client(running.url), f"job-{index}", {**request, "seed": index})
            with lock:
                ids.append(job["id"])
            time.sleep(random.Random(index).uniform(0, 0.5))

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(clients)]
    for one in threads:
        one.start()
    killed = {"server": 0, "worker": 0}
    for number in range(kills):
        time.sleep(rng.uniform(5, 25))  # a killed worker has begun again by then
        if number % 2:
            running.kill()
            running.start()
            killed["server"] += 1
        else:
            for worker in running.workers():
                os.kill(worker, signal.SIGKILL)
            killed["worker"] += 1
    for one in threads:
        one.join()
    attempts, broken, ends = list[int](), 0, list[int]()
    for identifier in ids:
        job = client.wait(identifier)
        attempts.append(job["attempt"])
        states = [event["state"] for event in client._json("GET", f"/jobs/{identifier}/history")]
        ends.append(sum(state in ("done", "failed", "cancelled") for state in states))
        name = job["result"]["pictures"][0]["file"]
        try:
            Image.open(BytesIO(client._bytes("GET", f"/jobs/{identifier}/files/{name}"))).load()
        except OSError:
            broken += 1
    folders = [path.name for path in (running.data / "results").iterdir()]
    counted = [sum(name.startswith(f"{identifier}.") for name in folders) for identifier in ids]
    killed_at = {f"{what} killed": single(float(times), "times") for what, times in killed.items()}
    return {
        "jobs": single(float(len(set(ids))), "jobs"),
        "jobs taken twice": single(float(len(ids) - len(set(ids))), "jobs"),
        **killed_at,
        "jobs that ended exactly once": single(float(sum(n == 1 for n in ends)), "jobs", len(ids)),
        "jobs whose result is not whole": single(float(broken), "jobs", len(ids)),
        "jobs taken up again": single(float(sum(n > 1 for n in attempts)), "jobs", len(ids)),
        "most attempts of a job": single(float(max(attempts)), "attempts", len(ids)),
        "result folders left by kills": single(float(sum(counted) - len(ids)), "folders", len(ids)),
    }


def submit_latency(data: Path, queued: int) -> dict[str, MetricValue]:
    """Milliseconds until an answer with so many jobs waiting."""
    running = Running(data, "--serve-only").start()
    try:
        client = Client(running.url)
        for number in range(queued):
            client.submit("dataset", name=f"n{number}")
        times = []
        for number in range(100):
            started = time.perf_counter()
            client.submit("dataset", name=f"measured {number}")
            times.append(1000 * (time.perf_counter() - started))
        return {
            f"{name} time to submit with {queued} queued": single(value, "ms", len(times))
            for name, value in (
                ("median", float(np.median(times))),
                ("95th percentile", float(np.percentile(times, 95))),
            )
        }
    finally:
        running.stop()


def memory(running: Running, picture: str, jobs: int) -> dict[str, MetricValue]:
    """MiB held by server and worker after a tenth of the jobs and after all of them."""
    client, metrics = Client(running.url), dict[str, MetricValue]()
    for number in range(1, jobs + 1):
        job = client.submit("paint", references=[picture], seed=number, **PAINT)
        client.wait(job["id"])
        if number in (jobs // 10, jobs):
            for name, pid in (("server", running.pid), ("worker", running.workers()[0])):
                status = Path(f"/proc/{pid}/status").read_text("utf-8")
                held = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
                metrics[f"memory of the {name} after {number} jobs"] = single(held / 1024, "MiB")
    return metrics


def fuzz(running: Running) -> dict[str, Any]:
    """schemathesis over the whole API from its own schema; nothing may be written outside the data folder."""
    tool = shutil.which("schemathesis") or shutil.which("st")
    if tool is None:
        raise SystemExit("schemathesis is not installed: pip install schemathesis")
    before = set(running.data.parent.iterdir())
    command = [tool, "run", f"{running.url}/api/openapi.json", "--checks", "not_a_server_error"]
    command += ["--max-examples", "40", "--exclude-path", "/api/events", "--no-color", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    print(done.stdout[-4000:])
    stray = [str(path) for path in running.data.parent.iterdir() if path not in before]
    return {"rc": done.returncode, "tracebacks": done.stdout.count("Traceback"), "written_outside": stray}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--memory-jobs", type=int, default=500)
    parser.add_argument("--queued", type=int, default=1000)
    parser.add_argument("--database")
    parser.add_argument("--fuzz", action="store_true")
    given = parser.parse_args()
    options = ["--database", given.database] if given.database else []
    with tempfile.TemporaryDirectory() as folder:
        running = Running(Path(folder) / "data", "--device", "cpu", *options).start()
        try:
            if given.fuzz:
                print(fuzz(running))
                return
            sitter = Client(running.url, timeout_s=600)._json(
                "POST", "/sitters/reference", {"seed": 10_000_003}
            )
            picture = sitter["pictures"][0]["id"]
            metrics = {
                **once_each(running, picture, given.jobs, given.clients, given.kills),
                **memory(running, picture, given.memory_jobs),
            }
        finally:
            running.stop()
        metrics |= submit_latency(Path(folder) / "queue", given.queued)
    name = "studio-jobs-postgres" if given.database else "studio-jobs"
    given.database = given.database and Path("database")  # whose name and password nobody needs
    record(name, "the studio", metrics, given=given, n=given.jobs, intervals="none")


if __name__ == "__main__":
    main()
