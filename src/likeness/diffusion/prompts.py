"""Prompts to text rows, for bases with one CLIP text encoder or two."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from likeness.diffusion.words import HARMLESS, WORD, read_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from likeness.diffusion.load import Base

__all__ = ["TextRows", "encode_ids", "encode_prompts", "prompt_warnings", "size_conditions", "token_ids"]

SMALL_VOCABULARY = 20_000
"""A text encoder with fewer tokens than this knows few words; CLIP has 49,408."""


@dataclass(frozen=True, slots=True)
class TextRows:
    """Encoded text. rows: (B, 77, D). pooled: (B, P) for SDXL, else None."""

    rows: Tensor
    pooled: Tensor | None = None

    def __getitem__(self, few: slice) -> TextRows:
        """Some of the texts."""
        return TextRows(self.rows[few], None if self.pooled is None else self.pooled[few])

    def beside(self, other: TextRows) -> TextRows:
        """These texts, then `other`'s; one text alone here stands for as many as `other` has."""
        rows = torch.cat([self.rows.expand_as(other.rows), other.rows])
        if self.pooled is None or other.pooled is None:
            return TextRows(rows)
        return TextRows(rows, torch.cat([self.pooled.expand_as(other.pooled), other.pooled]))


def token_ids(tokenizer: Any, texts: list[str]) -> Tensor:
    """(B, 77) int64: start, text, end, padding; longer texts are cut (see `prompt_warnings`)."""
    batch = tokenizer(
        texts,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    return batch.input_ids  # type: ignore[no-any-return]


def encode_prompts(base: Base, texts: list[str]) -> TextRows:
    """Texts to rows (B, 77, D)."""
    return encode_ids(base, tuple(token_ids(tokenizer, texts) for tokenizer in base.tokenizers))


@torch.no_grad()
def encode_ids(base: Base, ids: tuple[Tensor, ...]) -> TextRows:
    """Token ids, a (B, 77) for each tokenizer of the base, to rows.

    One encoder: its last states, normed (SD1.5, mini). Two: the states before the last layer of
    both, side by side, and the pooled projection of the second (SDXL, arXiv 2307.01952, section 2.1).
    """
    if len(base.text_encoders) == 1:
        states = base.text_encoders[0](ids[0].to(base.device)).last_hidden_state
        return TextRows(states.to(base.dtype))
    first, second = (
        encoder(ids_.to(base.device), output_hidden_states=True)
        for encoder, ids_ in zip(base.text_encoders, ids, strict=True)
    )
    rows = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
    return TextRows(rows.to(base.dtype), second.text_embeds.to(base.dtype))


def prompt_warnings(
    base: Base, prompt: str, known: Collection[str] = (), negative_prompt: str = ""
) -> list[str]:
    """What the text encoder will not see of the prompts: words past the end, words it never learned.

    known: words in small letters that a method has learned besides.
    """
    tokenizer = base.tokenizers[0]
    limit = tokenizer.model_max_length
    warnings = []
    for name, text in (("prompt", prompt), ("negative prompt", negative_prompt)):
        ids = tokenizer(text, truncation=False, verbose=False).input_ids
        if len(ids) > limit:
            lost = tokenizer.decode(ids[limit - 1 : -1]).strip()
            warnings.append(f"The {name} is {len(ids) - limit} tokens too long; not read: {lost!r}.")
    unknown = unknown_words(base, f"{prompt}\n{negative_prompt}", known)
    if unknown:
        words = ", ".join(repr(word) for word in unknown)
        warnings.append(f"The {base.name} base does not know {words}.")
    return warnings


def unknown_words(base: Base, text: str, known: Collection[str] = ()) -> list[str]:
    """Words of a text that a base with a small vocabulary never learned, once each, as they are written.

    They are looked up in the base's word list: tokens tell nothing, as pieces of words ("king" of "looking")
    are tokens too. Only a base without a list is asked for its tokens. Empty for a vocabulary of CLIP's
    size. known: as in `prompt_warnings`.
    """
    tokenizer = base.tokenizers[0]
    if len(tokenizer) >= SMALL_VOCABULARY:
        return []
    learned: Collection[str] = read_words(base.folder) if base.folder else ()
    if not learned:
        ends = tokenizer.get_vocab()
        learned = {token.removesuffix("</w>") for token in ends if token.endswith("</w>")}
    seen: dict[str, None] = {}
    for word in WORD.findall(text):
        if not any(word.lower() in some for some in (learned, known, HARMLESS)):
            seen[word] = None
    return list(seen)


def size_conditions(pooled: Tensor | None, sides: Sequence[int], downscale: int) -> dict[str, Tensor] | None:
    """SDXL's `added_cond_kwargs` (arXiv 2307.01952, section 2.2); None for bases without pooled text.

    pooled: (B, P). sides: (height, width) of the latents, each cell `downscale` px wide; the picture is
    taken for uncropped.
    """
    if pooled is None:
        return None
    height, width = (side * downscale for side in sides)
    sizes = torch.tensor([height, width, 0, 0, height, width], device=pooled.device, dtype=pooled.dtype)
    return {"text_embeds": pooled, "time_ids": sizes.expand(len(pooled), -1)}
