from __future__ import annotations

import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
from PIL import Image

from likeness.files.page import portraits_page
from likeness.types import PortraitRequest, PortraitResult, Provenance, WeightsRecord
from tests.files.zoo import card, noise


def page() -> str:
    chain = (WeightsRecord("mini", "base", "Apache-2.0", "ab" * 32, "shipped"),)
    results = [
        PortraitResult(
            noise(32),
            PortraitRequest(prompt, (card(),), seed=seed),
            Provenance("consistentid", "0.1.0", seed, chain),
            scores={"likeness": 0.75, "prompt": None},
            warnings=("a <b>warning</b>",),
        )
        for seed, prompt in enumerate(['wearing a "red" <hat>', "smiling"])
    ]
    return portraits_page("Three & more", "What this is.", [card()], results, {"likeness": "Likeness"})


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


def test_tags_are_closed_in_order() -> None:
    parser = Tags()
    parser.feed(page())
    parser.close()
    assert parser.open == []
    assert parser.seen.count("figure") == 3
    assert parser.seen.count("tr") == 2, "a weight used twice is listed once"


def test_nothing_outside_the_page_is_needed() -> None:
    text = page()
    assert "http" not in text
    assert all(source.startswith("data:image/png") for source in re.findall(r'src="([^"]*)', text))
    first = re.findall(r"base64,([^\"]*)", text)[0]
    assert np.array_equal(np.asarray(Image.open(BytesIO(b64decode(first)))), np.asarray(card()))


def test_words_are_escaped_and_shown() -> None:
    text = page()
    assert "<hat>" not in text
    assert "wearing a &quot;red&quot; &lt;hat&gt;" in text
    assert "a &lt;b&gt;warning&lt;/b&gt;" in text
    assert "<span>Likeness</span><b>0.75</b>" in text
    assert "not measured" in text
    assert "Apache-2.0" in text
