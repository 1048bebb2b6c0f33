"""A style reference with other people in it: who is who, a light and turn of one's own, what matched."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_args, runtime_checkable

import numpy as np
from PIL import Image

from likeness.errors import InputError, NoFaceError
from likeness.faces.detect import CUT_SHARE, cut_share, main_faces, suppress_overlaps
from likeness.files.images import read_image, write_json, write_png
from likeness.portraits import RESULT, make_portraits
from likeness.types import RESTYLING, Person, PortraitRequest

if TYPE_CHECKING:
    from likeness.evaluation.judge import Judge
    from likeness.faces.detect import FaceDetector
    from likeness.sitters.parameters import Scene
    from likeness.types import Face, PortraitPipeline

__all__ = [
    "REFINING",
    "RESTYLING",
    "STYLE_SEED",
    "ShowsMatching",
    "lit_and_turned",
    "numbered_faces",
    "people_on",
    "restyle",
    "sitter_picture",
]

REFINING = 0.4
"""As `RESTYLING`, for the same person whom a picture has nearly caught."""
MATCHING = "matching.png"
STYLE_SEED = 10_009_000
"""The sitter that is rendered as a style reference unless another one is asked for."""
STYLE_PX = 256
GROUP = 1.4
"""Width over height from which a picture may show people side by side."""


@runtime_checkable
class ShowsMatching(Protocol):
    """A pipeline that can draw what it takes to correspond."""

    def matching_pictures(self, request: PortraitRequest) -> list[Image.Image]:
        """One a head."""
        ...


def restyle(
    pipeline: PortraitPipeline,
    style: Image.Image,
    out: Path,
    *,
    profile: Image.Image | None = None,
    people: Sequence[Person] = (),
    strength: float = RESTYLING,
    count: int = 1,
    best_of: int = 1,
    seed: int = 0,
    show_matching: bool = False,
    judge: Judge | None = None,
    warnings: Sequence[str] = (),
    references_are_sitters: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """`style` with the person of `profile` in it, or `people`, `count` times, saved as `make_portraits` does.

    settings: further fields of `PortraitRequest`. show_matching: also write matching.png, of the first seed.
    Returns what result.json holds. Raises: as `make_portraits`; InputError where nothing matches.
    """
    if show_matching and not isinstance(pipeline, ShowsMatching):
        raise InputError("This method matches no features: leave --show-matching away.")
    settings |= {"image": style, "strength": strength, "people": tuple(people)}
    references = (profile,) if profile is not None else ()
    document = make_portraits(
        pipeline,
        references,
        [""],
        count,
        seed,
        out,
        best_of=best_of,
        judge=judge,
        warnings=warnings,
        references_are_sitters=references_are_sitters,
        on_progress=on_progress,
        **settings,
    )
    if show_matching and isinstance(pipeline, ShowsMatching):
        drawn = pipeline.matching_pictures(PortraitRequest("", references, seed=seed, **settings))
        write_png(_stacked(drawn), out / MATCHING)
        document["matching"] = MATCHING
        write_json(out / RESULT, document)
    return document


def numbered_faces(style: Image.Image, detector: FaceDetector) -> list[Face]:
    """The faces of a picture that are no passers-by, from the left: the first is number 1.

    A wide picture is looked at square by square too, for some detectors see one face at a time.
    Raises: NoFaceError.
    """
    found = detector.search(style)
    faces = list(found.faces)
    width, height = style.size
    if width >= GROUP * height:
        count = -(-2 * (width - height) // height) + 1
        for left in (round(i * (width - height) / (count - 1)) for i in range(count)):
            inside = detector(style.crop((left, 0, left + height, height)))
            faces += [_moved(face, left) for face in inside if cut_share(face, (height, height)) <= CUT_SHARE]
        faces = suppress_overlaps(faces)
    if not faces:
        raise NoFaceError("No face was found on the style reference: give another picture.", found.tried)
    return sorted(main_faces(faces), key=lambda face: face.box_xyxy[0] + face.box_xyxy[2])


def people_on(
    style: Image.Image, detector: FaceDetector, photos: Mapping[int, Path], name: str = "the style reference"
) -> tuple[Person, ...]:
    """The people of `photos`, each at the face of that number (`numbered_faces`).

    name: of the picture, for messages. Raises: InputError for a number that no face has.
    """
    faces = numbered_faces(style, detector)
    for number in photos:
        if not 1 <= number <= len(faces):
            raise InputError(
                f"There is no face {number} on {name}: it has {len(faces)}, numbered from the left, "
                "beginning with 1."
            )
    return tuple(
        Person((read_image(photo),), _inside(faces[number - 1].box_xyxy, style.size))
        for number, photo in sorted(photos.items())
    )


def lit_and_turned(scene: Scene, light: str | None, yaw_deg: float | None) -> Scene:
    """A sitter's scene in a light "azimuth,elevation" or "azimuth,elevation,colour", the head turned.

    azimuth: degrees, from the picture's left (-) to its right (+). colour: a light's kind, such as sunset.
    yaw_deg: to the picture's right. `seed` of the new scene is None.
    Raises: InputError for what no scene can have.
    """
    from likeness.sitters.parameters import LightKind

    if light is not None:
        azimuth, elevation, *colour = _words(light)
        kind: Any = colour[0] if colour else scene.light.kind
        if kind not in get_args(LightKind):
            raise InputError(f"There is no light {kind!r}; there are {', '.join(get_args(LightKind))}.")
        lit = dataclasses.replace(
            scene.light,
            azimuth_deg=_number(azimuth, light),
            elevation_deg=_number(elevation, light),
            kind=kind,
        )
        scene = dataclasses.replace(scene, light=lit, seed=None)
    if yaw_deg is not None:
        scene = dataclasses.replace(scene, pose=dataclasses.replace(scene.pose, yaw_deg=yaw_deg), seed=None)
    return scene


def sitter_picture(seed: int, light: str | None = None, yaw_deg: float | None = None) -> Image.Image:
    """A straight portrait of the sitter with this seed in a light and turn of one's own, RGB, square.

    Raises: InputError.
    """
    from likeness.sitters import sample_scene, straightened
    from likeness.sitters.render import render

    scene = lit_and_turned(straightened(sample_scene(seed)), light, yaw_deg)
    return Image.fromarray(render(scene, STYLE_PX).rgb)


def _moved(face: Face, right: int) -> Face:
    x0, y0, x1, y1 = face.box_xyxy
    return dataclasses.replace(
        face,
        box_xyxy=(x0 + right, y0, x1 + right, y1),
        landmarks_px=face.landmarks_px + np.array([right, 0], np.float32),
    )


def _inside(box: tuple[float, ...], size_px: tuple[int, int]) -> tuple[float, float, float, float]:
    """A detector's box may reach over the border; a person's may not."""
    x0, y0, x1, y1 = box
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(size_px[0])), min(y1, float(size_px[1]))


def _words(light: str) -> list[str]:
    words = [word.strip() for word in light.split(",")]
    if len(words) not in (2, 3):
        raise InputError(f"--light takes azimuth,elevation or azimuth,elevation,colour, not {light!r}.")
    return words


def _number(word: str, light: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise InputError(f"--light begins with two numbers in degrees, not {light!r}.") from None


def _stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    whole = Image.new("RGB", (pictures[0].width, sum(one.height for one in pictures)))
    top = 0
    for one in pictures:
        whole.paste(one, (0, top))
        top += one.height
    return whole
