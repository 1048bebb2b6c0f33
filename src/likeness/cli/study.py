"""`likeness study`: let people judge, blind, and count what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from likeness.cli.output import AsJson, show

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


@app.command()
def build(
    evaluations: Annotated[list[Path], typer.Argument(help="Folders that `likeness evaluate` wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder for the study.")],
    kind: Annotated[
        str,
        typer.Option(
            help="pairs: two side by side; ratings: each alone, 0 to 4; collections: all of a person, 0 to 4."
        ),
    ] = "pairs",
    count: Annotated[int | None, typer.Option(min=1, help="How many cases, drawn by the seed.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the cases and their order.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Make a study of pictures that evaluations of the same cases painted."""
    from likeness.errors import InputError
    from likeness.evaluation.study import build_study

    if kind not in ("pairs", "ratings", "collections"):
        raise InputError(f"There is no kind {kind!r} of study; give pairs, ratings or collections.")
    study = build_study(evaluations, out, kind=kind, count=count, seed=seed)  # type: ignore[arg-type]
    show(
        {"out": str(out), "kind": study.kind, "items": len(study.items)},
        as_json,
        f"{len(study.items)} items in {out}; let people judge them with: likeness study serve {out}",
    )


@app.command()
def serve(
    study: Annotated[Path, typer.Argument(help="A study's folder.")],
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines in; there is no password.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the page.")] = 8710,
    as_json: AsJson = False,
) -> None:
    """Show the study's page in a browser until Ctrl-C; answers are kept as they are given."""
    from likeness.errors import MissingWeightsError
    from likeness.evaluation.study import load_study

    load_study(study)
    try:
        from likeness.studio.study import serve_study
    except ImportError:
        raise MissingWeightsError(
            "The page needs a web server that is not installed: pip install 'likeness[studio]'."
        ) from None
    show({"url": f"http://{host}:{port}"}, as_json, f"http://{host}:{port}  (Ctrl-C ends it)")
    serve_study(study, host, port)


@app.command()
def report(
    study: Annotated[Path, typer.Argument(help="A study's folder.")],
    as_json: AsJson = False,
) -> None:
    """Count the answers: means or preferences with intervals, and how far the raters agree."""
    from likeness.evaluation.study import report as counted

    found = counted(study)
    show(found, as_json, *_text(found))


def _text(found: dict[str, Any]) -> list[str]:
    lines = [f"{found['raters']} raters, {found['items']} items"]
    for question in found["questions"].values():
        lines.append(f"\n{question['question']}")
        for variant, score in question["scores"].items():
            if score["mean"] is None:
                lines.append(f"  {variant}: no answers yet")
            elif found["kind"] == "pairs":
                other = next(name for name in found["variants"] if name != variant)
                interval = f"[{score['low']:.2f}, {score['high']:.2f}]"
                lines.append(f"  {variant} before {other}: {score['mean']:.2f} {interval}, n {score['n']}")
            else:
                interval = f"[{score['low']:.2f}, {score['high']:.2f}]"
                lines.append(f"  {variant}: {score['mean']:.2f} {interval}, n {score['n']}")
        alpha = question["alpha"]
        agreed = "not known" if alpha is None else f"{alpha:.2f}"
        lines.append(f"  agreement (Krippendorff's alpha): {agreed}")
    return lines
