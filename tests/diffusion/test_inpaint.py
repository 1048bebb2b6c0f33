"""Where a picture is painted anew: with room around it, as long as the patch stays square."""

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw

from likeness.diffusion.inpaint import Patch


@pytest.mark.parametrize(
    ("picture_px", "white", "box"),
    [
        ((400, 400), (100, 100, 200, 180), (75, 65, 225, 215)),  # a quarter of its larger side all around
        ((256, 128), (140, 0, 240, 120), (126, 0, 254, 128)),  # no room above: a square of the height
        ((256, 128), (20, 10, 220, 110), (20, 0, 220, 128)),  # what has to be in it is wider than high
    ],
)
def test_there_is_room_around_what_is_painted_and_the_patch_is_square(
    picture_px: tuple[int, int], white: tuple[int, int, int, int], box: tuple[int, int, int, int]
) -> None:
    mask = Image.new("L", picture_px)
    x0, y0, x1, y1 = white
    ImageDraw.Draw(mask).rectangle((x0, y0, x1 - 1, y1 - 1), fill=255)
    patch = Patch.around(Image.new("RGB", picture_px), mask, 128, 8)
    assert patch.box == box
    wide, high = box[2] - box[0], box[3] - box[1]
    assert max(patch.image.size) == 128
    assert abs(patch.image.width / patch.image.height - wide / high) < 0.07
