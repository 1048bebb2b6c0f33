"""`likeness dataset build attributes`: pictures, what they show, and apart from it the words to be taught."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likeness.cli.dataset_build import Out, app
from likeness.cli.output import AsJson, show, step_progress
from likeness.cli.server import Vlm, VlmModel, vision_language
from likeness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL import Image

    from likeness.data.build_attributes import Filters, Scorer, Words

__all__ = ["attributes"]


@app.command()
def attributes(
    source: Annotated[Path, typer.Argument(help="Folder of pictures; a sub-folder for each person.")],
    out: Out,
    licence: Annotated[str, typer.Option(help="Of the pictures; kept in the data set.")] = "not declared",
    about: Annotated[str, typer.Option(help="With --vlm: what is taught, such as 'the hairstyle'.")] = "",
    clip: Annotated[
        str | None, typer.Option(help="mini, or a folder of a CLIPModel, whose best matches are kept.")
    ] = None,
    keep: Annotated[
        float, typer.Option(min=0.001, max=1, help="With --clip: the share of pictures that is kept.")
    ] = 0.3,
    prefer: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER, a preference model such as HPSv2 as a CLIPModel; repeatable."),
    ] = None,
    least: Annotated[
        list[str] | None,
        typer.Option(help="NAME=NUMBER: what a picture needs of it, or of a column so called; repeatable."),
    ] = None,
    vlm: Vlm = None,
    vlm_model: VlmModel = None,
    as_json: AsJson = False,
) -> None:
    """What is seen on each picture, and the words to be taught, apart.

    The columns `base` and `target` of metadata.jsonl, or a vision-language model, say both. Pictures stay
    where they are; what cannot be used is left out and listed. Run again, only what is new is looked at.
    """
    from likeness.data.build_attributes import build_attributes

    if not source.is_dir():
        raise InputError(f"{source} is no folder; give the one that holds the pictures.")
    words = _split(vlm, vlm_model, about, source, out / "asked")
    filters = _filters(clip, keep, prefer or (), least or ())
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
    from likeness.files.vision_language import Question

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
    from likeness.evaluation.preference_models import load_hpsv2
    from likeness.packs.mini import pack_folder

    model = load_hpsv2(source) if Path(source).is_file() else load_clip(pack_folder(source))

    def score(picture: Image.Image, words: str) -> float:
        return float((model.images([picture]) * model.texts([words])).sum())

    return Scorer(name, score)
