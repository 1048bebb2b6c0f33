"""The reference doctor: is this photo a good likeness to work from, and if not, why.

Limits are set for photographs and rendered sitters together, on faces of at least 24 px; they
say whether identity can be read off the face, not whether the picture is pretty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from likeness.errors import InputError
from likeness.faces.detect import (
    CUT_SHARE,
    Detection,
    FaceDetector,
    face_in_box,
    main_faces,
    no_face_sentence,
)
from likeness.faces.quality import FaceMeasures, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from PIL import Image

    from likeness.types import Face

__all__ = ["Reason", "Status", "Verdict", "best_subset", "inspect"]

Status = Literal["usable", "usable with care", "unusable"]
_RANK: dict[Status, int] = {"usable": 0, "usable with care": 1, "unusable": 2}


@dataclass(frozen=True, slots=True)
class Reason:
    """One finding. subject: faces, size, blur, light, angle, covered, border. status: the verdict
    this finding alone would give. value: the number it rests on, in the subject's unit."""

    subject: str
    status: Status
    sentence: str
    value: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What the doctor says of one picture.

    faces: all found, largest first; face: the one judged, None when there is none.
    landmarks_from: who gave its landmarks (a detector's name, or "average face" for a box by
    hand in which no detector saw a face). score: 0 (unusable) to 1 (best), for ranking.
    """

    status: Status
    reasons: tuple[Reason, ...]
    faces: tuple[Face, ...]
    face: Face | None
    measures: FaceMeasures | None
    landmarks_from: str
    tried: tuple[str, ...]
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        m = self.measures
        measures = None
        if m is not None:
            measures = {
                "face_px": round(m.size_px, 1),
                "sharpness": round(m.sharpness, 3),
                "bright": round(m.light.bright, 3),
                "burnt": round(m.light.burnt, 3),
                "one_sided": round(m.light.one_sided, 3),
                "yaw_degrees": round(m.angle.yaw, 1),
                "pitch_degrees": round(m.angle.pitch, 1),
                "roll_degrees": round(m.angle.roll, 1),
                "covered": list(m.covered),
                "cut_share": round(m.cut_share, 3),
            }
        return {
            "status": self.status,
            "score": round(self.score, 3),
            "faces": [
                {
                    "box_xyxy": [round(float(v), 1) for v in face.box_xyxy],
                    "landmarks_px": np.round(face.landmarks_px.astype(float), 1).tolist(),
                    "score": round(face.score, 3),
                }
                for face in self.faces
            ],
            "landmarks_from": self.landmarks_from,
            "reasons": [
                {"subject": r.subject, "status": r.status, "sentence": r.sentence, "value": r.value}
                for r in self.reasons
            ],
            "measures": measures,
            "tried": list(self.tried),
        }


def inspect(
    image: Image.Image,
    detector: FaceDetector,
    box: tuple[float, float, float, float] | None = None,
    needs_px: int = 96,
) -> Verdict:
    """Judge one RGB picture as a reference.

    box: (x0, y0, x1, y1) px by hand; that face is judged and the others do not count.
    needs_px: face size from which the face is large enough; under a third of it, nothing can be
    read. 96 suits methods that paint 512 px and more, 48 the mini pack's 128 px.

    Raises:
        InputError: a box that is empty or leaves the picture. No face is a verdict, not an error.
    """
    image = image.convert("RGB")
    if box is not None:
        face, source = face_in_box(image, detector, box)
        return _judge(image, face, [face], source, (f"box by hand, landmarks from {source}",), needs_px)
    found = detector.search(image)
    if not found.faces:
        return _nothing(detector, found)
    return _judge(image, found.faces[0], found.faces, detector.name, found.tried, needs_px, found)


def _nothing(detector: FaceDetector, found: Detection) -> Verdict:
    reason = Reason("faces", "unusable", no_face_sentence(detector, found), 0)
    return Verdict("unusable", (reason,), (), None, None, detector.name, found.tried, 0.0)


def _judge(
    image: Image.Image,
    face: Face,
    faces: list[Face],
    source: str,
    tried: tuple[str, ...],
    needs_px: int,
    found: Detection | None = None,
) -> Verdict:
    measures = measure(image, face)
    reasons = _several(faces)
    if found is not None and found.turned_degrees:
        reasons.append(
            Reason(
                "angle",
                "usable with care",
                f"The picture lies: the face shows when it is turned by {found.turned_degrees} degrees.",
                float(found.turned_degrees),
            )
        )
    for finding in (_size(measures, needs_px), _blur(measures), *_light(measures), _border(measures)):
        if finding is not None:
            reasons.append(finding)
    if source != "average face":
        # an angle read off guessed landmarks would be a guess about nothing
        reasons += [finding for finding in (_angle(measures), _covered(measures)) if finding is not None]
    else:
        reasons.append(
            Reason(
                "faces",
                "usable with care",
                "No face was seen in the box: the landmarks are those of an average face.",
            )
        )
    status: Status = max((r.status for r in reasons), key=_RANK.__getitem__, default="usable")
    return Verdict(
        status,
        tuple(reasons),
        tuple(faces),
        face,
        measures,
        source,
        tried,
        _score(measures, reasons, needs_px),
    )


def _several(faces: list[Face]) -> list[Reason]:
    if len(faces) < 2:
        return []
    mains = main_faces(faces)
    if len(mains) > 1:
        return [
            Reason(
                "faces",
                "unusable",
                f"{len(mains)} faces of similar size: crop the picture, or choose one by its box.",
                len(faces),
            )
        ]
    return [
        Reason(
            "faces",
            "usable with care",
            f"{len(faces)} faces, one much larger than the rest: the largest is taken.",
            len(faces),
        )
    ]


def _size(m: FaceMeasures, needs_px: int) -> Reason | None:
    if m.size_px >= needs_px:
        return None
    bad = m.size_px < needs_px / 3
    sentence = f"The face is {m.size_px:.0f} px large; {needs_px} px or more show it well."
    return Reason("size", "unusable" if bad else "usable with care", sentence, round(m.size_px, 1))


def _blur(m: FaceMeasures) -> Reason | None:
    if m.sharpness >= 0.09:
        return None
    sentence = (
        f"The face is {'badly' if m.sharpness < 0.045 else 'slightly'} blurred (sharpness {m.sharpness:.2f})."
    )
    status: Status = "unusable" if m.sharpness < 0.045 else "usable with care"
    return Reason("blur", status, sentence, round(m.sharpness, 3))


def _light(m: FaceMeasures) -> list[Reason]:
    light, found = m.light, list[Reason]()
    if light.bright < 0.35:
        status: Status = "unusable" if light.bright < 0.18 else "usable with care"
        found.append(
            Reason(
                "light", status, f"The face is too dark (its highlights at {light.bright:.0%}).", light.bright
            )
        )
    if light.burnt > 0.06:
        status = "unusable" if light.burnt > 0.3 else "usable with care"
        found.append(Reason("light", status, f"{light.burnt:.0%} of the face is burnt out.", light.burnt))
    if light.one_sided > 0.55:
        sentence = f"The light is strongly one-sided (halves differ by {light.one_sided:.0%})."
        found.append(Reason("light", "usable with care", sentence, light.one_sided))
    return found


def _angle(m: FaceMeasures) -> Reason | None:
    turned = max(abs(m.angle.yaw) / 30, abs(m.angle.pitch) / 28, abs(m.angle.roll) / 30)
    if turned <= 1:
        return None
    status: Status = "unusable" if abs(m.angle.yaw) > 60 else "usable with care"
    a = m.angle
    sentence = f"The head is turned (yaw {a.yaw:.0f}, pitch {a.pitch:.0f}, roll {a.roll:.0f} degrees)."
    return Reason("angle", status, sentence, round(m.angle.yaw, 1))


def _covered(m: FaceMeasures) -> Reason | None:
    if not m.covered:
        return None
    status: Status = "unusable" if len(m.covered) >= 3 else "usable with care"
    return Reason("covered", status, f"Looks covered: {', '.join(m.covered)}.", len(m.covered))


def _border(m: FaceMeasures) -> Reason | None:
    if m.cut_share <= CUT_SHARE:
        return None
    status: Status = "unusable" if m.cut_share > 0.25 else "usable with care"
    return Reason(
        "border", status, f"The face is cut by the picture's border ({m.cut_share:.0%} missing).", m.cut_share
    )


def _score(m: FaceMeasures, reasons: list[Reason], needs_px: int) -> float:
    """A ranking number: the product of how good each measure is, each in (0, 1]."""
    if any(reason.status == "unusable" for reason in reasons):
        return 0.0
    size = min(1.0, m.size_px / (2 * needs_px))
    sharp = min(1.0, m.sharpness / 0.18)
    light = (
        min(1.0, m.light.bright / 0.5) * (1 - min(m.light.burnt, 0.5)) * (1 - 0.3 * min(m.light.one_sided, 1))
    )
    angle = float(
        np.cos(np.radians(min(abs(m.angle.yaw), 80))) * np.cos(np.radians(min(abs(m.angle.pitch), 60)))
    )
    whole = (1 - m.cut_share) ** 2 * 0.7 ** len(m.covered)
    care = 0.9 ** sum(reason.status == "usable with care" for reason in reasons)
    return float(size**0.5 * sharp * light * angle * whole * care)


def best_subset(
    verdicts: Sequence[Verdict], embeddings: NDArray[np.floating] | None, k: int, same: float = 0.3
) -> list[int]:
    """Indices of up to k photos that are good and show one person, best first.

    embeddings: (N, D) unit length, row i for verdict i (rows of unusable photos are ignored), or
    None to go by quality alone. same: least cosine to the person's centre. The person is the
    one with the most quality behind him: every usable photo is tried as the centre, and the
    photos within `same` of it are its group.

    Raises:
        InputError: k < 1, or a number of embeddings other than that of verdicts.
    """
    if k < 1:
        raise InputError(f"The number of photos to keep is {k}; give 1 or more.")
    quality = np.array([verdict.score for verdict in verdicts])
    good = np.flatnonzero(quality > 0)
    if embeddings is None or len(good) == 0:
        return [int(i) for i in good[np.argsort(-quality[good], kind="stable")][:k]]
    if len(embeddings) != len(verdicts):
        raise InputError(f"{len(verdicts)} verdicts came with {len(embeddings)} embeddings; give one each.")
    cosine = np.asarray(embeddings, np.float64)[good] @ np.asarray(embeddings, np.float64)[good].T
    member = cosine >= same
    support = (member * np.clip(cosine, 0, 1) * quality[good]).sum(1) * quality[good] ** 0.25
    centre = int(np.argmax(support))
    group = np.flatnonzero(member[centre])
    rank: Callable[[int], float] = lambda i: -float(quality[good[i]] * (0.5 + 0.5 * cosine[centre, i]))  # noqa: E731
    return [int(good[i]) for i in sorted(group.tolist(), key=rank)][:k]
