"""Attention processors: putting them into a UNet and taking them out again, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import Tensor
from torch.utils.checkpoint import checkpoint

__all__ = ["attached", "finished", "heads", "within"]


@contextmanager
def attached(unet: Any, processors: Mapping[str, Any]) -> Iterator[None]:
    """Inside the block `unet` uses `processors`, named as in `unet.attn_processors`.

    Layers that are not named keep theirs. On leaving, also by an error, every layer has its own
    processor object back, so the UNet is bit for bit what it was.
    """
    before = dict(unet.attn_processors)
    unknown = sorted(set(processors) - set(before))
    if unknown:
        raise ValueError(f"The UNet has no attention layer {unknown[0]!r}.")
    unet.set_attn_processor({**before, **processors})
    try:
        yield
    finally:
        unet.set_attn_processor(before)


@contextmanager
def within(unet: Any, inside: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Inside the block `inside()` holds, and it holds again for what `unet` computes anew on the way back."""

    def anew(module: Any, *given: Any) -> Any:
        return checkpoint(
            module.__call__, *given, use_reentrant=False, context_fn=lambda: (nullcontext(), inside())
        )

    blocks = [one for one in unet.modules() if getattr(one, "gradient_checkpointing", False)]
    before = [one._gradient_checkpointing_func for one in blocks]
    for one in blocks:
        one._gradient_checkpointing_func = anew
    try:
        with inside():
            yield
    finally:
        for one, old in zip(blocks, before, strict=True):
            one._gradient_checkpointing_func = old


def heads(attn: Any, x: Tensor) -> Tensor:
    """Queries, keys or values (B, P, C) -> (B, H, P, C/H), H the heads of diffusers' `Attention`."""
    return x.view(*x.shape[:2], attn.heads, -1).transpose(1, 2)


def finished(attn: Any, out: Tensor, residual: Tensor) -> Tensor:
    """The end of diffusers' processors: dropout, the residual where the layer has one, rescaling."""
    out = attn.to_out[1](out)
    if attn.residual_connection:
        out = out + residual
    return out / attn.rescale_output_factor  # type: ignore[no-any-return]
