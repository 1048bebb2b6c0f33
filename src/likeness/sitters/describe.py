"""Captions: what can be seen in a picture (`words.attributes`) put into one or several sentences."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from likeness.sitters import phrases as say

__all__ = ["Length", "describe", "hair_phrase", "listed", "pronouns", "with_articles", "worn_phrase"]

Length = Literal["tags", "short", "medium", "long", "full"]

# Share of what can be seen that a caption of each length tells.
SHARE: Mapping[Length, float] = {"tags": 0.6, "short": 0.3, "medium": 0.45, "long": 0.7, "full": 1.0}
# What a short caption is about: some of these, and nothing else.
MAIN = (
    "age", "hair", "beard", "expression", "garment", "hat", "glasses", "scarf", "earrings", "background",
    "light", "gaze", "turn", "lipstick", "skin",
)  # fmt: skip
THINGS = ("garment", "hat", "glasses", "earrings", "necklace", "scarf", "lipstick", "eyeshadow")


def describe(seen: Mapping[str, str], length: Length, rng: random.Random) -> str:
    """One caption of this length for what `words.attributes` found."""
    speaker = _Speaker(seen, rng, SHARE[length])
    if length == "short":
        present = [name for name in MAIN if name in seen]
        speaker.topics = frozenset(rng.sample(present, min(rng.randint(2, 4), len(present))))
    if length == "tags":
        return speaker.tags()
    if length in ("short", "medium"):
        return speaker.sentence()
    return speaker.story()


def with_articles(text: str) -> str:
    """ "a" turned into "an" before a vowel; no word of the phrases starts with a silent h or a "you"."""
    return re.sub(r"\b([Aa]) (?=[aeio])", r"\1n ", text)


def listed(items: Sequence[str]) -> str:
    """A; A and B; A, B and C."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])}{say.AND}{items[-1]}"


def pronouns(person: str) -> dict[str, str]:
    """Fields for the phrases: subject, object, possessive, is, has, wears."""
    return dict(
        zip(("subject", "object", "possessive", "is", "has", "wears"), say.PRONOUNS[person], strict=True)
    )


def hair_phrase(seen: Mapping[str, str], rng: random.Random) -> str:
    """Cut and colour of the hair, e.g. "short greying brown hair"."""
    colour = rng.choice(say.HAIR_COLOUR[seen["hair_colour"]]) if "hair_colour" in seen else ""
    if "greying" in seen:
        colour = say.GREYING.format(colour=colour)
    return rng.choice(say.HAIR[seen["hair"]]).format(colour=colour)


def worn_phrase(seen: Mapping[str, str], name: str, rng: random.Random) -> str:
    """One of `THINGS` with all that is seen of it, e.g. "a red cap with a white brim"."""
    value = seen[name]
    match name:
        case "garment":
            return _garment(seen, rng)
        case "hat":
            hat = "a " + rng.choice(say.HAT[value]).format(colour=seen["hat_colour"])
            trim = seen.get("hat_trim_colour")
            return hat if trim is None else hat + rng.choice(say.TRIM[value]).format(colour=trim)
        case "glasses":
            return rng.choice(say.GLASSES[value]).format(colour=seen["glasses_colour"])
        case "earrings":
            return rng.choice(say.EARRINGS[value]).format(metal=seen["earrings_metal"])
        case "necklace":
            return rng.choice(say.NECKLACE[value]).format(metal=seen["necklace_metal"])
        case "scarf":
            return rng.choice(say.SCARF).format(colour=value)
        case "lipstick":
            return rng.choice(say.LIPSTICK).format(colour=value)
        case "eyeshadow":
            return rng.choice(say.EYESHADOW).format(colour=value)
    raise KeyError(name)


def _garment(seen: Mapping[str, str], rng: random.Random) -> str:
    phrase = rng.choice(say.PATTERN[seen["pattern"]]).format(
        colour=seen["garment_colour"],
        second=seen.get("pattern_colour", ""),
        garment=rng.choice(say.GARMENT[seen["garment"]]),
    )
    if "logo" in seen:
        phrase += rng.choice(say.LOGO[seen["logo"]])
    if "inner_colour" in seen:
        phrase += rng.choice(say.INNER).format(colour=seen["inner_colour"])
    return f"a {phrase}"


