"""From a folder of pictures to a data set: faces found, parts and people known, captions written."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from likeness.data.image_folder import METADATA, listed_pictures
from likeness.data.manifest import About, Dataset, FaceRow, Row, read_dataset, write_dataset
from likeness.diffusion.pixels import to_pixels
from likeness.errors import InputError
from likeness.faces.align import align_arcface
from likeness.faces.detect import find_one_face
from likeness.faces.parts import part_crops
from likeness.files.images import read_image, whole_file
from likeness.files.weights import sha256_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likeness.faces.detect import FaceDetector
    from likeness.faces.embed import FaceEncoder
    from likeness.faces.parsing import ParserNet

__all__ = ["PICTURES", "QUESTIONS", "Captions", "build", "parse", "person_of", "pictures_in", "sidecar"]

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
FACE_CAPTION = "The person has one face, one nose, two eyes, two ears, and one mouth."
"""Footnote 1 of ConsistentID: the description where there is no better one."""
QUESTIONS = (
    "Please describe the people in the image, including their gender, age, clothing, facial expressions, and "
    "any other distinguishing features.",
    "Describe this person's facial features, including the face, ears, eyes, nose, and mouth.",
)
"""What a vision-language model is asked for the picture's caption and the face's (section 3.4 there)."""
SAVE_EVERY = 200
PARSER_PX = 512
"""Longer side that a parser is shown at most."""


@dataclass(frozen=True, slots=True)
class Captions:
    """Who describes a picture. name: for the record. tell(path, read): (caption, face caption), where read()
    gives the picture to those who look at it."""

    name: str
    tell: Callable[[Path, Callable[[], Image.Image]], tuple[str, str]]


def sidecar(word: str = "person", source: Path | None = None) -> Captions:
    """The text file of the picture's name beside it ("anna.jpg", "anna.txt"), or "a photo of a {word}".

    source: a folder whose `metadata.jsonl`, where it has one, is asked in between.
    """
    listed = listed_pictures(source) if source else {}

    def tell(path: Path, read: Callable[[], Image.Image]) -> tuple[str, str]:
        file = path.with_suffix(".txt")
        text = " ".join(file.read_text(encoding="utf-8").split()) if file.is_file() else ""
        return text or listed.get(path, {}).get("text") or f"a photo of a {word}", FACE_CAPTION

    between = f", {METADATA}" if listed else ""
    return Captions(f"text files beside the pictures{between}, or 'a photo of a {word}'", tell)


def build(
    source: Path,
    folder: Path,
    *,
    detector: FaceDetector,
    encoder: FaceEncoder,
    encoder_sha256: str,
    captions: Captions,
    parser: tuple[str, ParserNet] | None = None,
    licence: str = "not declared",
    person: str | None = None,
    on_picture: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Build a data set in `folder` from all pictures under `source`.

    A picture's person is the sub-folder of `source` it lies in, one that lies in none is a person by itself;
    with `person` all are of that one. Where `source` has a `metadata.jsonl`, only the pictures it names are
    taken, and its `identity` is the person.
    Pictures without exactly one main face, and copies of others, are left out and named in `About`. Built
    again, only new and changed pictures are looked at. on_picture(done, of) after each.
    Raises: InputError for a source without a usable picture, or a folder built with other settings.
    """
    listed, files = pictures_in(source, folder)
    settings: dict[str, Any] = {
        "kind": "fgid",
        "detector": detector.name,
        "encoder": encoder.name,
        "encoder_sha256": encoder_sha256,
        "encoder_licence": encoder.licence,
        "parser": parser[0] if parser else None,
        "captions": captions.name,
        "licence": licence,
    }
    known = _built_before(folder, settings)
    rows: list[Row] = []
    embeddings: list[NDArray[np.float32]] = []
    left_out: dict[str, str] = {}
    hashes: dict[str, str] = {}

    def look(path: Path, name: str, digest: str) -> tuple[Row, NDArray[np.float32]]:
        picture = read_image(path)
        face = find_one_face(picture, detector)
        parts = tuple(part for part, crop in part_crops(picture, face, 16).items() if crop is not None)
        caption, face_caption = captions.tell(path, lambda: picture)
        row = Row(
            picture=Path(name).as_posix(),
            sha256=digest,
            size_px=picture.size,
            person=person or person_of(path, source, listed),
            face=FaceRow.of(face),
            parts=parts,
            caption=caption,
            face_caption=face_caption,
            parsing=_parsing(folder, digest, parser[1], picture) if parser else None,
        )
        return row, np.asarray(encoder([align_arcface(picture, face)])[0], np.float32)

    def again(path: Path, name: str, digest: str) -> tuple[Row, NDArray[np.float32]] | None:
        if (name, digest) not in known:
            return None
        row, embedding = known[name, digest]
        caption, face_caption = captions.tell(path, lambda: read_image(path))  # a text file may be new
        return row.model_copy(update={"caption": caption, "face_caption": face_caption}), embedding

    def save() -> None:
        if rows:
            people = len({row.person for row in rows})
            about = About(**settings, pictures=len(rows), people=people, left_out=left_out)
            write_dataset(folder, about, rows, np.stack(embeddings))

    try:
        for done, path in enumerate(files, start=1):
            name, digest = os.path.relpath(path, folder), sha256_of(path)
            try:
                if digest in hashes:
                    raise InputError(f"It is the same picture as {hashes[digest]}.")
                hashes[digest] = name
                row, embedding = again(path, name, digest) or look(path, name, digest)
            except InputError as error:
                left_out[name] = str(error)
            else:
                rows.append(row)
                embeddings.append(embedding)
            if done % SAVE_EVERY == 0:
                save()
            if on_picture is not None:
                on_picture(done, len(files))
    except BaseException:  # stopped, or a server gave up: what was done is there when it is built again
        save()
        raise
    if not rows:
        reason = next(iter(left_out.values()))
        raise InputError(f"None of the {len(files)} pictures in {source} can be used; the first: {reason}")
    save()
    return read_dataset(folder)


