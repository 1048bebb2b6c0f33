"""Whether it is the person: faces compared by a recogniser, and their parts by DINO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from likeness.faces.align import align_arcface
from likeness.faces.parts import PARTS, part_crops

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from likeness.evaluation.case import Case
    from likeness.evaluation.embedders import ImageEmbedder
    from likeness.faces.calibration import Calibration
    from likeness.faces.detect import FaceDetector
    from likeness.faces.embed import FaceEncoder
    from likeness.types import Face

__all__ = [
    "FaceFound",
    "FacePartSimilarity",
    "FaceSimilarity",
    "FaceViews",
    "ProfileSimilarity",
    "SamePerson",
    "Statistic",
    "look",
]

Statistic = Literal["min", "max", "median", "mean"]
STATISTICS: dict[Statistic, Callable[[NDArray[np.float64]], Any]] = {
    "min": np.min,
    "max": np.max,
    "median": np.median,
    "mean": np.mean,
}


def look(
    picture: Image.Image, detector: FaceDetector, encoder: FaceEncoder
) -> tuple[Face | None, NDArray[np.float64] | None]:
    """The most prominent face of a picture and its embedding (D,) of unit length; None twice without one."""
    faces = detector(picture)
    if not faces:
        return None, None
    return faces[0], encoder([align_arcface(picture, faces[0])])[0].astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class FaceViews:
    """The most prominent face of each picture, found and embedded once per picture object.

    Pictures are kept for as long as this lives, so that no other picture can come by their id.
    """

    encoder: FaceEncoder
    detector: FaceDetector
    _known: dict[int, tuple[Image.Image, Face | None, NDArray[np.float64] | None]] = field(
        default_factory=dict
    )

    def face(self, picture: Image.Image) -> Face | None:
        """None where the detector finds none."""
        return self._look(picture)[0]

    def embedding(self, picture: Image.Image) -> NDArray[np.float64] | None:
        """(D,) of unit length, or None without a face."""
        return self._look(picture)[1]

    def _look(self, picture: Image.Image) -> tuple[Face | None, NDArray[np.float64] | None]:
        if id(picture) not in self._known:
            self._known[id(picture)] = (picture, *look(picture, self.detector, self.encoder))
        _, face, seen = self._known[id(picture)]
        return face, seen


def similarities(views: FaceViews, image: Image.Image, known: Sequence[Image.Image]) -> NDArray[np.float64]:
    """Cosines of the painted face with every known picture's that shows one; empty without a face."""
    painted = views.embedding(image)
    rows = [row for row in map(views.embedding, known) if row is not None]
    if painted is None or not rows:
        return np.zeros(0)
    found: NDArray[np.float64] = np.stack(rows) @ painted
    return found


@dataclass(frozen=True, slots=True)
class FaceFound:
    """Share of the pictures on which the detector finds a face; what has none has no likeness either."""

    views: FaceViews
    name: ClassVar[str] = "face found"
    unit: ClassVar[str] = "share"
    higher_is_better: ClassVar[bool] = True
    source: ClassVar[str] = "ours"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`."""
        return np.array([float(self.views.face(case.image) is not None) for case in cases])


@dataclass(frozen=True, slots=True)
class FaceSimilarity:
    """FaceSim: mean cosine of the painted face and the references'. name: another for a further encoder."""

    views: FaceViews
    name: str = "FaceSim"
    unit: ClassVar[str] = "cosine"
    higher_is_better: ClassVar[bool] = True
    source: ClassVar[str] = "ConsistentID, section 4.1 (there by FaceNet)"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`; nan where no face was painted or no reference shows one."""
        found = [similarities(self.views, case.image, case.references) for case in cases]
        return np.array([row.mean() if len(row) else np.nan for row in found], np.float64)


@dataclass(frozen=True, slots=True)
class SamePerson:
    """The calibrated chance that the painted face is the references' (`faces.calibration`)."""

    views: Sequence[FaceViews]
    calibration: Calibration
    name: ClassVar[str] = "same person"
    unit: ClassVar[str] = "chance"
    higher_is_better: ClassVar[bool] = True
    source: ClassVar[str] = "ours"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`; nan where no face was painted or no reference shows one."""
        out = np.full(len(cases), np.nan)
        for row, case in enumerate(cases):
            found = {v.encoder.name: similarities(v, case.image, case.references) for v in self.views}
            if all(len(cosines) for cosines in found.values()):
                out[row] = self.calibration.chance({name: float(of.mean()) for name, of in found.items()})
        return out


@dataclass(frozen=True, slots=True)
class ProfileSimilarity:
    """One statistic of the cosines with all real pictures of the person, references included."""

    views: FaceViews
    statistic: Statistic = "mean"
    unit: ClassVar[str] = "cosine"
    higher_is_better: ClassVar[bool] = True
    source: ClassVar[str] = "IC-Portrait, Table 1 (there by ArcFace)"

    @property
    def name(self) -> str:
        """Such as "ArcFace median"."""
        return f"ArcFace {self.statistic}"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`; nan where no face was painted or no real picture shows one."""
        of = STATISTICS[self.statistic]
        found = [similarities(self.views, case.image, (*case.references, *case.profiles)) for case in cases]
        return np.array([of(row) if len(row) else np.nan for row in found], np.float64)


@dataclass(frozen=True, slots=True)
class FacePartSimilarity:
    """FGIS: mean cosine of DINO's view of each part of the face, painted and on the first reference."""

    views: FaceViews
    dino: ImageEmbedder
    crop_px: int = 64
    name: ClassVar[str] = "FGIS"
    unit: ClassVar[str] = "cosine"
    higher_is_better: ClassVar[bool] = True
    source: ClassVar[str] = "ConsistentID, section 4.1"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`; over the parts seen on both pictures, nan where there is none."""
        pairs, rows = [], []
        for row, case in enumerate(cases):
            painted = self._parts(case.image)
            known = self._parts(case.references[0]) if case.references else {}
            both = [part for part in PARTS if painted.get(part) and known.get(part)]
            pairs += [(painted[part], known[part]) for part in both]
            rows += [row] * len(both)
        out = np.full(len(cases), np.nan)
        if pairs:
            one = self.dino.images([pair[0] for pair in pairs])
            two = self.dino.images([pair[1] for pair in pairs])
            cosines, of = (one * two).sum(1), np.array(rows)
            for row in set(rows):
                out[row] = cosines[of == row].mean()
        return out

    def _parts(self, picture: Image.Image) -> dict[str, Any]:
        face = self.views.face(picture)
        return part_crops(picture, face, self.crop_px) if face else {}
