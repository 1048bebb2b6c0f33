"""What a pack holds and where it comes from: `pack.json`."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from likeness.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "PackCard",
    "PartRecord",
    "copy_pack",
    "copy_part",
    "read_card",
    "record_part",
    "release",
    "write_card",
]


@dataclass(frozen=True)
class PartRecord:
    """One part of a pack: its folder, what it learned from, what it cost, what it measured."""

    folder: str
    parameters: int
    bytes: int
    sha256: dict[str, str]
    seed: int
    steps: int
    hours: float
    people: int
    pictures: int
    first_seed: int
    measures: dict[str, float] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """One hash of all its weights."""
        return hashlib.sha256("".join(sorted(self.sha256.values())).encode()).hexdigest()


@dataclass(frozen=True)
class PackCard:
    """A set of weights that work together."""

    name: str
    size_px: int
    licence: str
    training_data: str
    parts: dict[str, PartRecord]

    @property
    def bytes(self) -> int:
        """Of all weights."""
        return sum(part.bytes for part in self.parts.values())

    @property
    def hours(self) -> float:
        """Of training, all parts."""
        return sum(part.hours for part in self.parts.values())


def read_card(path: Path) -> PackCard:
    """The card of the pack in a folder. Raises InputError where there is none."""
    file = path / "pack.json"
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        parts = {name: PartRecord(**part) for name, part in raw.pop("parts").items()}
        return PackCard(parts=parts, **raw)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a model pack: its pack.json is missing or broken; give a folder that "
            f"`likeness pack build` made."
        ) from error


def write_card(path: Path, card: PackCard) -> None:
    """Write pack.json whole."""
    path.mkdir(parents=True, exist_ok=True)
    partial = path / "pack.json.partial"
    partial.write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
    partial.replace(path / "pack.json")


def record_part(
    path: Path, name: str, folder: str, *, pack_name: str = "mini", size_px: int = 128, **facts: Any
) -> PartRecord:
    """Measure a part's folder, put it into the pack's card (made when missing), return its record."""
    files = sorted(f for f in (path / folder).rglob("*.safetensors"))
    record = PartRecord(
        folder=folder,
        bytes=sum(f.stat().st_size for f in files),
        sha256={str(f.relative_to(path)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files},
        **facts,
    )
    if (path / "pack.json").is_file():
        card = read_card(path)
    else:
        card = PackCard(
            pack_name,
            size_px,
            "Apache-2.0",
            "pictures of likeness.sitters, drawn by this package, and nothing else",
            {},
        )
    write_card(path, PackCard(**{**vars(card), "parts": {**card.parts, name: record}}))
    return record


def copy_part(source: Path, path: Path, folder: str, pack_name: str, size_px: int) -> PartRecord:
    """Copy a part of another pack, whole, with what its card says of it; one that is there gives way."""
    partial = path / f".{folder}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source / folder, partial)
    shutil.rmtree(path / folder, ignore_errors=True)
    partial.replace(path / folder)
    facts = _facts(read_card(source).parts[folder])
    return record_part(path, folder, folder, pack_name=pack_name, size_px=size_px, **facts)


def copy_pack(source: Path, path: Path) -> None:
    """Copy a pack whole, unless something is there already or there is none to copy."""
    if path.exists() or not (source / "pack.json").is_file():
        return
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial)
    partial.replace(path)


def release(path: Path, folder: str) -> None:
    """Before a part's weights are replaced: write those whole that are offsets from them."""
    from likeness.files.int8 import INT8_FILE, begins_at, without_offsets  # loads torch

    if not (path / "pack.json").is_file() or not (path / folder).is_dir():
        return
    for name, record in read_card(path).parts.items():
        files = [*(path / record.folder).rglob(INT8_FILE)]
        begun = [file for file in files if begins_at(file, path / folder)]
        for file in begun:
            without_offsets(file, path / folder)
        if begun:
            record_part(path, name, record.folder, **_facts(record))


def _facts(record: PartRecord) -> dict[str, Any]:
    """What is known of a part besides its files."""
    return {key: value for key, value in asdict(record).items() if key not in ("folder", "bytes", "sha256")}
