"""The statistics of a CHEESE data set: numbers as JSON, and one HTML page to look at."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from likeness.data.engine import RUNS
from likeness.files.images import write_bytes, write_json
from likeness.files.page import inline, table, whole_page
from likeness.files.shards import read_member
from likeness.files.vision_language import asked_so_far

if TYPE_CHECKING:
    from likeness.data.cheese.build import CheeseBuilder
    from likeness.data.engine import Built

__all__ = ["ASKED", "statistics", "write_page"]

ASKED = "asked"
"""Folder of the exchanges, in the data set."""
SHOWN, THUMB_PX = 12, 220


def statistics(builder: CheeseBuilder, built: Built) -> dict[str, Any]:
    """Yield, attempts, scores, words, cost and rate, as plain values."""
    trails = [json.loads(row["trail"]) for row in (*built.rows, *built.rejects) if row.get("trail")]
    scores = [attempt["score"] for trail in trails for attempt in trail if builder.verify]
    pairs = len(built.rows) + len(built.rejects)
    runs = _runs(built.folder)
    seconds = sum(run["seconds"] for run in runs)
    items = sum(run["items"] for run in runs)
    spent = asked_so_far(built.folder / ASKED)
    words = [len(row["instruction"].split()) for row in built.rows]
    return {
        "annotator": builder.annotator.name,
        "clip": builder.clip_name,
        "tau": builder.tau,
        "retries": builder.retries,
        "verified": builder.verify,
        "collections": len({row["collection"] for row in built.rows}),
        "pairs": pairs,
        "triplets": len(built.rows),
        "yield": len(built.rows) / pairs if pairs else 0.0,
        "rejected": built.reasons(),
        "attempts": _counted(row["attempts"] for row in built.rows),
        "words": {"mean": float(np.mean(words)), "most": max(words)} if words else None,
        "scores": _histogram(scores) if builder.verify else None,
        "cost": {
            "questions": spent.questions,
            "requests": spent.requests,
            "without_a_usable_answer": spent.failed,
            "request_tokens": spent.request_tokens,
            "answer_tokens": spent.answer_tokens,
            "seconds_of_waiting": round(spent.seconds, 1),
            "requests_a_triplet": spent.requests / len(built.rows) if built.rows else None,
        },
        "rate": {
            "pairs": items,
            "seconds": round(seconds, 1),
            "pairs_per_s": items / seconds if seconds else None,
        },
    }


def write_page(builder: CheeseBuilder, built: Built) -> None:
    """`statistics.json` and `statistics.html` in the data set's folder."""
    told = statistics(builder, built)
    write_json(built.folder / "statistics.json", told)
    cost, rate = told["cost"], told["rate"]
    sections = [
        "<h2>Pairs</h2>",
        _bars({"triplets": told["triplets"], **told["rejected"]}, told["pairs"]),
        "<h2>Instructions it took</h2>",
        _bars({f"{number}": count for number, count in told["attempts"].items()}, told["triplets"]),
    ]
    if told["scores"]:
        sections += [
            "<h2>Similarity of what was expected to the target, every attempt</h2>",
            _bars(told["scores"], sum(told["scores"].values())),
        ]
    sections += [
        "<h2>Cost and rate</h2>",
        table(
            ("what", "how much"),
            [
                ("questions put to the model", f"{cost['questions']:,}"),
                ("requests sent, repairs included", f"{cost['requests']:,}"),
                ("questions without a usable answer", f"{cost['without_a_usable_answer']:,}"),
                ("tokens sent and received", f"{cost['request_tokens']:,} and {cost['answer_tokens']:,}"),
                ("requests a triplet", _number(cost["requests_a_triplet"])),
                ("pairs a second, all runs", _number(rate["pairs_per_s"])),
            ],
        ),
        "<h2>Triplets</h2>",
        f'<div class="grid">{"".join(_figure(built.folder, row) for row in _spread(built.rows))}</div>',
        "<h2>Rejected</h2>",
        table(
            ("pair", "why", "what was said"),
            [
                (row["item"], row["reason"], f"{row['message']} {_last(row)}")
                for row in _spread(built.rejects)
            ],
        ),
    ]
    lead = (
        f"{told['triplets']:,} triplets of {told['collections']:,} collections from {told['pairs']:,} pairs, "
        f"annotated by {builder.annotator.name}"
    )
    lead += (
        f"; accepted where the description expected of the instruction is more similar to the target than "
        f"{builder.tau:g} by {builder.clip_name}, after at most {builder.retries} further attempts."
        if builder.verify
        else "; not verified."
    )
    page = whole_page("CHEESE: statistics", lead, "\n".join(sections))
    write_bytes(built.folder / "statistics.html", page.encode())


def _runs(folder: Path) -> list[dict[str, Any]]:
    file = folder / RUNS
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []


def _counted(values: Any) -> dict[str, int]:
    return {str(value): count for value, count in sorted(Counter(values).items())}


def _histogram(scores: Sequence[float], step: float = 0.05) -> dict[str, int]:
    """Counts by tenths and half tenths, the lowest first."""
    cells = Counter(int(np.floor(score / step)) for score in scores)
    if not cells:
        return {}
    return {
        f"{cell * step:.2f} to {(cell + 1) * step:.2f}": cells.get(cell, 0)
        for cell in range(min(cells), max(cells) + 1)
    }


def _bars(counts: Mapping[str, int], of: int) -> str:
    rows = [
        f'<div class="score"><span>{escape(name)}</span><b>{count:,}</b>'
        f'<div class="bar"><i style="width:{100 * count / max(of, 1):.1f}%"></i></div></div>'
        for name, count in counts.items()
    ]
    return f'<div style="max-width:40rem;display:grid;gap:.5rem">{"".join(rows)}</div>'


def _number(value: float | None) -> str:
    return "none yet" if value is None else f"{value:.2f}"


def _spread(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most `SHOWN`, evenly from all."""
    return [rows[place * len(rows) // SHOWN] for place in range(SHOWN)] if len(rows) > SHOWN else list(rows)


def _last(row: Mapping[str, Any]) -> str:
    trail = json.loads(row.get("trail") or "[]")
    return f"Last: {trail[-1]['instruction']}" if trail else ""


def _figure(folder: Path, row: Mapping[str, Any]) -> str:
    pictures = []
    for file in row["files"]:
        data = read_member(folder / row["shard"], file["offset"], file["length"])
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        picture.thumbnail((THUMB_PX, THUMB_PX))
        alt = escape(file["name"].partition(".")[0])
        pictures.append(f'<img src="{inline(picture)}" alt="{alt}" style="width:50%">')
    score = "" if row["score"] is None else f"similarity {row['score']:.2f}, "
    return (
        f'<figure><div style="display:flex">{"".join(pictures)}</div><figcaption>'
        f'<span class="prompt">{escape(row["instruction"])}</span>'
        f'<span class="tag">{escape(str(row["collection"]))}</span>'
        f"<span>{score}{row['attempts']} attempt{'s' * (row['attempts'] > 1)}; expected: "
        f"{escape(row['expected']) or 'not asked'}</span></figcaption></figure>"
    )
