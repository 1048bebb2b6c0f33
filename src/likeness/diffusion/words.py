"""Which words of a text a base with a small vocabulary has learned."""

from __future__ import annotations

import json
import re
from pathlib import Path

__all__ = ["HARMLESS", "WORD", "WORDS_FILE", "read_words", "words_of"]

WORDS_FILE = Path("tokenizer", "words.json")
"""Where a base of that kind lists the words of its captions, each with how often it was seen."""

WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """Lower-case words and numbers of a text, in order."""
    return [word.lower() for word in WORD.findall(text)]


# Function words, what is left of "it's" and "don't", and ConsistentID's part list: harmless in any prompt,
# whether or not a caption had them.
HARMLESS = frozenset(
    words_of(
        "a an and the of in on at with by is are be to from for who has have her his their its it this that "
        "photo picture portrait image person someone wearing looking very some one two face ears eyes nose "
        "mouth detail caption s t re ve m ll d"
    )
)


def read_words(base: Path) -> dict[str, int]:
    """The words that the base in a folder lists, with their counts; none where it has no list."""
    file = base / WORDS_FILE
    if not file.is_file():
        return {}
    words: dict[str, int] = json.loads(file.read_text(encoding="utf-8"))
    return words
