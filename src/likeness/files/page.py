"""One HTML page to look at: pictures inlined, no other file and no network needed."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likeness.files.images import read_image, read_recipe, to_json

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["inline", "portraits_page", "table", "whole_page"]

_STYLE = """
:root { color-scheme: light dark; --paper: #faf9f6; --card: #fff; --ink: #262420; --soft: #6f6a60;
  --line: #e4e0d8; --accent: #2f6f5e; --warn: #9a5b13; }
@media (prefers-color-scheme: dark) { :root { --paper: #171614; --card: #211f1c; --ink: #ece8e0;
  --soft: #a39d91; --line: #38352f; --accent: #79c2ab; --warn: #e0a458; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.1rem; margin: 2.8rem 0 .8rem; }
p.lead { color: var(--soft); max-width: 46rem; margin: 0 0 1.8rem; }
.grid { display: grid; gap: 1.1rem; grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  overflow: hidden; display: flex; flex-direction: column; }
figure.reference { border: 2px solid var(--accent); }
img { display: block; width: 100%; height: auto; }
.pairs { grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr)); }
.pair { display: grid; grid-auto-columns: 1fr; grid-auto-flow: column; }
figcaption { padding: .8rem .95rem 1rem; display: grid; gap: .5rem; }
.tag { font-size: .74rem; letter-spacing: .05em; text-transform: uppercase; color: var(--accent); }
.prompt { font-weight: 600; overflow-wrap: anywhere; }
.score { display: grid; grid-template-columns: 1fr auto; gap: 0 .6rem; font-size: .88rem; }
.score span { color: var(--soft); }
.bar { grid-column: 1 / -1; height: 5px; border-radius: 3px; background: var(--line); overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--accent); }
.warning { color: var(--warn); font-size: .85rem; }
.note { max-width: 46rem; margin: 0 0 .6rem; }
details { font-size: .85rem; }
summary { cursor: pointer; color: var(--soft); }
pre { overflow: auto; max-height: 20rem; background: var(--paper); border: 1px solid var(--line);
  border-radius: 8px; padding: .7rem; font-size: .74rem; line-height: 1.4; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { text-align: left; padding: .45rem .9rem .45rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 500; }
code { font-size: .8rem; }
""".strip()


def portraits_page(
    title: str, lead: str, references: Sequence[Image.Image], folder: Path, document: Mapping[str, Any]
) -> str:
    """A page with the references, every portrait with its score, warnings and recipe, and the weights.

    folder: where the PNGs are, recipes inside. document: the content of the `result.json` beside
    them. Raises: ImageError when a picture is no longer there or has lost its recipe.
    """
    recipes = [read_recipe(folder / picture["file"]) for picture in document["pictures"]]
    figures = [_reference(image, number, len(references)) for number, image in enumerate(references, 1)]
    figures += [
        _portrait(read_image(folder / picture["file"]), picture, recipe)
        for picture, recipe in zip(document["pictures"], recipes, strict=True)
    ]
    warnings = "".join(f'<p class="warning">{escape(text)}</p>\n' for text in document["warnings"])
    return whole_page(
        title,
        lead,
        f"""<div class="grid">
{"".join(figures)}</div>
<h2>How alike</h2>
<p class="note">{escape(_judgement(document["likeness"]))}</p>
{warnings}<h2>Weights and licences</h2>
{_weights_table([link for recipe in recipes for link in recipe["weights"]])}""",
    )


def whole_page(title: str, lead: str, body: str) -> str:
    """A page in the house's look, light and dark; `body` is HTML, `title` and `lead` are text."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{_STYLE}
</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p class="lead">{escape(lead)}</p>
{body}
</main>
</body>
</html>
"""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts that scrolls where it is too wide."""
    lines = [f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    return '<div class="wide"><table>\n' + "\n".join(lines) + "\n</table></div>"


def inline(image: Image.Image) -> str:
    """A picture as a data URL, for an <img> that needs no file."""
    buffer = BytesIO()
    image.convert("RGB").save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _reference(image: Image.Image, number: int, count: int) -> str:
    name = "Reference" if count == 1 else f"Reference {number} of {count}"
    return f"""<figure class="reference"><img src="{inline(image)}" alt="{name}">
<figcaption><span class="tag">{name}</span>
<span>The person to keep. {image.width} × {image.height} px.</span></figcaption></figure>
"""


def _portrait(image: Image.Image, picture: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    prompt = escape(picture["prompt"])
    seconds = sum(picture["timings_s"].values())
    return f"""<figure><img src="{inline(image)}" alt="{prompt}">
<figcaption><span class="tag">seed {picture["seed"]}</span>
<span class="prompt">{prompt}</span>
{_score(picture)}<details><summary>Recipe, {seconds:.1f} s</summary>
<pre>{escape(to_json(recipe))}</pre></details></figcaption></figure>
"""


def _score(picture: Mapping[str, Any]) -> str:
    """The chance of the same person; without one the reason, and the cosines there are."""
    chance = picture["likeness"]
    if chance is None:
        told = [f"No likeness score: {picture['reason'] or 'not measured'}."]
        told += [f"Cosine {value:.2f} by {name}." for name, value in picture["cosines"].items()]
        return f'<span class="warning">{escape(" ".join(told))}</span>\n'
    notes = "".join(f'<span class="warning">{escape(text)}</span>\n' for text in picture["explained"])
    return (
        f'<div class="score"><span>Same person</span><b>{chance:.0%}</b>'
        f'<div class="bar"><i style="width:{100 * chance:.0f}%"></i></div></div>\n{notes}'
    )


def _judgement(likeness: Mapping[str, Any]) -> str:
    if likeness["mean"] is None:
        return f"Likeness was not measured: {likeness['reason'] or 'there is no judge'}."
    judges = " and ".join(f"{name} ({licence})" for name, licence in likeness["encoders"].items())
    return (
        f"The chance that portrait and reference show the same person, before which both are as likely: "
        f"{likeness['mean']:.0%} on average, {likeness['lowest']:.0%} at worst, where two real pictures of "
        f"one person have {likeness['own_pictures']:.0%}. Judged by {judges}, calibrated on people it never "
        f"learned from and not shown to the method."
    )


def _weights_table(weights: Sequence[Mapping[str, str]]) -> str:
    rows = {
        f"<tr><td>{escape(link['name'])}</td><td>{escape(link['role'])}</td>"
        f"<td>{escape(link['licence'])}</td><td>{escape(link['source'])}</td>"
        f"<td><code>{escape(link['sha256'][:12])}</code></td></tr>\n": None
        for link in weights
    }
    head = "<tr><th>Weights</th><th>Role</th><th>Licence</th><th>From</th><th>sha256</th></tr>\n"
    return f'<div class="wide"><table>\n{head}{"".join(rows)}</table></div>'
