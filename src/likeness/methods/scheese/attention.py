"""Decoupled attention: the reference beside self-attention, fused tokens beside the text.

Shapes: B pictures of P positions and C channels, R references (1 or B) of S positions, H heads, text rows
(B, T, D), K fused tokens.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likeness.diffusion.attention import heads

__all__ = ["FusedAttnProcessor", "Keys", "ReferenceAttnProcessor"]

Keys = tuple[Tensor, Tensor]
"""Keys and values of a reference at one layer, (R, H, S, C/H) each."""


class ReferenceAttnProcessor(nn.Module):
    """Self-attention and, in parallel, attention to the reference's features at the same block, averaged:

    `out = Attn(x, x) / 2 + RefAttn(x, f) / 2`, query from the picture, key and value from the reference.

    The new layer begins as a copy of the block's self-attention. keys: what it sees, or None, when it is the
    base's own layer. rows: None, or (B,) bool, the pictures that see it. scale: 1 for the average, 0 for
    self-attention alone.
    """

    def __init__(self, attn: Any) -> None:
        super().__init__()
        width, inner = attn.to_q.weight.shape[1], attn.to_q.weight.shape[0]
        self.heads: int = attn.heads
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_k = nn.Linear(width, inner, bias=False)
        self.to_v = nn.Linear(width, inner, bias=False)
        self.to_out = nn.Linear(inner, width)
        own = (attn.to_q, attn.to_k, attn.to_v, attn.to_out[0])
        if not attn.to_q.weight.is_meta:
            for mine, theirs in zip((self.to_q, self.to_k, self.to_v, self.to_out), own, strict=True):
                mine.load_state_dict(theirs.state_dict())
        self.keys: Keys | None = None
        self.rows: Tensor | None = None
        self.scale = 1.0

    def keys_of(self, features: Tensor) -> Keys:
        """Features (R, S, C) -> keys and values (R, H, S, C/H)."""
        return self._heads(self.to_k(features)), self._heads(self.to_v(features))

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """(B, P, C) -> (B, P, C)."""
        q, k, v = (heads(attn, layer(hidden_states)) for layer in (attn.to_q, attn.to_k, attn.to_v))
        own: Tensor = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        own = attn.to_out[1](attn.to_out[0](own))
        if self.keys is None or self.scale == 0:
            return own
        if self.rows is None:
            return torch.lerp(own, self._seen(hidden_states, self.keys), self.scale / 2)
        k, v = (part if len(part) == 1 else part[self.rows] for part in self.keys)
        out = own.clone()
        out[self.rows] = torch.lerp(
            own[self.rows], self._seen(hidden_states[self.rows], (k, v)).to(own.dtype), self.scale / 2
        )
        return out

    def _seen(self, hidden_states: Tensor, keys: Keys) -> Tensor:
        """RefAttn: (B, P, C) -> (B, P, C)."""
        q = self._heads(self.to_q(hidden_states))
        k, v = (part.expand(len(q), -1, -1, -1) for part in keys)
        out: Tensor = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.to_out(out)  # type: ignore[no-any-return]

    def _heads(self, x: Tensor) -> Tensor:
        """(R, S, C) -> (R, H, S, C/H)."""
        return x.view(*x.shape[:2], self.heads, x.shape[2] // self.heads).transpose(1, 2)


class FusedAttnProcessor(nn.Module):
    """Decoupled cross-attention (IP-Adapter, arXiv 2308.06721, eq. 5):

    `out = Attn(q, k_text, v_text) + scale * Attn(q, k_ip, v_ip)`, the last K of the encoder states being the
    fused tokens. Zero tokens add nothing, as the new layers have no biases; these begin as copies of the
    base's for the text.

    kept: None, or where keys and values of states seen before are found again, with those states; painting
    sets it, as the states stay the same from step to step.
    """

    def __init__(self, attn: Any, tokens: int) -> None:
        super().__init__()
        inner, width = attn.to_k.weight.shape
        self.tokens = tokens
        self.scale = 1.0
        self.kept: list[tuple[Tensor, tuple[Tensor, ...]]] | None = None
        self.to_k_ip = nn.Linear(width, inner, bias=False)
        self.to_v_ip = nn.Linear(width, inner, bias=False)
        if not attn.to_k.weight.is_meta:
            self.to_k_ip.load_state_dict(attn.to_k.state_dict())
            self.to_v_ip.load_state_dict(attn.to_v.state_dict())

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """(B, P, C) and (B, T + K, D) -> (B, P, C)."""
        q = heads(attn, attn.to_q(hidden_states))
        k, v, k_ip, v_ip = self._keys_and_values(attn, encoder_hidden_states)
        out = F.scaled_dot_product_attention(q, k, v)
        if self.scale != 0:
            out = out + self.scale * F.scaled_dot_product_attention(q, k_ip, v_ip)
        return attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2)))  # type: ignore[no-any-return]

    def _keys_and_values(self, attn: Any, rows: Tensor) -> tuple[Tensor, ...]:
        for seen, found in self.kept or ():
            if seen is rows:
                return found
        text, fused = rows[:, : -self.tokens], rows[:, -self.tokens :]
        layers = ((attn.to_k, text), (attn.to_v, text), (self.to_k_ip, fused), (self.to_v_ip, fused))
        found = tuple(heads(attn, layer(x)) for layer, x in layers)
        if self.kept is not None:
            self.kept.append((rows, found))
        return found
