"""What does inversion verification repair? A deliberately noisy annotator on sitters, whose truth is known.

Collections of sitters are rendered; the annotator tells each change between two pictures from the ground
truth, but a share of them wrongly. The same pairs are built twice, verified and not, and each accepted
instruction is held against the truth: right only when it tells every change that can be seen as it is.
The similarity that is asked for is set on other collections than those that count. Two kinds of error are
tried apart: instructions that are misread as a whole, and slips in single changes.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from record import RESULTS

from likeness.data.cheese.build import CheeseBuilder
from likeness.data.cheese.truth import TruthAnnotator, right
from likeness.data.engine import Built, build
from likeness.evaluation.embedders import load_clip
from likeness.evaluation.result import (
    MetricValue,
    Ordering,
    Result,
    commit,
    machine,
    summarised,
    write_result,
)
from likeness.files.images import to_json, write_bytes, write_png
from likeness.packs import mini_path
from likeness.sitters import sample_scene, with_same_person
from likeness.sitters.render import render

POINTS = 0.15
"""What verification has to add to the share of right instructions."""


def write_collections(folder: Path, first: int, count: int, pictures: int) -> dict[str, Any]:
    """Image folder of `count` collections; returns each picture's scene by its name."""
    scenes, lines = {}, []
    for seed in range(first, first + count):
        scene = sample_scene(seed)
        others = [with_same_person(scene, n, keep=("background",)) for n in range(1, pictures)]
        for number, one in enumerate((scene, *others)):
            name = f"{seed}-{number}.png"
            write_png(Image.fromarray(render(one, 128).rgb), folder / name)
            scenes[name] = one
            row = {"file_name": name, "identity": f"sitter-{seed}", "record": one.record()}
            lines.append(to_json(row, indent=None))
    write_bytes(folder / "metadata.jsonl", "\n".join(lines).encode())
    return scenes


def built(source: Path, annotator: TruthAnnotator, tau: float, verify: bool, clip: Any) -> Built:
    with TemporaryDirectory() as folder:
        builder = CheeseBuilder(
            source, Path(folder), annotator, lambda: clip, "mini", tau, verify=verify, licence="CC0-1.0"
        )
        return build(builder, Path(folder))


def judged(made: Built, scenes: dict[str, Any]) -> dict[str, float]:
    """Pair -> whether its accepted instruction is right."""
    return {
        row["item"]: float(
            right(scenes[row["reference"]], scenes[row["target"]], json.loads(row["trail"])[-1]["whole"])
        )
        for row in made.rows
    }


def difference(
    one: dict[str, float], other: dict[str, float], draws: int = 2000
) -> tuple[float, float, float]:
    """How much more of `one` is right than of `other`; 95 % interval by the bootstrap over pairs."""
    values = np.array([[one.get(item, np.nan), other[item]] for item in other])
    rng = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        drawn = values[rng.integers(len(values), size=len(values))]
        found.append(np.nanmean(drawn[:, 0]) - drawn[:, 1].mean())
    low, high = np.percentile(found, [2.5, 97.5])
    return float(np.nanmean(values[:, 0]) - values[:, 1].mean()), float(low), float(high)


def calls(made: Built) -> np.ndarray:
    """Of the annotator, a pair: whether it is one, and two for each attempt (one where nobody verifies)."""
    every = [row["trail"] for row in (*made.rows, *made.rejects) if row.get("trail")]
    return np.array([1 + 2 * len(json.loads(trail)) for trail in every], float)


def measured(
    kind: str,
    annotator: TruthAnnotator,
    elsewhere: Path,
    source: Path,
    scenes: dict[str, Any],
    quantile: float,
) -> tuple[dict[str, MetricValue], Ordering]:
    clip = load_clip(mini_path())
    first = built(elsewhere, annotator, -1.0, True, clip)
    tau = float(np.quantile([row["score"] for row in first.rows], quantile))
    started = time.perf_counter()
    verified = built(source, annotator, tau, True, clip)
    seconds = time.perf_counter() - started
    plain = built(source, annotator, tau, False, clip)
    with_it, without = judged(verified, scenes), judged(plain, scenes)
    gain, low, high = difference(with_it, without)
    spent = calls(verified)
    attempts = np.array([row["attempts"] for row in verified.rows], float)
    accepted = np.array([float(item in with_it) for item in without])
    found = {
        "right instructions, verified": summarised(np.array(list(with_it.values())), "share"),
        "right instructions, unverified": summarised(np.array(list(without.values())), "share"),
        "yield, verified": summarised(accepted, "share"),
        "calls a pair, verified": summarised(spent, "calls"),
        "calls a pair, unverified": summarised(np.full(len(without), 2.0), "calls"),
        "calls an accepted triplet, verified": summarised(np.array([spent.sum() / len(with_it)]), "calls"),
        "attempts an accepted triplet": summarised(attempts, "attempts"),
        "similarity asked for (tau)": summarised(np.array([tau]), "cosine"),
        "pairs a second, one worker, the model's own time not counted": summarised(
            np.array([len(without) / seconds]), "pairs/s"
        ),
    }
    claim = Ordering(
        claim=f"verified instructions are right at least 15 points more often than unverified ones: {kind}",
        source="SCheese, inversion verification",
        difference=gain - POINTS,
        low=low - POINTS,
        high=high - POINTS,
        n=len(with_it),
        holds=low > POINTS,
    )
    return {f"{name} ({kind})": value for name, value in found.items()}, claim


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--collections", type=int, default=50)
    arguments.add_argument("--pictures", type=int, default=3)
    arguments.add_argument("--misread", type=float, default=0.5)
    arguments.add_argument("--slips", type=float, default=0.1)
    arguments.add_argument("--quantile", type=float, default=0.6)
    arguments.add_argument("--seed", type=int, default=10_000_000)
    given = arguments.parse_args()
    kinds = {"misread": TruthAnnotator(misread=given.misread), "slips": TruthAnnotator(slips=given.slips)}
    metrics: dict[str, MetricValue] = {}
    claims = []
    with TemporaryDirectory() as folder:
        elsewhere, source = Path(folder) / "elsewhere", Path(folder) / "source"
        write_collections(elsewhere, given.seed + 5_000, 12, given.pictures)
        scenes = write_collections(source, given.seed, given.collections, given.pictures)
        for kind, annotator in kinds.items():
            found, claim = measured(kind, annotator, elsewhere, source, scenes, given.quantile)
            metrics |= found
            claims.append(claim)
    result = Result(
        name="cheese",
        method="scheese",
        base="mini",
        seed=given.seed,
        commit=commit(),
        machine=machine(),
        n=len(scenes) * (given.pictures - 1),
        metrics=metrics,
        orderings=claims,
    )
    write_result(result, RESULTS / "cheese.json")
    print(result.model_dump_json(indent=2))
