"""Images a second of the sitters' renderer, and what the distance field costs a point."""

from __future__ import annotations

from record import record

from likeness.sitters.bench import bench

if __name__ == "__main__":
    print(record("sitters_speed", "python benchmarks/sitters_speed.py", None, bench(20.0)))
