"""What can be asked of the studio: the requests of its jobs, checked before they are queued."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = ["Figure", "MakeDataset", "Paint", "Replay", "Request", "Train"]

Id = Annotated[str, Field(pattern=r"^[0-9a-f]{24}$", description="A picture's id.")]
JobId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$", description="A job's id.")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,60}$")]
Words = Annotated[str, Field(max_length=1000)]
Seed = Annotated[int, Field(ge=0, lt=2**53)]
OPTIONS_BYTES = 20_000


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Only what can be kept and shown again: finite numbers, whole characters, not too much."""
    try:
        size = len(json.dumps(options, allow_nan=False, ensure_ascii=False).encode())
    except (ValueError, RecursionError):
        raise ValueError("these are no plain values") from None
    if size > OPTIONS_BYTES:
        raise ValueError(f"these have more than {OPTIONS_BYTES} bytes")
    return options


Options = Annotated[dict[str, Any], AfterValidator(_plain)]
Group = Annotated[
    str | None, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Jobs of one comparison share it.")
]


class _Task(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Figure(_Task):
    """One of several people in a picture. box: (x0, y0, x1, y1) as shares of the picture, 0 to 1; none: side
    by side."""

    references: list[Id] = Field(min_length=1, max_length=8)
    box: tuple[float, float, float, float] | None = None
    prompt: Words = ""


class Paint(_Task):
    """Pictures by a method: portraits, edits, restyled or customised ones, as the method's card says.

    prompt: words, or the instruction of an edit. image: a picture to paint into, or the style, where the
    method takes one; mask: white where it is painted anew. options: the method's own (`GET /api/methods`).
    adapter: the name of weights that the method's entry lists. count: pictures, from one seed after another.
    """

    kind: Literal["paint"] = "paint"
    method: Name
    base: str | None = Field(default=None, max_length=200)
    adapter: str | None = Field(default=None, max_length=200)
    prompt: Words = ""
    negative_prompt: Words = ""
    references: list[Id] = Field(default=[], max_length=16)
    people: list[Figure] = Field(default=[], max_length=6)
    image: Id | None = None
    mask: Id | None = None
    strength: float = Field(default=1.0, gt=0, le=1)
    size_px: tuple[int, int] | None = None
    steps: int | None = Field(default=None, ge=1, le=250)
    guidance: float | None = Field(default=None, ge=1, le=50)
    seed: Seed = 0
    count: int = Field(default=1, ge=1, le=16)
    best_of: int = Field(default=1, ge=1, le=8)
    options: Options = {}
    group: Group = None

    def pictures(self) -> list[str]:
        """Of everything that takes part."""
        given = [*self.references, *(one for figure in self.people for one in figure.references)]
        return given + [one for one in (self.image, self.mask) if one is not None]


class Replay(_Task):
    """A finished job's picture painted again from its recipe."""

    kind: Literal["replay"] = "replay"
    job: JobId
    file: str = Field(max_length=200)


class MakeDataset(_Task):
    """A data set to train on: of a person's pictures here, or of so many synthetic people.

    people: of sitters. pictures: of each. seed: of the first.
    """

    kind: Literal["dataset"] = "dataset"
    name: str = Field(min_length=1, max_length=80)
    person: str | None = Field(default=None, pattern=r"^[0-9a-f]{16}$")
    people: int = Field(default=6, ge=1, le=500)
    pictures: int = Field(default=3, ge=1, le=20)
    seed: Seed = 0


class Train(_Task):
    """A method trained on a data set that a job made. learning_rate, batch_size: by default its own."""

    kind: Literal["train"] = "train"
    method: Name
    base: str | None = Field(default=None, max_length=200)
    dataset: JobId
    steps: int | None = Field(default=None, ge=1, le=1_000_000)
    minutes: float | None = Field(default=None, gt=0, le=10_000)
    batch_size: int | None = Field(default=None, ge=1, le=512)
    learning_rate: float | None = Field(default=None, gt=0, le=1)
    checkpoint_minutes: float = Field(default=2.0, ge=0.05, le=600)
    hold_out: int = Field(default=1, ge=0, le=100)
    from_nothing: bool = False
    seed: Seed = 0


Request = Annotated[Paint | Replay | MakeDataset | Train, Field(discriminator="kind")]
