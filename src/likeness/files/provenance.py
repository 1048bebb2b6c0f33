"""How a picture came to be, as a plain document: what goes into its PNG and `result.json`."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likeness.errors import IncompatibleWeightsError
from likeness.files.images import write_png
from likeness.files.weights import sha256_of
from likeness.types import WeightsRecord

if TYPE_CHECKING:
    from PIL import Image

    from likeness.types import PortraitRequest, PortraitResult

__all__ = [
    "RECIPE_FORMAT",
    "pixels_sha256",
    "recipe_of",
    "record_weights",
    "request_of",
    "require_commercial",
    "save_portrait",
    "weights_of",
]

RECIPE_FORMAT = 1
COMMERCIAL = frozenset(
    {
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CreativeML OpenRAIL-M",
        "CreativeML Open RAIL++-M",
        "MIT",
    }
)
"""Licences that allow commercial use. What is not among them counts as if it did not: most say nothing."""


def weights_of(chain: Iterable[WeightsRecord]) -> list[dict[str, str]]:
    """A chain of weights as a recipe holds it."""
    return [dataclasses.asdict(link) for link in chain]


def require_commercial(chain: Iterable[WeightsRecord]) -> None:
    """Raises: IncompatibleWeightsError naming the weights whose licence is not among `COMMERCIAL`."""
    doubtful = [f"{one.role} {one.name}: {one.licence}" for one in chain if one.licence not in COMMERCIAL]
    if doubtful:
        raise IncompatibleWeightsError(
            f"Weights are not for commercial use, or do not say so ({'; '.join(doubtful)}): take others."
        )


def save_portrait(result: PortraitResult, path: str | Path) -> None:
    """Write a painted picture as a PNG that holds its recipe, whole."""
    write_png(result.image, Path(path), recipe_of(result))


def recipe_of(result: PortraitResult) -> dict[str, Any]:
    """Everything needed to paint `result` again, and what is known about it.

    Pictures of people stay out: of a reference only its size and the sha256 of its pixels is kept.
    Keys: format, method, version, request, settings (what the method made of the request),
    weights (the chain of licences), scores, warnings, timings_s, pixels_sha256.
    """
    made = result.provenance
    return {
        "format": RECIPE_FORMAT,
        "method": made.method,
        "version": made.version,
        "request": request_of(result.request) | {"seed": made.seed},
        "settings": dict(made.recipe),
        "weights": weights_of(made.weights),
        "scores": dict(result.scores),
        "warnings": list(result.warnings),
        "timings_s": {name: round(seconds, 3) for name, seconds in result.timings_s.items()},
        "pixels_sha256": pixels_sha256(result.image),
    }


def pixels_sha256(image: Image.Image) -> str:
    """sha256 of size and RGB pixels: equal for equal pictures, whatever file they came from."""
    rgb = image.convert("RGB")
    return hashlib.sha256(f"{rgb.width}x{rgb.height} RGB\n".encode() + rgb.tobytes()).hexdigest()


def record_weights(path: Path | str, role: str, licence: str, source: str = "") -> WeightsRecord:
    """The record of one weights file, or of a folder of them.

    The sha256 of a folder covers names and contents of its .safetensors files, in order of name.
    Raises: InputError when something cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        digest = hashlib.sha256()
        for file in sorted(path.rglob("*.safetensors")):
            digest.update(f"{file.relative_to(path).as_posix()} {sha256_of(file)}\n".encode())
        return WeightsRecord(path.name, role, licence, digest.hexdigest(), source)
    return WeightsRecord(path.name, role, licence, sha256_of(path), source)


def request_of(request: PortraitRequest) -> dict[str, Any]:
    """A request as it stands in a recipe."""
    told: dict[str, Any] = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "references": [_known(image) for image in request.references],
        "size_px": list(request.size_px) if request.size_px else None,
        "steps": request.steps,
        "guidance": request.guidance,
        "seed": request.seed,
        "options": dict(request.options),
    }
    if request.people:
        told["people"] = [
            {
                "references": [_known(image) for image in person.references],
                "box_xyxy": person.box_xyxy and list(person.box_xyxy),
                "mask": person.mask and _known(person.mask),
                "prompt": person.prompt,
            }
            for person in request.people
        ]
    if request.image is not None:
        told["image"] = _known(request.image)
        told["mask_image"] = request.mask_image and _known(request.mask_image)
        told["strength"] = request.strength
    if request.control_images:
        told["control_images"] = [_known(image) for image in request.control_images]
        told["control_scale"] = request.control_scale
    return told


def _known(image: Image.Image) -> dict[str, Any]:
    return {"size_px": list(image.size), "pixels_sha256": pixels_sha256(image)}
