"""Memory and time of IC-Portrait's correspondence: the whole cost volume, and its arg max by chunks.

Each case runs in a process of its own, which says the most memory it held beyond what it held before.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import torch
from record import record, single

from likeness.methods.ic_portrait.matching import cost_volume, match

CHANNELS = 320
SIDES = {"512 px, every cell": 64, "768 px, every cell": 96, "1024 px, every cell": 128}


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one(kind: str, side: int) -> dict[str, float]:
    source, target = (
        torch.randn(1, CHANNELS, side, side, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)
    )
    match(source[..., :2, :2], target[..., :2, :2])  # what torch loads for its first product
    before, started = peak_mib(), time.process_time()
    if kind == "full":
        best = cost_volume(source, target).max(dim=-1).indices
    else:
        best = match(source, target).source.flatten(1)
    seconds = time.process_time() - started
    return {
        "peak_mib": round(peak_mib() - before, 1),
        "cpu_seconds": round(seconds, 3),
        "check": int(best.sum()),
    }


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.case:
        print(json.dumps(one(given.case[0], int(given.case[1]))))
        sys.exit()
    del given.case
    metrics = {}
    for name, side in SIDES.items():
        found = {}
        for kind in ("full", "chunked"):
            call = [sys.executable, __file__, "--case", kind, str(side)]
            done = subprocess.run(call, check=True, capture_output=True, text=True)  # noqa: S603
            found[kind] = json.loads(done.stdout)
            metrics[f"memory, {name}, {kind}"] = single(found[kind]["peak_mib"], "MiB")
            metrics[f"processor time, {name}, {kind}"] = single(found[kind]["cpu_seconds"], "s")
        same = found["full"]["check"] == found["chunked"]["check"]
        metrics[f"the same matches, {name}"] = single(float(same), "1 is yes")
    record("cost-volume", "ic-portrait", metrics, given=given, n=len(SIDES), base="sd15", intervals="none")
