"""`likeness dataset`: from a folder of pictures to a data set that methods train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likeness.cli.output import AsJson, show, step_progress
from likeness.cli.server import Vlm, VlmModel, vision_language
from likeness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL import Image

    from likeness.data.build import Captions
    from likeness.data.build_attributes import Filters, Scorer, Words

__all__ = ["app"]

KINDS = ("fgid", "views", "attributes")

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def build(
    kind: Annotated[
        str,
        typer.Argument(
            help="fgid: faces, their parts, who it is, and captions; views: the same, of people seen from "
            "several sides; attributes: words to be taught, apart."
        ),
    ],
    source: Annotated[Path, typer.Argument(help="Folder of pictures; a sub-folder for each person.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set.")],
    sitters: Annotated[bool, typer.Option(help="The pictures are synthetic sitters.")] = False,
    encoder: Annotated[
        Path | None,
        typer.Option(help="Face recogniser (folder or .onnx) of the embeddings; sitters have the pack's."),
    ] = None,
    parser: Annotated[
        Path | None, typer.Option(help="Folder of a face parser, for masks of the parts.")
    ] = None,
    word: Annotated[str, typer.Option(help="What a person without a caption is called.")] = "person",
    licence: Annotated[str, typer.Option(help="Of the pictures; kept in the data set.")] = "not declared",
    about: Annotated[
        str, typer.Option(help="Of attributes, with --vlm: what is taught, such as 'the hairstyle'.")
    ] = "",
    clip: Annotated[
        str | None,
        typer.Option(help="Of attributes: mini, or a folder of a CLIPModel, whose best matches are kept."),
    ] = None,
    keep: Annotated[
        float, typer.Option(min=0.001, max=1, help="With --clip: the share of pictures that is kept.")
    ] = 0.3,
    prefer: Annotated[
        list[str] | None,
        typer.Option(
            help="Of attributes: NAME=FOLDER, a preference model such as HPSv2 as a CLIPModel; repeatable."
        ),
    ] = None,
    least: Annotated[
        list[str] | None,
        typer.Option(help="NAME=NUMBER: what a picture needs of it, or of a column so called; repeatable."),
    ] = None,
    vlm: Vlm = None,
    vlm_model: VlmModel = None,
    as_json: AsJson = False,
) -> None:
    """Look at every picture of a folder and write down what there is to learn from.

    fgid: the face is found and known; a text file of a picture's name beside it is its caption, or `text`
    in the folder's metadata.jsonl. views: the same, and who is there only once is named, for there is
    nothing to learn from one view. attributes: the columns `base` and `target` of metadata.jsonl, or a
    vision-language model, say what is seen and what is taught. Pictures stay where they are; what cannot be
    used is left out and listed. Run again, only what is new is looked at.
    """
    if kind not in KINDS:
        raise InputError(f"There is no kind of data set called {kind!r}; there are {', '.join(KINDS)}.")
    if not source.is_dir():
        raise InputError(f"{source} is no folder; give the one that holds the pictures.")
    if kind == "attributes":
        words = _split(vlm, vlm_model, about, source, out / "asked")
        filters = _filters(clip, keep, prefer or (), least or ())
        _build_attributes(source, out, words, filters, licence, as_json)
        return
    from likeness.data.build import build as build_dataset
    from likeness.data.build import sidecar
    from likeness.faces.detect import find_detector
    from likeness.faces.embed import load_encoder
    from likeness.faces.parsing import load_parser
    from likeness.files.weights import sha256_of
    from likeness.packs import mini_path

    folder = encoder or (mini_path() / "recogniser" if sitters else None)
    if folder is None:
        raise InputError(
            "Photos need --encoder, a face recogniser (folder or .onnx); sitters have their own."
        )
    weights = folder if folder.is_file() else next(iter(sorted(folder.glob("*.safetensors"))), folder)
    known = load_encoder(folder)
    with step_progress("looking", as_json) as on_picture:
        made = build_dataset(
            source,
            out,
            detector=find_detector("sitters" if sitters else None, mini_path() / "landmarks"),
            encoder=known,
            encoder_sha256=sha256_of(weights),
            captions=_asked(vlm, vlm_model, out / "asked") or sidecar(word, source),
            parser=(parser.name, load_parser(parser)) if parser else None,
            licence=licence,
            on_picture=on_picture,
        )
    found = made.about
    once = [person for person, rows in made.people().items() if len(rows) < 2 and kind == "views"]
    if len(once) == found.people:
        raise InputError(
            f"{source} has one picture of each person: views need several, in a folder for each person."
        )
    lines = [f"{out}: {found.pictures} pictures of {found.people} people"]
    lines += [f"one view only, nothing is learned of them: {person}" for person in once]
    lines += [f"left out: {name}: {why}" for name, why in found.left_out.items()]
    show({**found.model_dump(mode="json"), "out": str(out)}, as_json, *lines)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    hashes: Annotated[bool, typer.Option(help="Read every picture and compare its hash.")] = True,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with a data set, by file, line and column. Exit code 2 when anything is."""
    from likeness.data.kinds import check as problems_of

    found = problems_of(folder, hashes=hashes)
    rows = [{"file": one.file, "line": one.line, "column": one.column, "text": one.text} for one in found]
    lines = [str(one) for one in found] or [f"{folder}: nothing is wrong"]
    show({"folder": str(folder), "problems": rows}, as_json, *lines)
    if found:
        raise typer.Exit(InputError.exit_code)


