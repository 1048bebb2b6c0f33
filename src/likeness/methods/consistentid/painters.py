"""Who is painted where and from what: each person's text rows, identity tokens and region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from likeness.diffusion.prompts import TextRows, encode_ids, encode_prompts, prompt_warnings, size_conditions
from likeness.diffusion.regions import Region, check_box, covered, mask_cells, side_by_side, whole
from likeness.errors import InputError
from likeness.methods.consistentid.conditioning import Identity, order_crops
from likeness.methods.consistentid.config import PARTS, ConsistentIDOptions
from likeness.methods.consistentid.text import mark_prompt
from likeness.sitters.words import plain_words
from likeness.types import Face, Person, PortraitRequest

if TYPE_CHECKING:
    from likeness.diffusion.image_encoder import ImageEncoder
    from likeness.diffusion.load import Base
    from likeness.methods.consistentid.model import ConsistentIDAdapter

__all__ = ["Conditions", "Painter", "conditions_of", "painters_of", "people_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """All that one person is painted from, computed once.

    text, fused: (1, 77, D) rows of the prompt without and with the face parts. negative:
    (1, 77, D). id_tokens, null_id_tokens: (1, K, D). pooled: SDXL's pooled text, (2, P) for the
    unconditional and the conditional branch, or None.
    """

    text: Tensor
    fused: Tensor
    negative: Tensor
    id_tokens: Tensor
    null_id_tokens: Tensor
    pooled: Tensor | None
    warnings: tuple[str, ...]

    def nobody(self) -> Conditions:
        """The same words without the person."""
        return replace(self, fused=self.text, id_tokens=self.null_id_tokens)


@dataclass(frozen=True, slots=True, eq=False)
class Painter:
    """Paints one region by its conditions.

    before, after: encoder states until and after the merge step, (2, 77 + K, D) with guidance, else
    (1, 77 + K, D). added: SDXL's further conditions, or None.
    """

    region: Region
    conditions: Conditions
    before: Tensor
    after: Tensor
    added: dict[str, Tensor] | None

    @staticmethod
    def of(region: Region, conditions: Conditions, guided: bool, downscale: int) -> Painter:
        """guided: with the unconditional branch for guidance. downscale: picture px to a latent cell."""
        before, after = (
            torch.cat([rows, conditions.id_tokens], dim=1) for rows in (conditions.text, conditions.fused)
        )
        pooled = conditions.pooled
        if guided:
            nothing = torch.cat([conditions.negative, conditions.null_id_tokens], dim=1)
            before, after = torch.cat([nothing, before]), torch.cat([nothing, after])
        elif pooled is not None:
            pooled = pooled[1:]
        return Painter(
            region,
            conditions,
            before,
            after,
            size_conditions(pooled, (region.height, region.width), downscale),
        )

    def counts_at(self, face: Face, downscale: int) -> float:
        """The painter's weight in the middle of a face of its window."""
        x0, y0, x1, y1 = face.box_xyxy
        row = min(max(int((y0 + y1) / 2 / downscale), 0), self.region.height - 1)
        column = min(max(int((x0 + x1) / 2 / downscale), 0), self.region.width - 1)
        return float(self.region.weight[row, column])

    def box_px(self, downscale: int) -> list[int]:
        """x0, y0, x1, y1 px of where this painter counts for more than half."""
        rows, columns = torch.nonzero(self.region.weight > self.region.weight.max() / 2).T
        top, left = self.region.top, self.region.left
        corners = (left + columns.min(), top + rows.min(), left + columns.max() + 1, top + rows.max() + 1)
        return [int(value) * downscale for value in corners]

    def moved(self, region: Region, downscale: int) -> Painter:
        """The same painter on another region."""
        pooled = None if self.added is None else self.added["text_embeds"]
        return replace(
            self, region=region, added=size_conditions(pooled, (region.height, region.width), downscale)
        )


def people_of(request: PortraitRequest) -> tuple[Person, ...]:
    """The people of a request; one without `people` is about the person of its references."""
    return request.people or (Person(request.references),)


