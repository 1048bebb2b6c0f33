"""What is painted in an evaluation: each paper's prompts and people, as data in `protocols/`."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from likeness.errors import InputError
from likeness.types import PortraitRequest

if TYPE_CHECKING:
    from likeness.evaluation.people import Person

__all__ = ["Protocol", "ProtocolName", "Task", "load_protocol", "protocol_names", "tasks_of"]

ProtocolName = Literal["paper", "quick"]
QUICK_PEOPLE, QUICK_PROMPTS = 5, 8
FOLDER = Path(__file__).parent / "protocols"


@dataclass(frozen=True, slots=True)
class Protocol:
    """prompts: (group, text with "{person}"). published: the paper's own figures, on its own models."""

    name: ProtocolName
    method: str
    source: str
    people: int
    prompts: tuple[tuple[str, str], ...]
    published: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One picture to paint. group: of its prompt."""

    id: str
    person: Person
    group: str
    request: PortraitRequest


def protocol_names() -> tuple[str, ...]:
    """The methods that have a protocol."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def load_protocol(method: str, name: ProtocolName = "quick", *, sitters: bool) -> Protocol:
    """The protocol of a method's paper.

    sitters: the base knows sitters only, so the prompts are in their words, as many in each group as the
    paper's. "quick" has `QUICK_PEOPLE` people and `QUICK_PROMPTS` prompts, the same share of each group.
    Raises: InputError for a method without a protocol or another name.
    """
    if method not in protocol_names():
        raise InputError(f"{method} has no protocol; there are {', '.join(protocol_names())}.")
    if name not in ("paper", "quick"):
        raise InputError(f"There is no protocol {name!r}; give paper or quick.")
    data = json.loads((FOLDER / f"{method}.json").read_text(encoding="utf-8"))
    groups: dict[str, list[str]] = data["sitter_prompts" if sitters else "prompts"]
    people, prompts = (
        int(data["people"]),
        [(group, text) for group, texts in groups.items() for text in texts],
    )
    if name == "quick":
        people = QUICK_PEOPLE
        prompts = [prompts[i * len(prompts) // QUICK_PROMPTS] for i in range(QUICK_PROMPTS)]
    return Protocol(name, method, data["source"], people, tuple(prompts), data["published"])


def tasks_of(protocol: Protocol, people: Sequence[Person], seed: int, limit: int | None = None) -> list[Task]:
    """Every prompt with every person, each with a seed of its own; of many, `limit` drawn by `seed`.

    Raises: InputError for a limit under 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"At least 1 case is needed, not {limit}.")
    rng = random.Random(seed)
    tasks = [
        Task(
            f"{person.id}-{number:02d}",
            person,
            group,
            PortraitRequest(text.format(person=person.word), person.references, seed=rng.randrange(2**31)),
        )
        for person in people
        for number, (group, text) in enumerate(protocol.prompts)
    ]
    if limit is None or limit >= len(tasks):
        return tasks
    chosen = sorted(rng.sample(range(len(tasks)), limit))
    return [tasks[i] for i in chosen]
