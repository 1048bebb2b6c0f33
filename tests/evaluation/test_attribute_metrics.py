"""The attribute judge's numbers against pictures whose content is written in their pixels."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from likeness.evaluation.case import Case, Truth
from likeness.evaluation.metrics.attributes import (
    AttributeViews,
    DetailsWrong,
    LightError,
    PoseError,
    WordsFollowed,
)
from likeness.faces.attributes import NOT_SHOWN, AttributeNet, AttributesFound, light_direction

KINDS = {
    "hat": [NOT_SHOWN, "beanie", "cap"],
    "hat_colour": [NOT_SHOWN, "blue", "red"],
    "garment": ["hoodie", "shirt"],
    "skin": ["dark", "light"],
}


class PixelNet:
    """Reads the values off the top left pixel: red is the hat, green its colour, blue garment and skin.

    Head and light are turned by as many degrees as the top right pixel says.
    """

    config = SimpleNamespace(kinds=KINDS)
    looked = 0

    def __call__(self, pictures: torch.Tensor) -> AttributesFound:
        self.looked += len(pictures)
        levels = ((pictures + 1) * 127.5).round()
        red, green, blue = levels[0, :, 0, 0].int().tolist()
        values = {"hat": red, "hat_colour": green, "garment": blue % 2, "skin": blue // 2}
        logits = {kind: torch.eye(len(KINDS[kind]))[[value]] for kind, value in values.items()}
        yaw, pitch, azimuth = levels[0, :, 0, -1].tolist()
        light = light_direction(torch.tensor([azimuth]), torch.tensor([20.0]))
        return AttributesFound(logits, torch.tensor([[yaw, pitch, 0.0]]), light)


def shows(
    hat: str, colour: str, garment: str, skin: str, turned: tuple[int, int, int] = (0, 0, 0)
) -> Image.Image:
    image = Image.new("RGB", (128, 128))
    place = [
        KINDS[kind].index(value) for kind, value in zip(KINDS, (hat, colour, garment, skin), strict=True)
    ]
    image.putpixel((0, 0), (place[0], place[1], place[2] + 2 * place[3]))
    image.putpixel((127, 0), turned)
    return image


def views() -> AttributeViews:
    return AttributeViews(PixelNet())  # type: ignore[arg-type]


def test_words_are_counted_factor_by_factor() -> None:
    asked = {"hat": "beanie", "hat_colour": "red", "garment": "shirt", "beard": "goatee"}
    picture = shows("beanie", "blue", "shirt", "dark")
    cases = [
        Case("a", picture, "", (), truth=Truth(asked)),
        Case("b", picture, "", (), truth=Truth({"hat": NOT_SHOWN})),
        Case("c", picture, "", (), truth=Truth()),
        Case("d", picture, "", ()),
    ]
    seen = views()
    assert WordsFollowed(seen)(cases) == pytest.approx([2 / 3, 0, np.nan, np.nan], nan_ok=True)
    hats, clothes = WordsFollowed(seen, "accessories"), WordsFollowed(seen, "clothes")
    assert (hats.name, clothes.name) == ("followed: accessories", "followed: clothes")
    assert hats(cases) == pytest.approx([1 / 2, 0, np.nan, np.nan], nan_ok=True)
    assert clothes(cases) == pytest.approx([1, np.nan, np.nan, np.nan], nan_ok=True)
    assert seen.net.looked == 1  # type: ignore[attr-defined]  # one picture, read once


def test_details_are_wrong_part_by_part() -> None:
    picture = shows("cap", "red", "hoodie", "light")
    before = shows("beanie", "red", "hoodie", "dark")
    cases = [
        Case("told", picture, "", (), truth=Truth(kept={"garment": "shirt", "skin": "light", "hat": "cap"})),
        # against the source, but for the hat that was asked for and its colour: garment right, skin not
        Case("source", picture, "", (), source=before, truth=Truth({"hat": "cap"}, kept=None)),
        Case("neither", picture, "", (), truth=Truth({"hat": "cap"}, kept=None)),
    ]
    seen = views()
    assert DetailsWrong(seen)(cases) == pytest.approx([1 / 3, 1 / 2, np.nan], nan_ok=True)
    assert DetailsWrong(seen, "person")(cases) == pytest.approx([0, 1, np.nan], nan_ok=True)
    assert DetailsWrong(seen, "clothes")(cases) == pytest.approx([1, 0, np.nan], nan_ok=True)
    assert DetailsWrong(seen, "clothes").name == "wrong: clothes" and not DetailsWrong(seen).higher_is_better


def test_head_and_light_in_degrees() -> None:
    picture = shows("cap", "red", "shirt", "dark", turned=(12, 9, 60))
    cases = [
        Case("a", picture, "", (), truth=Truth(pose_deg=(6.0, 9.0, -3.0), light_deg=(60.0, 20.0))),
        Case("b", picture, "", (), truth=Truth(light_deg=(60.0, -30.0))),  # straight below it: the difference
        Case("c", picture, "", (), truth=Truth()),
    ]
    assert PoseError(views())(cases) == pytest.approx([6, np.nan, np.nan], nan_ok=True), "the worst axis"
    aside = shows("cap", "red", "shirt", "dark", turned=(28, 0, 60))
    assert views().turned_from(aside, (0.0, 0.0, 0.0)) == pytest.approx(28), "wrong in yaw alone is wrong"
    assert LightError(views())(cases) == pytest.approx([0, 50, np.nan], abs=0.1, nan_ok=True)


def test_the_real_network_is_read_as_it_describes() -> None:
    torch.manual_seed(0)
    net = AttributeNet(kinds=KINDS, width=16, blocks=1, heads=2).eval()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8))
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    seen = AttributeViews(net).see(picture)
    assert {k: v for k, v in seen.shown.items() if v != NOT_SHOWN} == net.describe(pixels)[0]
    assert np.linalg.norm(seen.light) == pytest.approx(1, abs=1e-5) and seen.pose_deg.shape == (3,)
