"""One HTML page to look at: pictures inlined, no other file and no network needed."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from likeness.files.images import to_json
from likeness.files.provenance import recipe_of

if TYPE_CHECKING:
    from PIL import Image

    from likeness.types import PortraitResult, WeightsRecord

__all__ = ["portraits_page"]

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
figcaption { padding: .8rem .95rem 1rem; display: grid; gap: .5rem; }
.tag { font-size: .74rem; letter-spacing: .05em; text-transform: uppercase; color: var(--accent); }
.prompt { font-weight: 600; overflow-wrap: anywhere; }
.score { display: grid; grid-template-columns: 1fr auto; gap: 0 .6rem; font-size: .88rem; }
.score span { color: var(--soft); }
.bar { grid-column: 1 / -1; height: 5px; border-radius: 3px; background: var(--line); overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--accent); }
.warning { color: var(--warn); font-size: .85rem; }
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
    title: str,
    lead: str,
    references: Sequence[Image.Image],
    results: Sequence[PortraitResult],
    score_words: Mapping[str, str] | None = None,
) -> str:
    """A page with the references, every portrait with its scores, warnings and recipe, and the weights.

    score_words: what a score is called on the page; one without a word is called by its name. A
    score that is a cosine (0 to 1) gets a bar; one that is None is said to be not measured.
    """
    figures = [_reference(image, number, len(references)) for number, image in enumerate(references, 1)]
    figures += [_portrait(result, score_words or {}) for result in results]
    weights = {link: None for result in results for link in result.provenance.weights}
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
<div class="grid">
{"".join(figures)}</div>
<h2>Weights and licences</h2>
{_weights_table(list(weights))}
</main>
</body>
</html>
"""


def _reference(image: Image.Image, number: int, count: int) -> str:
    name = "Reference" if count == 1 else f"Reference {number} of {count}"
    return f"""<figure class="reference"><img src="{_inline(image)}" alt="{name}">
<figcaption><span class="tag">{name}</span>
<span>The person to keep. {image.width} × {image.height} px.</span></figcaption></figure>
"""


def _portrait(result: PortraitResult, words: Mapping[str, str]) -> str:
    recipe = recipe_of(result)
    prompt = escape(result.request.prompt)
    scores = "".join(_score(words.get(name, name), value) for name, value in result.scores.items())
    warnings = "".join(f'<span class="warning">{escape(text)}</span>\n' for text in result.warnings)
    return f"""<figure><img src="{_inline(result.image)}" alt="{prompt}">
<figcaption><span class="tag">seed {result.provenance.seed}</span>
<span class="prompt">{prompt}</span>
{scores}{warnings}<details><summary>Recipe</summary>
<pre>{escape(to_json(recipe))}</pre></details></figcaption></figure>
"""


def _score(name: str, value: float | None) -> str:
    if value is None:
        return f'<div class="score"><span>{escape(name)}</span><span>not measured</span></div>\n'
    bar = f'<div class="bar"><i style="width:{100 * value:.0f}%"></i></div>' if 0 <= value <= 1 else ""
    return f'<div class="score"><span>{escape(name)}</span><b>{value:.2f}</b>{bar}</div>\n'


def _weights_table(weights: Sequence[WeightsRecord]) -> str:
    rows = "".join(
        f"<tr><td>{escape(link.name)}</td><td>{escape(link.role)}</td><td>{escape(link.licence)}</td>"
        f"<td>{escape(link.source)}</td><td><code>{escape(link.sha256[:12])}</code></td></tr>\n"
        for link in weights
    )
    head = "<tr><th>Weights</th><th>Role</th><th>Licence</th><th>From</th><th>sha256</th></tr>\n"
    return f'<div class="wide"><table>\n{head}{rows}</table></div>'


def _inline(image: Image.Image) -> str:
    buffer = BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
