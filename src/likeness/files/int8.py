"""Weights at half the size of fp16: one byte a number, and a scale for each output channel.

Of nets that began as a copy of another, the bytes may be offsets from that one's: small numbers, which an
archive packs smaller, and which come back as exactly the same weights.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch

from likeness.errors import IncompatibleWeightsError
from likeness.files.provenance import record_weights
from likeness.files.weights import read_metadata, read_safetensors, write_safetensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

__all__ = ["INT8_FILE", "begins_at", "from_int8", "read_int8", "to_int8", "without_offsets", "write_int8"]

INT8_FILE = "int8.safetensors"
"""Stands in a model's folder in place of its weights file."""
SCALE, OFFSET_SCALE = SCALES = ".int8_scale", ".int8_offset_scale"
OFFSETS_FROM, BEGUN_AS = "offsets_from", "begun_as"
"""Entries of a file's metadata: the sha256 of the folder of weights that its offsets begin at, and what
tensors are called there, as JSON."""


def to_int8(
    tensors: Mapping[str, Tensor], start: Mapping[str, Tensor] | None = None, coarse: int = 1
) -> dict[str, Tensor]:
    """Matrices and kernels (O, ...) as int8 beside scales (O,) named `NAME.int8_scale`; the rest in fp16.

    The largest number of an output channel becomes 127, so rounding moves none by more than 1/254 of it.
    start: what some of them began as, by name. Of those the bytes are offsets from the start, rounded alike,
    and the scale is called `NAME.int8_offset_scale`; what has moved too far for a byte is written whole.
    coarse: offsets are rounded to multiples of so many bytes' steps, which an archive packs smaller still.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2 or not tensor.is_floating_point():
            found[name] = tensor.half() if tensor.is_floating_point() else tensor
            continue
        rows = tensor.detach().float().flatten(1)
        scale = (rows.abs().amax(1) / 127).clamp_min(1e-30)  # of an empty row, which stays so
        whole, kind = _steps(rows, scale).clamp(-127, 127), SCALE
        begun = (start or {}).get(name)
        if begun is not None and begun.shape == tensor.shape:
            offset = whole - _steps(begun.float().flatten(1), scale)
            offset = (offset / coarse).round() * coarse
            if offset.abs().max() <= 127:
                whole, kind = offset, OFFSET_SCALE
        found[name] = whole.to(torch.int8).view(tensor.shape)
        found[name + kind] = scale
    return found


def from_int8(tensors: Mapping[str, Tensor], start: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """What `to_int8` was given, rounded, in fp32; the same with a start and without.

    Raises: IncompatibleWeightsError where a scale or a start is missing.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALES):
            continue
        if tensor.dtype != torch.int8:
            found[name] = tensor.float() if tensor.is_floating_point() else tensor
            continue
        steps = tensor.flatten(1).float()
        scale = tensors.get(name + SCALE)
        if scale is None:
            scale = tensors.get(name + OFFSET_SCALE)
            if scale is None:
                raise IncompatibleWeightsError(f"The int8 weights {name} have no {name + SCALE} beside them.")
            begun = (start or {}).get(name)
            if begun is None or begun.shape != tensor.shape:
                raise IncompatibleWeightsError(f"The int8 weights {name} are offsets from others, not given.")
            steps = steps + _steps(begun.float().flatten(1), scale)
        found[name] = (steps * scale[:, None]).view(tensor.shape)
    return found


def write_int8(
    tensors: Mapping[str, Tensor],
    file: Path,
    metadata: Mapping[str, str] | None = None,
    *,
    start: Path | None = None,
    begun_as: Callable[[str], str] = str,
    coarse: int = 1,
) -> None:
    """Write `to_int8` of tensors whole.

    start: folder of the weights that they began as, which stays as it is; begun_as(name): what one of them is
    called there, told in the file where it is another name.
    """
    told = dict(metadata or {})
    if start is None:
        write_safetensors(to_int8(tensors), file, told)
        return
    names = {name: begun_as(name) for name in tensors}
    told[OFFSETS_FROM] = _digest(start)
    told[BEGUN_AS] = json.dumps({name: other for name, other in names.items() if name != other})
    write_safetensors(to_int8(tensors, _renamed(start, names), coarse), file, told)


def read_int8(file: Path, start: Path | None = None) -> dict[str, Tensor]:
    """What `write_int8` was given, rounded, in fp32. start: the folder that was given there.

    Raises: IncompatibleWeightsError where the file holds offsets from other weights than those in `start`.
    """
    tensors, told = read_safetensors(file), read_metadata(file)
    if OFFSETS_FROM not in told:
        return from_int8(tensors)
    if start is None or not start.is_dir() or _digest(start) != told[OFFSETS_FROM]:
        raise IncompatibleWeightsError(
            f"{file} holds offsets from other weights than those in {start or 'this base'}: use it with the "
            "base it came with."
        )
    names = {name: name for name in tensors} | json.loads(told.get(BEGUN_AS, "{}"))
    return from_int8(tensors, _renamed(start, names))


def begins_at(file: Path, start: Path) -> bool:
    """Whether a file holds offsets from the weights in `start`."""
    wanted = read_metadata(file).get(OFFSETS_FROM)
    return wanted is not None and wanted == _digest(start)


def without_offsets(file: Path, start: Path) -> None:
    """Write the same weights without offsets, so that the file no longer needs its start."""
    told = read_metadata(file)
    whole = read_int8(file, start)
    scales = {name: scale for name, scale in read_safetensors(file).items() if name.endswith(SCALES)}
    names = {name.removesuffix(SCALE).removesuffix(OFFSET_SCALE): scale for name, scale in scales.items()}
    tensors: dict[str, Tensor] = {}
    for name, tensor in whole.items():
        if name not in names:
            tensors[name] = tensor.half() if tensor.is_floating_point() else tensor
            continue
        scale = names[name]
        tensors[name] = _steps(tensor.flatten(1), scale).to(torch.int8).view(tensor.shape)
        tensors[name + SCALE] = scale
    write_safetensors(tensors, file, {k: v for k, v in told.items() if k not in (OFFSETS_FROM, BEGUN_AS)})


def _steps(rows: Tensor, scale: Tensor) -> Tensor:
    """Rows in whole steps of their scale."""
    return (rows / scale[:, None]).round()


def _digest(folder: Path) -> str:
    return record_weights(folder, "start", "").sha256


def _renamed(folder: Path, names: Mapping[str, str]) -> dict[str, Tensor]:
    """A folder's tensors under the names of those that began as them."""
    there: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        there |= read_safetensors(file)
    return {name: there[begun] for name, begun in names.items() if begun in there}
