"""`likeness dataset build KIND`: the data sets that methods train on, each built by the same engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from likeness.cli.output import AsJson, show, step_progress
from likeness.cli.server import Vlm, VlmModel, vision_language
from likeness.errors import InputError

if TYPE_CHECKING:
    from likeness.data.engine import Built

__all__ = ["Engine", "Workers", "app", "everywhere", "show_built"]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Build a data set of one kind, or go on with it.",
)

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set.")]
Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(help="local: this machine; ray: the cluster of $RAY_ADDRESS, or one here."),
]
Workers = Annotated[int, typer.Option(min=1, help="Processes, or actors of Ray at most.")]
Chunk = Annotated[int, typer.Option(min=1, help="Items a shard: what a worker does at a time.")]


Source = Annotated[Path, typer.Argument(help="Folder of pictures; a sub-folder for each person.")]
Sitters = Annotated[bool, typer.Option(help="The pictures are synthetic sitters.")]
Encoder = Annotated[
    Path | None,
    typer.Option(help="Face recogniser (folder or .onnx) of the embeddings; sitters have the pack's."),
]
Parser = Annotated[
    Path | None, typer.Option(help="A face parser, for masks of the parts: a folder, or BiSeNet's weights.")
]
Word = Annotated[str, typer.Option(help="What a person without a caption is called.")]
Licence = Annotated[str, typer.Option(help="Of the pictures; kept in the data set.")]
Pack = Annotated[bool, typer.Option(help="Copy the pictures into shards.")]

Filter = Annotated[Path, typer.Option(help="Face recogniser (folder or .onnx) that filters.")]
Base = Annotated[str, typer.Option(help="A text-to-image base: mini, a folder, or a name on the hub.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda.")]
Similarity = Annotated[float, typer.Option(help="Cosine of two faces that are one person's, at least.")]
Steps = Annotated[int, typer.Option(help="Of each picture.")]
Seed = Annotated[int, typer.Option(help="Of the first pictures.")]
PaintedLicence = Annotated[str, typer.Option(help="Of the pictures painted.")]
PaintsSitters = Annotated[bool, typer.Option(help="The base paints sitters.")]


def _of_people(several: bool) -> Callable[..., None]:
    """The command of a kind whose pictures show people; several: each is wanted more than once."""

    def people(
        source: Source,
        out: Out,
        sitters: Sitters = False,
        encoder: Encoder = None,
        parser: Parser = None,
        word: Word = "person",
        licence: Licence = "not declared",
        pack: Pack = False,
        vlm: Vlm = None,
        vlm_model: VlmModel = None,
        engine: Engine = "local",
        workers: Workers = 1,
        chunk: Chunk = 100,
        as_json: AsJson = False,
    ) -> None:
        from likeness.data.asked import asked
        from likeness.data.build import PeopleBuilder, build_people, open_face_models, sidecar
        from likeness.files.weights import sha256_of
        from likeness.packs import mini_path

        if not source.is_dir():
            raise InputError(f"{source} is no folder; give the one that holds the pictures.")
        if encoder is None and not sitters:
            raise InputError(
                "Photos need --encoder, a face recogniser (folder or .onnx); sitters have their own."
            )
        encoder, parser = (encoder or mini_path() / "recogniser").absolute(), parser and parser.absolute()
        weights = encoder if encoder.is_file() else next(iter(sorted(encoder.glob("*.safetensors"))), encoder)
        server = vision_language(vlm, vlm_model, out.absolute() / "asked")
        builder = PeopleBuilder(
            source.absolute(),
            out.absolute(),
            partial(open_face_models, encoder, mini_path() / "landmarks", parser, sitters),
            sha256_of(weights),
            asked(server, out) if server else sidecar(word, source),
            licence,
            pack=pack,
        )
        with step_progress("looking", as_json) as on_items:
            made = build_people(builder, on_items=on_items, engine=engine, workers=workers, chunk=chunk)
        about = made.about
        once = [person for person, rows in made.people().items() if len(rows) < 2 and several]
        if several and len(once) == about.people:
            raise InputError(
                f"{source} has one picture of each person: views need several, in a folder for each person."
            )
        lines = [f"{out}: {about.pictures} pictures of {about.people} people"]
        lines += [f"one view only, nothing is learned of them: {person}" for person in once]
        lines += [f"left out: {name}: {why}" for name, why in about.left_out.items()]
        show({**about.model_dump(mode="json"), "out": str(out)}, as_json, *lines)

    return people


FGID = """Faces, their parts, who it is, and captions: find the face on every picture and know it.

A text file of a picture's name beside it is its caption, or `text` in the folder's metadata.jsonl.
Pictures stay where they are; what cannot be used is left out and listed. Run again, only what is new is
looked at.
"""
VIEWS = """The same as fgid, of people seen from several sides.

