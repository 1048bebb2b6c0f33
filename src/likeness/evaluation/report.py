"""An evaluation to read: one list of blocks, written as Markdown and as an HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from likeness.evaluation.protocol import load_protocol, protocol_names
from likeness.evaluation.result import MetricValue, Result
from likeness.files.images import read_image
from likeness.files.page import inline, table, whole_page

if TYPE_CHECKING:
    from likeness.evaluation.protocol import Protocol
    from likeness.evaluation.result import Ordering
    from likeness.evaluation.run import Measured
    from likeness.evaluation.suite import Suite

__all__ = ["by_group", "report_html", "report_markdown", "result_markdown", "result_pages"]

WORST = 8
FEWEST = 3
"""Cases a group needs to be put in the table."""


@dataclass(frozen=True, slots=True)
class Block:
    """A heading with a text, a table or pictures (file, caption) below."""

    heading: str
    text: str = ""
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    pictures: tuple[tuple[str, str], ...] = ()


def report_markdown(measured: Measured, suite: Suite, protocol: Protocol) -> str:
    """The report as Markdown; pictures are links relative to the evaluation's folder."""
    lines = [f"# {measured.result.name}", "", _lead(measured, protocol)]
    for block in _blocks(measured, suite, protocol):
        lines += ["", f"## {block.heading}"]
        if block.text:
            lines += ["", block.text]
        if block.rows:
            lines += ["", _row(block.head), _row(["---"] * len(block.head)), *map(_row, block.rows)]
        if block.pictures:
            lines += [""] + [f"![{caption}]({file}) {caption}  " for file, caption in block.pictures]
    return "\n".join(lines) + "\n"


def report_html(measured: Measured, suite: Suite, protocol: Protocol, folder: Path) -> str:
    """The report as one HTML page, pictures of `folder` inlined."""
    parts = []
    for block in _blocks(measured, suite, protocol):
        parts.append(f"<h2>{escape(block.heading)}</h2>")
        if block.text:
            parts.append(f'<p class="note">{escape(block.text)}</p>')
        if block.rows:
            parts.append(table(block.head, block.rows))
        if block.pictures:
            figures = "".join(
                f'<figure><img src="{inline(read_image(folder / file))}" alt="{escape(caption)}">'
                f"<figcaption>{escape(caption)}</figcaption></figure>\n"
                for file, caption in block.pictures
            )
            parts.append(f'<div class="grid">\n{figures}</div>')
    return whole_page(measured.result.name, _lead(measured, protocol), "\n".join(parts))


def result_markdown(result: Result, published: Mapping[str, float] | None = None) -> str:
    """A written table as a page: what `docs/results/` shows. published: the paper's own figures by metric."""
    published = published or {}
    lines = [
        f"# {result.name}",
        "",
        f"{result.method} on {result.base}, {result.n} cases, seed {result.seed}, "
        f"commit {result.commit[:12]}{result.commit[40:]}, {result.machine.get('processor')} with "
        f"{result.machine.get('cores')} cores. Intervals are 95 %, {result.intervals}.",
        "",
    ]
    head = ["metric", "mean", "95 % interval", "n", "unit"]
    if published:
        head.append("the paper's own, by its own models")
    lines += [_row(head), _row(["---"] * len(head))]
    for name, value in result.metrics.items():
        mean, interval = _mean(value)
        cells = [name, mean or "not measured", interval, str(value.n), value.unit if mean else ""]
        if published:
            cells.append(f"{published[name]:g}" if name in published else "")
        lines.append(_row(cells))
    if result.orderings:
        head = ["claim", "difference", "95 % interval", "n", "holds", "source"]
        lines += ["", _row(head), _row(["---"] * len(head))]
    for one in result.orderings:
        mean, interval = _mean(one)
        lines.append(_row([one.claim, mean, interval, str(one.n), "yes" if one.holds else "no", one.source]))
    if result.command:
        lines += ["", f"Measured by `{result.command}` on {result.date}."]
    return "\n".join(lines) + "\n"


def result_pages(folder: Path) -> dict[str, str]:
    """A page, by its file's name, for every table in a folder of JSON files; other JSON is passed over."""
    pages = {}
    for file in sorted(folder.glob("*.json")):
        try:
            result = Result.model_validate_json(file.read_text(encoding="utf-8"))
        except ValidationError:
            continue
        named = result.name.rpartition("-")[2] in ("quick", "paper") and result.method in protocol_names()
        published = load_protocol(result.method, sitters=True).published if named else None
        pages[f"{file.stem}.md"] = result_markdown(result, published)
    return pages


