"""The kind "cheese": pairs of a collection, annotated and verified.

    pairing        all ordered pairs inside a collection; near-duplicates and drifted scenes are dropped
    annotation     the annotator writes T_m for I_r -> I_t
    verification   from (I_r, T_m) alone it describes what is to be expected, c_hat; s = cos(CLIP_I(I_t),
                   CLIP_T(c_hat)) has to be above tau, else (T_m, s) is given back, at most M times

Every attempt stands in the manifest, or in the rejects, with the names of its exchanges.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from likeness.data.asked import begun_with
from likeness.data.build import person_of, pictures_in
from likeness.data.cheese.annotate import Annotator, Attempt, Shot
from likeness.data.duplicates import difference_hash
from likeness.data.engine import Built, Item, RejectedError, Sample, Work
from likeness.errors import AnswerError, InputError
from likeness.files.images import read_image, to_json
from likeness.files.weights import sha256_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["PACK_TAU", "TAU", "CheeseBuilder", "PictureAndText", "collections_in"]

TAU, RETRIES = 0.45, 5
"""The paper's, for OpenCLIP ViT-G/14; another CLIP has another scale."""
PACK_TAU = 0.64
"""For the mini pack's CLIP, whose cosines of fitting words are higher (benchmarks/results/cheese.json)."""
NEAR_BITS = 4
"""Pictures whose difference hashes differ in no more bits are near-duplicates without being asked about."""


class PictureAndText(Protocol):
    """CLIP's two towers, as `evaluation.embedders.Clip` is one."""

    name: str

    def images(self, images: Sequence[Image.Image]) -> NDArray[Any]:
        """(N, D) of unit length."""

    def texts(self, texts: Sequence[str]) -> NDArray[Any]:
        """(N, D) of unit length."""


