"""Attention of the ID-preservation network (section 3.2): low-rank changes and identity tokens.

Shapes: q (B, H, P, C/H) over P pixels, text rows (B, T, D), identity rows (B, K, D).
Self-attention gets LoRA on q, k, v and out. Cross-attention gets the same and
`SDPA(q, k_text, v_text) + scale * SDPA(q, k_id, v_id)`, the last K rows of the encoder states
being the identity tokens.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likeness.diffusion.attention import finished, heads
from likeness.errors import IncompatibleWeightsError
from likeness.methods.consistentid.config import ConsistentIDSizes

__all__ = ["ConsistentIDAttnProcessor", "attention_processors"]


class LoRALinear(nn.Module):
    """A low-rank map `up(down(x))`, zero at the start (arXiv 2106.09685)."""

    def __init__(self, in_width: int, out_width: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(in_width, rank, bias=False)
        self.up = nn.Linear(rank, out_width, bias=False)
        nn.init.normal_(self.down.weight, std=1 / rank)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_width) -> (..., out_width)."""
        return self.up(self.down(x))  # type: ignore[no-any-return]


class ConsistentIDAttnProcessor(nn.Module):
    """One attention layer's processor, called by diffusers' `Attention`.

    record: None, or a list to which the layer's text attention map (B, H, P, T) is appended;
    training sets it to compute eq. 1. kept, merged: None, or what stays the same from step to step: keys and
    values of the encoder states seen so far, with those states, and the base's weights with the low-rank
    changes in them; painting sets both.
    """

    def __init__(self, width: int, cross_width: int | None, rank: int, id_tokens: int) -> None:
        super().__init__()
        self.id_tokens = id_tokens
        self.scale = 1.0
        self.lora_scale = 1.0
        self.record: list[Tensor] | None = None
        self.kept: list[tuple[Tensor, tuple[Tensor, ...]]] | None = None
        self.merged: dict[str, Tensor] | None = None
        source = width if cross_width is None else cross_width
        self.to_q_lora = LoRALinear(width, width, rank)
        self.to_k_lora = LoRALinear(source, width, rank)
        self.to_v_lora = LoRALinear(source, width, rank)
        self.to_out_lora = LoRALinear(width, width, rank)
        self.is_cross = cross_width is not None
        if cross_width is not None:
            self.to_k_ip = nn.Linear(cross_width, width, bias=False)
            self.to_v_ip = nn.Linear(cross_width, width, bias=False)

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """(B, P, C) -> (B, P, C); `encoder_hidden_states` is (B, T + K, D) in cross-attention."""
        rows = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q = heads(attn, self._changed("q", attn.to_q, self.to_q_lora, hidden_states))
        k, v, *of_identity = self._keys_and_values(attn, rows)
        if self.record is not None and self.is_cross:
            maps = ((q @ k.transpose(-2, -1)) / math.sqrt(q.shape[-1])).float().softmax(dim=-1)
            self.record.append(maps)
            out = maps.to(v.dtype) @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask)
        if of_identity and self.scale != 0:
            k_id, v_id = of_identity
            out = out + self.scale * F.scaled_dot_product_attention(q, k_id, v_id)
        out = out.transpose(1, 2).flatten(2)
        out = self._changed("out", attn.to_out[0], self.to_out_lora, out)
        return finished(attn, out, hidden_states)

    def _keys_and_values(self, attn: Any, rows: Tensor) -> tuple[Tensor, ...]:
        """k and v (B, H, T, C/H) of the text, or the pixels; in cross-attention the identity's besides."""
        for seen, found in self.kept or ():
            if seen is rows:
                return found
        text, identity = (
            (rows[:, : -self.id_tokens], rows[:, -self.id_tokens :]) if self.is_cross else (rows, None)
        )
        found = (
            heads(attn, self._changed("k", attn.to_k, self.to_k_lora, text)),
            heads(attn, self._changed("v", attn.to_v, self.to_v_lora, text)),
        )
        # What is kept is for later steps too, whose scale may be another.
        if identity is not None and (self.scale != 0 or self.kept is not None):
            found = (*found, heads(attn, self.to_k_ip(identity)), heads(attn, self.to_v_ip(identity)))
        if self.is_cross and self.kept is not None:
            self.kept.append((rows, found))
        return found

    def _changed(self, name: str, layer: Any, lora: LoRALinear, x: Tensor) -> Tensor:
        """(..., in) -> (..., out) by the base's layer and its low-rank change."""
        if self.merged is None:
            return layer(x) + self.lora_scale * lora(x)  # type: ignore[no-any-return]
        if name not in self.merged:
            self.merged[name] = layer.weight + self.lora_scale * (lora.up.weight @ lora.down.weight)
        return F.linear(x, self.merged[name], layer.bias)


def attention_processors(unet: Any, sizes: ConsistentIDSizes) -> dict[str, ConsistentIDAttnProcessor]:
    """A fresh processor for every attention layer of `unet`, in the order of `unet.attn_processors`.

    New identity keys and values start as copies of the base's text keys and values, which is
    where IP-Adapter starts (arXiv 2308.06721, section 3.2).
    Raises `IncompatibleWeightsError` when the UNet's text width is not the adapter's.
    """
    width = unet.config.cross_attention_dim
    if width != sizes.text_width:
        raise IncompatibleWeightsError(
            f"This ConsistentID adapter is for {sizes.family} (text width {sizes.text_width}), "
            f"the base has text width {width}: choose {partner(width)}."
        )
    layers = {name.removesuffix(".processor"): name for name in unet.attn_processors}
    processors = {}
    for path, name in layers.items():
        attn = unet.get_submodule(path)
        inner, cross = attn.to_q.weight.shape[0], attn.to_k.weight.shape[1]
        is_cross = path.endswith("attn2")
        processor = ConsistentIDAttnProcessor(
            inner, cross if is_cross else None, sizes.lora_rank, sizes.id_tokens
        )
        if is_cross and not attn.to_k.weight.is_meta:
            with torch.no_grad():
                processor.to_k_ip.weight.copy_(attn.to_k.weight)
                processor.to_v_ip.weight.copy_(attn.to_v.weight)
        processors[name] = processor
    return processors


def partner(text_width: int) -> str:
    """Which weights belong to a base of that text width, for error messages."""
    published = {768: "ConsistentID-v1.bin (for SD1.5)", 2048: "ConsistentID_SDXL-v1.bin (for SDXL)"}
    return published.get(text_width, f"an adapter trained for text width {text_width}")
