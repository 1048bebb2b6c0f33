"""Coherence of a set, against cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from likeness.evaluation.coherence import (
    MOST_PX,
    Coherence,
    SamePersons,
    SetScores,
    Worn,
    colours_apart,
    lab,
    quantiles,
)
from likeness.evaluation.judge import Judge
from likeness.faces.parsing import CLASSES
from tests.methods.toys import MiddleDetector, PixelEncoder, picture

CLOTH, EARRING = CLASSES.index("cloth"), CLASSES.index("ear_r")


def test_lab_is_cielab() -> None:
    known = {
        "white": (100, 0, 0),
        "black": (0, 0, 0),
        "red": (53.24, 80.09, 67.20),
        "blue": (32.30, 79.19, -107.86),
    }
    for name, values in known.items():
        assert lab(Image.new("RGB", (1, 1), name))[0, 0] == pytest.approx(values, abs=0.05)


def test_regions_apart_by_their_quantiles() -> None:
    flat = np.tile([50.0, 0, 0], (8, 1))
    other = np.tile([53.0, 4.0, 0], (20, 1))
    assert colours_apart(quantiles(flat), quantiles(other)) == pytest.approx(5)
    striped = np.array([[40.0, 0, 0], [60.0, 0, 0]] * 8)  # the same mean, another pattern
    # Each of the 16 quantiles is 10 away, but those few that fall between the two values.
    apart = colours_apart(quantiles(flat), quantiles(striped))
    assert 9 < apart <= 10


def test_what_cameras_take_is_parsed_reduced() -> None:
    sizes = []

    def dressed(image: Image.Image) -> np.ndarray:
        sizes.append(image.size)
        return np.full((image.height, image.width), CLOTH, np.uint8)

    worn = Worn("clothes", ("cloth",), dressed)
    assert worn(Image.new("RGB", (2400, 1600), "red"), Image.new("RGB", (64, 48), "red")) == 1
    assert sizes[0][0] * sizes[0][1] <= MOST_PX < 2400 * 1600
    assert sizes[0][0] / sizes[0][1] == pytest.approx(1.5, abs=0.01)
    assert sizes[1] == (64, 48)


def blocks(top: str, bottom: str | None = None) -> Image.Image:
    """Clothes of one colour, and a row of jewellery below them, when there is any."""
    image = Image.new("RGB", (10, 10), top)
    if bottom:
        image.paste(bottom, (0, 9, 10, 10))
    return image


def parse(image: Image.Image) -> np.ndarray:
    labels = np.full((10, 10), CLOTH, np.uint8)
    labels[9] = EARRING if image.getpixel((0, 9)) != image.getpixel((0, 0)) else CLOTH
    return labels


def test_a_set_worked_by_hand() -> None:
    grey, pale = "#777777", "#ababab"  # L 50.04 and 69.98: 1 - 19.94 / 50 = 0.601
    pictures = [blocks(grey, "gold"), blocks(grey), blocks(pale)]
    aspects = [Worn("clothes", ("cloth",), parse), Worn("jewellery", ("ear_r", "neck_l"), parse)]
    scores = Coherence(aspects)(pictures)
    clothes = scores.pairs["clothes"]
    assert clothes[0, 1] == 1
    assert clothes[0, 2] == clothes[2, 0] == pytest.approx(0.601, abs=1e-3)
    assert math.isnan(clothes[0, 0])
    jewels = scores.pairs["jewellery"]
    assert jewels[0, 1] == 0, "what one of the two lacks"
    assert math.isnan(jewels[1, 2]), "and what neither has cannot be told"
    assert scores.of(0) == pytest.approx(((1 + clothes[0, 2]) / 2 + 0) / 2)
    assert scores.of(2) == pytest.approx((clothes[0, 2] + 0) / 2)
    assert scores.mean("clothes", [(0, 1), (0, 2)]) == pytest.approx((1 + clothes[0, 2]) / 2)
    assert scores.mean("jewellery", [(1, 2)]) is None
    assert scores.overall([(0, 1)]) == 0.5
    assert SetScores({}).of(0) is None


def test_the_person_is_the_judges_matter() -> None:
    judge = Judge([PixelEncoder()], MiddleDetector(), reason="not calibrated")
    same = SamePersons(judge)
    assert same(picture(1), picture(1)) == pytest.approx(1, abs=1e-4)
    cosine = same(picture(1), picture(2))
    assert cosine is not None
    assert cosine < 0.9
    assert cosine == judge.compare(picture(1), [picture(2)]).cosines["pixels"]
    assert SamePersons(Judge())(picture(1), picture(2)) is None
    assert SamePersons(judge, "pixels")(picture(1), picture(2)) is None, (
        "not by what the picture was made from"
    )
