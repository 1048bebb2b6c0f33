"""The trained modules of ConsistentID (sections 3.1 and 3.2, figures 2 and 3).

Shapes: B pictures, N = 5 face parts, T = 77 text tokens, D text width, S image tokens of width W,
E identity width, K = 4 identity tokens. Names of parameters are those of the published weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likeness.diffusion.resampler import PerceiverResampler
from likeness.methods.consistentid.config import ConsistentIDSizes

__all__ = ["ConsistentIDAdapter", "FacialEncoder", "ProjPlusModel"]


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


class PictureProjection(nn.Module):
    """IP-Adapter's identity tokens: the picture's embedding, and nothing else (arXiv 2308.06721, 3.2.1)."""

    def __init__(self, sizes: ConsistentIDSizes) -> None:
        super().__init__()
        self.tokens, self.width = sizes.id_tokens, sizes.text_width
        self.proj = nn.Linear(sizes.picture_width, sizes.id_tokens * sizes.text_width)
        self.norm = nn.LayerNorm(sizes.text_width)

    def forward(self, id_embedding: Tensor, states: Tensor, shortcut_scale: float = 1.0) -> Tensor:
        """(B, 1, P) embeddings of pictures as `states` -> (B, K, D); the rest is for `ProjPlusModel`."""
        return self.norm(self.proj(states[:, 0]).unflatten(-1, (self.tokens, self.width)))  # type: ignore[no-any-return]


class ConsistentIDAdapter(nn.Module):
    """All that is trained: `FacialEncoder`, `image_proj` and the attention processors.

    `adapter_modules[i]` belongs to the i-th entry of `unet.attn_processors`, as in the published files.
    """

    def __init__(self, sizes: ConsistentIDSizes, processors: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.sizes = sizes
        self.FacialEncoder = FacialEncoder(sizes)
        self.image_proj = ProjPlusModel(sizes) if sizes.identity == "face" else PictureProjection(sizes)
        self.names = tuple(processors)
        self.adapter_modules = nn.ModuleList(processors.values())

    @property
    def processors(self) -> dict[str, Any]:
        """The attention processors by the names that `set_attn_processor` wants."""
        return dict(zip(self.names, self.adapter_modules, strict=True))

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Inside the block keys and values of the same states, and changed weights, are computed once.

        The scale of the low-rank changes must stay as it is. Not for a UNet that is traced.
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