def pictures_in(source: Path, folder: Path) -> tuple[dict[Path, dict[str, Any]], list[Path]]:
    """Rows of a source's `metadata.jsonl`, and its pictures in order, without those in the data set itself.

    Raises: InputError for a source without a picture.
    """
    listed = listed_pictures(source)
    every = listed or (path for path in source.rglob("*") if path.is_file())
    files = sorted(path for path in every if path.suffix.lower() in PICTURES)
    files = [path for path in files if folder.resolve() not in path.resolve().parents]
    if not files:
        raise InputError(f"{source} holds no picture; give a folder of {', '.join(PICTURES)} files.")
    return listed, files


def person_of(path: Path, source: Path, listed: Mapping[Path, Mapping[str, Any]]) -> str:
    """The `identity` of its row, else the sub-folder it lies in, else the picture's own name."""
    inside, told = path.relative_to(source).parts, listed.get(path, {}).get("identity")
    return told or (inside[0] if len(inside) > 1 else path.stem)


def _built_before(
    folder: Path, settings: dict[str, Any]
) -> dict[tuple[str, str], tuple[Row, NDArray[np.float32]]]:
    """Rows of an earlier build by picture and hash; none where there was no build."""
    if not (folder / "dataset.json").is_file():
        return {}
    try:
        before = read_dataset(folder)
    except InputError:  # killed between two of its files
        return {}
    for name, value in settings.items():
        if getattr(before.about, name) != value:
            raise InputError(
                f"{folder} was built with {name} {getattr(before.about, name)!r}, not {value!r}; "
                "choose another folder."
            )
    return {
        (row.picture, row.sha256): (row, embedding)
        for row, embedding in zip(before.rows, before.embeddings, strict=True)
    }


def _parsing(folder: Path, digest: str, parser: ParserNet, picture: Image.Image) -> str:
    name = f"parsing/{digest[:16]}.png"
    with whole_file(folder / name) as partial:
        Image.fromarray(parse(parser, picture)).save(partial, format="PNG")
    return name


def parse(parser: ParserNet, picture: Image.Image) -> NDArray[np.uint8]:
    """Labels (H, W) of a picture of any size; the parser sees it at `PARSER_PX` at most."""
    scale = min(1.0, PARSER_PX / max(picture.size))
    width, height = (max(16, round(side * scale / 16) * 16) for side in picture.size)
    small = picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    labels = parser.parse(to_pixels(small))[0].numpy()
    whole = Image.fromarray(labels).resize(picture.size, Image.Resampling.NEAREST)
    return np.asarray(whole, np.uint8)
