"""Numbers about measurements: means with intervals, signal to noise, areas under curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = [
    "area_under_curve",
    "frechet_distance",
    "mean_interval",
    "psnr",
    "resampled_interval",
    "share_interval",
]


def mean_interval(values: Tensor) -> tuple[float, float]:
    """Mean and half width of its 95 % interval (normal approximation)."""
    return float(values.mean()), float(1.96 * values.std() / max(len(values), 1) ** 0.5)


def share_interval(share: float, count: int) -> float:
    """Half width of a proportion's 95 % interval (normal approximation)."""
    return float(1.96 * (share * (1 - share) / max(count, 1)) ** 0.5)


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


def psnr(out: Tensor, wanted: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] twice -> (B,) dB, of 8-bit pictures' full range."""
    error = ((out.float().clamp(-1, 1) - wanted) / 2).square().mean(dim=(1, 2, 3))
    return -10 * error.clamp_min(1e-12).log10()


def area_under_curve(scores: Tensor, positive: Tensor) -> float:
    """Chance that a positive scores above a negative (Mann-Whitney), ties counting a half."""
    above = scores[positive][:, None] - scores[~positive][None, :]
    return float((above > 0).float().mean() + 0.5 * (above == 0).float().mean())
