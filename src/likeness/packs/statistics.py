"""Numbers about measurements: means with intervals, signal to noise, areas under curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["area_under_curve", "mean_interval", "psnr"]


def mean_interval(values: Tensor) -> tuple[float, float]:
    """Mean and half width of its 95 % interval (normal approximation)."""
    return float(values.mean()), float(1.96 * values.std() / max(len(values), 1) ** 0.5)


def psnr(out: Tensor, wanted: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] twice -> (B,) dB, of 8-bit pictures' full range."""
    error = ((out.float().clamp(-1, 1) - wanted) / 2).square().mean(dim=(1, 2, 3))
    return -10 * error.clamp_min(1e-12).log10()


def area_under_curve(scores: Tensor, positive: Tensor) -> float:
    """Chance that a positive scores above a negative (Mann-Whitney), ties counting a half."""
    above = scores[positive][:, None] - scores[~positive][None, :]
    return float((above > 0).float().mean() + 0.5 * (above == 0).float().mean())
