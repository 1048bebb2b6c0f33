"""Tar shards as WebDataset has them: written whole, always the same bytes, read by offset."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from likeness.errors import InputError
from likeness.files.images import whole_file

__all__ = ["Member", "Placed", "read_member", "write_shard"]


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a sample in a shard. name: what follows "KEY."; offset, length: of its bytes."""

    name: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a sample lies in its shard, headers included, and its files."""

    key: str
    offset: int
    length: int
    members: tuple[Member, ...]


def write_shard(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> list[Placed]:
    """Write (key, {"png": bytes, "json": bytes, ...}) one after the other as `KEY.png`, `KEY.json` ...

    The same samples give the same bytes. Raises: InputError when the place cannot be written to.
    """
    placed = []
    with (
        whole_file(path) as part,
        part.open("wb") as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for key, files in samples:
            start = stream.tell()
            members = tuple(
                Member(name, _add(tar, stream, f"{key}.{name}", data), len(data))
                for name, data in files.items()
            )
            placed.append(Placed(key, start, stream.tell() - start, members))
    return placed


def _add(tar: tarfile.TarFile, stream: IO[bytes], name: str, data: bytes) -> int:
    """Append one file, always with the same header; returns where its bytes begin."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
    return stream.tell() - -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def read_member(path: Path, offset: int, length: int) -> bytes:
    """The bytes of one file inside a shard, without reading what is before it.

    Raises: InputError for a shard that is not there or ends too early.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
    except OSError as error:
        raise InputError(f"The shard {path} cannot be read ({error.strerror}); build it again.") from None
    if len(data) != length:
        raise InputError(f"The shard {path} is cut off at {offset + len(data)} bytes; build it again.")
    return data