def painters_of(
    base: Base,
    people: Sequence[Person],
    conditions: Sequence[Conditions],
    size_px: tuple[int, int] | None,
    guided: bool,
) -> tuple[tuple[int, int], list[Painter]]:
    """The size (width, height) of the picture and its painters.

    People without boxes stand side by side, and without a size the picture is as wide as they need. Where no
    person's window reaches, the first one's words are painted without anybody.
    Raises: InputError for boxes outside the picture, or of some people only.
    """
    native, cell = base.size_px, base.downscale
    if len(people) == 1 and people[0].box_xyxy is None and people[0].mask is None:
        size_px = size_px or (native, native)
        region = whole((size_px[0] // cell, size_px[1] // cell))
        return size_px, [Painter.of(region, conditions[0], guided, cell)]
    placed = [person.box_xyxy is not None or person.mask is not None for person in people]
    if any(placed) and not all(placed):
        raise InputError("Give a box or a mask for every person, or for none: then they stand side by side.")
    own_size, boxes = side_by_side(len(people), native, base.unit_px)
    if any(placed):
        size_px = size_px or (native, native)
    elif size_px is not None and size_px != own_size:
        across = size_px[0] / len(people)
        boxes = [(across * i, 0.0, across * (i + 1), float(size_px[1])) for i in range(len(people))]
    size_px = size_px or own_size
    size = (size_px[0] // cell, size_px[1] // cell)
    painters = []
    for person, box, about in zip(people, boxes, conditions, strict=True):
        region = _region(person, box, size, size_px, base)
        painters.append(Painter.of(region, about, guided, cell))
    if not covered([painter.region for painter in painters], size):
        around = replace(whole(size), weight=torch.full((size[1], size[0]), 1e-4))
        painters.append(Painter.of(around, conditions[0].nobody(), guided, cell))
    return size_px, painters


def conditions_of(
    base: Base,
    adapter: ConsistentIDAdapter,
    image_encoder: ImageEncoder,
    identity: Identity,
    prompt: str,
    negative_prompt: str,
    options: ConsistentIDOptions,
) -> Conditions:
    """Sections 3.1: the marked prompt, the fused rows, the identity tokens; each with its null."""
    sizes = adapter.sizes
    joined = sizes.pairing == "published"
    marked = mark_prompt(base.tokenizers, prompt, options.caption, identity.parts, joined=joined)
    text = encode_ids(base, tuple(ids[None] for ids in marked.ids))
    crops, valid = order_crops(identity.crops, marked.parts, sizes.pairing)

    def place(tensor: Tensor) -> Tensor:
        return tensor[None].to(base.device, base.dtype)

    fused = adapter.FacialEncoder(
        text.rows,
        place(crops),
        marked.token_mask[None].to(base.device),
        valid[None].to(base.device),
    )
    negative = encode_prompts(base, [negative_prompt])
    states, embedding = place(identity.states), place(identity.embedding)
    null_states = torch.zeros_like(states)
    if sizes.null_image == "zero_picture":
        null_states = place(image_encoder.zero_picture()[0])
    if sizes.identity == "picture":
        states = image_encoder.embeds_of(states)[:, None].to(states)
        null_states = torch.zeros_like(states)
    shortcut = options.id_shortcut_scale
    missing = [part for part in PARTS if part not in identity.parts]
    warnings = [*prompt_warnings(base, prompt, plain_words(), negative_prompt), *marked.warnings]
    if missing:
        warnings.append(f"Not seen on the reference and left to the base: {', '.join(missing)}.")
    return Conditions(
        text=text.rows,
        fused=fused,
        negative=negative.rows,
        id_tokens=adapter.image_proj(embedding, states, shortcut),
        null_id_tokens=adapter.image_proj(torch.zeros_like(embedding), null_states, shortcut),
        pooled=_pooled(negative, text),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _pooled(negative: TextRows, text: TextRows) -> Tensor | None:
    if text.pooled is None or negative.pooled is None:
        return None
    return torch.cat([negative.pooled, text.pooled])


def _region(
    person: Person,
    box: tuple[float, float, float, float],
    size: tuple[int, int],
    size_px: tuple[int, int],
    base: Base,
) -> Region:
    """Where a person is painted, on latents of `size`; `box` (px) where nothing else says it."""
    native, unit = base.size_px // base.downscale, base.unit_px // base.downscale
    if person.mask is not None:
        if person.box_xyxy is not None:
            raise InputError("A person has a box or a mask, not both.")
        cells = mask_cells(person.mask, size)
        seen = torch.nonzero(cells >= 0.5)
        if not len(seen):
            raise InputError("A person's mask is black everywhere: white says where the person is.")
        (y0, x0), (y1, x1) = seen.min(0).values.tolist(), (seen.max(0).values + 1).tolist()
        return Region.around((x0, y0, x1, y1), size, native, unit, cells)
    if person.box_xyxy is not None:
        box = check_box(person.box_xyxy, size_px)
    x0, y0, x1, y1 = (value / base.downscale for value in box)
    return Region.around((x0, y0, x1, y1), size, native, unit)
