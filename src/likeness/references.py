"""Before anything is painted: who looks at the faces on pictures, and what is wrong with references."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from likeness.errors import ImageError, MissingWeightsError
from likeness.evaluation.judge import Judge, open_judge
from likeness.faces.detect import find_detector
from likeness.faces.doctor import inspect
from likeness.files.images import read_recipe
from likeness.packs.mini import pack_folder

if TYPE_CHECKING:
    from PIL import Image

    from likeness.faces.detect import FaceDetector
    from likeness.faces.embed import FaceEncoder

__all__ = ["KnowsFaces", "find_judge", "is_sitter", "needed_px", "open_detector", "reference_warnings"]


@runtime_checkable
class KnowsFaces(Protocol):
    """A pipeline that looks at faces to know the person."""

    detector: FaceDetector
    face_encoder: FaceEncoder


def open_detector(base: str | Path, references_are_sitters: bool = False) -> FaceDetector:
    """The face detector for references painted on `base`.

    References that are sitters, on a pack that has a network for them, take that network: it
    comes along, so everybody's pictures are the same. Photographs take YuNet, and the pack's
    network where YuNet cannot be had.
    Raises: MissingWeightsError when there is neither.
    """
    landmarks = pack_folder(base) / "landmarks"
    own = landmarks if landmarks.is_dir() else None
    return find_detector("sitters" if own and references_are_sitters else None, own)


def find_judge(base: str | Path, encoders: Sequence[Path] = (), *, sitters: bool = False) -> Judge:
    """The judge of pictures whose method itself looks for no face: without a detector it says why it cannot.

    Raises: MissingWeightsError where `encoders` are to judge and there is no detector; as `open_judge`.
    """
    try:
        return open_judge(base, open_detector(base, sitters), encoders, sitters=sitters)
    except MissingWeightsError as error:
        if encoders:
            raise
        return Judge(reason=str(error))


def is_sitter(path: Path | str) -> bool:
    """Whether a file is a picture of a synthetic sitter: its PNG recipe says so."""
    try:
        return "sitter" in read_recipe(path)
    except ImageError:
        return False


def needed_px(base: str | Path) -> int:
    """Face size that is enough on references: a pack paints 128 px, the others 512 and more."""
    return 48 if (pack_folder(base) / "landmarks").is_dir() else 96


def reference_warnings(
    references: Sequence[Image.Image],
    base: str | Path,
    face_box: tuple[float, float, float, float] | None = None,
    detector: FaceDetector | None = None,
) -> list[str]:
    """What the reference doctor finds wrong with each picture, numbered when there are several.

    face_box: (x0, y0, x1, y1) px of the face on the first picture, when it was given by hand.
    """
    detector = detector or open_detector(base)
    found = []
    for number, picture in enumerate(references, start=1):
        box = face_box if number == 1 else None
        where = f"Reference {number}" if len(references) > 1 else "Reference"
        reasons = inspect(picture, detector, box, needed_px(base)).reasons
        found += [f"{where}: {reason.sentence}" for reason in reasons]
    return found
