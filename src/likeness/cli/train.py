"""`likeness train`: a method on one's own data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from likeness.cli.output import AsJson, show, step_progress
from likeness.errors import InputError

__all__ = ["app"]

app = typer.Typer()

HELD_OUT = 5
"""People that validation is about, where there are three times as many at least."""


@app.command()
def train(
    context: typer.Context,
    method: Annotated[str, typer.Argument(help="The method, such as consistentid.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder.")],
    data: Annotated[
        Path | None, typer.Option(help="A data set, as `likeness dataset build` makes one.")
    ] = None,
    own: Annotated[
        Path | None,
        typer.Option(
            "--own", "--person", help="Instead: a folder of photos of one person, to know them better."
        ),
    ] = None,
    base: Annotated[
        str, typer.Option("--base", "--preset", help="mini, sd15, sdxl, or a base of their families.")
    ] = "mini",
    adapter: Annotated[Path | None, typer.Option(help="The weights to begin with; the base's own.")] = None,
    from_nothing: Annotated[bool, typer.Option(help="Begin with untrained weights.")] = False,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Length of the training, or of each stage, exactly.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="The same in minutes; with --steps, of this call.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Pictures at once; the method's own.")] = None,
    accumulate: Annotated[int, typer.Option(min=1, help="Batches to one step.")] = 1,
    learning_rate: Annotated[float | None, typer.Option(help="The method's own by default.")] = None,
    size: Annotated[
        int | None, typer.Option(min=64, help="Side of the pictures, px; the base's own.")
    ] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option(help="Of a method that trains in stages, only this one; repeatable. All by default."),
    ] = None,
    ablation: Annotated[
        str | None,
        typer.Option(
            help="Of spf-portrait and scheese: one of the paper's variants, such as no-map, or sft."
        ),
    ] = None,
    ip_adapter: Annotated[
        Path | None,
        typer.Option(help="Of scheese: begin with a published IP-Adapter-plus (.safetensors), else anew."),
    ] = None,
    inpainting: Annotated[
        Path | None,
        typer.Option(help="Of scheese: begin anew, ConsistencyNet as an inpainting model's UNet (a folder)."),
    ] = None,
    clip: Annotated[
        str | None, typer.Option(help="Of spf-portrait: a folder of a CLIPModel; packs have their own.")
    ] = None,
    checkpoint_gradients: Annotated[bool, typer.Option(help="Less memory, a third more time.")] = False,
    checkpoint_minutes: Annotated[
        float, typer.Option(min=0.01, help="Between checkpoints, each with a validation.")
    ] = 5.0,
    hold_out: Annotated[
        int, typer.Option(min=0, help="People kept from training, for validation.")
    ] = HELD_OUT,
    judge: Annotated[
        list[Path] | None,
        typer.Option(help="A face recogniser (folder or .onnx) that scores validation; packs bring theirs."),
    ] = None,
    sitters: Annotated[bool, typer.Option(help="The pictures are synthetic sitters.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of new weights, batches and noise.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: cuda where there is one.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the run's newest checkpoint.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Take two steps, say what they cost, keep nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a method further, or from nothing. Ctrl-C writes a checkpoint; --resume goes on from it.

    Under torchrun or accelerate launch several processes train together. The run folder holds settings,
    losses, curves, validation pictures, checkpoints, and the weights that scored best: OUT/adapter, for
    `generate --adapter`.
    """
    import shutil
    from functools import partial

    import torch

    from likeness import finetune
    from likeness.catalog import card, load_training, training_choices, training_stages
    from likeness.data.kinds import open_dataset
    from likeness.errors import Cancelled
    from likeness.evaluation.judge import open_judge
    from likeness.references import open_detector
    from likeness.training import Budget, TrainingOptions, join_world

    card(method)
    known = training_stages(method)
    stages = _stages(stage or known, known, method)
    more_given = {"ablation": ablation, "clip": clip, "ip_adapter": ip_adapter, "inpainting": inpainting}
    for name in [name for name, value in more_given.items() if value]:
        if name not in training_choices(method):
            raise InputError(f"{method} has no --{name.replace('_', '-')}.")
    choices = {name: more_given[name] for name in training_choices(method)}
    if (data is None) == (own is None):
        raise InputError("Give either --data, a data set, or --own, a folder of photos of one person.")
    if steps is None and minutes is None and not dry_run:
        raise InputError("Say how long to train: --steps, or --minutes.")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    world = join_world(device)
    made = out.with_name(f".{out.name}.dry-run") if dry_run else out / "data"  # of one's own photos
    if own and world.writes:
        if dry_run:
            context.call_on_close(partial(shutil.rmtree, made, ignore_errors=True))
        _of_own(method, base, own, made, adapter, sitters, as_json)
    world.wait()
    dataset = open_dataset(made if own else data)  # type: ignore[arg-type]
    learned, held = finetune.split_people(dataset, hold_out, seed)
    aside = len(dataset.rows) - len({*learned, *held})
    if aside and world.writes and not as_json:
        typer.echo(f"left aside, by their people's split: {aside} of {len(dataset.rows)} rows", err=True)

    def open_training(one: str, begun_with: Path | None) -> finetune.Training:
        training: finetune.Training = load_training(
            method,
            dataset,
            learned,
            base,
            TrainingOptions(
                adapter=begun_with,
                from_nothing=from_nothing,
                batch_size=batch_size,
                learning_rate=learning_rate,
                size_px=size,
                checkpoint_gradients=checkpoint_gradients,
                sitters=sitters,
                device=device,
                seed=seed,
            ),
            **({"stage": one} if stages else {}),
            **choices,
        )
        return training

    def open_stage(one: str, begun_with: Path | None) -> tuple[finetune.Training, finetune.Looks]:
        training = open_training(one, begun_with)
        if isinstance(training, finetune.ShowsItself):
            return training, training.validation(held)
        judging = open_judge(base, open_detector(base, sitters), judge or (), sitters=sitters)
        return training, finetune.validation_of(dataset, held, judging)  # type: ignore[arg-type]

    if dry_run:
        training = open_training(stages[-1] if stages else "", adapter)
        cost = finetune.dry_run(training, seed=seed, device=device, accumulate=accumulate)
        if world.writes:
            warnings = finetune.warnings_of(training)
            told = {**cost, "pictures": len(learned), "warnings": warnings}
            show(told, as_json, *_cost(cost, steps, len(learned)), *warnings)
        return
    settings = {
        "method": method, "data": str(own or data), "base": base, "adapter": adapter, "steps": steps,
        "minutes": minutes, "batch_size": batch_size, "accumulate": accumulate, "size": size, "seed": seed,
        "sitters": sitters, "checkpoint_gradients": checkpoint_gradients,
        "learning_rate": learning_rate, "from_nothing": from_nothing, "pictures": len(learned),
        "held_out": len(held) if held != learned else 0, "processes": world.size,
        **choices,
    }  # fmt: skip
    budget = Budget(steps=steps, minutes=minutes)
    more: dict[str, Any] = {
        "settings": settings, "seed": seed, "device": device, "accumulate": accumulate, "resume": resume,
        "checkpoint_minutes": checkpoint_minutes, "on_log": None if as_json else _print_row,
    }  # fmt: skip
    if stages:
        if len(stages) > 1:
            open_training(stages[-1], adapter)  # what it lacks is told before the first takes its time
        found = finetune.finetune_stages(stages, open_stage, out, budget, adapter=adapter, **more)
    else:
        training, validation = open_stage("", adapter)
        for warning in finetune.warnings_of(training) if world.writes else ():
            typer.echo(warning, err=True)
        found = finetune.finetune(training, out, budget, validation, **more)
    if found["stopped_by"] == "signal":
        raise Cancelled(f"Stopped at step {found['steps']}; go on with --resume.")
    if not world.writes:
        return
    score = (
        "" if found["score"] is None else f", best score {found['score']:.2f} at step {found['best_step']}"
    )
    show(
        found,
        as_json,
        f"{found['steps']} steps in {found['seconds']:.0f} s{score}",
        f"weights: {out / 'adapter'}",
    )


