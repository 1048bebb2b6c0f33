"""What is learned: weights that stand in for some of the base's, while the base stays as it is.

The tuned model is the base's UNet called with these weights, the original model the same UNet called without:
one UNet in memory, and only what differs twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from likeness.errors import InputError
from likeness.methods.spf_portrait.attention import ADAPTER, WORDS, adapted, spoken
from likeness.methods.spf_portrait.config import WeightSet

__all__ = ["Tuning", "changed", "fits", "tuned_names"]

_CROSS = re.compile(r"\.attn2\.(?:to_q|to_k|to_v|to_out\.0)\.")
_READ = re.compile(r"\.attn2\.(?:to_k|to_v)\.weight$")  # what reads the text


def tuned_names(unet: nn.Module, weights: WeightSet) -> list[str]:
    """Names of the parameters that a weight set trains, puts a LoRA on, has a second one of, or adds to for
    the target's tokens.

    Raises: InputError.
    """
    names = [name for name, _ in unet.named_parameters()]
    if weights == "all":
        return names
    found = [name for name in names if (_READ if weights == "words" else _CROSS).search(name)]
    if weights != "cross-attention":
        found = [name for name in found if name.endswith(".weight")]
    if not found:
        raise InputError(f"The UNet has no cross-attention to train ({weights}).")
    return found


class Tuning(nn.Module):
    """The trained weights of a UNet.

    start: a delta to begin with, such as stage 1's; what of it is not trained stays as it is. weights: what
    is trained. A second cross-attention begins as the first one's copy whose output is nothing, what is
    added for the target's tokens as 0.
    """

    def __init__(
        self,
        unet: nn.Module,
        weights: WeightSet,
        start: Mapping[str, Tensor] | None = None,
        lora_rank: int = 16,
    ) -> None:
        super().__init__()
        base = {name: p.detach() for name, p in unet.named_parameters()}
        start = dict(start or {})
        adapter = {name: start.pop(name).float() for name in list(start) if ADAPTER in name}
        words = {name: start.pop(name).float() for name in list(start) if WORDS in name}
        begun = {
            name: base[name].float() + delta.to(base[name].device).float() for name, delta in start.items()
        }
        self.names = tuned_names(unet, weights)
        self.kind = weights
        self._keys = {name: name.replace(".", "/") for name in self.names}
        own = weights not in ("adapter", "words")
        first = {name: begun.pop(name, base[name]) for name in self.names} if own else {}
        self._first = _Frozen(first if weights == "lora" else {})
        self._rest = _Frozen(begun)
        self._second = _Frozen({} if weights == "adapter" else adapter)
        self._words = _Frozen({} if weights == "words" else words)
        if weights == "lora":
            self.down = nn.ParameterDict()
            self.up = nn.ParameterDict()
            for name, tensor in first.items():
                key, shape = self._keys[name], tensor.shape
                down = torch.randn(lora_rank, shape[1], device=tensor.device) / lora_rank
                self.down[key] = nn.Parameter(down)
                self.up[key] = nn.Parameter(torch.zeros(shape[0], lora_rank, device=tensor.device))
            return
        if weights == "adapter":
            for name in self.names:
                out = torch.zeros_like(base[name]) if ".to_out." in name else base[name]
                first[name] = adapter.get(name.replace(".attn2.", f".attn2{ADAPTER}"), out)
        if weights == "words":
            for name in self.names:
                nothing = torch.zeros_like(base[name])
                first[name] = words.get(name.replace(".attn2.", f".attn2{WORDS}"), nothing)
        whole = {self._keys[name]: nn.Parameter(tensor.float().clone()) for name, tensor in first.items()}
        self.whole = nn.ParameterDict(whole)

    def weights(self) -> dict[str, Tensor]:
        """All that stands in for the base's, with gradients for what is trained."""
        if self.kind == "lora":
            trained = {
                name: first + self.up[self._keys[name]] @ self.down[self._keys[name]]
                for name, first in self._first.items()
            }
        elif self.kind in ("adapter", "words"):
            trained = {}
        else:
            trained = {name: self.whole[key] for name, key in self._keys.items()}
        return {**self._rest, **trained}

    def adapter(self) -> dict[str, Tensor]:
        """The second cross-attention, by the names it has in a delta; empty where there is none."""
        return self._named(ADAPTER) if self.kind == "adapter" else dict(self._second)

    def words(self) -> dict[str, Tensor]:
        """What is added for the target's tokens, by the names it has in a delta; empty where nothing is."""
        return self._named(WORDS) if self.kind == "words" else dict(self._words)

    def _named(self, place: str) -> dict[str, Tensor]:
        return {
            name.replace(".attn2.", f".attn2{place}"): self.whole[key] for name, key in self._keys.items()
        }

    def predict(self, unet: Any, *inputs: Any, target_tokens: Tensor | None = None, **more: Any) -> Tensor:
        """The tuned model's prediction; `unet` itself is the base's and is not touched.

        target_tokens: (B, T) bool, those of T_tar and all behind it.
        """
        with adapted(unet, self.adapter()), spoken(unet, self.words(), target_tokens):
            out: Tensor = functional_call(unet, self.weights(), inputs, more).sample
        return out

    @torch.no_grad()
    def delta(self, unet: nn.Module) -> dict[str, Tensor]:
        """What was learned, tensor by tensor, as a difference to the base; what did not move is left out.

        Of a second cross-attention the weights themselves, unless it still does nothing; of what is added
        for the target's tokens too.
        """
        base = dict(unet.named_parameters())
        found = {name: tensor.float() - base[name].float() for name, tensor in self.weights().items()}
        second = {name: tensor.detach().float() for name, tensor in self.adapter().items()}
        acts = any(tensor.any() for name, tensor in second.items() if ".to_out." in name)
        words = {name: tensor.detach().float() for name, tensor in self.words().items()}
        moved = {name: tensor for name, tensor in {**found, **words}.items() if tensor.any()}
        return {**moved, **(second if acts else {})}


