"""The kind "edits": pairs made by a text-to-image base, target first (InstantPortrait, appendix B).

The target is painted from words: a person, as the instruction leaves them. Then the input is painted from
the person alone, under the target's control: its edges through a ControlNet keep the pose, its picture
through an IP-Adapter keeps the face. Pairs whose faces a recogniser does not hold for one person are dropped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from likeness.data.edit_pairs import pair_sample
from likeness.data.engine import Built, Item, RejectedError, Sample, Work
from likeness.diffusion.canny import canny
from likeness.diffusion.control import control_pixels, residuals
from likeness.diffusion.guidance import guide
from likeness.diffusion.noise import generator, initial_latents
from likeness.diffusion.pixels import to_pictures
from likeness.diffusion.prompts import encode_prompts
from likeness.diffusion.schedule import ddim, denoised, guidance_rescale
from likeness.errors import InputError
from likeness.files.images import png_bytes

if TYPE_CHECKING:
    from likeness.data.build import FaceModels
    from likeness.diffusion.control import ControlNet
    from likeness.diffusion.ip_adapter import IpAdapter
    from likeness.diffusion.load import Base

__all__ = ["Edit", "PairPainter", "TargetFirstBuilder", "read_edits", "read_lines"]

PERSON = "{person}"


@dataclass(frozen=True, slots=True)
class Edit:
    """instruction: what the editor will be told. target: the picture it makes, with "{person}" in it."""

    instruction: str
    target: str


@dataclass(frozen=True, slots=True, eq=False)
class PairPainter:
    """What paints both pictures of a pair, and knows the faces on them."""

    base: Base
    adapter: IpAdapter
    edges: ControlNet
    faces: FaceModels


@dataclass(frozen=True, slots=True, eq=False)
class TargetFirstBuilder:
    """`count` pairs of people x edits, every pair of both once before any comes again with another seed.

    painter: opens the models, in each process that works; painter_name: for the record. similarity: cosine of
    the two faces at least; 0.3 keeps what most recognisers call one person. keep_edges, keep_face: scales of
    ControlNet and IP-Adapter. licence: of the base's pictures.
    """

    people: Sequence[str]
    edits: Sequence[Edit]
    count: int
    painter: Callable[[], PairPainter]
    painter_name: str
    licence: str = "not declared"
    seed: int = 0
    similarity: float = 0.3
    keep_edges: float = 0.8
    keep_face: float = 0.7
    steps: int = 30
    guidance: float = 5.0
    kind: str = "edits"
    threads: int = 1

    def __post_init__(self) -> None:
        if not self.people or not self.edits or self.count < 1:
            raise InputError("Edit pairs need at least one person, one edit and a count of 1.")

    def settings(self) -> dict[str, Any]:
        """See `Builder`; a larger `count` goes on."""
        names = ("licence", "seed", "similarity", "keep_edges", "keep_face", "steps", "guidance")
        words = repr((tuple(self.people), [(edit.instruction, edit.target) for edit in self.edits]))
        return {
            "painter": self.painter_name,
            "words": hashlib.sha256(words.encode()).hexdigest(),
            **{name: getattr(self, name) for name in names},
        }

    def items(self) -> Iterator[Item]:
        """Pairs of a person and an edit, in an order drawn by `seed`."""
        every = len(self.people) * len(self.edits)
        order = np.random.default_rng(self.seed).permutation(every)
        for number in range(self.count):
            again, place = divmod(number, every)
            person, edit = divmod(int(order[place]), len(self.edits))
            data = {"person": person, "edit": edit, "seed": self.seed + again}
            yield Item(f"{person}-{edit}-{self.seed + again}", data)

    def open(self) -> Work:
        """Paints one pair."""
        painter = self.painter()
        if len(painter.base.text_encoders) > 1:
            raise InputError("Edit pairs are painted by bases with one text encoder: mini and SD1.5.")

        def pair(item: Item) -> list[Sample]:
            return [self._pair(painter, item)]

        return pair

    def finish(self, built: Built) -> None:
        """Nothing more."""

    def _pair(self, painter: PairPainter, item: Item) -> Sample:
        person, edit = self.people[item.data["person"]], self.edits[item.data["edit"]]
        number = item.data["person"] * len(self.edits) + item.data["edit"]
        seed = item.data["seed"] * 1_000_003 + number
        after = self.paint(painter, edit.target.replace(PERSON, person), seed)
        before = self.paint(painter, person, seed + 500_000, like=after)
        alike = round(float(painter.faces.embedding(before) @ painter.faces.embedding(after)), 4)
        if alike < self.similarity:
            message = f"The faces' cosine is {alike:.2f}, under {self.similarity:g}."
            raise RejectedError("another face", message, similarity=alike)
        files = {"before": png_bytes(before), "after": png_bytes(after)}
        told = {"person": person, "target": edit.target, "similarity": alike, "seed": seed}
        return pair_sample(
            files, edit.instruction, self.painter_name, self.licence, f"{person} {seed}", **told
        )

    @torch.no_grad()
    def paint(
        self, painter: PairPainter, words: str, seed: int, like: Image.Image | None = None
    ) -> Image.Image:
        """One picture from words, by DDIM and classifier-free guidance; `like` controls it."""
        base = painter.base
        source = generator(seed)
        scheduler = ddim(base.scheduler, self.steps)
        side = base.size_px // base.downscale
        latents = initial_latents(
            source,
            channels=base.unet.config.in_channels,
            height=side,
            width=side,
            sigma=scheduler.init_noise_sigma,
            device=base.device,
            dtype=base.dtype,
        )
        rows = encode_prompts(base, ["", words]).rows
        shown = painter.adapter.conditions([like, like] if like else None, 2, self.keep_face)
        if like is not None:  # guidance leads away from no words and no picture
            shown["image_embeds"][0][0] = 0
        edges = control_pixels([canny(like)], (base.size_px, base.size_px), base) if like else []
        for timestep in scheduler.timesteps:
            both = torch.cat([latents, latents])
            nets, scales = ([painter.edges], [self.keep_edges]) if like else ([], [])
            added = residuals(nets, edges, scales, both, timestep, rows, None)
            predicted = base.unet(both, timestep, rows, added_cond_kwargs=shown, **added).sample
            without, with_words = predicted.chunk(2)
            prediction = guide(without, with_words, self.guidance, guidance_rescale(base.scheduler))
            latents = denoised(scheduler, prediction, timestep, latents, 0.0, [source])
        return to_pictures(base.decode(latents))[0]


def read_lines(file: Path) -> tuple[str, ...]:
    """The lines of a text file that are not empty. Raises: InputError where there is none."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); give a text file.") from None
    found = tuple(line.strip() for line in lines if line.strip())
    if not found:
        raise InputError(f"{file} is empty; write one a line.")
    return found


def read_edits(file: Path) -> tuple[Edit, ...]:
    """Edits from lines of `instruction | target with {person}`.

    Raises: InputError naming the line of what is wrong.
    """
    found: list[Edit] = []
    for number, line in enumerate(read_lines(file), start=1):
        instruction, bar, target = (part.strip() for part in line.partition("|"))
        if not bar or not instruction or PERSON not in target:
            raise InputError(
                f"{file}:{number}: an edit is 'instruction | target', the target with {PERSON} in it, such "
                f"as 'put on a red hat | {PERSON} wearing a red hat'."
            )
        found.append(Edit(instruction, target))
    return tuple(found)
