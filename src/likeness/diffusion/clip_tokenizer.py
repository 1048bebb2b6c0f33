"""CLIP's tokenizer without a download: single-file checkpoints come without one.

`clip_merges.txt.gz` is the merge list of OpenAI's CLIP (MIT, Copyright (c) 2021 OpenAI), from
which the vocabulary follows.
"""

from __future__ import annotations

import gzip
from importlib.resources import files
from typing import Any

__all__ = ["clip_tokenizer"]


def clip_tokenizer(pad_token: str = "<|endoftext|>") -> Any:  # noqa: S107  a token of text
    """The 49,408-token tokenizer of SD1.5 and SDXL; SDXL's second encoder pads with "!"."""
    from transformers import CLIPTokenizer

    packed = (files("likeness.diffusion") / "clip_merges.txt.gz").read_bytes()
    merges = gzip.decompress(packed).decode("utf-8").splitlines()
    letters = _byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(m.replace(" ", "") for m in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=[tuple(merge.split()) for merge in merges],
        pad_token=pad_token,
        model_max_length=77,
    )


def _byte_letters() -> list[str]:
    """The printable letter for each byte, in CLIP's order: printable bytes first, as themselves."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]
