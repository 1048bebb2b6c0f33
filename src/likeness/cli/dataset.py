"""`likeness dataset`: from a folder of pictures to a data set that methods train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likeness.cli.output import AsJson, show, step_progress
from likeness.cli.server import Vlm, VlmModel, vision_language
from likeness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from likeness.data.build import Captions

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def build(
    kind: Annotated[str, typer.Argument(help="fgid: faces, their parts, who it is, and captions.")],
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
    vlm: Vlm = None,
    vlm_model: VlmModel = None,
    as_json: AsJson = False,
) -> None:
    """Find the face on every picture, know it, and write down what there is to learn from.

    A text file of a picture's name beside it is its caption, or `text` in the folder's metadata.jsonl.
    Pictures stay where they are; what cannot be used is left out and listed. Run again, only what is new is
    looked at.
    """
    if kind != "fgid":
        raise InputError(f"There is no kind of data set called {kind!r}; there is fgid.")
    from likeness.data.build import build as build_dataset
    from likeness.data.build import sidecar
    from likeness.faces.detect import find_detector
    from likeness.faces.embed import load_encoder
    from likeness.faces.parsing import load_parser
    from likeness.files.weights import sha256_of
    from likeness.packs import mini_path

    if not source.is_dir():
        raise InputError(f"{source} is no folder; give the one that holds the pictures.")
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
    about = made.about
    lines = [f"{out}: {about.pictures} pictures of {about.people} people"]
    lines += [f"left out: {name}: {why}" for name, why in about.left_out.items()]
    show({**about.model_dump(mode="json"), "out": str(out)}, as_json, *lines)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    hashes: Annotated[bool, typer.Option(help="Read every picture and compare its hash.")] = True,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with a data set, by file, line and column. Exit code 2 when anything is."""
    from likeness.data.manifest import check as problems_of

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
