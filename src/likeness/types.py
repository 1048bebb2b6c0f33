"""Values that cross package borders.

Pictures are PIL RGB at the edges; tensors are in [-1, 1]. Boxes are `(x0, y0, x1, y1)` in
pixels of the picture they belong to, origin at the top left corner, x to the right, y down.
Left and right of a face follow the CelebAMask and ArcFace custom: as seen in the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

__all__ = [
    "RESTYLING",
    "Face",
    "MethodCard",
    "Person",
    "PortraitPipeline",
    "PortraitRequest",
    "PortraitResult",
    "Provenance",
    "Sample",
    "WeightsRecord",
]

RESTYLING = 0.7
"""`PortraitRequest.strength` for another person in a style reference; more loses its light."""


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face in one picture.

    box_xyxy:     (x0, y0, x1, y1) px, may reach over the border.
    landmarks_px: (5, 2) float: eye left, eye right (in the picture), nose tip, mouth corner
                  left, mouth corner right. The order of ArcFace's template.
    score:        detector confidence in [0, 1]; 1 for a box given by hand.
    embedding:    (D,) unit length, or None when not computed.
    parsing:      (H, W) uint8 CelebAMask-HQ classes, or None.
    """

    box_xyxy: tuple[float, float, float, float]
    landmarks_px: NDArray[np.float32]
    score: float = 1.0
    embedding: NDArray[np.float32] | None = None
    parsing: NDArray[np.uint8] | None = None

    @property
    def size_px(self) -> float:
        """Mean of the box's width and height: what "3 % of face size" is measured in."""
        x0, y0, x1, y1 = self.box_xyxy
        return ((x1 - x0) + (y1 - y0)) / 2


@dataclass(frozen=True, slots=True)
class WeightsRecord:
    """One link of the chain of weights behind a picture."""

    name: str
    role: str
    licence: str
    sha256: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a picture came to be: everything that is needed to make it again."""

    method: str
    version: str
    seed: int
    weights: tuple[WeightsRecord, ...]
    recipe: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Person:
    """One of several people in a picture.

    references: PIL RGB pictures of this person. box_xyxy: (x0, y0, x1, y1) px of the picture, where the
    person is; None lets people stand side by side. mask: or the region itself (L, white inside, any size),
    of the whole picture. prompt: what this person's part of the picture shows, instead of the request's.
    """

    references: tuple[Image.Image, ...]
    box_xyxy: tuple[float, float, float, float] | None = None
    mask: Image.Image | None = None
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class PortraitRequest:
    """One picture to paint.

    references: PIL RGB pictures of one person; or `people`, for several in one picture. size_px: (width,
    height). guidance: classifier-free guidance scale, 1 turns it off. options: the method's own options (see
    its card).

    image: PIL RGB, a picture to paint into instead of a new one. mask_image: L, of its size, white where it
    is painted anew; by default around the one face. strength: in (0, 1], how far from what was there, 1 is
    anything. control_images: one for each ControlNet of the pipeline, each of the whole picture, any size.
    control_scale: how much they count.
    """

    prompt: str
    references: tuple[Image.Image, ...] = ()
    negative_prompt: str = ""
    size_px: tuple[int, int] | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    people: tuple[Person, ...] = ()
    image: Image.Image | None = None
    mask_image: Image.Image | None = None
    strength: float = 1.0
    control_images: tuple[Image.Image, ...] = ()
    control_scale: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class PortraitResult:
    """One painted picture and all that is known about it.

    extras: further pictures that were asked for, such as maps of what was done where, by name.
    """

    image: Image.Image
    request: PortraitRequest
    provenance: Provenance
    faces: tuple[Face, ...] = ()
    scores: Mapping[str, float | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    extras: Mapping[str, Image.Image] = field(default_factory=dict)


@runtime_checkable
class PortraitPipeline(Protocol):
    """What every method's pipeline does.

    Requests of one call may be painted together; each keeps its own noise, so a picture does
    not depend on its neighbours. `on_step(step, steps)` is called after each denoising step;
    `cancel()` is asked before each and ends the call with `Cancelled` when true.
    """

    def __call__(
        self,
        requests: list[PortraitRequest],
        *,
        on_step: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> list[PortraitResult]: ...


@dataclass(frozen=True, slots=True)
class MethodCard:
    """What a method is, readable without importing torch.

    references: allowed numbers of reference pictures. options: the pydantic model of its options.
    stages: training stages in order. bases: families it runs on ("mini", "sd15", "sdxl").
    identity_encoder: the recogniser it is conditioned on, which may not judge its pictures.
    task: what its words and references are: a portrait of the person by a prompt ("generate"), a change of
    the one reference by an instruction ("edit"), a set of one person ("collect"), a person in the style of
    another picture ("restyle"), or what the weights were taught, without a person ("customise").
    adapters: folders in a pack's `adapters/` of which any is enough to paint, by default its name.
    """

    name: str
    title: str
    paper_url: str
    references: range
    options: type
    bases: tuple[str, ...]
    stages: tuple[str, ...]
    weights: Mapping[str, str]
    licences: Mapping[str, str]
    identity_encoder: str
    task: Literal["generate", "edit", "collect", "restyle", "customise"] = "generate"
    adapters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a data set."""

    id: str
    image: Path
    identity: str
    collection: str = ""
    caption: str = ""
    faces: tuple[Face, ...] = ()
    source: str = ""
    licence: str = ""
