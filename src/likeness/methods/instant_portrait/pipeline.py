"""Editing a portrait by an instruction: in one step (IPNet), or in several with two guidances (IDE-Net)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import likeness
from likeness.diffusion.guidance import with_guide, without_guide
from likeness.diffusion.load import Base
from likeness.diffusion.noise import generator, initial_latents
from likeness.diffusion.openvino import OPENVINO, OpenVinoUnet
from likeness.diffusion.pixels import fitted, to_pictures, to_pixels
from likeness.diffusion.prompts import encode_prompts, prompt_warnings
from likeness.diffusion.requests import Progress, base_recipe, check_size, options_of, with_settings
from likeness.diffusion.schedule import ddim, denoised
from likeness.errors import InputError, MissingWeightsError
from likeness.faces.parsing import FaceParser, load_parser
from likeness.files.provenance import record_weights
from likeness.methods.instant_portrait.card import CARD
from likeness.methods.instant_portrait.config import EditSettings, InstantPortraitOptions
from likeness.methods.instant_portrait.model import guided, one_step
from likeness.methods.instant_portrait.weights import load_editor
from likeness.packs import open_base
from likeness.sitters.words import plain_words
from likeness.types import PortraitRequest, PortraitResult, Provenance, WeightsRecord

__all__ = ["InstantPortraitPipeline", "load"]

UNIT_PX = 8
"""Sides of pictures must be multiples of this."""
SEVERAL, FEW = 3, 4
"""From so many steps on a pack's IDE-Net paints; IPNet has learned to take one, and may take two. And in so
few steps IDE-Net's pictures look as in 20."""
RIM = 0.03
"""Width of the soft border between an edit and the background that is kept, as a share of the height."""


def load(
    base: str | Path | Base = "mini",
    adapter: str | Path | None = None,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    parser: str | Path | None = None,
    loras: Mapping[str, float] | None = None,
    controlnets: Sequence[str | Path] = (),
    sitters: bool = False,
) -> InstantPortraitPipeline:
    """A pipeline ready to edit.

    base: "mini", "sd15" or a base of their families, whose text encoder and autoencoder are used. adapter:
    the editing UNet (`weights.load_editor`), by default the pack's own, or InstructPix2Pix for sd15. parser:
    what `load_parser` takes, for `keep_background`; a pack brings its own.
    Raises: MissingWeightsError, IncompatibleWeightsError, InputError.
    """
    if controlnets:
        raise InputError("InstantPortrait takes no ControlNet: the picture itself says what is where.")
    base = open_base(base, device, dtype)
    if base.family not in CARD.bases:
        raise InputError(f"InstantPortrait runs on {' and '.join(CARD.bases)}, not on {base.family}.")
    if loras:
        raise InputError(
            "InstantPortrait takes no LoRA: its editing UNet paints, and the base's takes no part."
        )
    records: list[WeightsRecord] = []
    own = [folder for folder in _own_editors(base) if folder.is_dir()]
    if adapter is not None:
        editors = [adapter]
    elif own:
        editors = list(own)
    elif base.family == "sd15":
        editors = ["timbrooks/instruct-pix2pix"]
    else:
        raise MissingWeightsError(
            f"The pack {base.name} has no adapters/instant-portrait: give an adapter, or train one with "
            "`likeness pack build`."
        )
    beside = base.folder / "parser" if base.folder else None
    folder = Path(parser) if parser else beside if beside and beside.is_dir() else None
    if folder:
        records.append(
            record_weights(folder, "face parser", "Apache-2.0" if folder == beside else "not declared")
        )
    face_parser = load_parser(folder) if folder else None
    painter = None
    for editor in reversed(editors):
        unet, settings, record = load_editor(editor, base)
        painter = InstantPortraitPipeline(
            base,
            OpenVinoUnet(unet) if base.runtime == OPENVINO else unet,
            settings,
            parser=face_parser,
            weights=(*records, record),
            teacher=painter,
        )
    assert painter is not None  # noqa: S101  there is an editor
    return painter


def _own_editors(base: Base) -> tuple[Path, ...]:
    """Where a pack has its one-step editor, and the one it was taught by."""
    folder = base.folder / "adapters" if base.folder else None
    return tuple(folder / name for name in CARD.adapters) if folder else ()


