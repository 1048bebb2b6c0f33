"""What an evaluation paints: each paper's people, prompts and figures, as data in `protocols/`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from likeness.errors import InputError
from likeness.faces.attributes import NOT_SHOWN

__all__ = ["Kind", "Prompt", "Protocol", "ProtocolName", "load_protocol", "protocol_names"]

ProtocolName = Literal["paper", "quick"]
Kind = Literal["portrait", "edit", "restyle", "collect", "customise"]
"""What one picture is asked for: a person doing what the words say; a photo changed by an instruction; a
person in another picture's place; a further picture of a collection; a base's picture with one more
attribute."""
QUICK_PEOPLE, QUICK_PROMPTS = 5, 8
QUICK_TRIPLES = QUICK_PEOPLE * QUICK_PROMPTS
FOLDER = Path(__file__).parent / "protocols"


@dataclass(frozen=True, slots=True)
class Prompt:
    """group: what it is of, for the table by group. text: with fields such as "{person}" where it names
    somebody. shows: by kind of attribute what a sitter's picture has to show then (`sitters.attributes`)."""

    group: str
    text: str
    shows: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Protocol:
    """One paper's, or a part of it.

    people: how many; of "customise" how many base captions. prompts: words, instructions or base captions;
    of "restyle" those of which the style references are painted. targets: of "customise", what is put
    behind a base caption. published: the paper's own figures, on its own models; published_by: by which,
    where there is more to say. each: pictures of a person where no prompts say how many.
    """

    name: ProtocolName
    method: str
    source: str
    people: int
    prompts: tuple[Prompt, ...]
    published: Mapping[str, float]
    kind: Kind = "portrait"
    targets: tuple[Prompt, ...] = ()
    published_by: Mapping[str, str] = field(default_factory=dict)
    each: int = 0


def protocol_names() -> tuple[str, ...]:
    """The methods that have a protocol."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def load_protocol(method: str, name: ProtocolName = "quick", *, sitters: bool) -> Protocol:
    """The protocol of a method's paper.

    sitters: the base knows sitters only, so the prompts are in their words. "quick" has `QUICK_PEOPLE` people
    and `QUICK_PROMPTS` prompts, the same share of each group.
    Raises: InputError for a method without a protocol or another name.
    """
    if method not in protocol_names():
        raise InputError(f"{method} has no protocol; there are {', '.join(protocol_names())}.")
    if name not in ("paper", "quick"):
        raise InputError(f"There is no protocol {name!r}; give paper or quick.")
    data = json.loads((FOLDER / f"{method}.json").read_text(encoding="utf-8"))
    kind: Kind = data["kind"]
    prompts = _prompts(data, "prompts", sitters)
    targets = _prompts(data, "targets", sitters)
    # Of sitters, styles and collections are drawn, not told.
    each = len(prompts) or int(data.get("sitter_styles" if kind == "restyle" else "sitter_edits", 0))
    people = int(data["people"])
    if name == "quick":
        people = QUICK_TRIPLES if kind == "customise" else QUICK_PEOPLE
        each = min(each, QUICK_PROMPTS)
        if kind != "customise":
            prompts = [prompts[i * len(prompts) // each] for i in range(each)] if prompts else []
    return Protocol(
        name,
        method,
        data["source"],
        people,
        tuple(prompts),
        data["published"],
        kind,
        tuple(targets),
        data.get("published_by", {}),
        each,
    )


def _prompts(data: Mapping[str, Any], name: str, sitters: bool) -> list[Prompt]:
    """Of sitters each text says what it shows; null stands for nothing of the kind."""
    groups: Mapping[str, Any] = data.get(f"sitter_{name}" if sitters else name, {})
    found = []
    for group, texts in groups.items():
        shown: Mapping[str, Mapping[str, str | None]] = texts if isinstance(texts, dict) else {}
        for text in texts:
            shows = {kind: value or NOT_SHOWN for kind, value in shown.get(text, {}).items()}
            found.append(Prompt(group, text, shows))
    return found
