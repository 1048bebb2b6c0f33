"""`likeness collect`: a collection from one portrait and instructions."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likeness.cli.licences import Commercial
from likeness.cli.output import AsJson, show, step_progress
from likeness.errors import InputError

if TYPE_CHECKING:
    from likeness.evaluation.coherence import Coherence
    from likeness.evaluation.judge import Judge
    from likeness.types import PortraitPipeline

__all__ = ["app", "may_not_judge"]

app = typer.Typer()


@app.command()
def collect(
    photo: Annotated[Path | None, typer.Argument(help="The portrait that all are made from.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the pictures, made when missing.")
    ] = None,
    edits: Annotated[
        list[str] | None,
        typer.Option(
            "--edits", "-e", help="An instruction, or a .txt file with one a line; repeat for several."
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Instead: the instructions of a usual set, headshots, walk or studio.")
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Pictures in all; by default one of each instruction.")
    ] = None,
    redo: Annotated[
        int, typer.Option(min=0, help="Paint the weakest again, up to so many times, and keep the better.")
    ] = 2,
    seed: Annotated[
        int, typer.Option(min=0, help="The first picture's seed; the same seed gives the same pixels.")
    ] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Denoising steps; by default the method's.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(min=1, help="How closely to follow the instruction; 1 is off.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT in px; by default the portrait's shape.")
    ] = None,
    identity_scale: Annotated[
        float | None, typer.Option(min=0, max=2, help="Strength of the person and the instruction together.")
    ] = None,
    detail_scale: Annotated[
        float | None, typer.Option(min=0, max=1, help="Strength of the portrait's details; less copies less.")
    ] = None,
    base: Annotated[str, typer.Option(help="As in `likeness generate`.")] = "mini",
    adapter: Annotated[
        Path | None, typer.Option(help="The method's weights, when not those of the base.")
    ] = None,
    method: Annotated[str, typer.Option(help="The collection method.")] = "scheese",
    judge: Annotated[list[Path] | None, typer.Option(help="As in `likeness generate`.")] = None,
    parser: Annotated[
        Path | None,
        typer.Option(
            help="A face parser (docs/data.md), to compare clothes and jewellery; packs bring theirs."
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: cuda where there is one.")] = None,
    dry_run: Annotated[
        bool, typer.Option(help="Only say what the method takes on this base: parameters and memory.")
    ] = False,
    commercial: Commercial = False,
    as_json: AsJson = False,
) -> None:
    """Paint a set of portraits from one, and check that they belong together.

    Person, clothes and jewellery are compared between all pairs of pictures; a picture that looks copied from
    the portrait is named.
    """
    from likeness.catalog import load_pipeline, memory_plan
    from likeness.cli.generate import size_of
    from likeness.collection import PRESETS, edits_of, make_collection
    from likeness.files.images import read_image
    from likeness.references import find_judge, is_sitter, reference_warnings

    if dry_run:
        plan = memory_plan(method, base)
        show(plan, as_json, *_plan(plan))
        return
    if photo is None or out is None:
        raise InputError("Give the portrait, and --out, a folder for the pictures.")
    if bool(edits) == bool(preset):
        raise InputError("Say what the pictures are to show: with --edits, or a --preset.")
    if preset and preset not in PRESETS:
        raise InputError(f"There is no preset {preset!r}; there are {', '.join(PRESETS)}.")
    wanted = list(PRESETS[preset]) if preset else edits_of(edits or ())
    reference, sitters = read_image(photo), is_sitter(photo)
    options = {"identity_scale": identity_scale, "detail_scale": detail_scale}
    pipeline = load_pipeline(
        method, base, adapter=adapter, device=device, sitters=sitters, commercial=commercial
    )
    scorer = find_judge(base, judge or (), sitters=sitters)
    seen = scorer.detector
    without = may_not_judge(pipeline)
    with ExitStack() as stack:
        document = make_collection(
            pipeline,
            reference,
            wanted,
            out,
            count=count,
            seed=seed,
            redo=redo,
            judge=scorer,
            coherence=_coherence(scorer, without, base, parser),
            warnings=reference_warnings([reference], base, None, seen) if seen else (),
            references_are_sitters=sitters,
            on_progress=stack.enter_context(step_progress("painting", as_json)),
            steps=steps,
            guidance=guidance,
            size_px=size_of(size),
            options={key: value for key, value in options.items() if value is not None},
        )
    show({**document, "out": str(out)}, as_json, *_text(document, out))


def may_not_judge(pipeline: PortraitPipeline) -> str | None:
    """The recogniser that a pipeline knows people by, or that taught its weights."""
    from likeness.references import KnowsFaces

    if isinstance(pipeline, KnowsFaces):
        return pipeline.face_encoder.name
    found: str | None = getattr(pipeline, "taught_by", None)
    return found


def _coherence(judge: Judge, without: str | None, base: str, parser: Path | None) -> Coherence:
    """What is compared: the person, and what the pack's parser, or the one given, sees worn."""
    from likeness.evaluation.coherence import Aspect, Coherence, SamePersons, worn_aspects
    from likeness.faces.parsing import load_parser, parse_picture
    from likeness.packs.mini import pack_folder

    aspects: list[Aspect] = [SamePersons(judge, without)] if judge.independent(without) else []
    beside = pack_folder(base) / "parser"
    folder = parser or (beside if beside.is_dir() else None)
    if folder is None:
        return Coherence(aspects, "clothes and jewellery are not compared: give a face parser as --parser")
    net = load_parser(folder)
    return Coherence([*aspects, *worn_aspects(lambda picture: parse_picture(net, picture))])


def _plan(plan: dict[str, Any]) -> list[str]:
    lines = [f"{name}: {count / 1e6:.1f}M parameters" for name, count in plan["parameters"].items()]
    lines.append(
        f"to paint, in {plan['paint_precision']} precision: {plan['paint_gb']:.2f} GB, and activations"
    )
    lines.append(f"to train, in single precision: {plan['train_gb']:.2f} GB, and activations")
    for what in ("paint", "train"):
        free = plan["memory_gb"]
        if free is not None and plan[f"{what}_gb"] > free:
            lines.append(f"does not fit here to {what}: this machine has {free:.1f} GB free")
    return lines


def _text(document: dict[str, Any], out: Path) -> list[str]:
    lines = []
    for picture in document["pictures"]:
        told = "" if picture["together"] is None else f"  {picture['together']:.0%} together"
        copied = "  looks copied from the portrait" if picture["copied"] else ""
        lines.append(f"{out / picture['file']}{told}{copied}")
    lines.append(str(out / document["contact_sheet"]))
    found = document["coherence"]
    seen = [f"{name} {value:.0%}" for name, value in found["by_aspect"].items() if value is not None]
    if seen:
        lines.append(f"between all pairs: {', '.join(seen)}")
    kept = sum(row["kept"] for row in document["redone"])
    if document["redone"]:
        lines.append(f"painted again: {len(document['redone'])}, better: {kept}")
    if document["likeness"]["reason"]:
        lines.append(f"no likeness score: {document['likeness']['reason']}")
    if found["reason"]:
        lines.append(f"note: {found['reason']}")
    return lines + [f"warning: {warning}" for warning in document["warnings"]]
