"""`likeness pollution`: what else did a fine-tune change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from likeness.cli.output import AsJson, show, step_progress
from likeness.errors import InputError

__all__ = ["app"]

app = typer.Typer()


@app.command()
def pollution(
    base: Annotated[str, typer.Argument(help="The base: mini, sd15, a folder, a file or a name on the hub.")],
    tuned: Annotated[
        str,
        typer.Argument(
            help="A LoRA or a delta, FILE or FILE@SCALE; a training's run folder; or a fine-tuned base."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for pictures, numbers and the page.")],
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", "-p", help="What the fine-tune is not about; repeatable. Some come along."),
    ] = None,
    prompts: Annotated[
        int, typer.Option(min=2, help="Without --prompt: how many of those that come along.")
    ] = 12,
    count: Annotated[int, typer.Option(min=1, help="Pictures of each prompt.")] = 1,
    target: Annotated[
        list[str] | None,
        typer.Option(help="Words it was taught, to measure the response; deltas know their own. Repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of pictures, prompts and intervals.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(min=1, help="Guidance scale.")] = None,
    judge: Annotated[
        Path | None, typer.Option(help="A face recogniser (folder or .onnx); packs bring theirs.")
    ] = None,
    parser: Annotated[
        Path | None, typer.Option(help="A face parser (docs/data.md); packs bring theirs.")
    ] = None,
    clip: Annotated[Path | None, typer.Option(help="Folder of a CLIPModel; packs bring theirs.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: cuda where there is one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Paint prompts that a fine-tune is not about, before and after it, and say what else it changed.

    Identity, layout, background, the whole picture and each attribute, each with a 95 % interval beside what
    another seed would change. Identical weights give exactly 0.
    """
    from likeness.evaluation.judge import Judge, open_judge
    from likeness.evaluation.pollution import open_axes
    from likeness.packs.mini import pack_folder
    from likeness.pollution import PAGE, Settings, off_target, open_tuned
    from likeness.pollution import pollution as measure
    from likeness.references import open_detector

    found = open_tuned(tuned)
    pack = pack_folder(base)
    if str(base) == "mini" and not (pack / "pack.json").is_file():
        raise InputError(
            "The mini pack is not in this source tree: build it with `likeness pack build mini`, "
            "and give it as --base."
        )
    known = (pack / "landmarks").is_dir()
    looks = Judge(reason="no face recogniser was given: --judge")
    if judge or (pack / "judge_recogniser").is_dir():
        looks = open_judge(base, open_detector(base, known), [judge] if judge else (), sitters=known)
    axes = open_axes(pack, looks, parser=parser, clip=clip)
    family = "mini" if (pack / "pack.json").is_file() else "sd15"
    chosen = prompt or off_target(family, prompts, seed, [*found.targets, *(target or ())])
    if not prompt and len(chosen) < prompts:
        typer.echo(f"Only {len(chosen)} prompts are at hand; give others with --prompt.", err=True)
    settings = Settings(count, seed, steps, guidance, device)
    with step_progress("painting", as_json) as on_progress:
        document = measure(
            base, found, chosen, out, axes, settings=settings, targets=target, on_progress=on_progress
        )
    show({**document, "out": str(out)}, as_json, *_text(document), f"look at {(out / PAGE).resolve()}")


def _text(document: dict[str, Any]) -> list[str]:
    same, of = document["unchanged_pictures"], document["pictures"]
    lines = [f"{same} of {of} pictures are the same to the pixel"]
    for axis, found in document["axes"].items():
        lines.append(f"{axis}: {_value(found)}; another seed {_value(found['another_seed'])}")
    if "response" in document:
        lines.append(f"response: {_value(document['response'])} (CLIP-T, more is better)")
    lines += [f"{axis}: not measured, {why}" for axis, why in document["not_measured"].items()]
    return lines + [f"warning: {warning}" for warning in document["warnings"]]


def _value(found: dict[str, Any]) -> str:
    if found["mean"] is None:
        return "nothing to measure"
    return f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
