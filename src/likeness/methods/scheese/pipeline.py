"""Painting with SCheese: the reference read once, then the denoising loop in the open."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

import likeness
from likeness.diffusion.attention import attached
from likeness.diffusion.guidance import guide, with_guide, without_guide
from likeness.diffusion.image_encoder import ImageEncoder, load_image_encoder
from likeness.diffusion.load import Base, fetched
from likeness.diffusion.lora import merge_lora
from likeness.diffusion.noise import generator, initial_latents
from likeness.diffusion.openvino import OPENVINO
from likeness.diffusion.pixels import to_pictures
from likeness.diffusion.prompts import TextRows, encode_prompts, prompt_warnings, size_conditions
from likeness.diffusion.requests import Progress, base_recipe, check_size, options_of, with_settings
from likeness.diffusion.schedule import ddim, denoised, guidance_rescale
from likeness.errors import IncompatibleWeightsError, InputError, MissingWeightsError
from likeness.files.provenance import pixels_sha256, record_weights
from likeness.methods.scheese.card import CARD
from likeness.methods.scheese.conditioning import Reference, picture_size, reference_of
from likeness.methods.scheese.config import SCheeseOptions
from likeness.methods.scheese.model import SCheese
from likeness.methods.scheese.weights import load_adapter
from likeness.packs import open_base
from likeness.sitters.words import plain_words
from likeness.types import PortraitRequest, PortraitResult, Provenance, WeightsRecord

if TYPE_CHECKING:
    from likeness.methods.scheese.attention import Keys

__all__ = ["SCheesePipeline", "load", "open_image_encoder"]

NAME = "SCheese"
KNOWN = 2
"""References whose features are kept; of SDXL's size they take hundreds of MiB each."""


def load(
    base: str | Path | Base = "mini",
    adapter: str | Path | SCheese | None = None,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    image_encoder: ImageEncoder | str | Path | None = None,
    loras: Mapping[str, float] | None = None,
    controlnets: Sequence[str | Path] = (),
    sitters: bool = False,
) -> SCheesePipeline:
    """A pipeline ready to paint.

    base: as `packs.open_base` takes it. adapter: a folder of ours or one in memory, by default the pack's.
    image_encoder: by default the one beside the base, or the one the adapter was trained with, from the hub.
    Raises: MissingWeightsError, IncompatibleWeightsError, InputError.
    """
    loaded = open_base(base, device, dtype)
    if controlnets:
        raise InputError("SCheese takes no ControlNet: the instruction says where everything goes.")
    if loaded.runtime == OPENVINO:
        raise InputError("SCheese does not run with --device openvino: take cpu or cuda.")
    records = [merge_lora(loaded, file, scale) for file, scale in (loras or {}).items()]
    if not isinstance(adapter, SCheese):
        own = loaded.folder / "adapters" / "scheese" if loaded.folder else None
        if adapter is None and not (own and own.is_dir()):
            pack = "`likeness pack build mini --part scheese` or " if loaded.family == "mini" else ""
            raise MissingWeightsError(
                f"There are no SCheese weights for {loaded.name} yet: train them with {pack}"
                "`likeness train scheese --from-nothing`, or give a folder as --adapter."
            )
        adapter, record = load_adapter(adapter or own or "", loaded)
        records.append(record)
    if not isinstance(image_encoder, ImageEncoder):
        image_encoder, record = open_image_encoder(loaded, adapter.sizes.image_encoder, image_encoder)
        records.append(record)
    if image_encoder.width != adapter.sizes.image_width:
        raise IncompatibleWeightsError(
            f"The image encoder has states of width {image_encoder.width}, the adapter reads "
            f"{adapter.sizes.image_width}: use {adapter.sizes.image_encoder}."
        )
    return SCheesePipeline(loaded, adapter, image_encoder, weights=tuple(records))


def open_image_encoder(
    base: Base, name: str, folder: str | Path | None = None
) -> tuple[ImageEncoder, WeightsRecord]:
    """The encoder in `folder`, else the one beside the base, else `name` from the hub's cache or the hub."""
    if folder is None and base.folder and (base.folder / "image_encoder").is_dir():
        folder = base.folder / "image_encoder"
    if folder is None:
        # Of ViT-G/14 the hub has shards and their index.
        files = ("config.json", "preprocessor_config.json", "model*.safetensors", "model*.index.json")
        folder = fetched(name, files, what="image encoder")
    licence = "Apache-2.0" if base.family == "mini" else "MIT"
    encoder = load_image_encoder(Path(folder), device=base.device, dtype=base.dtype)
    return encoder, record_weights(Path(folder), "image encoder", licence, name)


