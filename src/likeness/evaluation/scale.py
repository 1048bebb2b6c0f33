"""How long large data sets take, by arithmetic from what was measured."""

from __future__ import annotations

from pathlib import Path

from likeness.evaluation.result import Result

__all__ = ["scale_page"]

MACHINES = (1, 8, 64)
TRIPLETS, PAIRS = 576_000, 10_000_000
SERVER = 20.0
"""Requests a second that one machine's vision-language server is taken to answer: an assumption."""


def scale_page(results: Path) -> str:
    """Markdown for docs/data-at-scale.md, from cheese.json and data-engine.json in a folder of results.

    Raises: FileNotFoundError where one of them is missing.
    """
    cheese, engine = (
        Result.model_validate_json((results / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("cheese", "data-engine")
    )
    calls = _mean(cheese, "calls an accepted triplet, verified (misread)")
    share = _mean(cheese, "yield, verified (misread)")
    pace = _mean(cheese, "pairs a second, one worker, the model's own time not counted (misread)")
    rates = {name: value.mean for name, value in engine.metrics.items() if value.mean is not None}
    importing = _mean(engine, "pairs a second, local, 1 worker")
    pairs = TRIPLETS / share
    lines = [
        "# How long large data sets take",
        "",
        "Written by `python benchmarks/pages.py` from `benchmarks/results/cheese.json` "
        f"(commit {cheese.commit[:12]}) and `benchmarks/results/data-engine.json` (commit "
        f"{engine.commit[:12]}), measured on {engine.machine['processor']} with {engine.machine['cores']} "
        "cores. A machine below has one worker; every worker takes chunks of its own, so that N machines "
        "take a share of 1 / N each, besides what reading and writing to shared storage costs, which is not "
        "in these numbers.",
        "",
        f"## CHEESE: {TRIPLETS:,} triplets",
        "",
        f"A pair of a collection is accepted in {share:.0%} of the cases, so it takes {pairs:,.0f} pairs; an "
        f"accepted triplet costs {calls:.2f} questions to the model, all rejected ones included, so it takes "
        f"{TRIPLETS * calls:,.0f} of them. Our part (reading, the verification's CLIP, writing) does "
        f"{pace:.1f} pairs a second and worker, with the mini pack's CLIP on pictures of 128 px; OpenCLIP's "
        "ViT-G/14, which the paper verifies with, is far slower on photographs and was not measured. The "
        "larger part here is the model: its server is taken to answer "
        f"{SERVER:g} requests a second and machine, an assumption to be replaced by what `statistics.html` "
        "shows of yours. The share and the questions are those of the noisy stand-in on sitters.",
        "",
        "| machines | our part | the model's | both at once, days |",
        "| --- | --- | --- | --- |",
    ]
    for machines in MACHINES:
        ours, model = pairs / pace / machines, TRIPLETS * calls / SERVER / machines
        lines.append(f"| {machines} | {_hours(ours)} | {_hours(model)} | {max(ours, model) / 86_400:.2f} |")
    lines += [
        "",
        f"## {PAIRS:,} edit pairs",
        "",
        f"Importing reads, checks and writes {importing:.0f} pairs a second and worker. Painting them target "
        "first takes what two pictures of the base take, which is the GPU's affair.",
        "",
        "| machines | importing | painting at 1 s a pair |",
        "| --- | --- | --- |",
    ]
    for machines in MACHINES:
        row = (PAIRS / importing / machines, PAIRS / machines)
        lines.append(f"| {machines} | {_hours(row[0])} | {_hours(row[1])} |")
    lines += [
        "",
        "## Pairs a second, measured",
        "",
        "| importing | pairs/s |",
        "| --- | --- |",
        *(f"| {name.removeprefix('pairs a second, ')} | {value:.1f} |" for name, value in rates.items()),
        "",
    ]
    return "\n".join(lines)


def _mean(result: Result, name: str) -> float:
    value = result.metrics[name].mean
    if not value:
        raise ValueError(f"{result.name} has no {name}")
    return value


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h"
