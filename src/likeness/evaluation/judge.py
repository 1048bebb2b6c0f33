"""Who says whether a portrait is the person: recognisers that the method was not conditioned on.

Their cosines become one number people understand, the chance that two pictures show one person,
where they were calibrated (`faces.calibration`); elsewhere the cosines stand alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from likeness.evaluation.metrics.faces import look
from likeness.faces.calibration import Calibration, Calibrations
from likeness.faces.doctor import inspect
from likeness.faces.embed import load_encoder, provided_encoders
from likeness.files.provenance import pixels_sha256, record_weights
from likeness.packs import read_card
from likeness.packs.mini import pack_folder
from likeness.packs.recipes.calibration import cached

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from likeness.faces.detect import FaceDetector
    from likeness.faces.embed import FaceEncoder

__all__ = ["UNLIKE", "Judge", "Likeness", "explanation", "open_judge"]

UNLIKE = 0.5
"""Below this chance a portrait is more likely of somebody else, and the judge says what it may be due to."""
PACK_ENCODERS = ("judge_recogniser", "recogniser")
"""Folders of a pack, the one that no method is conditioned on first."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """What a judge says of one picture.

    chance: that it shows the person of the references, in (0, 1); None where nothing calibrated looked.
    cosines: encoder's name -> mean cosine with the references, in [-1, 1]. reason: why there is no chance.
    """

    chance: float | None = None
    cosines: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """Compares faces by encoders that are independent of how a picture was made.

    calibrations: of a pack's encoders; None for encoders whose cosines nobody has calibrated.
    reason: why there is no encoder, or no calibration.
    """

    encoders: Sequence[FaceEncoder] = ()
    detector: FaceDetector | None = None
    calibrations: Calibrations | None = None
    reason: str = "no judge was given"
    _known: dict[tuple[str, str], NDArray[np.float64] | None] = field(default_factory=dict)

    def compare(
        self, image: Image.Image, references: Sequence[Image.Image], without: str | None = None
    ) -> Likeness:
        """Does `image` show the person of `references`? without: the encoder that gave it its identity."""
        judges = self.independent(without)
        if not judges or self.detector is None:
            told = f"{without} gave the picture its identity and may not judge it"
            return Likeness(reason=told if self.encoders else self.reason)
        cosines = {}
        for encoder in judges:
            painted = self._embedding(image, encoder)
            if painted is None:
                return Likeness(reason="no face was found on the painted picture")
            known = [row for row in (self._embedding(one, encoder) for one in references) if row is not None]
            if not known:
                return Likeness(reason="the judge found no face on the reference")
            cosines[encoder.name] = round(float(np.mean([row @ painted for row in known])), 4)
        calibration = self.calibration(without)
        if calibration is None:
            return Likeness(cosines=cosines, reason=self.reason)
        return Likeness(round(calibration.chance(cosines), 4), cosines)

    def fresh(self) -> Judge:
        """The same judge, who remembers nobody."""
        return replace(self, _known={})

    def independent(self, without: str | None = None) -> list[FaceEncoder]:
        """The encoders but the one of that name."""
        return [encoder for encoder in self.encoders if encoder.name != without]

    def calibration(self, without: str | None = None) -> Calibration | None:
        """That of the independent encoders together; those that nobody calibrated have no say."""
        if self.calibrations is None:
            return None
        known = self.calibrations.digests
        return self.calibrations.of([one.name for one in self.independent(without) if one.name in known])

    def own_pictures(self, references: Sequence[Image.Image], without: str | None = None) -> float | None:
        """What a portrait is to be compared with: the mean chance of two pictures of the person.

        From all pairs of the references; where they have none, what other people's pairs have.
        """
        pairs = itertools.combinations(references, 2)
        found = [self.compare(one, [two], without).chance for one, two in pairs]
        known = [chance for chance in found if chance is not None]
        if known:
            return round(float(np.mean(known)), 4)
        calibration = self.calibration(without)
        return round(calibration.own_pictures, 4) if calibration else None

    def _embedding(self, picture: Image.Image, encoder: FaceEncoder) -> NDArray[np.float64] | None:
        key = (encoder.name, pixels_sha256(picture))
        if key not in self._known:
            self._known[key] = look(picture, self.detector, encoder)[1] if self.detector else None
        return self._known[key]


def explanation(
    picture: Image.Image, references: Sequence[Image.Image], detector: FaceDetector, needs_px: int
) -> list[str]:
    """What may keep the faces from being alike: what the reference doctor finds wrong with each picture."""
    named = [("The portrait", picture)]
    named += [
        (f"Reference {number}" if len(references) > 1 else "The reference", one)
        for number, one in enumerate(references, start=1)
    ]
    return [
        f"{name}: {reason.sentence}"
        for name, one in named
        for reason in inspect(one, detector, needs_px=needs_px).reasons
    ]


def open_judge(
    base: str | Path,
    detector: FaceDetector,
    encoders: Sequence[Path] = (),
    *,
    further: Sequence[Path] = (),
    sitters: bool = False,
) -> Judge:
    """The judge for pictures painted on `base`.

    encoders: folders of our recognisers, or .onnx files. Without any a pack's own recognisers are taken,
    with the pack's calibration where the pictures are of `sitters`, on whom alone it holds; other bases have
    none, and the scores say so. further: encoders that judge beside a pack's own, by default those that
    folders of LIKENESS_MODELS hold; their cosines are shown, and count for the chance once
    `likeness pack calibrate --encoder` has been run with them.
    Raises: MissingWeightsError or IncompatibleWeightsError for an encoder that is none.
    """
    if encoders:
        chosen = [load_encoder(path) for path in encoders]
        return Judge(chosen, detector, reason="these recognisers are not calibrated; see their cosines")
    pack = pack_folder(base)
    own = [pack / name for name in PACK_ENCODERS if (pack / name).is_dir()]
    more = list(further or provided_encoders())
    if not own and not more:
        told = "no judge: give --judge a face recogniser that the method is not conditioned on"
        return Judge((), detector, reason=told)  # it still finds faces, as for references and copies
    judges = [load_encoder(path) for path in own + more]
    if not own:
        return Judge(judges, detector, reason="these recognisers are not calibrated; see their cosines")
    if not sitters:
        return Judge(judges, detector, reason=f"the recognisers of {pack.name} know synthetic sitters only")
    calibrations, reason = _calibrations(
        pack, {e.name: path.name for e, path in zip(judges, own, strict=False)}
    )
    if calibrations is not None and more:
        digests = {
            e.name: record_weights(path, "", "").sha256
            for e, path in zip(judges[len(own) :], more, strict=True)
        }
        file = cached({**calibrations.digests, **digests})
        calibrations = Calibrations.read(file) if file.is_file() else calibrations
    return Judge(judges, detector, calibrations, reason)


def _calibrations(pack: Path, folders: Mapping[str, str]) -> tuple[Calibrations | None, str]:
    """A pack's, if it is of the weights that the pack holds now."""
    try:
        found = Calibrations.read(pack / "calibration.json")
    except OSError:
        return None, f"the recognisers of {pack.name} are not calibrated: run `likeness pack calibrate`"
    parts = read_card(pack).parts
    held = {name: parts[folder].digest for name, folder in folders.items()}
    if found.digests != held:
        return None, f"the recognisers of {pack.name} changed: run `likeness pack calibrate` again"
    return found, ""