def by_group(measured: Measured, metric: str) -> list[tuple[str, str, float, int]]:
    """(kind, group, mean, n) of a metric for every group with `FEWEST` cases that have a value."""
    cases = [one.case for one in measured.painted if one.case is not None]
    values = measured.values[metric]
    found = []
    for kind in dict.fromkeys(key for case in cases for key in case.groups):
        labels = np.array([case.groups.get(kind, "") for case in cases])
        for group in sorted({*labels} - {""}):
            known = values[(labels == group) & ~np.isnan(values)]
            if len(known) >= FEWEST:
                found.append((kind, str(group), float(known.mean()), len(known)))
    return found


def _lead(measured: Measured, protocol: Protocol) -> str:
    result = measured.result
    people = len({one.task.person.id for one in measured.painted})
    return (
        f"{result.method} on {result.base}: {result.n} pictures of {people} people, the {protocol.name} "
        f"protocol of {protocol.source}. Seed {result.seed}, commit {result.commit}. Intervals are 95 %, "
        "by bootstrap over the cases."
    )


def _blocks(measured: Measured, suite: Suite, protocol: Protocol) -> list[Block]:
    return [
        _numbers(measured, suite, protocol),
        *_groups(measured),
        *_worst(measured),
        *_not_painted(measured),
    ]


def _numbers(measured: Measured, suite: Suite, protocol: Protocol) -> Block:
    higher = {m.name: m.higher_is_better for m in suite.metrics}
    higher |= {m.name: m.higher_is_better for m in suite.sets}
    better = {name: "higher" if up else "lower" for name, up in higher.items()}
    rows = []
    for name, value in measured.result.metrics.items():
        theirs = protocol.published.get(name)
        mean, interval = _mean(value)
        rows.append(
            (
                name,
                mean if value.n else f"not measured: {suite.missing.get(name, 'no case has a value')}",
                interval,
                str(value.n),
                value.unit if value.n else "",
                better.get(name, ""),
                "" if theirs is None else f"{theirs:g}",
            )
        )
    head = ("metric", "mean", "95 % interval", "n", "unit", "better", "the paper's own")
    text = "The last column is what the paper reports, with its own models, people and recognisers: no rival."
    return Block("Numbers", text, head, tuple(rows))


def _groups(measured: Measured) -> list[Block]:
    blocks = []
    for metric in ("same person", "FaceSim", "CLIP-T"):
        if metric not in measured.values:
            continue
        found = by_group(measured, metric)
        if not found:
            continue
        gaps = []
        for kind in dict.fromkeys(kind for kind, _, _, _ in found):
            means = [mean for k, _, mean, _ in found if k == kind]
            gaps.append(f"{kind} {max(means) - min(means):.3f}")
        rows = tuple((kind, group, f"{mean:.3f}", str(n)) for kind, group, mean, n in found)
        text = f"Largest difference of means: {', '.join(gaps)}. Small groups differ by chance."
        blocks.append(Block(f"{metric} by group", text, ("kind", "group", "mean", "n"), rows))
    return blocks


def _worst(measured: Measured) -> list[Block]:
    values = measured.values.get("FaceSim")
    if values is None:
        return []
    cases = [one.case for one in measured.painted if one.case is not None]
    order = np.argsort(np.where(np.isnan(values), -np.inf, values), kind="stable")[:WORST]
    pictures = [
        (
            f"pictures/{cases[row].id}.png",
            f"{cases[row].prompt}: " + ("no face" if np.isnan(values[row]) else f"{values[row]:.2f}"),
        )
        for row in order
    ]
    return [Block("The least alike", pictures=tuple(pictures))]


def _not_painted(measured: Measured) -> list[Block]:
    rows = tuple((one.task.id, one.reason) for one in measured.painted if one.case is None)
    return [Block("Not painted", head=("case", "reason"), rows=rows)] if rows else []


def _mean(value: MetricValue | Ordering) -> tuple[str, str]:
    mean = value.mean if isinstance(value, MetricValue) else value.difference
    if mean is None:
        return "", ""
    if value.low is None or value.high is None:
        return f"{mean:,.0f}" if mean > 1 and mean.is_integer() else f"{mean:.3f}", ""  # counts are whole
    return f"{mean:.3f}", f"{value.low:.3f} to {value.high:.3f}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