class InstantPortraitPipeline:
    """A `PortraitPipeline`: the reference is the picture to edit, the prompt the instruction.

    Pictures are edited one at a time, so none depends on its neighbours. What an instruction's words and a
    noise's seed come to is kept from one picture to the next, for they stay the same in a stream. `teacher`
    paints what is asked for in several steps.
    """

    def __init__(
        self,
        base: Base,
        unet: Any,
        settings: EditSettings,
        *,
        parser: FaceParser | None = None,
        weights: tuple[WeightsRecord, ...] = (),
        teacher: InstantPortraitPipeline | None = None,
    ) -> None:
        self.base = base
        self.unet = unet
        self.settings = settings
        self.parser = parser
        self.teacher = teacher
        # The base's UNet takes no part.
        self.weights = (*(one for one in base.weights if one.role != "unet"), *weights)
        self._texts: dict[str, Tensor] = {}
        self._noises: dict[tuple[int, tuple[int, int]], Tensor] = {}

    def __call__(
        self,
        requests: list[PortraitRequest],
        *,
        on_step: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> list[PortraitResult]:
        """Edit every request's picture.

        `on_step(step, steps)` counts the steps of all requests together.
        Raises: InputError for impossible settings, Cancelled.
        """
        painters = [self._painter(request) for request in requests]
        checked = [one._checked(request) for one, request in zip(painters, requests, strict=True)]
        steps = sum((request.steps or 1) * _passes(options) for request, options in checked)
        tick = Progress(steps, on_step, cancel).tick
        return [one._edit(*each, tick) for one, each in zip(painters, checked, strict=True)]

    @property
    def steps_needed(self) -> int:
        """The fewest steps in which these weights paint what is not blurred: 1 by IPNet's, else `FEW`."""
        return 1 if self.settings.stage == "ipnet" else FEW

    def _painter(self, request: PortraitRequest) -> InstantPortraitPipeline:
        """Who was taught to take so many steps: the teacher, where there is one, from `SEVERAL` on."""
        return self.teacher if self.teacher and (request.steps or 1) >= SEVERAL else self

    @torch.no_grad()
    def _edit(
        self, request: PortraitRequest, options: InstantPortraitOptions, tick: Callable[[], None]
    ) -> PortraitResult:
        started = time.perf_counter()
        width, height = request.size_px or (0, 0)
        before = fitted(request.references[0].convert("RGB"), (width, height))
        pixels = to_pixels(before)
        text = torch.cat([self._text(request.negative_prompt), self._text(request.prompt)])
        conditioned = time.perf_counter()
        for _ in range(_passes(options)):  # section 3.2.4: the output becomes the input
            image = self._image_latents(pixels)
            latents = self._noise(request.seed, (width, height))
            if request.steps == 1:
                latents = self._one_step(latents, image, text, options, tick)
            else:
                latents = self._several_steps(latents, image, text, request, options, tick)
            pixels = self.base.decode(latents).float().clamp(-1, 1)
        [after] = to_pictures(pixels)
        if options.keep_background:
            after = self._with_background(before, after)
        finished = time.perf_counter()
        # One step is painted without guidance.
        weights = without_guide(self.weights) if request.steps == 1 else self.weights
        recipe = {
            **base_recipe(self.base),
            "stage": self.settings.stage,
            "scheduler": "ddim",
            "steps": request.steps,
            "guidance": request.guidance,
            "size_px": [width, height],
            "options": options.model_dump(mode="json"),
            "identity_encoder": self.settings.taught_by,
        }
        return PortraitResult(
            image=after,
            request=request,
            provenance=Provenance(CARD.name, likeness.__version__, request.seed, weights, recipe),
            warnings=tuple(
                prompt_warnings(self.base, request.prompt, plain_words(), request.negative_prompt)
            ),
            timings_s={"conditioning": conditioned - started, "denoising": finished - conditioned},
        )

    def _one_step(
        self,
        noise: Tensor,
        image: Tensor,
        text: Tensor,
        options: InstantPortraitOptions,
        tick: Callable[[], None],
    ) -> Tensor:
        """From noise at T_MAX to clean latents at once; `style` scales what the words change of it."""
        tick()
        scheduler = ddim(self.base.scheduler, 1)
        if options.style == 1:
            return one_step(self.unet, scheduler, noise, image, text[1:])
        noise, image = noise.expand(2, -1, -1, -1), image.expand(2, -1, -1, -1)
        without, with_words = one_step(self.unet, scheduler, noise, image, text).chunk(2)
        return without + options.style * (with_words - without)

    def _several_steps(
        self,
        latents: Tensor,
        image: Tensor,
        text: Tensor,
        request: PortraitRequest,
        options: InstantPortraitOptions,
        tick: Callable[[], None],
    ) -> Tensor:
        """DDIM with guidance by picture and by words (InstructPix2Pix, arXiv 2211.09800, eq. 3).

        Where the base has a guide, it too says what there would be without either (`diffusion.guidance`).
        """
        scheduler = ddim(self.base.scheduler, request.steps or self.settings.steps)
        by_words = options.style * (request.guidance or self.settings.guidance)
        by_image = options.image_guidance or self.settings.image_guidance
        nothing = torch.zeros_like(image)
        images = torch.cat([nothing, image, image])
        texts = torch.cat([text[:1], text[:1], text[1:]])
        for timestep in scheduler.timesteps:
            tick()
            seen = torch.cat([latents.expand(3, -1, -1, -1), images], dim=1)
            plain, with_image, with_both = self.unet(seen, timestep, texts).sample.chunk(3)
            plain = with_guide(self.base.guide, plain, latents, timestep, text[:1])
            prediction = guided(plain, with_image, with_both, by_image, by_words)
            latents = denoised(scheduler, prediction, timestep, latents)
        return latents

    def _image_latents(self, pixels: Tensor) -> Tensor:
        """The picture as InstructPix2Pix's UNets read it: the posterior's mean, not scaled."""
        vae = self.base.vae
        found: Tensor = vae.encode(pixels.to(self.base.device, vae.dtype)).latent_dist.mean
        return found.to(self.base.dtype)

    def _text(self, words: str) -> Tensor:
        if words not in self._texts:
            if len(self._texts) > 64:
                self._texts.clear()
            self._texts[words] = encode_prompts(self.base, [words]).rows
        return self._texts[words]

    def _noise(self, seed: int, size_px: tuple[int, int]) -> Tensor:
        """The same for every frame of a stream, so that it does not flicker."""
        if (seed, size_px) not in self._noises:
            if len(self._noises) > 64:
                self._noises.clear()
            self._noises[seed, size_px] = initial_latents(
                generator(seed),
                channels=self.unet.config.out_channels,
                height=size_px[1] // self.base.downscale,
                width=size_px[0] // self.base.downscale,
                sigma=1.0,
                device=self.base.device,
                dtype=self.base.dtype,
            )
        return self._noises[seed, size_px]

    def _with_background(self, before: Image.Image, after: Image.Image) -> Image.Image:
        """The input's background where neither picture shows the person, with a soft border."""
        assert self.parser is not None  # noqa: S101  `_checked` has seen to it
        person = torch.zeros(1, 1, after.height, after.width)
        for picture in (before, after):
            parsed = self.parser.parse(to_pixels(picture))
            person = torch.maximum(person, (parsed[:, None] > 0).float())
        rim = 2 * max(1, round(RIM * after.height)) + 1
        grown = torch.nn.functional.max_pool2d(person, rim, 1, rim // 2)
        soft = torch.nn.functional.avg_pool2d(grown, rim, 1, rim // 2, count_include_pad=False)
        mask = Image.fromarray((soft[0, 0].numpy() * 255).round().astype(np.uint8))
        return Image.composite(after, before, mask)

    def _checked(self, request: PortraitRequest) -> tuple[PortraitRequest, InstantPortraitOptions]:
        """Fill in defaults; refuse what cannot be painted."""
        if len(request.references) not in CARD.references:
            raise InputError(
                "InstantPortrait edits one picture: give 1 of reference pictures, "
                f"got {len(request.references)}."
            )
        if request.people or request.image is not None or request.control_images:
            raise InputError(
                "InstantPortrait edits its reference picture; it takes no people, image or control pictures."
            )
        options = options_of(InstantPortraitOptions, request, "InstantPortrait")
        if options.keep_background and self.parser is None:
            raise InputError("keep_background needs a face parser: give one as parser.")
        size = request.size_px or self._size_of(request.references[0])
        check_size(size, self.base, unit_px=UNIT_PX, least_px=2 * UNIT_PX)
        request = with_settings(
            request, self.base, steps=self.settings.steps, guidance=self.settings.guidance
        )
        return replace(request, size_px=size), options

    def _size_of(self, picture: Image.Image) -> tuple[int, int]:
        """The picture's shape at the area that the base paints best."""
        scale = self.base.size_px / (picture.width * picture.height) ** 0.5
        width, height = (max(2, round(side * scale / UNIT_PX)) * UNIT_PX for side in picture.size)
        return width, height


def _passes(options: InstantPortraitOptions) -> int:
    return 2 if options.style_boost else 1
