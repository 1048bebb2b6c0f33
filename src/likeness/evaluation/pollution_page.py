"""The pollution report to look at: one HTML page, pictures inlined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from likeness.evaluation.pollution import AXES
from likeness.files.page import inline, table, whole_page

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["page"]

SHOWN = 24
"""Pairs on the page at most, those that changed most first."""
MEANT = {
    "identity": "Who it is: the faces by a recogniser.",
    "layout": "What lies where: regions of a face parser.",
    "background": "Colours of what both pictures show as background.",
    "picture": "How different the whole pictures look.",
    "attributes": "Hair, clothes, expression and the like: how many are another.",
}


def page(document: Mapping[str, Any], pictures: Mapping[str, Sequence[Image.Image]]) -> str:
    """document: the content of `pollution.json`. pictures: "before", "after" and "target", in its order."""
    tuned = document["tuned"]
    strength = "" if tuned["scale"] == 1 else f" at {tuned['scale']:g}"
    lead = (
        f"The {tuned['kind']} {tuned['path']}{strength} on {document['base']}: {document['pictures']} "
        "pictures of prompts it is not about, before and after, from the same seeds. "
        f"{document['unchanged_pictures']} are the same to the pixel."
    )
    parts = [
        "<h2>How much changed</h2>",
        '<p class="note">0 is as before. Beside each number stands what another seed changes on the base '
        "alone: a fine-tune that changes as much paints somebody else somewhere else. In brackets are 95 % "
        f"bootstrap intervals over {document['pictures']} pictures.</p>",
        table(("axis", "changed", "another seed", "of that", "what it is", "by"), _axes(document)),
        *_response(document),
    ]
    if document["attributes"]:
        rows = [(kind, _mean(value)) for kind, value in document["attributes"].items()]
        parts += ["<h2>Each attribute</h2>", table(("kind", "share of pictures in which it changed"), rows)]
    parts += [
        "<h2>Before and after</h2>",
        f'<div class="grid pairs">\n{"".join(_pairs(document, pictures))}</div>',
    ]
    return whole_page("What else it changed", lead, "\n".join(parts))


def _axes(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for axis in AXES:
        found = document["axes"].get(axis)
        if found is None:
            rows.append((axis, f"not measured: {document['not_measured'][axis]}", "", "", MEANT[axis], ""))
            continue
        share = found["share_of_another_seed"]
        told = "" if share is None else f"{share:.0%}"
        rows.append((axis, _mean(found), _mean(found["another_seed"]), told, MEANT[axis], found["by"]))
    return rows


def _response(document: Mapping[str, Any]) -> list[str]:
    targets = " or ".join(f"\u201c{words}\u201d" for words in document["tuned"]["targets"])
    if "response" not in document:
        return []
    rows = [("response", _mean(document["response"]), "gain of CLIP's cosine with the words")]
    rows += [(axis, _mean(found), MEANT[axis]) for axis, found in document["with_target"].items()]
    return [
        "<h2>With its words in the prompt</h2>",
        f'<p class="note">The same prompts with {escape(targets)} behind them: how much nearer the pictures '
        "came to the words than the base's, and what differs from the base's pictures without them.</p>",
        table(("axis", "changed", "what it is"), rows),
    ]


def _pairs(document: Mapping[str, Any], pictures: Mapping[str, Sequence[Image.Image]]) -> list[str]:
    def changed(row: Mapping[str, Any]) -> float:
        return sum(row[axis] or 0.0 for axis in document["axes"])

    cases = document["cases"]
    order = sorted(range(len(cases)), key=lambda number: -changed(cases[number]))[:SHOWN]
    return [
        _pair(cases[number], [name for name in AXES if name in document["axes"]], number, pictures)
        for number in order
    ]


def _pair(
    row: Mapping[str, Any], axes: Sequence[str], number: int, pictures: Mapping[str, Sequence[Image.Image]]
) -> str:
    shown = [("before", pictures["before"][number]), ("after", pictures["after"][number])]
    if pictures.get("target"):
        shown.append(("with its words", pictures["target"][number]))
    images = "".join(f'<img src="{inline(image)}" alt="{name}" title="{name}">' for name, image in shown)
    told = ", ".join(f"{axis} {row[axis]:.2f}" for axis in axes if row[axis] is not None)
    return f"""<figure><div class="pair">{images}</div>
<figcaption><span class="tag">{escape(", ".join(name for name, _ in shown))}; seed {row["seed"]}</span>
<span class="prompt">{escape(row["prompt"])}</span><span>{escape(told)}</span></figcaption></figure>
"""


def _mean(value: Mapping[str, Any]) -> str:
    if value["mean"] is None:
        return "nothing to measure"
    told = f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
    return told.replace(" ", "\N{NO-BREAK SPACE}")
