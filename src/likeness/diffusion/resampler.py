"""A resampler of IP-Adapter's kind (arXiv 2308.06721): a few queries gather what matters from many tokens.

Names of parameters are those of the published weights of IP-Adapter-plus and ConsistentID.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["PerceiverResampler"]


class PerceiverAttention(nn.Module):
    """Latents attend to the picture's states and to themselves."""

    def __init__(self, dim: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_width = head_width
        inner = heads * head_width
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)

    def forward(self, states: Tensor, latents: Tensor) -> Tensor:
        """(B, S, dim), (B, L, dim) -> (B, L, dim)."""
        states, latents = self.norm1(states), self.norm2(latents)
        k, v = self.to_kv(torch.cat([states, latents], dim=1)).chunk(2, dim=-1)
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (self.to_q(latents), k, v))
        # The scale is split over q and k, and the softmax is done in fp32: half precision would overflow.
        scale = self.head_width**-0.25
        weights = ((q * scale) @ (k * scale).transpose(-2, -1)).float().softmax(dim=-1).to(v.dtype)
        return self.to_out((weights @ v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def feed_forward(dim: int, mult: int) -> nn.Sequential:
    """LayerNorm, expand, GELU, contract; no biases in the linear layers."""
    inner = dim * mult
    return nn.Sequential(
        nn.LayerNorm(dim), nn.Linear(dim, inner, bias=False), nn.GELU(), nn.Linear(inner, dim, bias=False)
    )


class PerceiverResampler(nn.Module):
    """A few latents gather what matters from many image tokens.

    With `queries` the latents are learned; with `queries=0` they are passed to `forward`.
    """

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        heads: int,
        input_width: int,
        output_width: int,
        ff_mult: int,
        queries: int,
    ) -> None:
        super().__init__()
        if queries:
            self.latents = nn.Parameter(torch.randn(1, queries, dim) / dim**0.5)
        self.proj_in = nn.Linear(input_width, dim)
        self.proj_out = nn.Linear(dim, output_width)
        self.norm_out = nn.LayerNorm(output_width)
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(dim, heads, dim // heads), feed_forward(dim, ff_mult)])
            for _ in range(depth)
        )

    def forward(self, states: Tensor, latents: Tensor | None = None) -> Tensor:
        """(B, S, input_width) and (B, L, dim) or the learned latents -> (B, L, output_width)."""
        if latents is None:
            latents = self.latents.expand(states.shape[0], -1, -1)
        states = self.proj_in(states)
        for attention, ff in cast("Iterable[tuple[nn.Module, nn.Module]]", self.layers):
            latents = attention(states, latents) + latents
            latents = ff(latents) + latents
        return self.norm_out(self.proj_out(latents))  # type: ignore[no-any-return]
