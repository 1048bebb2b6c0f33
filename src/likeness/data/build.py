"""From a folder of pictures to a data set: faces found, parts and people known, captions written."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from likeness.data import engine
from likeness.data.engine import Built, Item, Sample, Work
from likeness.data.image_folder import METADATA, listed_pictures
from likeness.data.manifest import About, Dataset, FaceRow, Row, read_dataset, write_dataset
from likeness.diffusion.pixels import to_pixels
from likeness.errors import InputError
from likeness.faces.align import align_arcface
from likeness.faces.detect import find_detector, find_one_face
from likeness.faces.embed import load_encoder
from likeness.faces.parsing import load_parser
from likeness.faces.parts import part_crops
from likeness.files.images import read_image, whole_file
from likeness.files.weights import sha256_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likeness.faces.detect import FaceDetector
    from likeness.faces.embed import FaceEncoder
    from likeness.faces.parsing import FaceParser

__all__ = [
    "PICTURES",
    "QUESTIONS",
    "Captions",
    "FaceModels",
    "PeopleBuilder",
    "build",
    "build_people",
    "open_face_models",
    "parse",
    "person_of",
    "pictures_in",
    "sidecar",
]

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
FACE_CAPTION = "The person has one face, one nose, two eyes, two ears, and one mouth."
"""Footnote 1 of ConsistentID: the description where there is no better one."""
QUESTIONS = (
    "Please describe the people in the image, including their gender, age, clothing, facial expressions, and "
    "any other distinguishing features.",
    "Describe this person's facial features, including the face, ears, eyes, nose, and mouth.",
)
"""What a vision-language model is asked for the picture's caption and the face's (section 3.4 there)."""
PARSER_PX = 512
"""Longer side that a parser is shown at most."""


def _nothing(path: Path) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Captions:
    """Who describes a picture. name: for the record. tell(path, read): (caption, face caption), where read()
    gives the picture to those who look at it. mark(path): what the words depend on besides the picture; where
    it changes, the picture is looked at again. threads: pictures told of at once."""

    name: str
    tell: Callable[[Path, Callable[[], Image.Image]], tuple[str, str]]
    mark: Callable[[Path], str] = _nothing
    threads: int = 1


@dataclass(frozen=True, slots=True)
class _Beside:
    word: str
    listed: Mapping[Path, Mapping[str, Any]]

    def text(self, path: Path) -> str:
        file = path.with_suffix(".txt")
        try:
            text = " ".join(file.read_text(encoding="utf-8-sig").split()) if file.is_file() else ""
        except UnicodeDecodeError:
            raise InputError(f"{file} is no UTF-8 text; save it as UTF-8.") from None
        return text or self.listed.get(path, {}).get("text") or f"a photo of a {self.word}"

    def tell(self, path: Path, read: Callable[[], Image.Image]) -> tuple[str, str]:
        return self.text(path), FACE_CAPTION


def sidecar(word: str = "person", source: Path | None = None) -> Captions:
    """The text file of the picture's name beside it ("anna.jpg", "anna.txt"), or "a photo of a {word}".

    source: a folder whose `metadata.jsonl`, where it has one, is asked in between.
    """
    beside = _Beside(word, listed_pictures(source) if source else {})
    between = f", {METADATA}" if beside.listed else ""
    name = f"text files beside the pictures{between}, or 'a photo of a {word}'"
    return Captions(name, beside.tell, beside.text)


@dataclass(frozen=True, slots=True, eq=False)
class FaceModels:
    """What looks at the pictures. parser: its name and network."""

    detector: FaceDetector
    encoder: FaceEncoder
    parser: tuple[str, FaceParser] | None = None

    def embedding(self, picture: Image.Image) -> np.ndarray:
        """The row (D,) of the one face on a picture. Raises: FaceError where there is not one."""
        row: np.ndarray = self.encoder([align_arcface(picture, find_one_face(picture, self.detector))])[0]
        return row


@functools.cache
def open_face_models(encoder: Path, landmarks: Path, parser: Path | None, sitters: bool) -> FaceModels:
    """From their files, once a process. landmarks: the detector of sitters.

    Raises: MissingWeightsError.
    """
    return FaceModels(
        find_detector("sitters" if sitters else None, landmarks),
        load_encoder(encoder),
        (parser.name, load_parser(parser)) if parser else None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class PeopleBuilder:
    """The kind "fgid": pictures of people with faces, parts and captions (see `build`).

    models: opens the face models, in each process that looks. pack: copy the pictures into shards.
    """

    source: Path
    folder: Path
    models: Callable[[], FaceModels]
    encoder_sha256: str
    captions: Captions
    licence: str = "not declared"
    person: str | None = None
    pack: bool = False
    kind: str = "fgid"

    @property
    def threads(self) -> int:
        """See `Captions`."""
        return self.captions.threads

    def settings(self) -> dict[str, Any]:
        """Of `About`."""
        models = self.models()
        return {
            "detector": models.detector.name,
            "encoder": models.encoder.name,
            "encoder_sha256": self.encoder_sha256,
            "encoder_licence": models.encoder.licence,
            "parser": models.parser[0] if models.parser else None,
            "captions": self.captions.name,
            "licence": self.licence,
        }

    def items(self) -> Iterator[Item]:
        """The pictures, by name; one that changed, or whose words did, is another item."""
        listed, files = pictures_in(self.source, self.folder)
        for path in files:
            name, digest = Path(os.path.relpath(path, self.folder)).as_posix(), sha256_of(path)
            person = self.person or person_of(path, self.source, listed)
            mark = hashlib.sha256(f"{person}\0{self.captions.mark(path)}".encode()).hexdigest()
            data = {
                "picture": name,
                "path": str(path),
                "sha256": digest,
                "person": person,
            }
            yield Item(f"{name}#{digest[:16]}{mark[:8]}", data, digest)

    def open(self) -> Work:
        """Looks at one picture."""
        models = self.models()

        def look(item: Item) -> list[Sample]:
            return [self._look(models, **item.data)]

        return look

    def _look(self, models: FaceModels, *, picture: str, path: str, sha256: str, person: str) -> Sample:
        image = read_image(path)
        face = find_one_face(image, models.detector)
        parts = tuple(part for part, crop in part_crops(image, face, 16).items() if crop is not None)
        caption, face_caption = self.captions.tell(Path(path), lambda: image)
        parser = models.parser
        row = Row(
            picture=picture,
            sha256=sha256,
            size_px=image.size,
            person=person,
            face=FaceRow.of(face),
            parts=parts,
            caption=caption,
            face_caption=face_caption,
            parsing=_parsing(self.folder, sha256, parser[1], image) if parser else None,
        )
        embedding = np.asarray(models.encoder([align_arcface(image, face)])[0], np.float32)
        return Sample(
            sha256[:24],
            person,
            picture,
            self.licence,
            # The engine knows the split.
            {**row.model_dump(mode="json", exclude={"split"}), "embedding": embedding.tolist()},
            {Path(path).suffix.lower()[1:]: Path(path).read_bytes()} if self.pack else {},
        )

    def finish(self, built: Built) -> None:
        """Write the data set's own files (`data.manifest`), where there is a picture."""
        if not built.rows:
            return
        rows = [Row.model_validate({name: row[name] for name in Row.model_fields}) for row in built.rows]
        left_out = {row["item"].rpartition("#")[0]: row["message"] for row in built.rejects}
        people = len({row.person for row in rows})
        about = About(kind=self.kind, **self.settings(), pictures=len(rows), people=people, left_out=left_out)
        write_dataset(
            built.folder, about, rows, np.array([row["embedding"] for row in built.rows], np.float32)
        )


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


