"""Painting with ConsistentID: from requests to portraits, the denoising loop in the open."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import likeness
from likeness.diffusion.attention import attached
from likeness.diffusion.control import WHOLE, ControlNet, control_pixels, residuals
from likeness.diffusion.guidance import guide, with_guide
from likeness.diffusion.image_encoder import ImageEncoder
from likeness.diffusion.inpaint import Kept, Patch, first_step
from likeness.diffusion.load import Base
from likeness.diffusion.noise import generator, initial_latents
from likeness.diffusion.pixels import to_pictures
from likeness.diffusion.regions import blended
from likeness.diffusion.requests import Progress, base_recipe, check_size, options_of, with_settings
from likeness.diffusion.schedule import ddim, denoised, guidance_rescale
from likeness.errors import InputError
from likeness.faces.detect import FaceDetector, find_one_face
from likeness.faces.embed import FaceEncoder
from likeness.faces.parts import head_mask
from likeness.methods.consistentid.card import CARD
from likeness.methods.consistentid.conditioning import Identity, identity_of
from likeness.methods.consistentid.config import ConsistentIDOptions, strength_at
from likeness.methods.consistentid.model import ConsistentIDAdapter
from likeness.methods.consistentid.painters import Painter, conditions_of, painters_of, people_of
from likeness.packs import mini
from likeness.types import PortraitRequest, PortraitResult, Provenance, WeightsRecord

__all__ = ["ConsistentIDPipeline", "load"]

Box = tuple[float, float, float, float]

STEPS = 50
GUIDANCE = 5.0
"""The paper's settings (section 4.1)."""
SECOND_PASS_STRENGTH = 0.5
"""How far a small face painted again may go from what was there."""
KNOWN = 8
"""People whose pictures are described once for as long as they are asked for."""


