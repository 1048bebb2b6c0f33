"""The losses of SCheese: L = L_dm + L_align.

Tokens (B, K, D); latents (B, C, h, w).
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["alignment_loss", "noise_loss"]


def alignment_loss(fused: Tensor, target: Tensor) -> Tensor:
    """`L_align = KL(f_fused || f_img(I_t))`, a scalar: the mean over pictures and tokens.

    The paper writes the divergence of two features; here both sides are soft-maxed over the channels of each
    token, in the space they are projected to (this project's reading). No gradient reaches `target`.
    """
    ours = fused.float().log_softmax(dim=-1)
    theirs = target.detach().float().log_softmax(dim=-1)
    return (ours.exp() * (ours - theirs)).sum(dim=-1).mean()


def noise_loss(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """`L_dm`: the mean squared error of what the UNet predicts, noise or velocity.

    weight: (B, 1, h, w), what each place counts; the mean is by weight.
    """
    error = (prediction.float() - target.float()).square()
    if weight is None:
        return error.mean()
    return (error * weight).sum() / (weight.sum() * error.shape[1])
