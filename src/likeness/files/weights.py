"""Weights on disk: checked by sha256, safetensors only, fetched once into a cache."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likeness.errors import IncompatibleWeightsError, InputError, MissingWeightsError
from likeness.files.images import whole_file, write_json

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "cache_folder",
    "cached_file",
    "convert_pickle_once",
    "is_offline",
    "model_places",
    "read_metadata",
    "read_safetensors",
    "sha256_of",
    "tensor_names",
    "write_safetensors",
]

_TIMEOUT_S = 30


def sha256_of(path: Path | str) -> str:
    """The sha256 of a file as 64 hexadecimal digits. Raises: InputError when it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {(error.strerror or str(error)).lower()}.") from None


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/likeness`, by default `~/.cache/likeness`; not made here."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "likeness"


def is_offline() -> bool:
    """Whether LIKENESS_OFFLINE or HF_HUB_OFFLINE forbids the network."""
    return any(
        os.environ.get(name, "").lower() not in ("", "0", "false", "no", "off")
        for name in ("LIKENESS_OFFLINE", "HF_HUB_OFFLINE")
    )


def model_places(env: str = "LIKENESS_MODELS") -> list[Path]:
    """What a variable names, separated like PATH: files, and folders with those up to two levels inside them.

    Archives of models unpack one folder deeper than is thought, and hold a folder of that name again.
    """
    places: list[Path] = []
    for entry in filter(None, os.environ.get(env, "").split(os.pathsep)):
        given = Path(entry).expanduser()
        inside = [*given.glob("*/"), *given.glob("*/*/")] if given.is_dir() else []
        places += [given, *sorted(one for one in inside if one.is_dir())]
    return places


def cached_file(
    name: str, sha256: str, size: int, url: str | None = None, env: str = "LIKENESS_MODELS"
) -> Path:
    """A file known by its sha256: from the folders in `$LIKENESS_MODELS`, the cache, or `url`.

    name: file name. sha256: 64 hexadecimal digits. size: bytes. env: the variable naming folders
    to look in first, or the file itself (see `model_places`).
    Raises: MissingWeightsError when it is nowhere, is another file than the one wanted, or cannot
    be downloaded; the message says where to put it.
    """
    for place in model_places(env):
        given = place / name if place.is_dir() else place
        if given.name == name and given.is_file():
            if not _is_the_file(given, sha256, size):
                raise MissingWeightsError(
                    f"{given} (from {env}) is not the {name} that is needed "
                    f"({size:,} bytes, sha256 {sha256[:12]}…); replace it or unset {env}."
                )
            return given
    cached = cache_folder() / name
    if cached.is_file() and _is_the_file(cached, sha256, size):
        return cached
    by_hand = f"put it into {cached.parent} or a folder named by {env}"
    if url is None:
        raise MissingWeightsError(f"{name} is needed and is not here; {by_hand}.")
    if is_offline():
        raise MissingWeightsError(
            f"{name} is needed, is not here, and the network is switched off "
            f"(LIKENESS_OFFLINE or HF_HUB_OFFLINE); download {url} and {by_hand}."
        )
    with whole_file(cached) as part:
        _download(name, url, part, by_hand)
        if not _is_the_file(part, sha256, size):
            raise MissingWeightsError(
                f"{url} gave another file than the {name} that is needed "
                f"({size:,} bytes, sha256 {sha256[:12]}…); find the right one and {by_hand}."
            )
    return cached


def read_safetensors(path: Path | str) -> dict[str, Tensor]:
    """Tensors of one .safetensors file, or of the shards an `.index.json` names, on the CPU.

    Raises: MissingWeightsError when a file is not there, IncompatibleWeightsError when it is no
    whole safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    shards = [path]
    if path.name.endswith(".index.json"):
        shards = sorted({path.parent / str(name) for name in _read_index(path).values()})
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        _require_file(shard)
        try:
            tensors.update(load_file(shard))
        except (SafetensorError, OSError, ValueError) as error:
            raise IncompatibleWeightsError(
                f"{shard} is not a whole safetensors file ({error}); download or save it again."
            ) from None
    return tensors


def read_metadata(path: Path | str) -> dict[str, str]:
    """The text metadata of a .safetensors file, without reading its tensors. Raises as above."""
    from safetensors import SafetensorError, safe_open

    _require_file(Path(path))
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise IncompatibleWeightsError(f"{path} is not a whole safetensors file ({error}).") from None


def tensor_names(path: Path | str) -> list[str]:
    """Of a .safetensors file, without reading its tensors. Raises as above."""
    from safetensors import SafetensorError, safe_open

    _require_file(Path(path))
    try:
        with safe_open(path, framework="numpy") as file:
            return list(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise IncompatibleWeightsError(f"{path} is not a whole safetensors file ({error}).") from None


def write_safetensors(
    tensors: Mapping[str, Tensor],
    path: Path | str,
    metadata: Mapping[str, str] | None = None,
    shard_bytes: int | None = None,
) -> None:
    """Write tensors whole (a temporary name, then a rename).

    shard_bytes: above it, split into `NAME-00001-of-00003.safetensors` and so on with
    `NAME.safetensors.index.json`, as diffusers and transformers do; the index is written last.
    Tensors that share memory are written one by one. Raises: InputError when it cannot be written.
    """
    from safetensors.torch import save_file

    path = Path(path)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    owners: dict[int, str] = {}
    for name, tensor in plain.items():
        if owners.setdefault(tensor.untyped_storage().data_ptr(), name) != name:
            plain[name] = tensor.clone()
    shards = _split(plain, shard_bytes)
    if len(shards) == 1:
        with whole_file(path) as part, _open_to_others(part):
            save_file(shards[0], part, dict(metadata or {}))
        return
    where: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"{path.stem}-{number:05d}-of-{len(shards):05d}{path.suffix}"
        with whole_file(path.with_name(name)) as part, _open_to_others(part):
            save_file(shard, part, dict(metadata or {}))
        where |= dict.fromkeys(shard, name)
    total = sum(tensor.nbytes for tensor in plain.values())
    write_json(
        path.with_name(path.name + ".index.json"),
        {"metadata": {"total_size": total}, "weight_map": where},
    )


@contextmanager
def _open_to_others(file: Path) -> Iterator[None]:
    """Give a file the mode that new files have here: safetensors' own are for the owner's eyes alone."""
    file.touch()
    mode = file.stat().st_mode
    yield
    file.chmod(mode)


def convert_pickle_once(path: Path | str) -> Path:
    """The safetensors twin of a .bin/.pth/.pt/.ckpt file, made once and kept in the cache.

    The pickle is read with torch's `weights_only`: tensors in dictionaries, nothing that runs.
    Nested dictionaries become dotted names. A .safetensors file is returned as it is.
    Raises: MissingWeightsError when it is not there, IncompatibleWeightsError when it holds
    something other than tensors.
    """
    path = Path(path)
    _require_file(path)
    if path.suffix == ".safetensors":
        return path
    source = sha256_of(path)
    twin = cache_folder() / "converted" / f"{path.stem}-{source[:16]}.safetensors"
    if twin.is_file():
        return twin
    import torch

    try:
        with warnings.catch_warnings():  # old files are refused or read, not remarked upon
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  a broken pickle raises anything
        raise IncompatibleWeightsError(
            f"{path} is not a plain file of tensors ({type(error).__name__}); "
            "ask for a safetensors version, as nothing inside a pickle is run here."
        ) from None
    tensors: dict[str, Tensor] = {}
    _flatten(content, "", tensors, path)
    write_safetensors(tensors, twin, {"format": "pt", "converted_from_sha256": source})
    return twin


def _flatten(node: Any, prefix: str, tensors: dict[str, Tensor], path: Path) -> None:
    import torch

    if isinstance(node, torch.Tensor):
        tensors[prefix] = node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            _flatten(value, f"{prefix}.{key}" if prefix else str(key), tensors, path)
    elif not isinstance(node, (int, float, str, bool, type(None))):  # a step count or a name is dropped
        raise IncompatibleWeightsError(
            f"{path} holds a {type(node).__name__} at {prefix or 'its top'!r} where tensors are expected."
        )
    if not prefix and not tensors:
        raise IncompatibleWeightsError(f"{path} holds no tensors.")


def _split(tensors: dict[str, Tensor], shard_bytes: int | None) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        if shard_bytes is not None and shards[-1] and filled + tensor.nbytes > shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += tensor.nbytes
    return shards


def _read_index(path: Path) -> Mapping[str, Any]:
    _require_file(path)
    try:
        where = json.loads(path.read_text("utf-8"))["weight_map"]
    except (OSError, ValueError, KeyError, TypeError):
        where = None
    if not isinstance(where, dict):
        raise IncompatibleWeightsError(f"{path} is not an index of safetensors shards; save them again.")
    return where


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise MissingWeightsError(f"The weights {path} do not exist; check the path.")


def _is_the_file(path: Path, sha256: str, size: int) -> bool:
    return path.stat().st_size == size and sha256_of(path) == sha256


def _download(name: str, url: str, target: Path, by_hand: str) -> None:
    if not url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
        raise InputError(f"{url} is no https address.")
    try:
        with (
            urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer,  # noqa: S310  checked above
            target.open("wb") as file,
        ):
            shutil.copyfileobj(answer, file, 1 << 20)
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or error
        raise MissingWeightsError(
            f"{name} is needed, is not here, and cannot be downloaded ({reason}); get {url} and {by_hand}."
        ) from None
