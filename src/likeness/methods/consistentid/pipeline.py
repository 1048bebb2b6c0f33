"""Painting with ConsistentID: from requests to portraits, the denoising loop in the open."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

import likeness
from likeness.diffusion.attention import attached
from likeness.diffusion.guidance import guide
from likeness.diffusion.load import Base
from likeness.diffusion.noise import generator, initial_latents
from likeness.diffusion.prompts import TextRows, encode_ids, encode_prompts, prompt_warnings
from likeness.diffusion.schedule import ddim, denoised, guidance_rescale
from likeness.errors import Cancelled, InputError
from likeness.faces.detect import FaceDetector
from likeness.faces.embed import FaceEncoder
from likeness.methods.consistentid.card import CARD
from likeness.methods.consistentid.conditioning import Identity, ImageEncoder, identity_of, order_crops
from likeness.methods.consistentid.config import PARTS, ConsistentIDOptions
from likeness.methods.consistentid.model import ConsistentIDAdapter
from likeness.methods.consistentid.text import mark_prompt
from likeness.packs import mini
from likeness.types import PortraitRequest, PortraitResult, Provenance, WeightsRecord

__all__ = ["ConsistentIDPipeline", "load"]

Box = tuple[float, float, float, float]

STEPS = 50
GUIDANCE = 5.0
"""The paper's settings (section 4.1)."""


def load(
    base: str | Path | Base = "mini", adapter: str | Path | None = None, **settings: Any
) -> ConsistentIDPipeline:
    """Load a pipeline; see `likeness.methods.consistentid.loading.load_pipeline` for the settings."""
    from likeness.methods.consistentid.loading import load_pipeline

    return load_pipeline(base, adapter, **settings)


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """All that a picture is painted from, computed once.

    text, fused: (1, 77, D) rows of the prompt without and with the face parts. negative:
    (1, 77, D). id_tokens, null_id_tokens: (1, K, D). added: SDXL's further conditions, for the
    unconditional and the conditional branch, or None.
    """

    text: Tensor
    fused: Tensor
    negative: Tensor
    id_tokens: Tensor
    null_id_tokens: Tensor
    added: dict[str, Tensor] | None
    warnings: tuple[str, ...]


