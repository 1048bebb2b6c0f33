"""Captions and instructions: good English that says what is in the picture and nothing else."""

from __future__ import annotations

import dataclasses
import re

import pytest

from likeness.errors import InputError
from likeness.sitters.parameters import Accessories, Expression, Hairstyle, Identity, Pose, Scene
from likeness.sitters.sample import partner, sample_scene, with_same_person
from likeness.sitters.words import attributes, captions, instructions, split_words, vocabulary

SCENES = [sample_scene(seed) for seed in range(2000, 2300)]

# What each value of an attribute may be called, written down apart from the phrases themselves.
CALLED = {
    "age": {"young": "young", "middle-aged": "middle-aged", "older": "older", "elderly": "elderly|old",
        "adult": ""},
    "skin": {"light": "(light|fair|pale) skin", "tan": "(tan|olive) skin", "brown": "brown skin",
        "dark": "dark skin"},
    "freckles": {"freckles": "freckle"},
    "fringe": {"fringe": "fringe|bangs"},
    "hair": {"bald": "bald|shaved", "buzz cut": "buzz cut", "short hair": "short",
        "side part": "side part", "quiff": "quiff", "bob": "bob\\b", "long hair": "long",
        "wavy hair": "wavy", "bun": "bun\\b", "ponytail": "ponytail", "pigtails": "pigtails",
        "curls": "curl", "afro": "afro", "hair": "hair"},
    "hair_colour": {"red": "red|ginger", "grey": "grey|gray", "blond": "blonde?",
        "light blond": "light blonde?"},
    "expression": {"neutral": "neutral", "smiling": "smil", "grinning": "grin", "laughing": "laugh",
        "surprised": "surprised", "frowning": "frown", "sad": "sad", "winking": "wink",
        "eyes closed": "closed eyes|eyes closed", "smirking": "smirk"},
    "gaze": {"camera": "at the camera|at us", "left": "to the left|left",
        "right": "to the right|right"},
    "turn": {"camera": "facing|seen from the front", "left": "turned to the left",
        "right": "turned to the right", "slightly left": "turned (slightly|a little) to the left",
        "slightly right": "turned (slightly|a little) to the right"},
    "nod": {"up": "raised", "down": "lowered"},
    "tilt": {"left": "tilted to the left", "right": "tilted to the right"},
    "garment": {"scoop top": "scoop"},
    "pattern": {"plain": "", "striped": "stripe", "pinstriped": "pinstripe", "checked": "check",
        "polka-dot": "dot"},
    "earrings": {"studs": "studs?\\b", "hoops": "hoops?\\b"},
    "necklace": {"beads": "bead"},
    "glasses": {"round glasses": "round .*glasses"},
    "background": {"studio": "plain .* (background|wall)|studio", "beach": "beach|sea\\b|ocean",
        "forest": "forest|trees|woods", "city": "city|buildings", "lights": "lights"},
    "light": {"soft": "soft (even )?light", "window": "window", "noon": "sunshine|midday sun|sunny",
        "rim": "rim light|from behind", "cool": "cool", "studio": "studio light"},
    "framing": {"close-up": "close", "portrait": "portrait|picture|photo"},
}  # fmt: skip

# Words that must not turn up when an attribute is absent.
FORBIDDEN = {
    "hat": "hat|cap|beanie|bobble|brim", "glasses": "glasses|sunglasses|frames", "scarf": "scarf",
    "earrings": "earrings?|studs?|hoops?", "necklace": "necklace|chain|beads?|pendant",
    "beard": "beard|stubble|moustache|goatee", "fringe": "fringe|bangs", "lipstick": "lipstick",
    "eyeshadow": "eyeshadow", "freckles": "freckles|freckled", "greying": "greying",
    "logo": "logo|ring|triangle",
    "nod": "raised|lowered", "tilt": "tilted", "inner_colour": "over",
}  # fmt: skip


def called(name: str, value: str) -> str:
    return CALLED.get(name, {}).get(value, re.escape(value))


def test_english_is_clean() -> None:
    for scene in SCENES:
        texts = captions(scene, 5, scene.seed or 0) + instructions(scene, with_same_person(scene, 1), 3, 2)
        for text in texts:
            assert "  " not in text and " ," not in text and " ." not in text and "{" not in text, text
            assert not re.search(r",,|\.\.|, \.|^\W|\band and\b|\b(\w+) \1\b", text), text
            assert not re.search(r"\b[Aa] [aeio]|\b[Aa]n [^aeio]", text), text
            assert text == text.strip()
        for text in (texts[0], texts[2], texts[3], texts[4]):
            assert text[0].isupper() and text.endswith("."), text
            assert all(sentence[:1].isupper() for sentence in re.split(r"\. ", text)), text
        assert texts[3].count(".") == texts[4].count(".") == 1
        assert 2 <= texts[0].count(".") <= 5


def test_the_full_caption_tells_everything() -> None:
    for scene in SCENES:
        text = captions(scene, 1, 9)[0].lower()
        for name, value in attributes(scene).items():
            assert re.search(called(name, value), text), (name, value, text)


def test_nothing_is_told_that_is_not_there() -> None:
    for scene in SCENES:
        seen = attributes(scene)
        for text in captions(scene, 10, 4):
            for name, words in FORBIDDEN.items():
                if name not in seen:
                    assert not re.search(rf"\b({words})\b", text.lower()), (name, text)
            assert {"woman": "man", "man": "woman", "person": "woman"}[seen["person"]] not in split_words(
                text
            )


def test_the_longer_the_more_is_told() -> None:
    words = [[len(c.split()) for c in captions(scene, 5, 1)] for scene in SCENES]
    full, tags, long, short, medium = (sum(column) / len(column) for column in zip(*words, strict=True))
    assert 3 < short < medium < long < full < 75
    assert tags < full


