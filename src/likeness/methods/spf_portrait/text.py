"""The words of a picture: T_base with T_tar behind it, and the phrases of T_base (section 3.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Phrase", "base_tokens", "phrase_tokens", "phrases_of", "target_tokens", "with_target"]

_BREAK = re.compile(r"[,.;:]")
_LEADS = ("and", "with", "wearing", "in front of", "in", "on", "at", "holding", "who", "looking")
"""Words that begin a phrase of their own."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """Part of a text and where its tokens stand in the encoder's row (the start token is at 0)."""

    text: str
    tokens: tuple[int, ...]


def phrases_of(tokenizer: Any, text: str) -> list[Phrase]:
    """A text cut at punctuation and before words such as "with" and "wearing".

    Tokens past the encoder's length are left out, and phrases without any.
    """
    limit = tokenizer.model_max_length - 1  # the end token has the last place at the latest
    pieces = [
        (one.group(), bool(_BREAK.fullmatch(one.group())), one.span())
        for one in re.finditer(r"[\w'-]+|[^\w\s]", text)
    ]

    def tokens_before(end: int) -> int:  # of the text itself: CLIP reads neighbouring signs as one
        return len(tokenizer(text[:end], add_special_tokens=False, verbose=False).input_ids)

    found: list[Phrase] = []
    words: list[str] = []
    tokens: list[int] = []

    def close() -> None:
        if words and tokens:
            found.append(Phrase(" ".join(words), tuple(tokens)))
        words.clear()
        tokens.clear()

    for index, (word, is_break, (start, end)) in enumerate(pieces):
        if is_break:
            close()
            continue
        rest = " ".join(piece for piece, _, _ in pieces[index : index + 3]).lower()
        if words and any(rest == lead or rest.startswith(f"{lead} ") for lead in _LEADS):
            close()
        words.append(word)
        first, last = 1 + tokens_before(start), 1 + tokens_before(end)
        tokens += [at for at in range(first, last) if at < limit and at not in tokens]
    close()
    return found


def phrase_tokens(phrases: Sequence[Phrase], length: int) -> Tensor:
    """Which of `length` tokens belong to each phrase: (N, length) bool."""
    found = torch.zeros(len(phrases), length, dtype=torch.bool)
    for row, phrase in zip(found, phrases, strict=True):
        row[list(phrase.tokens)] = True
    return found


def base_tokens(tokenizer: Any, text: str) -> Tensor:
    """Which tokens are T_base's, (T,) bool; they stand at the same places with T_tar behind it."""
    limit = tokenizer.model_max_length
    count = len(tokenizer(text.rstrip(" ."), add_special_tokens=False, verbose=False).input_ids)
    found = torch.zeros(limit, dtype=torch.bool)
    found[1 : min(1 + count, limit - 1)] = True  # the start token is at 0, the end token last
    return found


def target_tokens(tokenizer: Any, text: str) -> Tensor:
    """Which tokens of T_base + ", " + T_tar are not T_base's but for the start, (T,) bool.

    The end token and what fills the row up are among them: a causal encoder tells them all that was read.
    """
    found = ~base_tokens(tokenizer, text)
    found[0] = False
    return found


def with_target(prompt: str, target: str) -> str:
    """T_base + ", " + T_tar."""
    return f"{prompt.rstrip(' .')}, {target}" if target else prompt
