from __future__ import annotations

import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likeness.files.images import write_png
from likeness.files.page import portraits_page
from likeness.files.provenance import recipe_of
from likeness.types import PortraitRequest, PortraitResult, Provenance, WeightsRecord
from tests.files.zoo import card, noise


@pytest.fixture
def page(tmp_path: Path) -> str:
    chain = (WeightsRecord("mini", "base", "Apache-2.0", "ab" * 32, "shipped"),)
    pictures = []
    for seed, (prompt, likeness) in enumerate([('wearing a "red" <hat>', 0.75), ("smiling", None)]):
        result = PortraitResult(
            noise(32),
            PortraitRequest(prompt, (card(),), seed=seed),
            Provenance("consistentid", "0.1.0", seed, chain),
        )
        write_png(result.image, tmp_path / f"{seed}.png", recipe_of(result))
        entry = {"file": f"{seed}.png", "prompt": prompt, "seed": seed, "likeness": likeness}
        entry |= {"cosines": {"judge": 0.31}, "explained": ["It is <dark>."]}
        pictures.append(entry | {"reason": "no <face>", "timings_s": {"paint": 1.5}})
    judge = {"encoders": {"judge": "MIT"}, "own_pictures": 0.9, "mean": 0.75, "lowest": 0.75, "reason": None}
    document = {"pictures": pictures, "warnings": ["a <b>warning</b>"], "likeness": judge}
    return portraits_page("Three & more", "What this is.", [card()], tmp_path, document)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_tags_are_closed_in_order(page: str) -> None:
    parser = Tags()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert parser.seen.count("figure") == 3
    assert parser.seen.count("tr") == 2, "a weight used twice is listed once"


def test_nothing_outside_the_page_is_needed(page: str) -> None:
    assert "http" not in page
    assert all(source.startswith("data:image/png") for source in re.findall(r'src="([^"]*)', page))
    first = re.findall(r"base64,([^\"]*)", page)[0]
    assert np.array_equal(np.asarray(Image.open(BytesIO(b64decode(first)))), np.asarray(card()))


def test_words_are_escaped_and_shown(page: str) -> None:
    assert "<hat>" not in page
    assert "wearing a &quot;red&quot; &lt;hat&gt;" in page
    assert "a &lt;b&gt;warning&lt;/b&gt;" in page
    assert "<span>Same person</span><b>75%</b>" in page
    assert "It is &lt;dark&gt;." in page
    assert "No likeness score: no &lt;face&gt;. Cosine 0.31 by judge." in page
    assert "judge (MIT)" in page
    assert "Apache-2.0" in page