def test_same_seed_same_words_and_other_seed_other_words() -> None:
    scene = SCENES[0]
    assert captions(scene, 8, 5) == captions(scene, 8, 5)
    assert captions(scene, 3, 5) == captions(scene, 8, 5)[:3]
    assert captions(scene, 8, 5) != captions(scene, 8, 6)
    assert len({text for seed in range(40) for text in captions(scene, 1, seed)}) > 30


def test_vocabulary_is_closed_and_small() -> None:
    known = set(vocabulary())
    assert vocabulary() == sorted(known) and len(known) < 700
    used: set[str] = set()
    for scene in SCENES:
        for text in captions(scene, 5, 2) + instructions(scene, partner(scene, 2, "everything"), 2, 2):
            used.update(split_words(text))
    assert used <= known
    assert len(known - used) < 12, known - used  # nearly everything listed is really said


def test_hidden_things_are_not_told() -> None:
    person = Identity(masculinity=0.9, eye_colour="green")
    hidden = Scene(
        identity=person,
        hair=Hairstyle(kind="bald"),
        expression=Expression(kind="eyes closed"),
        accessories=Accessories(hat="cap", glasses="sunglasses"),
    )
    seen = attributes(hidden)
    assert not {"hair", "eyes", "gaze", "expression"} & set(seen)
    assert attributes(hidden, hidden=True)["hair"] == "bald"
    bare = attributes(dataclasses.replace(hidden, accessories=Accessories()))
    assert bare["hair"] == "bald" and bare["expression"] == "eyes closed"
    bun = attributes(Scene(hair=Hairstyle(kind="bun", colour="red"), accessories=Accessories(hat="beanie")))
    assert (bun["hair"], bun["hair_colour"]) == ("hair", "red")


def test_left_and_right_are_the_picture_s() -> None:
    assert attributes(Scene(pose=Pose(yaw_deg=35)))["turn"] == "right"
    assert attributes(Scene(pose=Pose(yaw_deg=-15)))["turn"] == "slightly left"
    assert attributes(Scene(pose=Pose(roll_deg=12)))["tilt"] == "right"
    assert attributes(Scene(expression=Expression(gaze_right=0.3)))["gaze"] == "right"
    # a head turned far to the right has its eyes at their left limit to see the camera
    assert (
        attributes(Scene(pose=Pose(yaw_deg=45), expression=Expression(gaze_right=-0.3)))["gaze"] == "camera"
    )


def seen_after(change: dict[str, object], before: Scene) -> list[str]:
    return instructions(before, dataclasses.replace(before, **change), 1, 12)


PLAIN = Scene(identity=Identity(masculinity=0.1))


@pytest.mark.parametrize(
    ("change", "said", "pattern"),
    [
        (
            {"accessories": Accessories(hat="beanie", hat_colour="red")},
            PLAIN,
            "(put on|add|give her) a red (knit )?beanie",
        ),
        ({"expression": Expression(kind="smiling")}, PLAIN, "(make|let) her smile"),
        ({"pose": Pose(yaw_deg=-40)}, PLAIN, "turn (the|her) head (far )?to the left"),
        ({"hair": Hairstyle(kind="short hair", colour="pink")}, PLAIN, "hair (colour to )?(bright )?pink"),
        ({"hair": Hairstyle(kind="bald")}, PLAIN, "shave her head|make her bald"),
        (
            {"accessories": Accessories()},
            dataclasses.replace(PLAIN, accessories=Accessories(glasses="round glasses")),
            "(remove|take off) the round glasses",
        ),
        (
            {"accessories": Accessories(hat="cap", hat_colour="green", hat_trim_colour="green")},
            dataclasses.replace(PLAIN, accessories=Accessories(hat="cap")),
            "(make the cap green|change the colour of the cap to green)",
        ),
    ],
)  # fmt: skip
def test_instructions_name_the_change_and_nothing_else(
    change: dict[str, object], said: Scene, pattern: str
) -> None:
    for text in seen_after(change, said):
        assert re.search(pattern, text.lower()), text
        assert " and " not in text and ", " not in text, text


def test_instructions_name_every_change() -> None:
    told = {
        "hat": "hat|cap|beanie|brim|bobble", "glasses": "glasses|sunglasses", "scarf": "scarf",
        "lipstick": "lipstick", "eyeshadow": "eyeshadow", "beard": "beard|stubble|moustache|goatee",
        "necklace": "chain|bead|pendant|necklace", "fringe": "fringe|bangs",
    }  # fmt: skip
    for scene in SCENES:
        after = with_same_person(scene, 3)
        old, new = attributes(scene), attributes(after)
        whole = attributes(scene, hidden=True), attributes(after, hidden=True)
        text = instructions(scene, after, 1, 1)[0].lower()
        for name, words in told.items():
            same = whole[0].get(name) == whole[1].get(name)
            if not same and (name in new or (name in old and name not in whole[1])):
                assert re.search(rf"\b({words})\b", text), (name, text)
            parts = [k for k in whole[0].keys() | whole[1].keys() if k.startswith(name)]
            if name not in ("beard", "fringe") and all(whole[0].get(k) == whole[1].get(k) for k in parts):
                assert not re.search(rf"\b({words})\b", text), (name, text)


def test_no_change_and_two_people() -> None:
    assert {text.lower().rstrip(".") for text in instructions(PLAIN, PLAIN, 0, 9)} == {
        "keep everything as it is",
        "change nothing",
    }
    with pytest.raises(InputError, match="two people"):
        instructions(SCENES[0], SCENES[1], 0, 1)
    with pytest.raises(InputError, match="0 captions"):
        captions(PLAIN, 0, 0)
