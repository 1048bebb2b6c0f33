"""The words a pack knows, and its tokenizer."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from likeness.errors import MissingWeightsError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["known_words", "make_tokenizer", "unknown_words", "words_of", "write_words"]

WORD = re.compile(r"[^\W\d_]+")


def words_of(text: str) -> list[str]:
    """Lower-case words of a text, in order."""
    return [word.lower() for word in WORD.findall(text)]


# Function words and ConsistentID's part list: harmless in any prompt, whether or not a caption had them.
HARMLESS = frozenset(
    words_of(
        "a an and the of in on at with by is are be to from for who has have her his their its it this that "
        "photo picture portrait image person someone wearing looking very some one two face ears eyes nose "
        "mouth detail caption"
    )
)


def write_words(folder: Path, captions: Iterable[str], *, least: int = 5) -> list[str]:
    """Write `words.json`: every word seen at least `least` times, with its count, most frequent first."""
    counts = Counter(word for caption in captions for word in words_of(caption))
    known = {word: count for word, count in counts.most_common() if count >= least}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "words.json").write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return list(known)


def known_words(pack: Path) -> dict[str, int]:
    """Words the pack in a folder learned from, and how often it saw each.

    Raises MissingWeightsError when the pack has no word list.
    """
    path = pack / "tokenizer" / "words.json"
    if not path.is_file():
        raise MissingWeightsError(f"The pack in {pack} has no word list; build its part 'clip' first.")
    words: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
    return words


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
