"""`likeness compare`: one set of references and prompts through several methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from likeness.cli.output import AsJson, show, step_progress

__all__ = ["app"]

app = typer.Typer()


@app.command()
def compare(
    variant: Annotated[
        list[str],
        typer.Argument(
            help="METHOD, METHOD@BASE or METHOD@BASE+ADAPTER, such as consistentid@sd15; at least two."
        ),
    ],
    reference: Annotated[list[Path], typer.Option("--reference", "-r", help="As in `likeness generate`.")],
    prompt: Annotated[list[str], typer.Option("--prompt", "-p", help="As in `likeness generate`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for all of it, made when missing.")],
    count: Annotated[int, typer.Option(min=1, help="Pictures of each prompt.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same for every variant.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(min=1, help="Guidance scale.")] = None,
    judge: Annotated[
        Path | None, typer.Option(help="One judge for all; scores by different judges do not compare.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or openvino.")] = None,
    as_json: AsJson = False,
) -> None:
    """Paint with several methods, bases or adapters and put the pictures side by side."""
    from likeness.compare import SHEET, variant_of
    from likeness.compare import compare as run

    settings: dict[str, Any] = {"count": count, "seed": seed, "steps": steps, "guidance": guidance}
    settings |= {"judge": judge, "device": device}
    variants = [variant_of(text) for text in variant]
    with step_progress("variants", as_json) as on_progress:
        document = run(variants, reference, prompt, out, settings=settings, on_progress=on_progress)
    show({**document, "out": str(out)}, as_json, *_text(document), f"look at {(out / SHEET).resolve()}")


def _text(document: dict[str, Any]) -> list[str]:
    lines = []
    for table in document["variants"]:
        if table["error"]:
            lines.append(f"{table['variant']}: {table['error']}")
            continue
        likeness = table["likeness"]
        score = "no score" if likeness["mean"] is None else f"same person {likeness['mean']:.0%}"
        memory = table["peak_memory_mib"]
        held = ", ".join(f"{place} {mib} MiB" for place, mib in memory.items() if mib is not None)
        lines.append(f"{table['variant']}: {score}, {table['seconds_a_picture']:.2f} s a picture, {held}")
    return lines
