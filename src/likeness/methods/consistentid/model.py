"""The trained modules of ConsistentID (sections 3.1 and 3.2, figures 2 and 3).

Shapes: B pictures, N = 5 face parts, T = 77 text tokens, D text width, S image tokens of width W,
E identity width, K = 4 identity tokens. Names of parameters are those of the published weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likeness.methods.consistentid.config import ConsistentIDSizes

__all__ = ["ConsistentIDAdapter", "FacialEncoder", "PerceiverResampler", "ProjPlusModel"]


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


class FuseMLP(nn.Module):
    """LayerNorm, linear, GELU, linear."""

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(in_width)
        self.fc1 = nn.Linear(in_width, out_width)
        self.fc2 = nn.Linear(out_width, out_width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_width) -> (..., out_width)."""
        return self.fc2(F.gelu(self.fc1(self.layernorm(x))))  # type: ignore[no-any-return]


class FuseModule(nn.Module):
    """A text row and the token of its face part become one row (figure 3, right)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp1 = FuseMLP(2 * width, width)
        self.mlp2 = FuseMLP(width, width)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, text: Tensor, part: Tensor) -> Tensor:
        """Two of (M, D) -> (M, D)."""
        fused = self.mlp1(torch.cat([text, part], dim=-1)) + text
        return self.layer_norm(self.mlp2(fused) + fused)  # type: ignore[no-any-return]


class FacialEncoder(nn.Module):
    """Put the look of each face part into the text row that names it (section 3.1, "Facial Encoder")."""

    def __init__(self, sizes: ConsistentIDSizes) -> None:
        super().__init__()
        self.visual_projection = PerceiverResampler(
            dim=sizes.part_width,
            depth=sizes.part_depth,
            heads=sizes.part_heads,
            input_width=sizes.image_width,
            output_width=sizes.text_width,
            ff_mult=sizes.ff_mult,
            queries=1,
        )
        self.fuse_module = FuseModule(sizes.text_width)

    def forward(self, prompt: Tensor, crops: Tensor, token_mask: Tensor, valid: Tensor) -> Tensor:
        """Fuse; the caller's tensors are left alone.

        prompt: (B, T, D) text rows. crops: (B, N, S, W) image states, in the order in which the
        parts are named in the text. token_mask: (B, T) bool, the rows to replace. valid: (B, N)
        bool. Each picture must have as many true entries in `token_mask` as in `valid`.
        Returns (B, T, D).
        """
        if not torch.equal(token_mask.sum(1), valid.sum(1)):
            raise ValueError(
                "Every marked text token needs one face part: got "
                f"{token_mask.sum(1).tolist()} tokens and {valid.sum(1).tolist()} parts."
            )
        tokens = self.visual_projection(crops.flatten(0, 1)).unflatten(0, crops.shape[:2])[:, :, 0]
        fused = self.fuse_module(prompt[token_mask], tokens[valid])
        return prompt.masked_scatter(token_mask[..., None], fused.to(prompt.dtype))


class ProjPlusModel(nn.Module):
    """The identity tokens: the ID embedding asks the picture (section 3.1, "Facial ID Feature Extractor")."""

    def __init__(self, sizes: ConsistentIDSizes) -> None:
        super().__init__()
        self.tokens = sizes.id_tokens
        self.width = sizes.text_width
        self.shortcut = sizes.shortcut
        hidden = 2 * sizes.id_width
        self.proj = nn.Sequential(
            nn.Linear(sizes.id_width, hidden),
            nn.GELU(),
            nn.Linear(hidden, sizes.id_tokens * sizes.text_width),
        )
        self.norm = nn.LayerNorm(sizes.text_width)
        self.perceiver_resampler = PerceiverResampler(
            dim=sizes.text_width,
            depth=sizes.id_depth,
            heads=sizes.id_heads,
            input_width=sizes.image_width,
            output_width=sizes.text_width,
            ff_mult=sizes.ff_mult,
            queries=0,
        )

    def forward(self, id_embedding: Tensor, states: Tensor, shortcut_scale: float = 1.0) -> Tensor:
        """(B, E) identity embeddings and (B, S, W) states of the whole picture -> (B, K, D)."""
        queries = self.norm(self.proj(id_embedding).unflatten(-1, (self.tokens, self.width)))
        out: Tensor = self.perceiver_resampler(states, queries)
        return queries + shortcut_scale * out if self.shortcut else out


class ConsistentIDAdapter(nn.Module):
    """All that is trained: `FacialEncoder`, `image_proj` and the attention processors.

    `adapter_modules[i]` belongs to the i-th entry of `unet.attn_processors`, as in the published files.
    """

    def __init__(self, sizes: ConsistentIDSizes, processors: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.sizes = sizes
        self.FacialEncoder = FacialEncoder(sizes)
        self.image_proj = ProjPlusModel(sizes)
        self.names = tuple(processors)
        self.adapter_modules = nn.ModuleList(processors.values())

    @property
    def processors(self) -> dict[str, Any]:
        """The attention processors by the names that `set_attn_processor` wants."""
        return dict(zip(self.names, self.adapter_modules, strict=True))

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Inside the block keys and values of the same states, and changed weights, are computed once.

        The scales must stay as they are. Not for a UNet that is traced.
        """
        try:
            for processor in self.adapter_modules:
                processor.kept, processor.merged = [], {}  # type: ignore[assignment]
            yield
        finally:
            for processor in self.adapter_modules:
                processor.kept, processor.merged = None, None  # type: ignore[assignment]

    def set_scales(self, identity: float, lora: float) -> None:
        """Strength of identity attention and of the low-rank changes in all processors."""
        for processor in self.adapter_modules:
            processor.scale = identity  # type: ignore[assignment]
            processor.lora_scale = lora  # type: ignore[assignment]