def load(
    base: str | Path | Base = "mini", adapter: str | Path | None = None, **settings: Any
) -> ConsistentIDPipeline:
    """Load a pipeline; see `likeness.methods.consistentid.loading.load_pipeline` for the settings."""
    from likeness.methods.consistentid.loading import load_pipeline

    return load_pipeline(base, adapter, **settings)


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
        controlnets: Sequence[ControlNet] = (),
        weights: tuple[WeightsRecord, ...] = (),
    ) -> None:
        self.base = base
        self.adapter = adapter
        self.detector = detector
        self.face_encoder = face_encoder
        self.image_encoder = image_encoder
        self.controlnets = tuple(controlnets)
        self.weights = (*base.weights, *weights, *(net.weights for net in controlnets))
        self._known: OrderedDict[tuple[Any, ...], tuple[tuple[Image.Image, ...], Identity]] = OrderedDict()

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
        steps = sum(_steps_taken(request) for request, _ in checked)
        progress = Progress(steps, on_step, cancel)
        return [self._paint(request, options, progress) for request, options in checked]

    def _identity_of(self, references: tuple[Image.Image, ...], box: Box | None) -> Identity:
        """Described once for as long as the same pictures are asked for."""
        key = (*(id(picture) for picture in references), box)
        if key not in self._known:
            described = identity_of(references, self.detector, self.face_encoder, self.image_encoder, box)
            # The pictures are kept so that no other picture can come by their id.
            self._known[key] = references, described
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key][1]

    @torch.no_grad()
    def _paint(
        self, request: PortraitRequest, options: ConsistentIDOptions, progress: Progress
    ) -> PortraitResult:
        """One picture; second passes, unforeseen, are not counted."""
        started = time.perf_counter()
        source = generator(request.seed)
        target = self._target(request, options.target_box)
        size_px = target[1].image.size if target else request.size_px
        people = people_of(request)
        conditions = []
        for number, person in enumerate(people):
            box = options.face_box if number == 0 else None
            identity = self._identity_of(person.references, box)
            words = person.prompt or request.prompt
            conditions.append(
                conditions_of(
                    self.base,
                    self.adapter,
                    self.image_encoder,
                    identity,
                    words,
                    request.negative_prompt,
                    options,
                )
            )
        guided = (request.guidance or 1.0) > 1
        size_px, painters = painters_of(self.base, people, conditions, size_px, guided)
        conditioned = time.perf_counter()
        kept = Kept.of(self.base, target[1], source) if target else None
        share = target[1].share_of(target[0]) if target else WHOLE
        control = control_pixels(request.control_images, size_px, self.base, share)
        latents = self._denoise(
            request, options, painters, size_px, source, progress.tick, kept, request.strength, control
        )
        denoised = time.perf_counter()
        [image] = to_pictures(self.base.decode(latents))
        if target and request.image is not None:
            image = target[1].laid_back(request.image, target[0], image)
        image, again = self._second_pass(
            image, request, options, painters[: len(people)], source, progress.check
        )
        finished = time.perf_counter()
        recipe = {
            **base_recipe(self.base),
            "scheduler": "ddim",
            "steps": request.steps,
            "guidance": request.guidance,
            "size_px": list(size_px),
            "merge_step": self._merge_step(request, options),
            "options": options.model_dump(mode="json"),
            "second_pass_faces": again,
            "people_px": [list(target[1].box)]
            if target
            else [painter.box_px(self.base.downscale) for painter in painters[: len(people)]],
            "detector": self.detector.name,
            "identity_encoder": self.face_encoder.name,
        }
        told = dict.fromkeys(text for about in conditions for text in about.warnings)
        return PortraitResult(
            image=image,
            request=request,
            provenance=Provenance(CARD.name, likeness.__version__, request.seed, self.weights, recipe),
            warnings=tuple(told),
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
        painters: Sequence[Painter],
        size_px: tuple[int, int],
        source: torch.Generator,
        tick: Callable[[], None],
        kept: Kept | None,
        strength: float,
        control: Sequence[Tensor] = (),
    ) -> Tensor:
        """DDIM with guidance; the face parts join the text after `merge_step` (section 3.3).

        Each painter predicts its window. kept: what is there already, and strength: how far to go from it.
        """
        base = self.base
        steps = request.steps or STEPS
        scheduler = ddim(base.scheduler, steps)
        merge_step = self._merge_step(request, options)
        first = 0 if kept is None else first_step(steps, strength)
        timesteps = [*scheduler.timesteps, None]
        if kept is None or first == 0:
            latents = initial_latents(
                source,
                channels=base.unet.config.in_channels,
                height=size_px[1] // base.downscale,
                width=size_px[0] // base.downscale,
                sigma=scheduler.init_noise_sigma,
                device=base.device,
                dtype=base.dtype,
            )
        else:
            latents = kept.at(scheduler, timesteps[first])
        remembering = self.adapter.remembering() if base.runtime == "torch" else nullcontext()
        with attached(base.unet, self.adapter.processors), remembering:
            for index, timestep in enumerate(timesteps[:-1]):
                if index < first:
                    continue
                tick()
                self.adapter.set_scales(
                    strength_at(options.identity_scale, index / steps), options.lora_scale
                )
                predictions = [
                    self._predict(request, painter, index <= merge_step, latents, timestep, control)
                    for painter in painters
                ]
                prediction = blended(predictions, [painter.region for painter in painters], latents)
                latents = denoised(scheduler, prediction, timestep, latents, options.eta, [source])
                if kept is not None:
                    latents = kept.restored(latents, scheduler, timesteps[index + 1])
        return latents

    def _predict(
        self,
        request: PortraitRequest,
        painter: Painter,
        early: bool,
        latents: Tensor,
        timestep: Tensor,
        control: Sequence[Tensor],
    ) -> Tensor:
        """What the UNet says of one painter's window, with guidance."""
        base, scale = self.base, request.guidance or 1.0
        rows = painter.before if early else painter.after
        cell, added = base.downscale, painter.added
        alone = painter.region.of(latents)
        window = torch.cat([alone] * len(rows))
        more = {}
        if control:
            pictures = [painter.region.times(cell).of(picture) for picture in control]
            scales = [request.control_scale] * len(pictures)
            text = rows[:, : -self.adapter.sizes.id_tokens]
            more = residuals(self.controlnets, pictures, scales, window, timestep, text, added)
        prediction = base.unet(window, timestep, rows, added_cond_kwargs=added, **more).sample
        if scale <= 1:
            return prediction  # type: ignore[no-any-return]
        without, with_all = prediction.chunk(2)
        away = None if added is None else {name: value[:1] for name, value in added.items()}
        without = with_guide(base.guide, without, alone, timestep, painter.conditions.negative, away)
        return guide(without, with_all, scale, guidance_rescale(base.scheduler))

    def _target(self, request: PortraitRequest, box: Box | None) -> tuple[Image.Image, Patch] | None:
        """What of `request.image` is painted anew, by default its one face, or that in `box`."""
        if request.image is None:
            return None
        mask = request.mask_image
        if mask is None:
            mask = head_mask(find_one_face(request.image, self.detector, box), request.image.size)
        return mask, Patch.around(request.image, mask, self.base.size_px, self.base.unit_px)

    def _second_pass(
        self,
        image: Image.Image,
        request: PortraitRequest,
        options: ConsistentIDOptions,
        painters: Sequence[Painter],
        source: torch.Generator,
        check: Callable[[], None],
    ) -> tuple[Image.Image, int]:
        """Each person's face, where it is small, enlarged and painted again; how many were."""
        base, again = self.base, 0
        if request.image is not None or not options.second_pass:
            return image, 0
        for painter in painters:
            window = painter.region.times(base.downscale)
            left, top = window.left, window.top
            found = self.detector(image.crop((left, top, left + window.width, top + window.height)))
            own = painter.region.weight.max() / 2  # as in `box_px`: other faces are other people's
            faces = [one for one in found if painter.counts_at(one, base.downscale) > own]
            # Of several people near each other each is the one that its painter is for.
            face = max(faces, key=lambda one: painter.counts_at(one, base.downscale), default=None)
            if face is None or face.size_px >= options.second_pass * base.size_px:
                continue
            x0, y0, x1, y1 = face.box_xyxy
            face = replace(face, box_xyxy=(x0 + left, y0 + top, x1 + left, y1 + top))
            mask = head_mask(face, image.size)
            patch = Patch.around(image, mask, base.size_px, base.unit_px)
            alone = [painter.moved(patch.cells(base), base.downscale)]
            kept = Kept.of(base, patch, source)
            latents = self._denoise(
                request, options, alone, patch.image.size, source, check, kept, SECOND_PASS_STRENGTH
            )
            [painted] = to_pictures(base.decode(latents))
            image = patch.laid_back(image, mask, painted)
            again += 1
        return image, again

    def _merge_step(self, request: PortraitRequest, options: ConsistentIDOptions) -> int:
        """Last step painted from text alone, -1 for none; a share below 1 leaves the parts the last step."""
        share = self.adapter.sizes.merge_step if options.merge_step is None else options.merge_step
        steps = request.steps or STEPS
        if share in (0, 1):
            return -1 if share == 0 else steps
        return min(round(share * steps), steps - 2)

    def _checked(self, request: PortraitRequest) -> tuple[PortraitRequest, ConsistentIDOptions]:
        """Fill in defaults; refuse what cannot be painted."""
        _check_people(request)
        self._check_pictures(request)
        options = options_of(ConsistentIDOptions, request, "ConsistentID")
        if options.target_box and (request.image is None or request.mask_image is not None):
            raise InputError("target_box is the face on a picture painted into: give image, and no mask.")
        usual = (mini.STEPS, mini.GUIDANCE) if self.base.family == "mini" else (STEPS, GUIDANCE)
        if request.size_px:
            check_size(request.size_px, self.base)
        return with_settings(request, self.base, steps=usual[0], guidance=usual[1]), options

    def _check_pictures(self, request: PortraitRequest) -> None:
        """Refuse what does not go together of the pictures painted into and painted by."""
        if request.image is None and request.mask_image is not None:
            raise InputError("A mask needs the picture it belongs to: give image too.")
        if request.image is not None and request.people:
            raise InputError("Into a picture one person is painted at a time: give references, not people.")
        if request.image is not None and request.size_px:
            raise InputError("A picture that is painted into keeps its size: leave size_px out.")
        if not 0 < request.strength <= 1:
            raise InputError(f"strength must be above 0 and at most 1, got {request.strength:g}.")
        if len(request.control_images) != len(self.controlnets):
            raise InputError(
                f"The pipeline has {len(self.controlnets)} ControlNets and got {len(request.control_images)} "
                "control pictures; each needs its own."
            )


def _check_people(request: PortraitRequest) -> None:
    low, high = CARD.references.start, CARD.references.stop - 1
    if request.people and request.references:
        raise InputError("Give references of one person, or people, not both.")
    for person in people_of(request):
        if len(person.references) not in CARD.references:
            raise InputError(
                f"ConsistentID takes {low} to {high} reference pictures of one person, "
                f"got {len(person.references)}."
            )


def _steps_taken(request: PortraitRequest) -> int:
    steps = request.steps or STEPS
    return steps if request.image is None else steps - first_step(steps, request.strength)
