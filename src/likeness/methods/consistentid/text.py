"""The marked prompt: which text tokens get the picture of which face part (section 3.1, "Text Embedding").

The marker follows a part's word and marks the token before it; the text encoder sees the tokens
without markers.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from likeness.faces.parts import part_word
from likeness.methods.consistentid.config import CAPTION, PART_WORDS, PARTS

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MARKER", "MarkedPrompt", "mark_caption", "mark_prompt", "training_caption"]

MARKER = "<|facial|>"


@dataclass(frozen=True, slots=True, eq=False)
class MarkedPrompt:
    """A prompt with a face description, ready for the text encoders.

    ids: a (77,) int64 for each tokenizer. token_mask: (77,) bool, the marked tokens. parts: the
    part each marked token names, in text order. text: what was encoded, without markers.
    """

    ids: tuple[Tensor, ...]
    token_mask: Tensor
    parts: tuple[str, ...]
    text: str
    warnings: tuple[str, ...] = ()

    @property
    def part_tokens(self) -> Tensor:
        """(5,) int64: where each part of `PARTS` is named, 0 for a part that is not."""
        places = dict(zip(self.parts, self.token_mask.nonzero().flatten().tolist(), strict=True))
        return torch.tensor([places.get(part, 0) for part in PARTS])


def mark_caption(caption: str, parts: Collection[str]) -> str:
    """Keep the caption's clauses that name one of `parts`, each word marked at its first mention.

    Clauses end at `,`, `.` or `;` and are put in the order face, ears, eyes, nose, mouth. A part
    the caption does not name is left out, and so are clauses that name no part.
    """
    clauses = [clause.strip() for clause in re.split(r"[,.;]", caption)]
    marked, order = list(clauses), []
    for word in PART_WORDS:
        pattern = re.compile(rf"\b{word}\b")
        home = next((i for i, clause in enumerate(clauses) if pattern.search(clause)), None)
        if word not in parts or home is None:
            continue
        marked[home] = pattern.sub(f"{word} {MARKER}", marked[home], count=1)
        if home not in order:
            order.append(home)
    return "".join(f"{marked[i]}, " for i in order).rstrip(" ")


def mark_prompt(
    tokenizers: tuple[Any, ...], prompt: str, caption: str, parts: Collection[str], *, joined: bool = False
) -> MarkedPrompt:
    """The prompt followed by the marked caption; where that exceeds 77 tokens, the caption first.

    A caption that is itself too long for the text encoder is left out, and then no part is marked.
    joined: the caption follows a prompt that ends in a word without a full stop, as in the authors' code:
    "in a forestDetail:", whose last word the encoder does not read as it is.
    """
    limit = tokenizers[0].model_max_length
    prompt, caption = prompt.replace(MARKER, ""), caption.replace(MARKER, "")
    if not joined and re.search(r"\w\s*$", prompt):
        prompt = f"{prompt.rstrip()}."
    if _length(tokenizers[0], caption) > limit:
        warning = (
            f"The caption is longer than {limit} tokens and was left out: the face parts are not used.",
        )
        return _encode(tokenizers, prompt, warning)
    detail = mark_caption(caption, parts)
    text = f"{prompt}Detail:{detail}"
    # Markers count here, though the encoder never sees them: so it was in training.
    if _length(tokenizers[0], text) > limit:
        text = f"Detail:{detail} Caption:{prompt}"
    return _encode(tokenizers, text, ())


def training_caption(tokenizer: Any, caption: str) -> str:
    """A description in anybody's words as `mark_prompt` takes it, for training; painting takes what it gets.

    Only clauses that name a part are kept, and its word becomes that of `PART_WORDS` (`Left Ear`: `Left
    ears`; lips are the mouth where no mouth is named). Where these are still too long for the text encoder
    it is the fixed `CAPTION`. A caption that names no part stays as it is.
    """
    clauses = [clause.strip() for clause in re.split(r"[,.;\n]", caption.replace(MARKER, ""))]
    kept = set()
    for part in PART_WORDS:
        # By the whole caption: lips count only where no clause names the mouth.
        said = part_word(part, ", ".join(clauses))
        if said is None:
            continue
        word = re.compile(rf"\b{said.group()}\b")
        home = next(i for i, clause in enumerate(clauses) if word.search(clause))
        clauses[home] = word.sub(part, clauses[home], count=1)
        kept.add(home)
    if not kept:
        return caption
    short = ", ".join(clauses[i] for i in sorted(kept)) + "."
    marked = f"Detail:{mark_caption(short, PARTS)}"
    return short if _length(tokenizer, marked) <= tokenizer.model_max_length else CAPTION


def _length(tokenizer: Any, text: str) -> int:
    """Tokens of `text` with start, end and markers."""
    plain = tokenizer(text.replace(MARKER, ""), verbose=False).input_ids
    return len(plain) + text.count(MARKER)


def _encode(tokenizers: tuple[Any, ...], text: str, warnings: tuple[str, ...]) -> MarkedPrompt:
    limit = tokenizers[0].model_max_length
    ids, positions = [], []
    for tokenizer in tokenizers:
        row = [tokenizer.bos_token_id]
        pieces = text.split(MARKER)
        for index, piece in enumerate(pieces):
            row += tokenizer(piece, add_special_tokens=False, verbose=False).input_ids
            if index < len(pieces) - 1 and tokenizer is tokenizers[0]:
                positions.append(len(row) - 1)
        row = [*row[: limit - 1], tokenizer.eos_token_id]
        ids.append(torch.tensor(row + [tokenizer.pad_token_id] * (limit - len(row))))
    words = re.findall(rf"\b(\w+) {re.escape(MARKER)}", text)
    kept = [(p, w) for p, w in zip(positions, words, strict=True) if p < limit - 1]
    token_mask = torch.zeros(limit, dtype=torch.bool)
    token_mask[[p for p, _ in kept]] = True
    if len(kept) < len(words):
        lost = ", ".join(words[len(kept) :])
        warnings += (f"The text is longer than {limit} tokens: no picture is given for {lost}.",)
    return MarkedPrompt(tuple(ids), token_mask, tuple(w for _, w in kept), text.replace(MARKER, ""), warnings)
