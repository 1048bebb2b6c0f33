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
from likeness.evaluation.run import reference_file
from likeness.files.images import read_image
from likeness.files.page import inline, table, whole_page

if TYPE_CHECKING:
    from likeness.evaluation.protocol import Protocol
    from likeness.evaluation.result import Ordering
    from likeness.evaluation.run import Measured
    from likeness.evaluation.suite import Suite

__all__ = ["report_html", "report_markdown", "result_markdown", "result_pages"]

WORST = 8
PEOPLE = ("skin", "age", "presents as")
"""The kinds of group that are of people: of these the report has every metric's gap."""
BY_GROUP = ("same person", "FaceSim", "followed", "details wrong", "CLIP-T", "DP", "PF")
"""The metrics whose groups the report spells out."""


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


def result_markdown(result: Result, published: Mapping[str, str] | None = None) -> str:
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
            cells.append(published.get(name, ""))
        lines.append(_row(cells))
    gaps = [table for table in result.groups if table.kind in PEOPLE and table.gap is not None]
    if gaps:
        head = ["gap between groups of people", "by", "difference of means", "95 % interval", "n"]
        lines += ["", _row(head), _row(["---"] * len(head))]
        lines += [_row([t.metric, t.kind, *_mean(t.gap), str(t.gap.n)]) for t in gaps if t.gap]
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
        published = _published(load_protocol(result.method, sitters=True)) if named else None
        pages[f"{file.stem}.md"] = result_markdown(result, published)
    return pages


def _published(protocol: Protocol) -> dict[str, str]:
    return {
        name: _theirs(value, protocol.published_by.get(name)) for name, value in protocol.published.items()
    }


def _lead(measured: Measured, protocol: Protocol) -> str:
    result = measured.result
    people = len({one.task.person.id for one in measured.painted})
    return (
        f"{result.method} on {result.base}: {result.n} pictures of {people} people, the {protocol.name} "
        f"protocol of {protocol.source}. Seed {result.seed}, commit {result.commit}. Intervals are 95 %, "
        "by bootstrap over people."
    )


def _blocks(measured: Measured, suite: Suite, protocol: Protocol) -> list[Block]:
    return [
        _numbers(measured, suite, protocol),
        *_gaps(measured, suite),
        *_groups(measured),
        *_worst(measured, suite),
        *_not_painted(measured),
        *_models(suite),
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
                "" if theirs is None else _theirs(theirs, protocol.published_by.get(name)),
            )
        )
    head = ("metric", "mean", "95 % interval", "n", "unit", "better", "the paper's own")
    text = "The last column is what the paper reports, with its own models, people and recognisers: no rival."
    return Block("Numbers", text, head, tuple(rows))


def _gaps(measured: Measured, suite: Suite) -> list[Block]:
    """How much worse the worst group of people fares than the best, metric by metric."""
    tables = [t for t in measured.result.groups if t.kind in PEOPLE and t.gap is not None]
    higher = {metric.name: metric.higher_is_better for metric in suite.metrics}
    rows = []
    for one in tables:
        means = {group: value.mean or 0.0 for group, value in one.groups.items()}
        best, worst = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
        if not higher[one.metric]:
            best, worst = worst, best
        assert one.gap is not None  # noqa: S101  chosen above
        rows.append((one.metric, one.kind, best, worst, *_mean(one.gap), str(one.gap.n)))
    if not rows:
        return []
    head = ("metric", "people by", "best served", "worst served", "gap", "95 % interval", "n")
    text = "The gap is the best served group's mean against the worst's. Small groups differ by chance."
    return [Block("Gaps between groups of people", text, head, tuple(rows))]


def _groups(measured: Measured) -> list[Block]:
    blocks = []
    for metric in BY_GROUP:
        tables = [table for table in measured.result.groups if table.metric == metric]
        rows = tuple(
            (table.kind, group, *_mean(value), str(value.n))
            for table in tables
            for group, value in table.groups.items()
        )
        if rows:
            gaps = [f"{table.kind} {table.gap.mean:.3f}" for table in tables if table.gap]
            text = f"Largest difference of means: {', '.join(gaps)}." if gaps else ""
            blocks.append(
                Block(f"{metric} by group", text, ("kind", "group", "mean", "95 % interval", "n"), rows)
            )
    return blocks


WORST_OF = {
    "same person": "The least like the person",
    "FaceSim": "The least alike",
    "followed": "Words followed least",
    "details wrong": "Most details wrong",
    "LPIPS": "Furthest from their source",
}


def _worst(measured: Measured, suite: Suite) -> list[Block]:
    """The worst cases of each of some metrics, each beside its reference."""
    blocks = []
    cases = [one.case for one in measured.painted if one.case is not None]
    references = [reference_file(one) for one in measured.painted if one.case is not None]
    higher = {metric.name: metric.higher_is_better for metric in suite.metrics}
    for name, heading in WORST_OF.items():
        values = measured.values.get(name)
        if values is None or (name == "FaceSim" and "same person" in measured.values):
            continue
        badness = -values if higher[name] else values
        faces = name in ("same person", "FaceSim")  # there no value is the worst: no face was painted
        known = [row for row in range(len(cases)) if faces or not np.isnan(values[row])]
        known.sort(key=lambda row: -np.inf if np.isnan(badness[row]) else -badness[row])
        pictures: list[tuple[str, str]] = []
        for row in known[:WORST]:
            said = "no face" if np.isnan(values[row]) else f"{values[row]:.2f}"
            if reference := references[row]:
                pictures.append((reference, "reference"))
            pictures.append(
                (f"pictures/{cases[row].id}.png", f"{cases[row].prompt or cases[row].id}: {said}")
            )
        if pictures:
            blocks.append(Block(heading, pictures=tuple(pictures)))
    return blocks


def _models(suite: Suite) -> list[Block]:
    """What was looked through, and what its weights may be used for."""
    rows = tuple(suite.models.items())
    return [Block("Models that measured", head=("model", "licence"), rows=rows)] if rows else []


def _not_painted(measured: Measured) -> list[Block]:
    rows = tuple((one.task.id, one.reason) for one in measured.painted if one.case is None)
    return [Block("Not painted", head=("case", "reason"), rows=rows)] if rows else []


def _theirs(value: float, by: str | None) -> str:
    return f"{value:g}" if by is None else f"{value:g} ({by})"


def _mean(value: MetricValue | Ordering) -> tuple[str, str]:
    mean = value.mean if isinstance(value, MetricValue) else value.difference
    if mean is None:
        return "", ""
    if value.low is None or value.high is None:
        return f"{mean:,.0f}" if mean > 1 and mean.is_integer() else f"{mean:.3f}", ""  # counts are whole
    return f"{mean:.3f}", f"{value.low:.3f} to {value.high:.3f}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
