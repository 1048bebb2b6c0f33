"""How a pack's recognisers are calibrated: on pairs of sitters nobody was trained on, found as users' are."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image

from likeness.errors import MissingWeightsError
from likeness.faces.align import align_arcface
from likeness.faces.calibration import Calibration, Calibrations, chances, fit
from likeness.faces.embed import load_encoder
from likeness.faces.sitter_detector import SitterDetector
from likeness.files.images import write_bytes
from likeness.files.provenance import record_weights
from likeness.files.weights import cache_folder
from likeness.packs.card import read_card
from likeness.packs.mini import first_seed

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from likeness.packs.data import Pictures

__all__ = ["FILE", "cached", "calibrate", "cosines_of", "embedded", "pairs_of"]

FILE = "calibration.json"
FOLDERS = ("judge_recogniser", "recogniser")
PAIRS = 4000

Embedded: TypeAlias = "Mapping[str, NDArray[np.float64]]"


def calibrate(pack: Path, pictures: Pictures, further: Sequence[Path] = ()) -> Calibrations:
    """Fit every set of the pack's recognisers on pairs of `pictures`, half of one person, and write `FILE`.

    further: recognisers of the user's (folders or .onnx) that judge beside the pack's; what is fitted with
    them goes into the user's cache (`cached`), and the pack stays as it is.
    Raises: MissingWeightsError for a pack without a recogniser or a landmark network.
    """
    faces, person, digests = embedded(pack, pictures, further)
    one, two, same = pairs_of(person, PAIRS)
    sets = []
    for names in itertools.chain.from_iterable(
        itertools.combinations(faces, size) for size in range(1, len(faces) + 1)
    ):
        cosines = cosines_of(faces, names, one, two)
        weights, bias = fit(cosines, same)
        own = float(chances(cosines[same], weights, bias).mean())
        sets.append(Calibration(encoders=names, weights=weights, bias=bias, own_pictures=own))
    found = Calibrations(
        digests=digests,
        people=int(pictures.person.max()) + 1,
        first_seed=first_seed("calibration"),
        pairs=len(same),
        sets=tuple(sets),
    )
    target = cached(digests) if further else pack / FILE
    write_bytes(target, (found.model_dump_json(indent=2) + "\n").encode())
    return found


def cached(digests: Mapping[str, str]) -> Path:
    """Where the calibration of exactly these weights (encoder's name -> hash) is kept."""
    together = hashlib.sha256("".join(f"{name} {digests[name]}\n" for name in sorted(digests)).encode())
    return cache_folder() / "calibrations" / f"{together.hexdigest()[:24]}.json"


def embedded(
    pack: Path, pictures: Pictures, further: Sequence[Path] = ()
) -> tuple[Embedded, NDArray[np.int64], dict[str, str]]:
    """The faces that the pack's own detector finds: encoder's name -> (N, D), person (N,), and the
    encoders' digests by name."""
    folders = [pack / name for name in FOLDERS if (pack / name).is_dir()]
    if not folders:
        raise MissingWeightsError(f"The pack in {pack} has no recogniser to calibrate: build one first.")
    folders += further
    detector = SitterDetector(pack / "landmarks")
    aligned, person = [], []
    for pixels, who in zip(pictures.pixels, pictures.person.tolist(), strict=True):
        picture = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
        if found := detector(picture):
            aligned.append(align_arcface(picture, found[0]))
            person.append(who)
    parts, rows, digests = read_card(pack).parts, {}, {}
    for folder in folders:
        encoder = load_encoder(folder)
        own = folder.parent == pack
        digests[encoder.name] = parts[folder.name].digest if own else record_weights(folder, "", "").sha256
        few = (encoder(aligned[start : start + 64]) for start in range(0, len(aligned), 64))
        rows[encoder.name] = np.concatenate(list(few)).astype(np.float64)
    return rows, np.array(person, np.int64), digests


def pairs_of(
    person: NDArray[np.int64], count: int, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Two rows of each of at most `count` pairs, and whether they are of one person, as half of them are."""
    one, two = np.triu_indices(len(person), 1)
    same = person[one] == person[two]
    rng = np.random.default_rng(seed)
    mates, strangers = (rng.permutation(np.flatnonzero(kind)) for kind in (same, ~same))
    half = min(count // 2, len(mates), len(strangers))
    chosen = np.concatenate([mates[:half], strangers[:half]])
    return one[chosen], two[chosen], same[chosen]


def cosines_of(
    faces: Embedded, names: Sequence[str], one: NDArray[np.int64], two: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(pairs, encoders) of the rows `one` and `two`."""
    return np.stack([(faces[name][one] * faces[name][two]).sum(1) for name in names], axis=1)