Who is there only once is named, for there is nothing to learn from one view.
"""
app.command("fgid", help=FGID)(_of_people(several=False))
app.command("views", help=VIEWS)(_of_people(several=True))


@app.command()
def cheese(
    source: Annotated[
        Path,
        typer.Argument(help="Folder of pictures; a sub-folder for each collection, or a metadata.jsonl."),
    ],
    out: Out,
    vlm: Vlm = None,
    model: Annotated[str | None, typer.Option("--model", "--vlm-model", help="The server's model.")] = None,
    words: Annotated[
        str | None, typer.Option(help="'truth': the ground truth of sitters in the place of a model.")
    ] = None,
    misread: Annotated[
        float, typer.Option(min=0, max=1, help="With truth: share of instructions to another picture.")
    ] = 0.0,
    slips: Annotated[
        float, typer.Option(min=0, max=1, help="With truth: share of changes told wrongly.")
    ] = 0.0,
    clip: Annotated[
        Path | None, typer.Option(help="CLIP (a pack, or transformers' folder or name) that verifies.")
    ] = None,
    tau: Annotated[
        float | None,
        typer.Option(help="Similarity that is enough. [default: the paper's 0.45, or the pack's]"),
    ] = None,
    retries: Annotated[int, typer.Option(help="M: how often an instruction is given back.")] = 5,
    verify: Annotated[bool, typer.Option(help="Invert each instruction to verify it.")] = True,
    side: Annotated[
        int,
        typer.Option(
            min=0, help="Longer side of the pictures the server is sent, px (JPEG). 0: whole, as PNG."
        ),
    ] = 1024,
    concurrency: Annotated[int, typer.Option(min=1, help="Pairs a worker asks about at once.")] = 4,
    licence: Annotated[str, typer.Option(help="Of the pictures; kept in the data set.")] = "not declared",
    engine: Engine = "local",
    workers: Workers = 1,
    chunk: Chunk = 50,
    as_json: AsJson = False,
) -> None:
    """Triplets (reference, instruction, target) from collections of one person's pictures, verified.

    Every exchange is kept in OUT/asked and asked once; statistics.html shows what came of it. Run again after
    a stop, it goes on.
    """
    from likeness.data import engine as engines
    from likeness.data.cheese.annotate import AskedAnnotator
    from likeness.data.cheese.build import PACK_TAU, TAU, CheeseBuilder
    from likeness.data.cheese.page import ASKED
    from likeness.data.cheese.truth import TruthAnnotator
    from likeness.evaluation.embedders import load_clip
    from likeness.packs import mini_path

    if not source.is_dir():
        raise InputError(f"{source} is no folder; give the one that holds the collections.")
    if words not in (None, "truth"):
        raise InputError(f"There are no words {words!r}; give --words truth, or --vlm and --model.")
    server = vision_language(vlm, model, out.absolute() / ASKED)
    if (server is None) == (words is None):
        raise InputError("Give either --vlm and --model, or --words truth for sitters.")
    if server is not None:
        server.concurrency, server.side_px = concurrency, side or None
    annotator = TruthAnnotator(misread, slips) if server is None else AskedAnnotator(server)
    eyes = clip or mini_path()
    builder = CheeseBuilder(
        source.absolute(),
        out.absolute(),
        annotator,
        partial(load_clip, Path(everywhere(str(eyes)))),
        eyes.name,
        tau=tau if tau is not None else (TAU if clip else PACK_TAU),
        retries=retries,
        verify=verify,
        licence=licence,
        threads=1 if server is None else concurrency,
    )
    with step_progress("annotating", as_json) as on_items:
        built = engines.build(builder, out, engine=engine, workers=workers, chunk=chunk, on_items=on_items)
    show_built(built, "triplets", as_json)


@app.command()
def edits(
    people: Annotated[
        Path, typer.Argument(help="Text file: a person a line, 'a woman of 40 with grey hair'.")
    ],
    instructions: Annotated[
        Path, typer.Argument(help="Text file: 'instruction | target' a line, {person} in the target.")
    ],
    out: Out,
    count: Annotated[int, typer.Option(help="Pairs to paint; more later go on.")],
    ip_adapter: Annotated[Path, typer.Option(help="IP-Adapter of the base (.safetensors).")],
    image_encoder: Annotated[Path, typer.Option(help="Its CLIP vision tower (folder).")],
    controlnet: Annotated[str, typer.Option(help="ControlNet of the base, canny (folder or hub name).")],
    encoder: Filter,
    base: Base = "sd15",
    device: Device = None,
    similarity: Similarity = 0.3,
    steps: Steps = 30,
    seed: Seed = 0,
    licence: PaintedLicence = "not declared",
    sitters: PaintsSitters = False,
    engine: Engine = "local",
    workers: Workers = 1,
    chunk: Chunk = 50,
    as_json: AsJson = False,
) -> None:
    """Edit pairs painted by a text-to-image base, the target first, then the input under its control.

    People times edits, each once before any comes again with another seed; pairs of two faces are dropped.
    """
    from likeness.data import engine as engines
    from likeness.data.target_first import TargetFirstBuilder, read_edits, read_lines
    from likeness.packs.painters import open_pair_painter

    builder = TargetFirstBuilder(
        read_lines(people),
        read_edits(instructions),
        count,
        partial(
            open_pair_painter,
            everywhere(base),
            ip_adapter.absolute(),
            image_encoder.absolute(),
            everywhere(controlnet),
            encoder.absolute(),
            device,
            sitters,
        ),
        f"{base}, {ip_adapter.name}, {Path(controlnet).name}, {encoder.name}",
        licence,
        seed,
        similarity,
        steps=steps,
    )
    with step_progress("painting", as_json) as on_items:
        built = engines.build(builder, out, engine=engine, workers=workers, chunk=chunk, on_items=on_items)
    show_built(built, "pairs", as_json)


@app.command("painted-views")
def painted_views(
    names: Annotated[Path, typer.Argument(help="Text file: a person a line, a name or 'a woman of 40'.")],
    out: Out,
    count: Annotated[int, typer.Option(help="People to paint; more later go on.")],
    novel_view: Annotated[str, typer.Option(help="Your novel-view model: FILE.py:FUNCTION.")],
    encoder: Filter,
    views: Annotated[int, typer.Option(help="Of each person, besides the painted one.")] = 5,
    prompt: Annotated[
        str, typer.Option(help="What is painted, {person} in it.")
    ] = "a portrait photo of {person}, looking at the camera",
    yaw: Annotated[float, typer.Option(help="Degrees to either side at most.")] = 35.0,
    pitch: Annotated[float, typer.Option(help="Degrees up and down at most.")] = 12.0,
    base: Base = "sdxl",
    device: Device = None,
    similarity: Similarity = 0.3,
    steps: Steps = 30,
    seed: Seed = 0,
    licence: PaintedLicence = "not declared",
    sitters: PaintsSitters = False,
    engine: Engine = "local",
    workers: Workers = 1,
    chunk: Chunk = 50,
    as_json: AsJson = False,
) -> None:
    """People painted by a text-to-image base and turned by a novel-view model of your own (it runs as code).

    The function is called once a person with a picture and cameras (`yaw_deg`, `pitch_deg`), and returns a
    picture for each. The folder that comes of it goes into `likeness dataset build views`.
    """
    from likeness.data import engine as engines
    from likeness.data.painted_views import PaintedViewsBuilder, load_novel_view
    from likeness.data.target_first import read_lines
    from likeness.packs.painters import open_view_painter

    load_novel_view(novel_view)  # what is wrong with it is said before anything is painted
    file, _, function = novel_view.rpartition(":")
    view = f"{Path(file).absolute()}:{function}"
    builder = PaintedViewsBuilder(
        out.absolute(),
        read_lines(names),
        count,
        partial(open_view_painter, everywhere(base), view, encoder.absolute(), device, sitters),
        f"{base}, {novel_view}, {encoder.name}",
        prompt,
        views,
        yaw,
        pitch,
        licence,
        seed,
        similarity,
        steps,
    )
    with step_progress("painting", as_json) as on_items:
        built = engines.build(builder, out, engine=engine, workers=workers, chunk=chunk, on_items=on_items)
    show_built(built, "pictures", as_json)


def everywhere(name: str) -> str:
    """A base's name, or its folder's as other machines find it, whose processes begin in another folder."""
    return (
        str(Path(name).absolute()) if name not in ("mini", "sd15", "sdxl") and Path(name).exists() else name
    )


def show_built(built: Built, what: str, as_json: bool) -> None:
    """How many rows there are, and what was rejected for what, with the first message of each reason.

    Raises: InputError where every item was rejected.
    """
    reasons = built.reasons()
    first = {row["reason"]: row["message"] for row in reversed(built.rejects)}
    if reasons and not built.rows:
        reason = next(iter(reasons))
        raise InputError(
            f"{built.folder} has no {what}: all {len(built.rejects)} items were rejected, most for "
            f"{reason!r}: {first[reason]}"
        )
    lines = [f"{built.folder}: {len(built.rows)} {what}"]
    lines += [f"rejected: {reason}: {count}, the first: {first[reason]}" for reason, count in reasons.items()]
    show({"out": str(built.folder), what: len(built.rows), "rejected": reasons}, as_json, *lines)
