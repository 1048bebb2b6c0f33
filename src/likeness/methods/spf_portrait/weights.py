"""Deltas on disk: one .safetensors file of differences to a base, which says what it is in its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from likeness.errors import IncompatibleWeightsError, MissingWeightsError
from likeness.files.deltas import DELTA_KEY, delta_file, told_by
from likeness.files.provenance import record_weights
from likeness.files.weights import read_safetensors, write_safetensors
from likeness.methods.spf_portrait.tuning import fits

if TYPE_CHECKING:
    from likeness.diffusion.load import Base
    from likeness.types import WeightsRecord

__all__ = ["DeltaCard", "base_digest", "load_delta", "save_delta"]


@dataclass(frozen=True, slots=True)
class DeltaCard:
    """What a delta says of itself.

    base, base_sha256: the base it was trained on and its UNet's hash. targets: the words it was taught.
    training: settings and data, free in form.
    """

    family: str
    base: str
    base_sha256: str
    targets: tuple[str, ...] = ()
    licence: str = "not declared"
    training: Mapping[str, Any] = field(default_factory=dict)


def save_delta(
    delta: Mapping[str, Tensor], card: DeltaCard, file: Path, dtype: torch.dtype = torch.float16
) -> None:
    """Write a delta whole, in fp16 by default: half of what the base's own weights take."""
    tensors = {name: tensor.to("cpu", dtype).contiguous() for name, tensor in delta.items()}
    write_safetensors(tensors, file, metadata={DELTA_KEY: json.dumps(asdict(card))})


def load_delta(file: str | Path, base: Base) -> tuple[dict[str, Tensor], DeltaCard, WeightsRecord]:
    """A delta for `base`, on its device, its card, and the record of its weights.

    Raises: MissingWeightsError; IncompatibleWeightsError for a file that is none, or for another family.
    """
    path = delta_file(file)
    if not path.is_file():
        raise MissingWeightsError(
            f"There is no delta {path}: give the .safetensors file that `likeness train spf-portrait` wrote."
        )
    told = told_by(path)
    if told is None:
        raise IncompatibleWeightsError(f"{path} is no delta of SPF-Portrait; a LoRA goes to --lora.")
    card = _card(path, told)
    delta = read_safetensors(path)
    if card.family != base.family or not fits(base.unet, delta):
        raise IncompatibleWeightsError(
            f"The delta {path.name} was trained on {card.base} ({card.family}) and does not fit {base.name} "
            f"({base.family}): use it with the base it was made for."
        )
    placed = {name: tensor.to(base.device) for name, tensor in delta.items()}
    return placed, card, record_weights(path, "delta", card.licence, ", ".join(card.targets))


def _card(path: Path, told: Mapping[str, Any]) -> DeltaCard:
    try:
        return DeltaCard(**{**told, "targets": tuple(told["targets"])})
    except (KeyError, TypeError):
        raise IncompatibleWeightsError(
            f"The card inside the delta {path} has other fields than this version's: train it again, or use "
            "the version that wrote it."
        ) from None


def base_digest(base: Base) -> str:
    """The hash of a base's UNet, or of its one file, by which a delta knows it again; empty for neither."""
    return next((record.sha256 for record in base.weights if record.role in ("unet", "base")), "")
