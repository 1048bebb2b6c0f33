"""The methods as the studio offers them: their options as a schema, and whether their weights are here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likeness.catalog import card, method_names, trainable_names
from likeness.errors import InputError
from likeness.packs.mini import pack_folder

if TYPE_CHECKING:
    from likeness.studio.library import Library

__all__ = ["adapter_path", "adapters_of", "methods"]

SUFFIX = ".safetensors"


def methods(library: Library, base: str) -> list[dict[str, Any]]:
    """Every method of the catalog: card, JSON schema of its options, adapters, and what is missing."""
    pack = pack_folder(base)
    is_pack = (pack / "pack.json").is_file()
    found = []
    for name in method_names():
        one = card(name)
        counts = list(one.references)
        own = any((pack / "adapters" / folder).is_dir() for folder in one.adapters or (name,))
        adapters = adapters_of(library, name)
        words_alone = not any(counts)
        missing = ""
        if is_pack and not own and not words_alone and not adapters:
            missing = (
                f"The pack {pack.name} has no weights for it yet: train them with "
                f"`likeness pack build {pack.name} --part {name}`, or put some into adapters/{name} of the "
                "data folder."
            )
        found.append(
            {
                "name": name,
                "title": one.title,
                "paper_url": one.paper_url,
                "task": one.task,
                "references": {"min": min(counts, default=0), "max": max(counts, default=0)},
                "options": one.options.model_json_schema(),  # type: ignore[attr-defined]
                "bases": list(one.bases),
                "stages": list(one.stages),
                "licences": dict(one.licences),
                "adapters": sorted(adapters),
                "own_adapter": own or not is_pack,
                "trainable": name in trainable_names(),
                "missing": missing,
            }
        )
    return found


def adapters_of(library: Library, method: str) -> dict[str, Path]:
    """Weights of a method by name: trained here ("run JOB"), or in adapters/METHOD of the data folder."""
    found: dict[str, Path] = {}
    placed = library.folder / "adapters" / method
    if placed.is_dir():
        for path in sorted(placed.iterdir()):
            if path.is_dir() or path.suffix == SUFFIX:
                found[path.name] = path
    with library.database.reading() as rows:
        runs = rows(
            "SELECT request, result FROM jobs WHERE kind = 'train' AND state IN ('done', 'cancelled')"
        )
    for row in runs:
        result = json.loads(row["result"]) if row["result"] else {}
        if json.loads(row["request"]).get("method") == method and result.get("run"):
            folder = library.folder / "runs" / result["run"] / "adapter"
            if folder.is_dir():
                found[f"run {result['run']}"] = folder
    return found


def adapter_path(library: Library, method: str, name: str | None) -> Path | None:
    """The weights of that name, None for the base's own. Raises: InputError for a name that is not listed."""
    if name is None:
        return None
    known = adapters_of(library, method)
    if name not in known:
        raise InputError(
            f"{method} has no weights called {name!r} here; there are: {', '.join(known) or 'none'}."
        )
    return known[name]