def build(
    source: Path,
    folder: Path,
    *,
    detector: FaceDetector,
    encoder: FaceEncoder,
    encoder_sha256: str,
    captions: Captions,
    parser: tuple[str, FaceParser] | None = None,
    licence: str = "not declared",
    person: str | None = None,
    on_picture: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Build a data set in `folder` from all pictures under `source`, in this process.

    A picture's person is the sub-folder of `source` it lies in, one that lies in none is a person by itself;
    with `person` all are of that one. Where `source` has a `metadata.jsonl`, only the pictures it names are
    taken, and its `identity` is the person.
    Pictures without exactly one main face, and copies of others, are left out and named in `About`. Built
    again, only new and changed pictures are looked at. on_picture(done, of) as they are done.
    Raises: InputError for a source without a usable picture, or a folder built with other settings.
    """
    models = FaceModels(detector, encoder, parser)
    builder = PeopleBuilder(source, folder, lambda: models, encoder_sha256, captions, licence, person)
    return build_people(builder, on_items=on_picture)


def build_people(builder: PeopleBuilder, **how: Any) -> Dataset:
    """`engine.build` of this kind, and the data set that came of it. how: see there."""
    built = engine.build(builder, builder.folder, **how)
    if not built.rows:
        reason = built.rejects[0]["message"]
        raise InputError(
            f"None of the {len(built.rejects)} pictures in {builder.source} can be used; the first: {reason}"
        )
    return read_dataset(builder.folder)


def _parsing(folder: Path, digest: str, parser: FaceParser, picture: Image.Image) -> str:
    name = f"parsing/{digest[:16]}.png"
    with whole_file(folder / name) as partial:
        Image.fromarray(parse(parser, picture)).save(partial, format="PNG")
    return name


def parse(parser: FaceParser, picture: Image.Image) -> NDArray[np.uint8]:
    """Labels (H, W) of a picture of any size; the parser sees it at `PARSER_PX` at most."""
    scale = min(1.0, PARSER_PX / max(picture.size))
    width, height = (max(16, round(side * scale / 16) * 16) for side in picture.size)
    small = picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    labels = parser.parse(to_pixels(small))[0].numpy()
    whole = Image.fromarray(labels).resize(picture.size, Image.Resampling.NEAREST)
    return np.asarray(whole, np.uint8)
