"""Instructions: how one picture of a person becomes another, told change by change."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from likeness.sitters import phrases as say
from likeness.sitters.describe import hair_phrase, listed, pronouns, with_articles, worn_phrase

__all__ = ["GROUPS", "changed_groups", "instruct"]

Seen = Mapping[str, str]
# The attributes that describe one thing: told together, changed together.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "garment": ("garment", "garment_colour", "pattern", "pattern_colour", "inner_colour", "logo"),
    "hat": ("hat", "hat_colour", "hat_trim_colour"),
    "glasses": ("glasses", "glasses_colour"),
    "earrings": ("earrings", "earrings_metal"),
    "necklace": ("necklace", "necklace_metal"),
    "scarf": ("scarf",),
    "lipstick": ("lipstick",),
    "eyeshadow": ("eyeshadow",),
    "hair": ("hair", "hair_colour"),
    "fringe": ("fringe",),
    "beard": ("beard",),
    "expression": ("expression", "winking_eye"),
    "gaze": ("gaze",),
    "turn": ("turn",),
    "nod": ("nod",),
    "tilt": ("tilt",),
    "background": ("background", "background_colour"),
    "light": ("light",),
    "light_side": ("light_side",),
    "framing": ("framing",),
}


def instruct(whole: tuple[Seen, Seen], visible: tuple[Seen, Seen], rng: random.Random) -> str:
    """One wording of every change between two pictures.

    whole: attributes of both with hidden ones; visible: those that can be seen. A change counts
    when the thing itself changed and can be seen: in the second picture or, when it went, in the first.
    """
    changed = changed_groups(whole, visible)
    rng.shuffle(changed)
    writer = _Writer(*visible, rng)
    clauses = [clause for group in changed if (clause := writer.tell(group))]
    text = say.THEN.join(listed(clauses[i : i + 4]) for i in range(0, len(clauses), 4))
    text = with_articles(text) if text else rng.choice(say.NOTHING)
    return text if rng.random() < 0.7 else f"{text[0].upper()}{text[1:]}."


def changed_groups(whole: tuple[Seen, Seen], visible: tuple[Seen, Seen]) -> list[str]:
    """The names of `GROUPS` that an instruction between two pictures speaks of."""
    changed = [group for group in GROUPS if _changed(group, whole, visible)]
    if "light" in changed and "light_side" in changed:
        changed.remove("light_side")  # told with the light
    return changed


def _changed(group: str, whole: tuple[Seen, Seen], visible: tuple[Seen, Seen]) -> bool:
    names = GROUPS[group]
    main = names[0]
    if any(all(a.get(n) == b.get(n) for n in names) for a, b in (whole, visible)):
        return False
    went = main not in whole[1] and main in visible[0]
    if group in ("gaze", "light_side"):  # no gaze with closed eyes, no side of some lights
        return main in whole[0] if main in visible[1] else went and group == "light_side"
    return main in visible[1] or went


class _Writer:
    """Says how a thing changes from `before` to `after`, both as they can be seen."""

    def __init__(self, before: Seen, after: Seen, rng: random.Random) -> None:
        self.before = before
        self.after = after
        self.rng = rng
        self.pronoun = pronouns(after["person"])

    def way(self, ways: Sequence[str], **fields: str) -> str:
        return self.rng.choice(ways).format(**self.pronoun, **fields)

    def only(self, group: str, name: str) -> bool:
        """Whether nothing else of the group changed than this attribute."""
        return all(self.before.get(n) == self.after.get(n) for n in GROUPS[group] if n != name)

    def tell(self, group: str) -> str:
        """The clause for a changed group of attributes."""
        match group:
            case "hat" | "glasses" | "earrings" | "necklace" | "scarf" | "lipstick" | "eyeshadow":
                return self._item(group)
            case "garment":
                return self._garment()
            case "hair":
                return self._hair()
            case "beard":
                return self._beard()
            case "background" | "light":
                return self._surroundings(group)
            case "expression":
                clause = self.way(say.EXPRESSION_CHANGE[self.after["expression"]])
                eye = self.after.get("winking_eye")
                return clause if eye is None else clause + say.WINK_SIDE.format(side=eye)
            case "fringe":
                return self.way(say.FRINGE_ADD if "fringe" in self.after else say.FRINGE_REMOVE)
        return self.way(STATES[group][self.after.get(group, "")])

    def _item(self, group: str) -> str:
        makeup = group in ("lipstick", "eyeshadow")
        bare = group if makeup or group == "scarf" else ""  # these have a colour, but no kinds
        old, new = self.before.get(group), self.after.get(group)
        if new is None:
            return self.way(
                say.MAKEUP_REMOVE if makeup else say.ITEM_REMOVE, thing=say.NOUN_OF[bare or str(old)]
            )
        if old is None:
            return self.way(
                say.MAKEUP_ADD if makeup else say.ITEM_ADD, item=worn_phrase(self.after, group, self.rng)
            )
        thing = say.NOUN_OF[bare or new]
        if bare:
            return self.way(say.ITEM_RECOLOUR, thing=thing, colour=new)
        if group == "hat" and self.only(group, "hat_trim_colour"):
            colour = self.after.get("hat_trim_colour", self.after["hat_colour"])
            return self.way(say.ITEM_RECOLOUR, thing=say.TRIM_NOUN[new], colour=colour)
        colour_name = GROUPS[group][1]
        if self.only(group, colour_name) and "hat_trim_colour" not in self.after:
            return self.way(say.ITEM_RECOLOUR, thing=thing, colour=self.after[colour_name])
        return self.way(say.ITEM_SWAP, old=say.NOUN_OF[old], item=worn_phrase(self.after, group, self.rng))

    def _garment(self) -> str:
        if self.only("garment", "garment_colour") and self.after["pattern"] == "plain":
            thing = self.rng.choice(say.GARMENT[self.after["garment"]])
            return self.way(say.ITEM_RECOLOUR, thing=thing, colour=self.after["garment_colour"])
        return self.way(say.DRESS, item=worn_phrase(self.after, "garment", self.rng))

    def _hair(self) -> str:
        if self.after["hair"] == "bald":
            return self.way(say.HAIR_SHAVE)
        if self.only("hair", "hair_colour"):
            return self.way(say.HAIR_DYE, colour=self.rng.choice(say.HAIR_COLOUR[self.after["hair_colour"]]))
        return self.way(say.HAIR_CHANGE, item=hair_phrase(self.after, self.rng))

    def _beard(self) -> str:
        old, new = self.before.get("beard"), self.after.get("beard")
        if new is None:
            return self.way(say.BEARD_REMOVE, thing=say.BEARD_NOUN[old or ""])
        item = self.rng.choice(say.BEARD[new])
        if old is None:
            return self.way(say.BEARD_ADD, item=item)
        return self.way(say.ITEM_SWAP, old=say.BEARD_NOUN[old], item=item)

    def _surroundings(self, group: str) -> str:
        new = self.after[group]
        if group == "light":
            side = self.after.get("light_side")
            return self.way(
                say.LIGHT_CHANGE,
                item=self.rng.choice(say.LIGHT_NOUN[new]),
                light=self.rng.choice([way for way in say.LIGHT[new] if not (side and way in say.NO_SIDE)]),
            ) + (say.LIGHT_SIDE[side] if side else "")
        colour = self.after.get("background_colour", "")
        if self.before["background"] == new:
            return self.way(say.WALL_CHANGE[new], colour=colour)
        return self.way(
            say.PLACE_CHANGE,
            item=self.rng.choice(say.PLACE_NOUN[new]).format(colour=colour),
            place=self.rng.choice(say.PLACE[new]).format(colour=colour),
        )


# Groups of one attribute whose every state has its own clause ("" when absent).
STATES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "gaze": say.GAZE_CHANGE,
    "turn": say.TURN_CHANGE,
    "nod": say.NOD_CHANGE,
    "tilt": say.TILT_CHANGE,
    "light_side": say.LIGHT_SIDE_CHANGE,
    "framing": say.FRAMING_CHANGE,
}
