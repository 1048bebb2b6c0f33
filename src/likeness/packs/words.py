"""The words a pack knows, and its tokenizer."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from likeness.diffusion.words import HARMLESS, read_words, words_of
from likeness.errors import MissingWeightsError
from likeness.sitters.words import plain_words

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["known_words", "make_tokenizer", "unknown_words", "words_of", "write_words"]


def write_words(folder: Path, captions: Iterable[str], *, least: int = 5) -> list[str]:
    """Write `words.json`: every word seen at least `least` times, with its count, most frequent first."""
    counts = Counter(word for caption in captions for word in words_of(caption))
    known = {word: count for word, count in counts.most_common() if count >= least}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "words.json").write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return list(known)


def known_words(pack: Path) -> dict[str, int]:
    """Words the pack in a folder has learned, and how often its captions had each; those that only
    instructions use, 0.

    Raises MissingWeightsError when the pack has no word list.
    """
    words = read_words(pack)
    if not words:
        raise MissingWeightsError(f"The pack in {pack} has no word list; build its part 'clip' first.")
    return words | dict.fromkeys(sorted(plain_words() - words.keys()), 0)


def unknown_words(pack: Path, prompt: str) -> list[str]:
    """Words of a prompt that the pack has never learned, once each, in order."""
    known = known_words(pack)
    return list(dict.fromkeys(w for w in words_of(prompt) if w not in known and w not in HARMLESS))


def make_tokenizer(captions: Iterable[str], vocabulary: int, tokens: int) -> Any:
    """A CLIPTokenizer whose merges are learned on captions.

    As in CLIP: lower case, bytes, `</w>` ends a word, start and end of text are the last two ids, and
    padding is end of text. The vocabulary is smaller than asked when the captions do not fill it.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    plain = CLIPTokenizer().backend_tokenizer
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer, learner.pre_tokenizer = plain.normalizer, plain.pre_tokenizer
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    base = letters + [letter + "</w>" for letter in letters]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(letters) - 2,
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner.train_from_iterator(captions, trainer)
    merges = [tuple(m) for m in json.loads(learner.to_str())["model"]["merges"]]
    joined = [left + right for left, right in merges]
    pieces = list(dict.fromkeys([*base, *joined, "<|startoftext|>", "<|endoftext|>"]))
    return CLIPTokenizer(
        vocab={piece: index for index, piece in enumerate(pieces)},
        merges=merges,
        model_max_length=tokens,
    )
