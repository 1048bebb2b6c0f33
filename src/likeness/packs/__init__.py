"""Model packs: sets of weights that work together, and the recipes that make ours.

mini      sizes and presets of the mini pack; `mini_path()` is where its weights are
bases     `open_base`: a pack, or any other base, ready to paint
nano      the same, smaller: for tests and ablations;  presets  both by name
card      pack.json: sizes, hashes, licences, training data
words     what the pack has learned to read
data      pictures of sitters, in shards
workshop  a build's folders, data and budget;  recipes/  one file a part;  check  what it measures
"""

from likeness.packs.bases import open_base
from likeness.packs.card import PackCard, PartRecord, read_card
from likeness.packs.mini import mini_path
from likeness.packs.words import known_words, unknown_words

__all__ = ["PackCard", "PartRecord", "known_words", "mini_path", "open_base", "read_card", "unknown_words"]
