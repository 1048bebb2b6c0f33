"""Named colours (sRGB 0-255), one table a use, so that words and pictures cannot disagree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BACKDROP",
    "CLOTH",
    "DYES",
    "EYES",
    "EYESHADOW",
    "FRAMES",
    "HAIR",
    "LIPSTICK",
    "METAL",
    "SKIN",
    "linear",
]

# Skin from lightest to darkest: (rosy, olive) ends of the undertone at each tone.
SKIN = (
    ((250, 200, 180), (244, 204, 172)),
    ((243, 186, 160), (234, 188, 146)),
    ((230, 166, 134), (218, 164, 118)),
    ((206, 138, 104), (194, 138, 92)),
    ((172, 108, 78), (162, 106, 68)),
    ((136, 80, 56), (128, 79, 49)),
    ((102, 58, 42), (96, 58, 38)),
    ((74, 43, 34), (70, 43, 31)),
)
HAIR = {
    "black": (34, 30, 32),
    "dark brown": (64, 43, 33),
    "brown": (104, 68, 45),
    "chestnut": (132, 70, 40),
    "auburn": (152, 64, 34),
    "red": (196, 92, 42),
    "blond": (214, 170, 106),
    "light blond": (238, 214, 166),
    "grey": (150, 148, 148),
    "white": (228, 226, 222),
    "blue": (58, 96, 186),
    "pink": (230, 118, 166),
    "green": (70, 150, 92),
    "purple": (128, 74, 168),
}
DYES = ("blue", "pink", "green", "purple")
EYES = {
    "dark brown": (58, 36, 24),
    "brown": (96, 60, 32),
    "hazel": (124, 98, 52),
    "green": (76, 116, 66),
    "blue": (66, 118, 168),
    "grey": (118, 138, 150),
}
CLOTH = {
    "red": (200, 48, 48),
    "orange": (232, 126, 48),
    "yellow": (240, 202, 70),
    "green": (66, 142, 80),
    "teal": (44, 140, 142),
    "blue": (52, 100, 190),
    "navy": (32, 46, 92),
    "purple": (132, 76, 160),
    "pink": (238, 146, 170),
    "brown": (122, 80, 54),
    "beige": (216, 194, 160),
    "grey": (140, 144, 150),
    "black": (36, 37, 42),
    "white": (238, 236, 230),
}
FRAMES = {
    "black": (26, 26, 30),
    "brown": (112, 62, 34),
    "gold": (196, 156, 84),
    "red": (168, 34, 44),
    "blue": (44, 70, 140),
}
LIPSTICK = {"red": (186, 28, 44), "pink": (214, 88, 120), "plum": (116, 36, 70), "coral": (226, 98, 76)}
EYESHADOW = {"purple": (122, 72, 140), "blue": (72, 104, 168), "brown": (112, 72, 54), "green": (72, 128, 96)}
METAL = {"gold": (238, 196, 98), "silver": (214, 218, 226)}
BACKDROP = {**CLOTH, "grey": (150, 152, 156), "white": (232, 231, 228), "black": (44, 44, 50)}


def linear(colour: tuple[int, int, int] | tuple[float, float, float]) -> NDArray[np.float64]:
    """sRGB 0-255 -> linear light 0-1, shape (3,)."""
    return (np.asarray(colour, np.float64) / 255.0) ** 2.2
