"""MPS, the multi-dimensional preference score (arXiv 2405.14705): its network, and how it is read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from likeness.diffusion.clip_tokenizer import clip_tokenizer
from likeness.errors import IncompatibleWeightsError
from likeness.evaluation.preference_models import clip_of, fill, processor_of, tensors_of

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CONDITION", "CrossModel", "MultiPreference", "load_mps"]

CONDITION = (
    "light, color, clarity, tone, style, ambiance, artistry, shape, face, hair, hands, limbs, structure, "
    "instance, texture, quantity, attributes, position, number, location, word, things."
)
"""What MPS means by "overall": its weights were trained with these very words."""
NEAR = 0.3
"""How like one of the condition's words, against the likest, a prompt's word has to be to count."""


def load_mps(source: str | Path, licence: str = "not declared") -> MultiPreference:
    """MPS from its tensors (.pth, .safetensors), named `model.` (transformers' CLIPModel) and `cross_model.`.

    The published file is a whole pickled module, which is not run here: save its `state_dict()` once.
    Raises: MissingWeightsError, IncompatibleWeightsError.
    """
    path = Path(source)
    tensors = tensors_of(path)
    mine = {
        key.removeprefix("cross_model."): t for key, t in tensors.items() if key.startswith("cross_model.")
    }
    theirs = {key.removeprefix("model."): t for key, t in tensors.items() if key.startswith("model.")}
    if not mine or "visual_projection.weight" not in theirs:
        raise IncompatibleWeightsError(
            f"{path} is not MPS, it has no model. and cross_model.; save the published module's state_dict()."
        )
    clip = clip_of(theirs, path)
    first = "layers.0.0.fn."
    head = mine[f"{first}to_kv.weight"].shape[0] // 2
    queries, dim = mine[f"{first}to_q.weight"].shape
    attention = CrossModel(
        dim,
        layers=len({key.split(".")[1] for key in mine}),
        heads=queries // head,
        head=head,
        widening=mine[f"{first}ff.2.weight"].shape[1] // dim,
    )
    fill(attention, {k: t for k, t in mine.items() if not k.endswith("inv_freq")}, path)
    return MultiPreference(clip, attention, clip_tokenizer(), path.name, licence)


class MultiPreference:
    """MPS: the picture's tokens look at those of the prompt's that are near the condition's words.

    clip: transformers' CLIPModel. attention: `CrossModel` over its projected tokens.
    """

    def __init__(self, clip: Any, attention: CrossModel, tokenizer: Any, name: str, licence: str) -> None:
        self._clip, self._attention, self._tokenizer = clip.eval(), attention.eval(), tokenizer
        self._processor = processor_of(clip)
        self._length = clip.config.text_config.max_position_embeddings
        self.name, self.licence = name, licence

    @torch.inference_mode()
    def __call__(self, image: Image.Image, prompt: str) -> float:
        """The score of one RGB picture for its prompt: a scaled cosine."""
        words, whole = self._text(prompt)
        condition, _ = self._text(CONDITION)
        near = (words @ condition.transpose(1, 2)).amax(-1)  # (1, tokens)
        looked_at = near / near.max() > NEAR
        pixels = self._processor(images=[image.convert("RGB")], return_tensors="pt")["pixel_values"]
        seen = self._clip.visual_projection(self._clip.vision_model(pixel_values=pixels).last_hidden_state)
        fused = self._attention(seen, words, looked_at)[:, 0]
        cosine = (F.normalize(fused, dim=-1) * F.normalize(whole, dim=-1)).sum(-1)
        return float(self._clip.logit_scale.exp() * cosine[0])

    def _text(self, text: str) -> tuple[Tensor, Tensor]:
        """Projected tokens (1, tokens, D) and the whole (1, D)."""
        ids = self._tokenizer(
            [text], padding="max_length", truncation=True, max_length=self._length, return_tensors="pt"
        )["input_ids"]
        found = self._clip.text_model(input_ids=ids)
        project = self._clip.text_projection
        return project(found.last_hidden_state), project(found.pooler_output)


class CrossModel(nn.Module):
    """Layers of attention to the words, then within the picture; names as MPS's weights have them.

    Keys and values are one head, shared by all of the queries' (Shazeer 2019, arXiv 1911.02150).
    """

    def __init__(self, dim: int, layers: int, heads: int, head: int, widening: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(_Named(kind(dim, heads, head, widening)) for kind in (_ToWords, _Within))
            for _ in range(layers)
        )

    def forward(self, seen: Tensor, words: Tensor, looked_at: Tensor) -> Tensor:
        """seen (B, N, D), words (B, T, D), looked_at (B, T) bool -> (B, N, D)."""
        for layer in self.layers:
            to_words, within = cast("nn.ModuleList", layer)
            seen = seen + to_words(seen, words, looked_at)
            seen = seen + within(seen)
        return seen


class _Named(nn.Module):
    """The level of names, "fn", that the published weights have."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, *given: Tensor) -> Tensor:
        """Whatever `fn` is given."""
        return cast("Tensor", self.fn(*given))


class _Gated(nn.Module):
    """SwiGLU (arXiv 2002.05202): the second half gates the first."""

    def forward(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, dim=-1)
        return F.silu(gate) * value


class _ToWords(nn.Module):
    def __init__(self, dim: int, heads: int, head: int, widening: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, heads * head, bias=False)
        self.to_kv = nn.Linear(dim, 2 * head, bias=False)
        self.to_out = nn.Linear(heads * head, dim, bias=False)
        self.ff = nn.Sequential(
            nn.Linear(dim, 2 * widening * dim, bias=False),
            _Gated(),
            nn.Linear(widening * dim, dim, bias=False),
        )

    def forward(self, seen: Tensor, words: Tensor, looked_at: Tensor) -> Tensor:
        x = self.norm(seen)
        key, value = (part[:, None] for part in self.to_kv(words).chunk(2, dim=-1))
        query = self.to_q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        out = F.scaled_dot_product_attention(query, key, value, looked_at[:, None, None], enable_gqa=True)
        return torch.as_tensor(self.to_out(out.transpose(1, 2).flatten(2)) + self.ff(x))


class _Within(nn.Module):
    """Self-attention with rotary positions (arXiv 2104.09864), and a feed-forward beside it."""

    def __init__(self, dim: int, heads: int, head: int, widening: int) -> None:
        super().__init__()
        self.heads, self.parts = heads, (heads * head, head, head, 2 * widening * dim)
        self.norm = nn.LayerNorm(dim)
        self.fused_attn_ff_proj = nn.Linear(dim, sum(self.parts), bias=False)
        self.attn_out = nn.Linear(heads * head, dim, bias=False)
        self.ff_out = nn.Sequential(_Gated(), nn.Linear(widening * dim, dim, bias=False))

    def forward(self, seen: Tensor) -> Tensor:
        query, key, value, wide = self.fused_attn_ff_proj(self.norm(seen)).split(self.parts, dim=-1)
        query = _rotated(query.unflatten(-1, (self.heads, -1)).transpose(1, 2))
        out = F.scaled_dot_product_attention(query, _rotated(key[:, None]), value[:, None], enable_gqa=True)
        return torch.as_tensor(self.attn_out(out.transpose(1, 2).flatten(2)) + self.ff_out(wide))


def _rotated(x: Tensor) -> Tensor:
    """(..., N, head): channel i turns together with channel i + head / 2."""
    half = x.shape[-1] // 2
    speed = 10000.0 ** -(torch.arange(half, dtype=torch.float32) / half)
    angle = torch.arange(x.shape[-2], dtype=torch.float32)[:, None] * speed
    one, two = x[..., :half], x[..., half:]
    return torch.cat([one * angle.cos() - two * angle.sin(), two * angle.cos() + one * angle.sin()], dim=-1)
