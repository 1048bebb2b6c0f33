"""Numbers about measurements: means with intervals, signal to noise, areas under curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = [
    "area_under_curve",
    "frechet_distance",
    "krippendorff_alpha",
    "mean_interval",
    "psnr",
    "resampled_interval",
    "share_interval",
]


def mean_interval(values: Tensor, whose: Tensor | None = None) -> tuple[float, float]:
    """Mean and half width of its 95 % interval (normal approximation).

    whose: (N,) integers from 0, the person each value is of. Values of one person depend on each other, so
    the interval is that of people's own means.
    """
    each = values
    if whose is not None:
        counts = torch.bincount(whose)
        sums = torch.zeros(len(counts), dtype=values.dtype).index_add(0, whose, values)
        each = (sums / counts)[counts > 0]
    return float(values.mean()), float(1.96 * each.std() / max(len(each), 1) ** 0.5)


def share_interval(share: float, count: int) -> float:
    """Half width of a proportion's 95 % interval by Agresti and Coull, which is none too sure of 0 and 1."""
    counted = max(count, 1) + 3.84
    middle = (share * (counted - 3.84) + 1.92) / counted
    return float(1.96 * (middle * (1 - middle) / counted) ** 0.5)


def resampled_interval(
    sums: Tensor, measure: Callable[[Tensor], Tensor], *, draws: int = 200, seed: int = 0
) -> float:
    """Half width of the 95 % interval of `measure(sums.sum(0))`, by the bootstrap over the rows of `sums`."""
    generator = torch.Generator().manual_seed(seed)
    count = len(sums)
    values = []
    for _ in range(draws):
        often = torch.bincount(torch.randint(count, (count,), generator=generator), minlength=count)
        values.append(measure((often.to(sums.dtype)[:, None] * sums.flatten(1)).sum(0).view(sums.shape[1:])))
    return float(1.96 * torch.stack(values).std())


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """Between the normal distributions fitted to features (N, D) and (M, D): FID (Heusel et al. 2017)."""
    means = [x.double().mean(0) for x in (one, other)]
    spreads = [x.double().T.cov() for x in (one, other)]
    # tr(sqrt(S1 S2)) by the product's eigenvalues, which are real and not negative up to rounding
    both = torch.linalg.eigvals(spreads[0] @ spreads[1]).real.clamp_min(0).sqrt().sum()
    apart = (means[0] - means[1]).square().sum()
    return float(apart + spreads[0].trace() + spreads[1].trace() - 2 * both)


def krippendorff_alpha(
    values: NDArray[np.float64], level: Literal["nominal", "ordinal", "interval"]
) -> float | None:
    """How far raters agree beyond chance: 1 wholly, 0 as if at random (Krippendorff 2011, section E).

    values: (raters, items), nan where a rater gave none. level: what makes two values differ: that they
    do, how many answers lie between them, or the square of their distance. None where no item has two
    values, or all values are the same.
    """
    kinds = np.unique(values[~np.isnan(values)])
    counts = np.stack([(values == kind).sum(0) for kind in kinds], 1) if len(kinds) else np.zeros((0, 0))
    counts = counts[counts.sum(1) > 1].astype(float)  # items that two raters or more have in common
    if not len(counts) or (counts.sum(0) > 0).sum() < 2:
        return None
    raters = counts.sum(1)
    pairs = (counts[:, :, None] * counts[:, None, :] - np.eye(len(kinds)) * counts[:, :, None]) / (
        raters[:, None, None] - 1
    )
    observed, totals = pairs.sum(0), counts.sum(0)
    if level == "nominal":
        apart = 1 - np.eye(len(kinds))
    elif level == "interval":
        apart = (kinds[:, None] - kinds[None, :]) ** 2
    else:
        middle = totals.cumsum() - totals / 2  # the rank of each value: answers below it and half its own
        apart = (middle[:, None] - middle[None, :]) ** 2
    expected = np.outer(totals, totals) / (totals.sum() - 1)
    return float(1 - (observed * apart).sum() / (expected * apart).sum())


def psnr(out: Tensor, wanted: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] twice -> (B,) dB, of 8-bit pictures' full range."""
    error = ((out.float().clamp(-1, 1) - wanted) / 2).square().mean(dim=(1, 2, 3))
    return -10 * error.clamp_min(1e-12).log10()


def area_under_curve(scores: Tensor, positive: Tensor) -> float:
    """Chance that a positive scores above a negative (Mann-Whitney), ties counting a half."""
    above = scores[positive][:, None] - scores[~positive][None, :]
    return float((above > 0).float().mean() + 0.5 * (above == 0).float().mean())