class SCheesePipeline:
    """A `PortraitPipeline`: the reference is the portrait, the prompt the instruction.

    Pictures are painted one at a time, so none depends on its neighbours. What the reference comes to is kept
    from one picture to the next: a collection computes it once.
    """

    def __init__(
        self,
        base: Base,
        adapter: SCheese,
        image_encoder: ImageEncoder,
        *,
        weights: tuple[WeightsRecord, ...] = (),
    ) -> None:
        self.base = base
        self.adapter = adapter
        self.image_encoder = image_encoder
        self.weights = (*base.weights, *weights)
        self._empty = encode_prompts(base, [""])
        self._known: OrderedDict[str, tuple[Reference, list[Keys]]] = OrderedDict()

    @property
    def taught_by(self) -> str:
        """The recogniser that taught the weights, or "none": it may not judge what is painted."""
        return self.adapter.sizes.taught_by

    def __call__(
        self,
        requests: list[PortraitRequest],
        *,
        on_step: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> list[PortraitResult]:
        """Paint every request.

        `on_step(step, steps)` counts the steps of all requests together.
        Raises: InputError for impossible settings, Cancelled.
        """
        checked = [self._checked(request) for request in requests]
        progress = Progress(sum(request.steps or 0 for request, _ in checked), on_step, cancel)
        return [self._paint(request, options, progress) for request, options in checked]

    @torch.no_grad()
    def _paint(self, request: PortraitRequest, options: SCheeseOptions, progress: Progress) -> PortraitResult:
        started = time.perf_counter()
        reference, keys = self._reference(request.references[0])
        text = encode_prompts(self.base, [request.negative_prompt, request.prompt])
        rows = self._rows(text, reference)
        conditioned = time.perf_counter()
        latents = self._denoise(request, options, progress, reference, keys, rows, text)
        painted = time.perf_counter()
        [image] = to_pictures(self.base.decode(latents))
        finished = time.perf_counter()
        weights = self.weights if (request.guidance or 1.0) > 1 else without_guide(self.weights)
        recipe = {
            **base_recipe(self.base),
            "variant": self.adapter.sizes.variant,
            "scheduler": "ddim",
            "steps": request.steps,
            "guidance": request.guidance,
            "size_px": list(request.size_px or ()),
            "options": options.model_dump(mode="json"),
            "identity_encoder": self.taught_by,
        }
        return PortraitResult(
            image=image,
            request=request,
            provenance=Provenance(CARD.name, likeness.__version__, request.seed, weights, recipe),
            warnings=tuple(
                prompt_warnings(self.base, request.prompt, plain_words(), request.negative_prompt)
            ),
            timings_s={
                "conditioning": conditioned - started,
                "denoising": painted - conditioned,
                "decoding": finished - painted,
            },
        )

    def _denoise(
        self,
        request: PortraitRequest,
        options: SCheeseOptions,
        progress: Progress,
        reference: Reference,
        keys: list[Keys],
        rows: Tensor,
        text: TextRows,
    ) -> Tensor:
        """DDIM with guidance, from noise to clean latents (1, C, h, w).

        rows: without words, and with. text: the same without the fused tokens, for the base's guide.
        """
        base, adapter = self.base, self.adapter
        scheduler = ddim(base.scheduler, request.steps or 1)
        width, height = request.size_px or (0, 0)
        latents = initial_latents(
            generator(request.seed),
            channels=base.unet.config.in_channels,
            height=height // base.downscale,
            width=width // base.downscale,
            sigma=scheduler.init_noise_sigma,
            device=base.device,
            dtype=base.dtype,
        )
        scale = request.guidance or 1.0
        guided = scale > 1
        pooled = text.pooled
        if not guided:
            rows, pooled = rows[1:], None if pooled is None else pooled[1:]
        added = size_conditions(pooled, latents.shape[-2:], base.downscale)
        away = size_conditions(None if pooled is None else pooled[:1], latents.shape[-2:], base.downscale)
        # Who sees the reference: both branches, so that guidance strengthens the words alone, or the one.
        seeing = torch.tensor([False, True], device=base.device) if guided and options.guide_details else None
        for_fused = adapter.remembering(options.identity_scale)
        with attached(base.unet, adapter.processors), for_fused:
            for timestep in scheduler.timesteps:
                progress.tick()
                if options.features == "per step":
                    keys = self._keys(reference)
                seen = torch.cat([latents, latents]) if guided else latents
                with adapter.seeing(keys, seeing, options.detail_scale):
                    prediction = base.unet(seen, timestep, rows, added_cond_kwargs=added).sample
                if guided:
                    without, with_words = prediction.chunk(2)
                    # The guide knows neither the reference nor the instruction.
                    without = with_guide(base.guide, without, latents, timestep, text.rows[:1], away)
                    prediction = guide(without, with_words, scale, guidance_rescale(base.scheduler))
                latents = denoised(scheduler, prediction, timestep, latents)
        return latents

    def _rows(self, text: TextRows, reference: Reference) -> Tensor:
        """Encoder states (2, T + K, D): without words, where the fused tokens are zero, and with them."""
        words = text.rows[1:] if self.adapter.sizes.has.fusion else None
        fused = self.adapter.fusion(reference.states, words).to(text.rows.dtype)
        return torch.cat([text.rows, torch.cat([torch.zeros_like(fused), fused])], dim=1)

    def _reference(self, picture: Image.Image) -> tuple[Reference, list[Keys]]:
        """Encoded once for as long as the same picture is asked for."""
        key = pixels_sha256(picture)
        if key not in self._known:
            reference = reference_of(picture, self.base, self.image_encoder)
            self._known[key] = reference, self._keys(reference)
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def forget(self) -> None:
        """Let go of the references that are kept."""
        self._known.clear()

    def _keys(self, reference: Reference) -> list[Keys]:
        """What the denoising net reads of ConsistencyNet, at time step 0: the same for every step."""
        added = size_conditions(self._empty.pooled, reference.latents.shape[-2:], self.base.downscale)
        return self.adapter.keys(self.adapter.features(reference.latents, self._empty.rows, added))

    def _checked(self, request: PortraitRequest) -> tuple[PortraitRequest, SCheeseOptions]:
        """Fill in defaults; refuse what cannot be painted."""
        if len(request.references) not in CARD.references:
            raise InputError(
                f"SCheese reads one portrait: give 1 of reference pictures, got {len(request.references)}."
            )
        if request.people or request.image is not None or request.control_images:
            raise InputError(
                "SCheese paints from its reference; it takes no people, image or control pictures."
            )
        options = options_of(SCheeseOptions, request, NAME)
        sizes = self.adapter.sizes
        request = with_settings(request, self.base, steps=sizes.steps, guidance=sizes.guidance)
        size = check_size(request.size_px or picture_size(request.references[0], self.base), self.base)
        return replace(request, size_px=size), options
