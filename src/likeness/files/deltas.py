"""Deltas: files of differences to a base's weights, which say in their metadata what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from likeness.errors import IncompatibleWeightsError
from likeness.files.weights import read_metadata

__all__ = ["DELTA", "DELTA_KEY", "delta_file", "told_by"]

DELTA, DELTA_KEY = "delta.safetensors", "likeness_delta"
"""What training calls one in a run's folder `adapter`; where its card stands in the metadata."""


def delta_file(given: str | Path) -> Path:
    """The file itself, or that in a run's folder or its `adapter`."""
    path = Path(given).expanduser()
    inside = [path / DELTA, path / "adapter" / DELTA] if path.is_dir() else []
    return next((one for one in inside if one.is_file()), path)


def told_by(file: Path) -> Mapping[str, Any] | None:
    """A delta's card as it was written; None for another .safetensors file.

    Raises: IncompatibleWeightsError for a card that is broken, or no safetensors file.
    """
    told = read_metadata(file).get(DELTA_KEY)
    if told is None:
        return None
    try:
        card = json.loads(told)
    except ValueError:
        card = None
    if not isinstance(card, dict):
        raise IncompatibleWeightsError(
            f"The card inside the delta {file} is damaged; train or fetch it again."
        )
    return card
