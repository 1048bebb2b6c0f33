"""`likeness ablate`: is a method's paper right about its parts? Every variant trained equally long."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likeness.cli.output import AsJson, show

if TYPE_CHECKING:
    from likeness.evaluation.result import Ordering

__all__ = ["app"]

app = typer.Typer()
WORK = Path.home() / ".cache" / "likeness" / "pack-mini"


@app.command()
def ablate(
    method: Annotated[str, typer.Argument(help="The method, such as consistentid.")],
    preset: Annotated[str, typer.Option("--size", "--preset", help="Which pack: nano, or mini.")] = "nano",
    pack: Annotated[
        Path | None, typer.Option(help="Folder of the pack; by default where `likeness pack build` puts it.")
    ] = None,
    work: Annotated[Path, typer.Option(help="Folder for pictures, runs and weights; gigabytes.")] = WORK,
    seeds: Annotated[int, typer.Option(min=1, help="How often each variant is trained.")] = 3,
    steps: Annotated[int | None, typer.Option(min=1, help="Of each variant's training.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Instead: as many steps as fit into that time, the same for all.")
    ] = None,
    cases: Annotated[int, typer.Option(min=1, help="Pictures of each variant that are measured.")] = 40,
    people: Annotated[int, typer.Option(min=1, help="How many training people are drawn.")] = 1000,
    views: Annotated[int, typer.Option(min=2, help="Pictures of each.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Of the people that are measured.")] = 0,
    result: Annotated[Path | None, typer.Option(help="Write the table to this JSON file too.")] = None,
    curve: Annotated[Path | None, typer.Option(help="Write the paper's curve to this SVG file too.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Train a method's variants from the same start, measure them on held-out sitters, say what holds.

    Needs a pack with its base: `likeness pack build nano`. What is finished is kept in --work, and the same
    command goes on where it stopped.
    """
    import shutil

    import torch

    from likeness.ablation import Asked, ablate
    from likeness.catalog import ablation_plan
    from likeness.errors import InputError, MissingWeightsError
    from likeness.evaluation.result import write_result
    from likeness.packs import mini_path
    from likeness.packs.presets import PRESETS
    from likeness.packs.workshop import Workshop

    plan = ablation_plan(method)
    if preset not in PRESETS:
        raise InputError(f"There is no pack size '{preset}'; there are {' and '.join(PRESETS)}.")
    asked = Asked(steps, minutes, seeds, cases, seed)
    where = pack or (mini_path() if preset == "mini" else work / "packs" / preset)
    if not (where / "pack.json").is_file():
        raise MissingWeightsError(
            f"There is no {preset} pack in {where}: make its base first, `likeness pack build {preset}`."
        )
    torch.set_num_threads(threads)
    shop = Workshop(work=work, pack=where, preset=PRESETS[preset], device=device, people=people, views=views)
    say = (lambda _: None) if as_json else (lambda text: typer.echo(text, err=True))
    found, folder = ablate(method, plan, shop, asked, on_progress=say)
    write_result(found, folder / "result.json")
    if result:
        write_result(found, result)
    if curve and (folder / "curve.svg").is_file():
        curve.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "curve.svg", curve)
    document = {**found.model_dump(mode="json"), "out": str(folder)}
    show(document, as_json, *map(_told, found.orderings), f"table, sheet and weights: {folder}")


def _told(one: Ordering) -> str:
    if one.difference is None:
        return f"not measured: {one.claim}"
    verdict = "holds" if one.holds else "does not hold"
    return f"{verdict}: {one.claim} ({one.difference:+.3f}, {one.low:+.3f} to {one.high:+.3f}, n {one.n})"