@dataclass(frozen=True, slots=True, eq=False)
class CheeseBuilder:
    """Triplets from collections of pictures.

    source: a folder with a sub-folder a collection, or with a `metadata.jsonl` (`identity`, `collection`).
    clip: opened in each process that works; clip_name: for the record. tau, retries: of the verification;
    with verify False the first instruction is taken. threads: pairs worked on at once.
    """

    source: Path
    folder: Path
    annotator: Annotator
    clip: Callable[[], PictureAndText]
    clip_name: str
    tau: float = TAU
    retries: int = RETRIES
    verify: bool = True
    licence: str = "not declared"
    threads: int = 1
    kind: str = "cheese"

    def __post_init__(self) -> None:
        if not -1 <= self.tau <= 1 or not 0 <= self.retries <= 100:
            raise InputError(
                f"tau is a cosine and lies between -1 and 1, retries between 0 and 100; {self.tau:g} and "
                f"{self.retries} do not."
            )

    def settings(self) -> dict[str, Any]:
        """See `Builder`."""
        return {
            "annotator": begun_with(self.folder, "annotator", self.annotator.name),
            "side_px": self.annotator.side_px,
            "clip": self.clip_name,
            "tau": self.tau,
            "retries": self.retries,
            "verify": self.verify,
            "licence": self.licence,
        }

    def items(self) -> Iterator[Item]:
        """All ordered pairs inside each collection."""
        for collection, shots in collections_in(self.source, self.folder).items():
            for reference, target in itertools.permutations(shots, 2):
                pair = f"{reference['sha256'][:16]}-{target['sha256'][:16]}"
                told = [collection, *((one["identity"], one["about"]) for one in (reference, target))]
                mark = hashlib.sha256(to_json(told, indent=None).encode()).hexdigest()[:8]
                data = {"collection": collection, "reference": reference, "target": target}
                yield Item(f"{pair}-{mark}", data, pair)

    def open(self) -> Work:
        """Annotates one pair."""
        clip = self.clip()

        def triplet(item: Item) -> list[Sample]:
            collection, pair = item.data["collection"], (item.data["reference"], item.data["target"])
            reference, target = (
                Shot(shot["picture"], read_image(shot["path"]), shot["about"]) for shot in pair
            )
            trail = self.annotated(clip, reference, target)
            last = trail[-1]
            columns = {
                "collection": collection,
                "reference": reference.name,
                "target": target.name,
                "reference_size_px": list(reference.image.size),
                "target_size_px": list(target.image.size),
                **last.instruction.model_dump(include={"camera", "layout", "subject", "instruction"}),
                "expected": last.expected,
                "score": last.score,
                "attempts": len(trail),
                "trail": _told(trail),
            }
            files = {
                f"{name}.{Path(shot['path']).suffix.lower()[1:]}": Path(shot["path"]).read_bytes()
                for name, shot in zip(("reference", "target"), pair, strict=True)
            }
            source = f"{reference.name} -> {target.name}"
            return [Sample(item.key, pair[0]["identity"], source, self.licence, columns, files)]

        return triplet

    def annotated(self, clip: PictureAndText, reference: Shot, target: Shot) -> list[Attempt]:
        """Every attempt at a pair's instruction, the accepted one last.

        Raises: RejectedError for a pair that is none or stays under tau, and where answers are unusable.
        """
        hashes = difference_hash(reference.image), difference_hash(target.image)
        if (hashes[0] ^ hashes[1]).bit_count() <= NEAR_BITS:
            raise RejectedError("near-duplicate", f"{reference.name} and {target.name} are nearly the same.")
        annotator, trail = self.annotator, list[Attempt]()
        asked = tuple[str, ...]()  # of the attempt under way
        try:
            verdict, asked = annotator.pair(reference, target)
            if verdict.near_duplicates:
                raise RejectedError("near-duplicate", f"{annotator.name} sees no difference.", asked=asked)
            if verdict.scene_drifted:
                raise RejectedError("scene drift", f"{annotator.name} sees two scenes.", asked=asked)
            wanted = clip.images([target.image])[0] if self.verify else None
            for number in range(self.retries + 1 if self.verify else 1):
                told, how = annotator.instruct(reference, target, trail[-1] if trail else None, self.tau)
                asked = (*asked, *how)
                if wanted is None:
                    return [Attempt(number, told, "", None, asked)]
                expected, what = annotator.expect(reference, told)
                score = float(wanted @ clip.texts([expected])[0])
                trail.append(Attempt(number, told, expected, score, (*asked, *what)))
                asked = ()
                if score > self.tau:
                    return trail
        except AnswerError as error:
            asked = (*asked, *([error.exchange] if error.exchange else ()))
            raise RejectedError("no usable answer", str(error), trail=_told(trail), asked=asked) from None
        best = max(attempt.score for attempt in trail if attempt.score is not None)
        raise RejectedError(
            "not verified",
            f"The best of {len(trail)} instructions scored {best:.3f}, not above {self.tau:g}.",
            trail=_told(trail),
        )

    def finish(self, built: Built) -> None:
        """Write the statistics page."""
        from likeness.data.cheese.page import write_page

        write_page(self, built)


def _told(trail: Sequence[Attempt]) -> str:
    return json.dumps([attempt.record() for attempt in trail], ensure_ascii=False)


def collections_in(source: Path, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Pictures by collection: the `collection` of their row, else the sub-folder, else whose they are.

    Copies inside a collection count once. Raises: InputError where no collection has two pictures.
    """
    listed, files = pictures_in(source, folder)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for path in files:
        about: Mapping[str, Any] = listed.get(path, {})
        identity = person_of(path, source, listed)
        parent = path.relative_to(source).parent.as_posix()
        collection = about.get("collection") or (identity if parent == "." or about else parent)
        if about.get("collection") and not about.get("identity") and parent == ".":
            identity = str(collection)  # a collection shows one person
        digest = sha256_of(path)
        found.setdefault(str(collection), {}).setdefault(
            digest,
            {
                "picture": path.relative_to(source).as_posix(),
                "path": str(path.resolve()),
                "sha256": digest,
                "identity": identity,
                "about": {name: about[name] for name in ("record",) if name in about},
            },
        )
    several = {name: list(shots.values()) for name, shots in found.items() if len(shots) > 1}
    if not several:
        raise InputError(
            f"No collection in {source} has two pictures; give a folder with a sub-folder for each."
        )
    return several
