"""Images a second of the sitters' renderer, and what the distance field costs a point."""

from __future__ import annotations

import argparse

from record import record, single

from likeness.evaluation.result import Ordering
from likeness.sitters.bench import bench

if __name__ == "__main__":
    given = argparse.ArgumentParser(description=__doc__).parse_args()
    found = bench(20.0)
    metrics = {f"pictures a second, {size} px": single(v, "1/s") for size, v in found["images_per_s"].items()}
    claims = []
    for loop, ns in found["field_ns"].items():
        metrics[f"a point of {loop}"] = single(ns, "ns")
        spare = found["ceiling_ns"][loop] - ns
        claims.append(
            Ordering(
                claim=f"{loop} runs on vectors: at most {found['ceiling_ns'][loop]:g} ns a point",
                source="ours",
                difference=spare,
                low=None,
                high=None,
                n=1,
                holds=spare >= 0,
            )
        )
    record("sitters-speed", "renderer", metrics, given=given, n=1, base="sitters", orderings=claims)
