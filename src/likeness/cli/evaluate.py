"""`likeness evaluate`: how well a method keeps the person and follows the words, by its paper's protocol."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likeness.cli.encoders import Encoders
from likeness.cli.output import AsJson, show, step_progress
from likeness.cli.server import Vlm, VlmModel, vision_language

if TYPE_CHECKING:
    from likeness.evaluation.protocol import Protocol
    from likeness.evaluation.result import MetricValue
    from likeness.evaluation.tasks import Task

__all__ = ["app"]

app = typer.Typer()


@app.command()
def evaluate(
    method: Annotated[str, typer.Argument(help="The portrait method, such as consistentid.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for pictures, table and report; taken up again when there."),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="paper: all of its people and prompts; quick: a few of them.")
    ] = "quick",
    cases: Annotated[int | None, typer.Option(min=1, help="At most this many pictures.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the people, the noise and the intervals.")] = 0,
    base: Annotated[str, typer.Option(help="As in `likeness generate`.")] = "mini",
    adapter: Annotated[Path | None, typer.Option(help="As in `likeness generate`.")] = None,
    device: Annotated[str | None, typer.Option(help="As in `likeness generate`.")] = None,
    people: Annotated[
        Path | None,
        typer.Option(help="A folder with a folder of pictures for each person; default: held-out sitters."),
    ] = None,
    clip: Annotated[
        str | None, typer.Option(help="CLIP for CLIP-T, CLIP-I, FID, KID: pack, folder or hub name.")
    ] = None,
    dino: Annotated[
        str | None, typer.Option(help="DINO for DINO-I and FGIS: pack, folder or hub name.")
    ] = None,
    judge: Annotated[
        list[Path] | None,
        typer.Option(help="A face recogniser (folder or .onnx) that the method is not given; repeatable."),
    ] = None,
    encoder: Encoders = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="NAME=SOURCE[,LICENCE], a model that a metric needs: hpsv2, mps, q-align, sam or lpips.",
        ),
    ] = None,
    vlm: Vlm = None,
    vlm_model: VlmModel = None,
    result: Annotated[Path | None, typer.Option(help="Write the table to this JSON file too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a method by its paper's protocol, with intervals, cases and a report."""
    from likeness.catalog import card, load_pipeline
    from likeness.errors import InputError
    from likeness.evaluation.judge import open_judge
    from likeness.evaluation.protocol import load_protocol
    from likeness.evaluation.report import report_html, report_markdown
    from likeness.evaluation.result import write_result
    from likeness.evaluation.run import measure, paint_cases, parameters_of, write_cases
    from likeness.evaluation.suite import Given, suite
    from likeness.files.images import write_bytes
    from likeness.packs.mini import pack_folder
    from likeness.portraits import folder_for
    from likeness.references import KnowsFaces, open_detector

    card(method)
    given = dict(Given.parsed(text) for text in model or ())
    pack = pack_folder(base)
    is_pack = (pack / "pack.json").is_file()
    chosen = load_protocol(method, protocol, sitters=is_pack)  # type: ignore[arg-type]
    if people and chosen.kind == "customise":
        raise InputError(f"{method} paints from words alone: its protocol takes no --people.")
    if people and chosen.kind == "collect":  # of sitters it draws the pictures that are asked for
        chosen = load_protocol(method, protocol, sitters=False)  # type: ignore[arg-type]
    folder = folder_for(out or Path("out") / "evaluations" / f"{method}-{protocol}-{pack.name}-{seed}")
    tasks = _tasks(chosen, people, base, seed, cases, folder)
    detector = open_detector(base, references_are_sitters=people is None)
    own = str(pack) if is_pack else None
    has_vit = is_pack and (pack / "vit").is_dir()
    pipeline = load_pipeline(method, base, adapter=adapter, device=device, sitters=people is None)
    judging = open_judge(base, detector, judge or (), further=encoder or (), sitters=people is None)
    without = pipeline.face_encoder.name if isinstance(pipeline, KnowsFaces) else None
    if (judge or encoder) and not judging.independent(without):
        raise InputError(f"{without} gives {method} its identity and may not judge it; give another --judge.")
    measures = suite(
        judging,
        detector,
        tasks,
        without=without,
        clip=clip or own,
        dino=dino or (own if has_vit else None),
        vision_language=vision_language(vlm, vlm_model, folder / "asked"),
        pack=pack if is_pack else None,
        given=given,
    )
    with step_progress("painting", as_json) as on_progress:
        painted = paint_cases(pipeline, tasks, folder, on_progress=on_progress)
    measured = measure(painted, measures, chosen, base=base, seed=seed, parameters=parameters_of(pipeline))
    write_cases(measured, folder)
    write_result(measured.result, folder / "result.json")
    if result:
        write_result(measured.result, result)
    markdown = report_markdown(measured, measures, chosen)
    write_bytes(folder / "report.md", markdown.encode())
    write_bytes(folder / "report.html", report_html(measured, measures, chosen, folder).encode())
    show(
        {**measured.result.model_dump(mode="json"), "out": str(folder)},
        as_json,
        _numbers(measured.result.metrics),
        f"report: {(folder / 'report.html').resolve()}",
    )


def _tasks(
    protocol: Protocol, people: Path | None, base: str, seed: int, cases: int | None, folder: Path
) -> list[Task]:
    """What is painted: of the user's people, or of held-out sitters at the size that the base paints."""
    from likeness.evaluation import people as who
    from likeness.evaluation.tasks import tasks_of
    from likeness.packs import open_base
    from likeness.packs.mini import pack_folder

    is_pack = (pack_folder(base) / "pack.json").is_file()
    size_px = 128 if is_pack else 512
    if protocol.kind == "customise":
        return tasks_of(protocol, who.told_only(protocol.people, seed, of_sitters=is_pack), seed, cases)
    persons = who.people_in(people) if people else who.sitters(protocol.people, seed, size_px)
    if protocol.kind != "restyle":
        return tasks_of(protocol, persons, seed, cases)
    styles = (
        who.sitter_styles(protocol.each, seed, size_px)
        if is_pack
        else who.painted_styles(
            open_base(base), protocol.prompts, [one.word for one in persons], seed, folder / "styles"
        )
    )
    return tasks_of(protocol, persons, seed, cases, styles=styles)


def _numbers(metrics: Mapping[str, MetricValue]) -> str:
    lines = []
    for name, value in metrics.items():
        if value.mean is None:
            lines.append(f"{name:24} not measured")
        else:
            interval = "" if value.low is None else f"[{value.low:.3f}, {value.high:.3f}]"
            lines.append(f"{name:24} {value.mean:8.3f} {interval:18} n {value.n:<4} {value.unit}")
    return "\n".join(lines)