class ConsistentIDPipeline:
    """A `PortraitPipeline`. Pictures are painted one at a time, so none depends on its neighbours."""

    def __init__(
        self,
        base: Base,
        adapter: ConsistentIDAdapter,
        *,
        detector: FaceDetector,
        face_encoder: FaceEncoder,
        image_encoder: ImageEncoder,
        weights: tuple[WeightsRecord, ...] = (),
    ) -> None:
        self.base = base
        self.adapter = adapter
        self.detector = detector
        self.face_encoder = face_encoder
        self.image_encoder = image_encoder
        self.weights = (*base.weights, *weights)
        self._last: tuple[tuple[Any, ...], tuple[Image.Image, ...], Identity] | None = None

    def __call__(
        self,
        requests: list[PortraitRequest],
        *,
        on_step: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> list[PortraitResult]:
        """Paint every request.

        `on_step(step, steps)` counts the steps of all requests together.
        Raises: InputError for impossible settings, FaceError for an unusable reference, Cancelled.
        """
        checked = [self._checked(request) for request in requests]
        steps = sum(request.steps or 0 for request, _ in checked)
        done = 0

        def tick() -> None:
            nonlocal done
            if cancel is not None and cancel():
                raise Cancelled("Stopped before the picture was finished.")
            done += 1
            if on_step is not None:
                on_step(done, steps)

        results = []
        for request, options in checked:
            started = time.perf_counter()
            identity = self._identity_of(request.references, options.face_box)
            results.append(self._paint(request, options, identity, tick, started))
        return results

    def _identity_of(self, references: tuple[Image.Image, ...], box: Box | None) -> Identity:
        """Described once for as long as the same pictures are asked for."""
        key = (*(id(picture) for picture in references), box)
        if self._last is None or self._last[0] != key:
            described = identity_of(references, self.detector, self.face_encoder, self.image_encoder, box)
            # The pictures are kept so that no other picture can come by their id.
            self._last = (key, references, described)
        return self._last[2]

    @torch.no_grad()
    def _paint(
        self,
        request: PortraitRequest,
        options: ConsistentIDOptions,
        identity: Identity,
        tick: Callable[[], None],
        started: float,
    ) -> PortraitResult:
        conditions = self._conditions(request, options, identity)
        conditioned = time.perf_counter()
        merge_step = self._merge_step(request, options)
        latents = self._denoise(request, options, conditions, merge_step, tick)
        denoised = time.perf_counter()
        image = self._decode(latents)
        finished = time.perf_counter()
        recipe = {
            "base": self.base.name,
            "family": self.base.family,
            "scheduler": "ddim",
            "steps": request.steps,
            "guidance": request.guidance,
            "size_px": list(request.size_px or ()),
            "merge_step": merge_step,
            "options": options.model_dump(mode="json"),
            "detector": self.detector.name,
            "identity_encoder": self.face_encoder.name,
            "device": str(self.base.device),
            "runtime": self.base.runtime,
            "dtype": str(self.base.dtype).removeprefix("torch."),
        }
        return PortraitResult(
            image=image,
            request=request,
            provenance=Provenance(CARD.name, likeness.__version__, request.seed, self.weights, recipe),
            warnings=conditions.warnings,
            timings_s={
                "conditioning": conditioned - started,
                "denoising": denoised - conditioned,
                "decoding": finished - denoised,
            },
        )

    def _denoise(
        self,
        request: PortraitRequest,
        options: ConsistentIDOptions,
        conditions: Conditions,
        merge_step: int,
        tick: Callable[[], None],
    ) -> Tensor:
        """DDIM with guidance; the face parts join the text after `merge_step` (section 3.3)."""
        base, unet = self.base, self.base.unet
        scheduler = ddim(base.scheduler, request.steps or STEPS)
        scale, rescale = request.guidance or 1.0, guidance_rescale(base.scheduler)
        width, height = request.size_px or (base.size_px, base.size_px)
        source = generator(request.seed)
        latents = initial_latents(
            source,
            channels=unet.config.in_channels,
            height=height // base.downscale,
            width=width // base.downscale,
            sigma=scheduler.init_noise_sigma,
            device=base.device,
            dtype=base.dtype,
        )
        before, after = (
            torch.cat([rows, conditions.id_tokens], dim=1) for rows in (conditions.text, conditions.fused)
        )
        if scale > 1:
            nothing = torch.cat([conditions.negative, conditions.null_id_tokens], dim=1)
            before, after = torch.cat([nothing, before]), torch.cat([nothing, after])
        self.adapter.set_scales(options.identity_scale, options.lora_scale)
        remembering = self.adapter.remembering() if base.runtime == "torch" else nullcontext()
        with attached(unet, self.adapter.processors), remembering:
            for index, timestep in enumerate(scheduler.timesteps):
                tick()
                rows = before if index <= merge_step else after
                if scale > 1:
                    prediction = unet(
                        torch.cat([latents, latents]), timestep, rows, added_cond_kwargs=conditions.added
                    ).sample
                    without, with_all = prediction.chunk(2)
                    prediction = guide(without, with_all, scale, rescale)
                else:
                    added = conditions.added and {key: value[1:] for key, value in conditions.added.items()}
                    prediction = unet(latents, timestep, rows, added_cond_kwargs=added).sample
                latents = denoised(scheduler, prediction, timestep, latents, options.eta, [source])
        return latents

    def _conditions(
        self, request: PortraitRequest, options: ConsistentIDOptions, identity: Identity
    ) -> Conditions:
        """Sections 3.1: the marked prompt, the fused rows, the identity tokens; each with its null."""
        base, sizes = self.base, self.adapter.sizes
        marked = mark_prompt(base.tokenizers, request.prompt, options.caption, identity.parts)
        text = encode_ids(base, tuple(ids[None] for ids in marked.ids))
        crops, valid = order_crops(identity.crops, marked.parts, sizes.pairing)

        def place(tensor: Tensor) -> Tensor:
            return tensor[None].to(base.device, base.dtype)

        fused = self.adapter.FacialEncoder(
            text.rows,
            place(crops),
            marked.token_mask[None].to(base.device),
            valid[None].to(base.device),
        )
        negative = encode_prompts(base, [request.negative_prompt])
        states, embedding = place(identity.states), place(identity.embedding)
        null_states = torch.zeros_like(states)
        if sizes.null_image == "zero_picture":
            null_states = place(self.image_encoder.zero_picture()[0])
        shortcut = options.id_shortcut_scale
        missing = [part for part in PARTS if part not in identity.parts]
        warnings = [*prompt_warnings(base, request.prompt), *marked.warnings]
        if missing:
            warnings.append(f"Not seen on the reference and left to the base: {', '.join(missing)}.")
        return Conditions(
            text=text.rows,
            fused=fused,
            negative=negative.rows,
            id_tokens=self.adapter.image_proj(embedding, states, shortcut),
            null_id_tokens=self.adapter.image_proj(torch.zeros_like(embedding), null_states, shortcut),
            added=self._added(negative, text, request),
            warnings=tuple(dict.fromkeys(warnings)),
        )

    def _added(
        self, negative: TextRows, text: TextRows, request: PortraitRequest
    ) -> dict[str, Tensor] | None:
        """SDXL's pooled text and sizes (height, width, crop top and left, height, width)."""
        if text.pooled is None or negative.pooled is None:
            return None
        width, height = request.size_px or (self.base.size_px, self.base.size_px)
        sizes = torch.tensor([[height, width, 0, 0, height, width]] * 2, dtype=self.base.dtype)
        return {
            "text_embeds": torch.cat([negative.pooled, text.pooled]),
            "time_ids": sizes.to(self.base.device),
        }

    def _decode(self, latents: Tensor) -> Image.Image:
        """Latents (1, C, h, w) to a PIL RGB picture."""
        pixels = self.base.decode(latents)
        array = ((pixels[0].float().clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).cpu().numpy()
        return Image.fromarray(array.astype(np.uint8))

    def _merge_step(self, request: PortraitRequest, options: ConsistentIDOptions) -> int:
        """Last step painted from text alone, -1 for none; a share below 1 leaves the parts the last step."""
        share = self.adapter.sizes.merge_step if options.merge_step is None else options.merge_step
        steps = request.steps or STEPS
        if share in (0, 1):
            return -1 if share == 0 else steps
        return min(round(share * steps), steps - 2)

    def _checked(self, request: PortraitRequest) -> tuple[PortraitRequest, ConsistentIDOptions]:
        """Fill in defaults; refuse what cannot be painted."""
        if len(request.references) not in CARD.references:
            low, high = CARD.references.start, CARD.references.stop - 1
            raise InputError(
                f"ConsistentID takes {low} to {high} reference pictures of one person, "
                f"got {len(request.references)}."
            )
        try:
            options = ConsistentIDOptions(**request.options)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(f"ConsistentID's option {where!r}: {first['msg']}.") from error
        base = self.base
        usual = (mini.STEPS, mini.GUIDANCE) if base.family == "mini" else (STEPS, GUIDANCE)
        steps = usual[0] if request.steps is None else request.steps
        if not 1 <= steps <= base.scheduler.config.num_train_timesteps:
            raise InputError(
                f"steps must be between 1 and {base.scheduler.config.num_train_timesteps}, got {steps}."
            )
        guidance = usual[1] if request.guidance is None else request.guidance
        if not 1 <= guidance <= 100:
            raise InputError(f"guidance must be between 1 (off) and 100, got {guidance:g}.")
        unit = base.downscale * 2 ** (len(base.unet.config.block_out_channels) - 1)
        size = request.size_px or (base.size_px, base.size_px)
        if any(side < unit or side % unit for side in size):
            raise InputError(
                f"size_px must be multiples of {unit} for {base.name}, got {size[0]} x {size[1]}."
            )
        return replace(request, steps=steps, guidance=guidance, size_px=size), options
