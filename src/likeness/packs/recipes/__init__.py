"""How each part of the mini pack is trained, one file a part; `RECIPES` names them in building order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from likeness.packs.recipes.attributes import train_attributes
from likeness.packs.recipes.autoencoder import train_autoencoder
from likeness.packs.recipes.clip import train_clip
from likeness.packs.recipes.decoder import train_decoder
from likeness.packs.recipes.instructions import train_instructions
from likeness.packs.recipes.landmarks import train_landmarks
from likeness.packs.recipes.parser import train_parser
from likeness.packs.recipes.recogniser import train_judge_recogniser, train_recogniser
from likeness.packs.recipes.unet import train_guide, train_unet
from likeness.packs.recipes.vit import train_vit
from likeness.training import TrainResult

if TYPE_CHECKING:
    from likeness.packs.workshop import Workshop

__all__ = ["RECIPES"]

Recipe: TypeAlias = "Callable[[Workshop], TrainResult]"

RECIPES: dict[str, Recipe] = {
    "autoencoder": train_autoencoder,
    "decoder": train_decoder,
    "clip": train_clip,
    "instructions": train_instructions,
    "landmarks": train_landmarks,
    "recogniser": train_recogniser,
    "judge_recogniser": train_judge_recogniser,
    "parser": train_parser,
    "attributes": train_attributes,
    "vit": train_vit,
    "unet": train_unet,
    "guide": train_guide,
}
"""The adapters of methods are not here: they stand above packs, and their methods train them."""
