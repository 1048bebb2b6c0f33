"""The kinds of data set there are: which one a folder holds, reading it, checking it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from likeness.data import attributes, manifest, triplets
from likeness.errors import IncompatibleWeightsError

__all__ = ["AnySet", "check", "kind_of", "open_dataset", "require", "warnings_of"]

AnySet: TypeAlias = manifest.Dataset | attributes.AttributeSet | triplets.TripletSet


def kind_of(folder: Path) -> str:
    """What its `dataset.json` or `build.json` says; "fgid" where none can be read, whose reader then says
    what is wrong."""
    built = triplets.kind_in(folder)
    if built:
        return built
    try:
        told = json.loads((folder / manifest.ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "fgid"
    return str(told.get("kind", "fgid")) if isinstance(told, dict) else "fgid"


def open_dataset(folder: Path) -> AnySet:
    """Read a data set of any kind. Raises: InputError naming the first thing that is wrong."""
    kind = kind_of(folder)
    if kind == "attributes":
        return attributes.read_attributes(folder)
    if kind in triplets.PICTURES:
        return triplets.read_triplets(folder)
    return manifest.read_dataset(folder)


def check(folder: Path, *, hashes: bool = True) -> list[manifest.Problem]:
    """Everything that is wrong with a data set of any kind. hashes: also read every picture."""
    kind = kind_of(folder)
    if kind == "attributes":
        return attributes.check(folder, hashes=hashes)
    if kind in triplets.PICTURES:
        return triplets.check(folder, hashes=hashes)
    return manifest.check(folder, hashes=hashes)


def warnings_of(folder: Path) -> list[manifest.Problem]:
    """What is no fault of a data set, but teaches less."""
    return manifest.warnings_of(folder) if kind_of(folder) == "fgid" else []


def require(dataset: AnySet, kind: str | Sequence[str], method: str) -> None:
    """Raises: IncompatibleWeightsError for a data set that the method cannot learn from."""
    kinds = [kind] if isinstance(kind, str) else list(kind)
    if dataset.about.kind not in kinds:
        raise IncompatibleWeightsError(
            f"{method} learns from a data set of kind {' or '.join(kinds)}, but {dataset.folder} is of kind "
            f"{dataset.about.kind}: build one with `likeness dataset build {kinds[-1]}`."
        )
