"""From cosines of face encoders to the chance that two pictures show one person.

A cosine means something else for every encoder. Here the log-odds of "one person" are a weighted sum of
the cosines (Platt 1999), fitted on pairs of people whom no encoder was trained on, as many of one person
as of two: the chance is that of a pair which is as likely of one person as not before it is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Calibration", "Calibrations", "Reliability", "calibration_error", "fit", "reliability"]

BINS = 15
"""Of the reliability diagram, as in Guo et al. 2017."""


class Calibration(BaseModel):
    """What the cosines of these encoders, taken together, say.

    weights: a cosine each, in the encoders' order. own_pictures: the mean chance of two pictures of one
    person, which a perfect portrait cannot be expected to pass.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    encoders: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float
    own_pictures: float

    def chance(self, cosines: Mapping[str, float]) -> float:
        """That two pictures show one person, in (0, 1). Raises: KeyError without an encoder's cosine."""
        row = np.array([[cosines[name] for name in self.encoders]])
        return float(chances(row, self.weights, self.bias)[0])


class Calibrations(BaseModel):
    """One calibration for each set of a pack's encoders.

    digests: an encoder's name -> hash of the weights that were calibrated. people, first_seed: the
    sitters of the pairs; pairs: how many.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    digests: dict[str, str]
    people: int
    first_seed: int
    pairs: int
    sets: tuple[Calibration, ...]

    def of(self, encoders: Collection[str]) -> Calibration | None:
        """That of exactly these encoders; None where there is none."""
        return next((one for one in self.sets if set(one.encoders) == set(encoders)), None)

    @classmethod
    def read(cls, file: Path) -> Calibrations:
        """Raises: OSError, or pydantic's ValidationError (a ValueError) for a file of another kind."""
        return cls.model_validate_json(file.read_text(encoding="utf-8"))


class Reliability(BaseModel):
    """Pairs whose chance lies in one bin: their number, mean chance, and the share that was of one person."""

    low: float
    high: float
    n: int
    chance: float
    share: float


def chances(cosines: NDArray[np.float64], weights: tuple[float, ...], bias: float) -> NDArray[np.float64]:
    """(N, E) -> (N,) in (0, 1)."""
    odds = np.clip(cosines @ np.array(weights) + bias, -50, 50)
    found: NDArray[np.float64] = 1 / (1 + np.exp(-odds))
    return found


def fit(
    cosines: NDArray[np.float64], same: NDArray[np.bool_], ridge: float = 1e-3
) -> tuple[tuple[float, ...], float]:
    """Weights (E,) and bias of the likeliest logistic regression on (N, E) cosines, by Newton's method.

    ridge: keeps the weights finite where the cosines part the pairs without an error.
    """
    x = np.concatenate([cosines, np.ones((len(cosines), 1))], axis=1)
    w = np.zeros(x.shape[1])
    for _ in range(100):
        p = chances(x, tuple(w), 0.0)
        slope = x.T @ (p - same) + ridge * w
        curve = (x * (p * (1 - p))[:, None]).T @ x + ridge * np.eye(len(w))
        step = np.linalg.solve(curve, slope)
        w -= step
        if np.abs(step).max() < 1e-10:
            break
    return tuple(float(one) for one in w[:-1]), float(w[-1])


def reliability(chance: NDArray[np.float64], same: NDArray[np.bool_], bins: int = BINS) -> list[Reliability]:
    """The bins, equally wide, that hold a pair: what a reliability diagram shows."""
    place = np.minimum((chance * bins).astype(int), bins - 1)
    rows = []
    for at in range(bins):
        mine = place == at
        if mine.any():
            rows.append(
                Reliability(
                    low=at / bins,
                    high=(at + 1) / bins,
                    n=int(mine.sum()),
                    chance=float(chance[mine].mean()),
                    share=float(same[mine].mean()),
                )
            )
    return rows


def calibration_error(chance: NDArray[np.float64], same: NDArray[np.bool_], bins: int = BINS) -> float:
    """Expected calibration error: mean distance of chance and share over the bins (Guo et al., eq. 3)."""
    return sum(abs(row.chance - row.share) * row.n for row in reliability(chance, same, bins)) / len(chance)