class _Frozen(dict[str, Tensor]):
    """Tensors that a copy of the module shares, since nothing moves them."""

    def __deepcopy__(self, memo: Any) -> _Frozen:
        return self


def fits(unet: nn.Module, delta: Mapping[str, Tensor]) -> bool:
    """Whether every tensor of a delta has its place in the UNet."""
    known = {name: p.shape for name, p in unet.named_parameters()}
    return all(
        known.get(name.replace(ADAPTER, ".").replace(WORDS, ".")) == tensor.shape
        for name, tensor in delta.items()
    )


@contextmanager
def changed(
    unet: Any, delta: Mapping[str, Tensor], scale: float = 1.0, target_tokens: Tensor | None = None
) -> Iterator[None]:
    """Inside the block the UNet's weights have `scale * delta` added; on leaving they are what they were.

    May be entered again for another delta. target_tokens: (B, T) bool, those of the target in each text
    that will be read; without them, what is added for such tokens does nothing.
    Raises: InputError for a delta of another UNet.
    """
    if not fits(unet, delta):
        raise InputError("The delta is not for this base: its tensors do not fit.")
    base = dict(unet.named_parameters())
    words = {name: tensor for name, tensor in delta.items() if WORDS in name}
    plain = {name: tensor for name, tensor in delta.items() if ADAPTER not in name and WORDS not in name}
    before = {name: base[name].data for name in plain}
    second = {name: tensor for name, tensor in delta.items() if ADAPTER in name}
    with ExitStack() as stack:
        if scale and second:
            stack.enter_context(adapted(unet, second, scale))
        stack.enter_context(spoken(unet, words, target_tokens, scale))
        try:
            if scale:
                for name, tensor in plain.items():
                    base[name].data = before[name] + (scale * tensor).to(before[name])
            yield
        finally:
            for name, tensor in before.items():
                base[name].data = tensor