class _Speaker:
    """Puts what can be seen into words; `share` of it is spoken of."""

    def __init__(self, seen: Mapping[str, str], rng: random.Random, share: float) -> None:
        self.seen = seen
        self.rng = rng
        self.share = share
        self.topics: frozenset[str] | None = None  # when set, the only things to speak of
        self.pronoun = pronouns(seen["person"])

    def tells(self, name: str) -> bool:
        """Whether to speak of something; never of what cannot be seen."""
        if self.topics is not None:
            return name in self.topics
        return self.rng.random() < self.share and name in self.seen

    def way(self, ways: Sequence[str] | str, **fields: str) -> str:
        chosen = ways if isinstance(ways, str) else self.rng.choice(ways)
        return chosen.format(**self.pronoun, **fields)

    # -- parts of sentences --

    def subject(self, adjective: str = "") -> str:
        age = self.rng.choice(say.AGE[self.seen["age"]]) if self.tells("age") else ""
        words = (adjective, age, self.rng.choice(say.NOUN[self.seen["person"]]))
        return "a " + " ".join(word for word in words if word)

    def framed(self, person: str) -> str:
        """ "a close-up of" the person, or the person alone."""
        if not self.tells("framing"):
            return person
        return self.way(
            say.OF, framing="a " + self.rng.choice(say.FRAMING[self.seen["framing"]]), person=person
        )

    def looks(self) -> list[str]:
        """Hair, beard, skin and eyes, each as a thing one can have."""
        ways = {
            "hair": (),
            "fringe": say.FRINGE,
            "beard": say.BEARD.get(self.seen.get("beard", ""), ()),
            "freckles": say.FRECKLES,
            "skin": say.SKIN[self.seen["skin"]],
            "eyes": say.EYES,
        }
        told = [name for name in ways if self.tells(name)]
        if self.rng.random() < 0.4:
            self.rng.shuffle(told)
        eyes = self.seen.get("eyes", "")
        return [
            self.way(ways[name], colour=eyes) if name != "hair" else hair_phrase(self.seen, self.rng)
            for name in told
        ]

    def things(self) -> list[str]:
        """Everything worn, make-up included."""
        told = [name for name in THINGS if self.tells(name)]
        if self.rng.random() < 0.5:
            self.rng.shuffle(told)
        worn = [worn_phrase(self.seen, name, self.rng) for name in told]
        if "hat" in told and self.share < 0.5 and self.rng.random() < 0.4:
            worn[told.index("hat")] = say.HAT_SHORT.format(colour=self.seen["hat_colour"])
        return worn

    def expression(self) -> tuple[str, str]:
        """The expression as (what the person is doing, what the person has): one of them is empty."""
        if not self.tells("expression"):
            return "", ""
        kind = self.seen["expression"]
        doing, having = say.EXPRESSION_DOING.get(kind, ()), say.EXPRESSION_HAVING.get(kind, ())
        if kind == "winking" and self.rng.random() < self.share:
            return self.way(say.WINKING_EYE, side=self.seen["winking_eye"]), ""
        # "looking sad" and "looking at the camera" in a row read badly
        looking = bool(doing) and doing[0].startswith("looking") and self.tells("gaze")
        if doing and not looking and (not having or self.rng.random() < 0.7):
            return self.way(doing), ""
        return "", self.way(having)

    def bearing(self) -> tuple[list[str], list[str]]:
        """Gaze and head as (what the person is doing, how the head is held)."""
        doing = [self.way(say.GAZE[self.seen["gaze"]])] if self.tells("gaze") else []
        held = []
        if self.tells("turn"):
            if self.seen["turn"] == "camera":
                doing.append(self.way(say.FACING))
            else:
                held.append(self.way(say.TURN[self.seen["turn"]]))
        held += [
            self.way(ways[self.seen[n]])
            for n, ways in (("nod", say.NOD), ("tilt", say.TILT))
            if self.tells(n)
        ]
        return doing, held

    def place(self) -> str:
        if not self.tells("background"):
            return ""
        return self.way(say.PLACE[self.seen["background"]], colour=self.seen.get("background_colour", ""))

    def light(self, ways: Mapping[str, Sequence[str]]) -> str:
        if not self.tells("light"):
            return ""
        side = say.LIGHT_SIDE[self.seen["light_side"]] if self.tells("light_side") else ""
        chosen = [way for way in ways[self.seen["light"]] if not (side and way in say.NO_SIDE)]
        return self.way(chosen) + side

    # -- whole captions --

    def tags(self) -> str:
        doing, held = self.bearing()
        doing += [self.way(say.HEAD, parts=part) for part in held]
        tags = self.looks() + self.things() + [word for word in self.expression() if word] + doing
        if self.tells("age") and self.seen["age"] != "adult":
            tags.append(self.rng.choice(say.AGE[self.seen["age"]]))
        if self.tells("background"):
            tags.append(
                self.way(
                    say.PLACE_NOUN[self.seen["background"]], colour=self.seen.get("background_colour", "")
                )
            )
        tags.append(self.light(say.LIGHT_NOUN))
        if self.tells("framing"):
            tags.append(self.rng.choice(say.FRAMING[self.seen["framing"]]))
        self.rng.shuffle(tags)
        tags = [self.rng.choice(say.NOUN[self.seen["person"]]), *(tag for tag in tags if tag)]
        return with_articles(", ".join(re.sub(r"^(a|the|some) ", "", tag) for tag in tags))

    def sentence(self) -> str:
        """Everything in one sentence."""
        act, have = self.expression()
        doing, held = self.bearing()
        looks, things = self.looks(), self.things()
        if have:
            looks.append(have)
        adjective = ""
        if act and " " not in act and self.rng.random() < 0.5:
            act, adjective = "", act
        if act:
            doing.insert(0, act)
        head = self.framed(self.subject(adjective))
        if looks:
            head += " " + self.way(say.WITH, things=listed(looks))
        place, light = self.place(), self.light(say.LIGHT)
        where = " ".join(part for part in (place, light) if part)
        rest = []
        if things:
            rest.append(self.way(say.WEARING, things=listed(things)))
        if held:
            rest.append(self.way(say.WITH_HEAD, parts=listed(held)))
        if doing:
            rest.append(listed(doing))
        self.rng.shuffle(rest)
        if where:
            rest.insert(self.rng.choice((0, len(rest), len(rest))), where)
        joint = " " if len(rest) == 1 and not looks else ", "
        return self._sentence(joint.join((head, ", ".join(rest))) if rest else head)

    def story(self) -> str:
        """Two to five sentences, the first about who it is, the others in any order."""
        act, have = self.expression()
        doing, held = self.bearing()
        looks, things = self.looks(), self.things()
        first = self.framed(self.subject())
        if looks:
            first += " " + self.way(say.WITH, things=listed(looks))
        place_told = self.rng.random() < 0.5
        others = []
        if place_told:
            where = " ".join(part for part in (self.place(), self.light(say.LIGHT)) if part)
            first += f", {where}" if where else ""
        else:
            others.append(self._surroundings())
        if things:
            others.append(self.way(say.SENTENCE_WEARS, things=listed(things)))
        others.append(self._action(act, have, doing, held))
        others = [sentence for sentence in others if sentence]
        self.rng.shuffle(others)
        return " ".join(self._sentence(sentence) for sentence in (first, *others))

    def _surroundings(self) -> str:
        parts = []
        if self.tells("background"):
            place = self.way(
                say.PLACE_NOUN[self.seen["background"]], colour=self.seen.get("background_colour", "")
            )
            parts.append(self.way(say.SENTENCE_PLACE, place=place))
        light = self.light(say.LIGHT_NOUN)
        if light:
            parts.append(self.way(say.SENTENCE_LIGHT, light=light))
        return say.AND.join(parts)

    def _action(self, act: str, have: str, doing: list[str], held: list[str]) -> str:
        if act:
            doing = [act, *doing]
        sentence = ""
        if have:
            sentence = self.way(say.SENTENCE_HAS, things=have)
            if doing:
                sentence += f"{say.AND}{self.pronoun['is']} {listed(doing)}"
        elif doing:
            sentence = self.way(say.SENTENCE_IS, doing=listed(doing))
        if not held:
            return sentence
        if sentence:
            return f"{sentence}, {self.way(say.WITH_HEAD, parts=listed(held))}"
        return self.way(say.SENTENCE_HEAD, parts=listed(held))

    def _sentence(self, text: str) -> str:
        text = with_articles(text)
        return f"{text[0].upper()}{text[1:]}."