def _stages(given: Sequence[str], known: Sequence[str], method: str) -> list[str]:
    """In the method's own order."""
    for wrong in [one for one in given if one not in known]:
        told = f"its stages are {' and '.join(known)}" if known else "it is trained in one go"
        raise InputError(f"{method} has no stage {wrong!r}; {told}.")
    return [one for one in known if one in given]


def _of_own(
    method: str, base: str, photos: Path, folder: Path, adapter: Path | None, sitters: bool, as_json: bool
) -> None:
    """Build a data set of one person's photos, known by the method's own face encoder, parsed by a pack's."""
    from likeness.catalog import load_pipeline
    from likeness.data.build import build, sidecar
    from likeness.faces.parsing import load_parser
    from likeness.packs.mini import pack_folder
    from likeness.references import KnowsFaces

    if not photos.is_dir():
        raise InputError(f"{photos} is no folder; give one with photos of one person.")
    pipeline = load_pipeline(method, base, adapter=adapter, sitters=sitters)
    if not isinstance(pipeline, KnowsFaces):
        raise InputError(f"{method} knows nobody by their face; give it a data set with --data.")
    parser = pack_folder(base) / "parser"
    with step_progress("looking", as_json) as on_picture:
        build(
            photos,
            folder,
            detector=pipeline.detector,
            encoder=pipeline.face_encoder,
            encoder_sha256="not known",
            captions=sidecar(),
            parser=(parser.name, load_parser(parser)) if parser.is_dir() else None,
            person=photos.resolve().name,
            on_picture=on_picture,
        )


def _cost(cost: dict[str, Any], steps: int | None, pictures: int) -> list[str]:
    held = ", ".join(f"{mib} MiB ({name})" for name, mib in cost["peak_memory_mib"].items() if mib)
    lines = [
        f"{cost['parameters_trained'] / 1e6:.1f}M parameters are trained on {pictures} pictures",
        f"{cost['seconds_a_step']:.2f} s a step, at most {held}",
    ]
    if steps:
        lines.append(
            f"{steps} steps take {steps * cost['seconds_a_step'] / 60:.0f} minutes, without validation"
        )
    return lines


def _print_row(row: dict[str, Any]) -> None:
    typer.echo(", ".join(f"{key.split('/')[-1]} {value:.4g}" for key, value in row.items()), err=True)
