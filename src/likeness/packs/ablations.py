"""What a method's ablations are made of: variants that are trained, how they paint, what is claimed of them.

A method's `ablations.py` holds a `Plan`; `likeness.ablation` trains, measures and writes it down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from likeness.packs.workshop import Workshop
    from likeness.training import TrainResult
    from likeness.types import PortraitPipeline

__all__ = ["Claim", "Painting", "Plan", "Variant"]

Train: TypeAlias = "Callable[[Workshop, str, Path | None, Path], TrainResult]"
"""train(shop, part, start, folder): in the shop's budget, by its seed; `part` names the run; start: the
weights of the variant this one stands on. Writes its weights into `folder` where the budget is used."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to train. stands_on: the variant that has to be trained before."""

    name: str
    train: Train
    stands_on: str | None = None


@dataclass(frozen=True, slots=True)
class Painting:
    """Pictures of a variant, painted with these options of the method; steps: None, the method's own."""

    name: str
    variant: str
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """That one painting is better than another by more than `margin` in a metric; below 0: not much worse.

    share: of what the other has, such as a third; for metrics that are 0 where nothing changed.
    """

    text: str
    source: str
    metric: str
    better: str
    worse: str
    margin: float = 0.0
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about a method's ablations.

    cases: "portraits" of held-out people by prompts, "collections" of them by instructions, "edits" of their
    pictures, or prompts with "targets" behind them, against what the base paints without.
    load(pack, weights): a pipeline; where cases are targets also of the base alone, weights being None.
    curve: paintings whose numbers are drawn over a number, such as the merge step.
    """

    cases: Literal["portraits", "collections", "edits", "targets"]
    variants: tuple[Variant, ...]
    paintings: tuple[Painting, ...]
    claims: tuple[Claim, ...]
    load: Callable[[Path, Any], PortraitPipeline]
    curve: Mapping[float, str] = field(default_factory=dict)
    curve_name: str = ""