def _asked(url: str | None, model: str | None, kept: Path) -> Captions | None:
    """Captions by a vision-language model, asked the two questions of FGID."""
    server = vision_language(url, model, kept)
    if server is None:
        return None
    from pydantic import BaseModel, Field

    from likeness.data.build import QUESTIONS, Captions
    from likeness.evaluation.vision_language import Question

    class Description(BaseModel):
        """description: in plain sentences."""

        description: str = Field(min_length=1)

    def tell(path: Path, read: Callable[[], Image.Image]) -> tuple[str, str]:
        asked = [Question(text, (read(),), Description) for text in QUESTIONS]
        whole, face = (server.ask(question).description for question in asked)  # kept: asked once
        return whole, face

    return Captions(f"{model} at {url}", tell)


def _build_attributes(
    source: Path, out: Path, words: Words, filters: Filters, licence: str, as_json: bool
) -> None:
    from likeness.data.build_attributes import build_attributes

    with step_progress("looking", as_json) as on_picture:
        made = build_attributes(
            source, out, words=words, filters=filters, licence=licence, on_picture=on_picture
        )
    known = made.about
    named = ", ".join(f"{name} ({words})" for name, words in made.targets().items())
    lines = [f"{out}: {known.pictures} pictures of {known.people} people, taught: {named}"]
    lines += [f"left out: {name}: {why}" for name, why in known.left_out.items()]
    document = {**known.model_dump(mode="json"), "targets": made.targets(), "out": str(out)}
    show(document, as_json, *lines)


def _split(url: str | None, model: str | None, about: str, source: Path, kept: Path) -> Words:
    """Base and target by columns, or by a vision-language model."""
    from likeness.data.build_attributes import QUESTION, Words, columns

    server = vision_language(url, model, kept)
    if server is None:
        return columns(source)
    if not about:
        raise InputError("Say with --about what is taught, such as 'the hairstyle', for the model to split.")
    from pydantic import BaseModel, Field

    from likeness.data.build import sidecar
    from likeness.evaluation.vision_language import Question

    class Split(BaseModel):
        """The picture without the attribute, the attribute, and its name."""

        base: str = Field(min_length=1)
        target: str = Field(min_length=1)
        attribute: str = Field(min_length=1)

    captions = sidecar("", source)

    def tell(path: Path, read: Callable[[], Image.Image]) -> tuple[str, str, str]:
        caption, _ = captions.tell(path, read)
        told = "" if caption.endswith("a photo of a ") else f"Its caption, which may help: {caption}"
        found = server.ask(Question(QUESTION.format(about=about, told=told).strip(), (read(),), Split))
        return found.base, found.target, found.attribute

    return Words(f"{model} at {url}, about {about}", tell)


def _filters(clip: str | None, keep: float, prefer: Sequence[str], least: Sequence[str]) -> Filters:
    from likeness.data.build_attributes import Filters

    limits: dict[str, float] = {}
    for text in least:
        name, _, number = text.partition("=")
        try:
            limits[name] = float(number)
        except ValueError:
            raise InputError(f"--least takes NAME=NUMBER, such as hps=0.25, not {text!r}.") from None
    scorers = []
    for text in prefer:
        name, _, folder = text.partition("=")
        if not folder:
            raise InputError(f"--prefer takes NAME=FOLDER, not {text!r}.")
        if name not in limits:
            raise InputError(f"--prefer {name} filters nothing without --least {name}=NUMBER.")
        scorers.append(_scorer(name, folder))
    return Filters(_scorer(clip, clip) if clip else None, keep, tuple(scorers), limits)


def _scorer(name: str, source: str) -> Scorer:
    """The cosine of a picture and words in a CLIP-like model's space."""
    from likeness.data.build_attributes import Scorer
    from likeness.evaluation.embedders import load_clip
    from likeness.packs.mini import pack_folder

    model = load_clip(pack_folder(source))

    def score(picture: Image.Image, words: str) -> float:
        return float((model.images([picture]) * model.texts([words])).sum())

    return Scorer(name, score)
