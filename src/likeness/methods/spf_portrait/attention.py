"""Cross-attention read while it predicts, a second one beside it (the adapter of Table 4), and keys and
values of some tokens made otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likeness.diffusion.attention import attached, finished, heads
from likeness.methods.spf_portrait.losses import LayerFeatures

__all__ = ["ADAPTER", "WORDS", "Recorder", "adapted", "recording", "spoken"]

ADAPTER = ".adapter."
"""In names of a delta's tensors: "attn2.adapter.to_k.weight" is of the second one, beside "attn2"."""
WORDS = ".words."
"""Likewise: "attn2.words.to_k.weight" is added to "attn2.to_k.weight" for the target's tokens alone."""


class Recorder:
    """What was seen: features of every cross-attention layer and, if asked for, its maps.

    maps: probabilities (B, H, P, T) of each layer.
    """

    def __init__(self, with_maps: bool = False) -> None:
        self.with_maps = with_maps
        self.features: list[LayerFeatures] = []
        self.maps: list[Tensor] = []


class RecordingAttnProcessor(nn.Module):
    """diffusers' plain cross-attention, which tells the recorder its queries and keys."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """(B, P, C), (B, T, D) -> (B, P, C)."""
        rows = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (heads(attn, x) for x in (attn.to_q(hidden_states), attn.to_k(rows), attn.to_v(rows)))
        self.recorder.features.append(LayerFeatures(q, k))
        if self.recorder.with_maps:
            maps = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).float().softmax(dim=-1)
            self.recorder.maps.append(maps)
            out = maps.to(v.dtype) @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask)
        out = attn.to_out[0](out.transpose(1, 2).flatten(2))
        return finished(attn, out, hidden_states)


@contextmanager
def recording(unet: Any, with_maps: bool = False) -> Iterator[Recorder]:
    """Inside the block every prediction of `unet` is read by the recorder; on leaving it is as it was."""
    recorder = Recorder(with_maps)
    names = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    with attached(unet, {name: RecordingAttnProcessor(recorder) for name in names}):
        yield recorder


class BesideAttnProcessor(nn.Module):
    """A processor's cross-attention, and added to it one of other weights on the same pixels and text."""

    def __init__(self, first: Any, weights: Mapping[str, Tensor], scale: float) -> None:
        super().__init__()
        self._first, self._weights, self._scale = first, dict(weights), scale

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **more: Any,
    ) -> Tensor:
        """(B, P, C), (B, T, D) -> (B, P, C)."""
        out = self._first(attn, hidden_states, encoder_hidden_states, attention_mask, temb, **more)
        rows = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        w = {name: tensor.to(hidden_states) for name, tensor in self._weights.items()}
        q, k, v = (
            heads(attn, F.linear(x, w[name]))
            for x, name in ((hidden_states, "to_q.weight"), (rows, "to_k.weight"), (rows, "to_v.weight"))
        )
        added = F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask).transpose(1, 2).flatten(2)
        added = self._scale * F.linear(added, w["to_out.0.weight"])
        return out + added / attn.rescale_output_factor  # type: ignore[no-any-return]


@contextmanager
def adapted(unet: Any, weights: Mapping[str, Tensor], scale: float = 1.0) -> Iterator[None]:
    """Inside the block a second cross-attention stands beside each that `weights` name, times `scale`."""
    if not weights:
        yield
        return
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        layer, _, place = name.partition(ADAPTER)
        layers.setdefault(f"{layer}.processor", {})[place] = tensor
    known = unet.attn_processors
    with attached(unet, {n: BesideAttnProcessor(known[n], own, scale) for n, own in layers.items()}):
        yield


@contextmanager
def spoken(
    unet: Any, weights: Mapping[str, Tensor], tokens: Tensor | None, scale: float = 1.0
) -> Iterator[None]:
    """Inside the block keys and values of some text tokens have `scale` times these weights added to theirs.

    tokens: (B, T) bool, those of the target in each text; without any, nothing is changed. All other
    tokens keep the base's keys and values to the bit.
    """
    with ExitStack() as stack:
        if tokens is not None and scale:
            for name, weight in weights.items():
                layer = unet.get_submodule(name.replace(WORDS, ".").removesuffix(".weight"))
                hook = layer.register_forward_hook(_added(weight, tokens, scale))
                stack.callback(hook.remove)
        yield


def _added(weight: Tensor, tokens: Tensor, scale: float) -> Any:
    def hook(_: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
        more = scale * F.linear(given[0], weight.to(given[0]))
        return torch.where(tokens.to(out.device)[..., None], out + more, out)

    return hook
