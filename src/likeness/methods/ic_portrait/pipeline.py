"""Progressive inference: a style reference with the profile's person in it, head by head (section 3.3)."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import likeness
from likeness.diffusion.control import ControlNet, added_up, control_pixels, residuals
from likeness.diffusion.guidance import guide, with_guide, without_guide
from likeness.diffusion.image_encoder import ImageEncoder
from likeness.diffusion.inpaint import Kept, Patch, first_step
from likeness.diffusion.load import Base
from likeness.diffusion.noise import draw, generator
from likeness.diffusion.pixels import to_pictures
from likeness.diffusion.requests import Progress, base_recipe, check_size, options_of, with_settings
from likeness.diffusion.schedule import ddim, denoised, guidance_rescale
from likeness.errors import InputError
from likeness.faces.detect import FaceDetector, find_one_face
from likeness.faces.embed import FaceEncoder
from likeness.faces.parts import head_mask
from likeness.methods.ic_portrait.card import CARD
from likeness.methods.ic_portrait.conditioning import (
    Pair,
    condition_of,
    head_of,
    identity_of,
    pair_of,
    without_person,
)
from likeness.methods.ic_portrait.config import AGGREGATIONS, Aggregation, IcPortraitOptions
from likeness.methods.ic_portrait.matching import Matching
from likeness.methods.ic_portrait.matching_picture import draw_matching
from likeness.methods.ic_portrait.model import Nets
from likeness.methods.ic_portrait.pairs import halves, joined
from likeness.types import Face, Person, PortraitRequest, PortraitResult, Provenance, WeightsRecord

__all__ = ["IcPortraitPipeline", "load"]

STEPS = 30


def load(
    base: str | Path | Base = "mini", adapter: str | Path | None = None, **settings: Any
) -> IcPortraitPipeline:
    """Load a pipeline; see `likeness.methods.ic_portrait.loading.load_pipeline` for the settings."""
    from likeness.methods.ic_portrait.loading import load_pipeline

    return load_pipeline(base, adapter, **settings)


@dataclass(frozen=True, slots=True, eq=False)
class _Head:
    """One head to paint: as whose, where in the picture, and as what patch of it.

    face, identity: the profile's, the latter where the nets read it.
    """

    profile: Image.Image
    face: Face
    identity: Tensor | None
    mask: Image.Image
    patch: Patch


class IcPortraitPipeline:
    """A `PortraitPipeline`: the request's `image` is the style reference, its references the profile.

    Pictures are painted one at a time, and in a picture one head after another, so none depends on its
    neighbours. `face_encoder`, where there is one, chooses among several pictures, and tells nets that read
    an identity whose face the profile's is.
    """

    face_encoder: FaceEncoder

    def __init__(
        self,
        base: Base,
        nets: Nets,
        image_encoder: ImageEncoder,
        *,
        detector: FaceDetector,
        face_encoder: FaceEncoder | None = None,
        controlnets: Sequence[ControlNet] = (),
        weights: tuple[WeightsRecord, ...] = (),
    ) -> None:
        self.base = base
        self.nets = nets
        self.image_encoder = image_encoder
        self.detector = detector
        self.controlnets = tuple(controlnets)
        nets_of_others = (net.weights for net in controlnets)
        self.weights = (*base.weights, *weights, *nets_of_others)
        if face_encoder is not None:
            self.face_encoder = face_encoder

    def with_nets(self, nets: Nets) -> IcPortraitPipeline:
        """The same with other nets."""
        other = copy.copy(self)
        other.nets = nets
        return other

    def with_unet(self, unet: Any) -> IcPortraitPipeline:
        """The same with another UNet of the base's shape."""
        other = copy.copy(self)
        other.base = replace(self.base, unet=unet)
        return other

    def __call__(
        self,
        requests: list[PortraitRequest],
        *,
        on_step: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> list[PortraitResult]:
        """Paint every request.

        `on_step(step, steps)` counts the steps of all heads of all requests together.
        Raises: InputError for impossible settings, FaceError for a picture without the face, Cancelled.
        """
        checked = [self._checked(request) for request in requests]
        taken = [len(request.people or (0,)) * _steps_taken(request) for request, _ in checked]
        progress = Progress(sum(taken), on_step, cancel)
        return [self._paint(request, options, progress) for request, options in checked]

    @torch.no_grad()
    def _paint(
        self, request: PortraitRequest, options: IcPortraitOptions, progress: Progress
    ) -> PortraitResult:
        started = time.perf_counter()
        assert request.image is not None  # noqa: S101  `_checked` has seen to it
        image, source = request.image.convert("RGB"), generator(request.seed)
        matched: list[Matching] = []
        heads = []
        for head in self._heads(request, options):
            # Seen anew in what has been painted so far, for heads may stand close.
            patch = self._patch(image, head.mask, request)
            latents = self._denoise(request, options, head, patch, source, progress, matched)
            [painted] = to_pictures(self.base.decode(latents))
            image = patch.laid_back(image, head.mask, painted)
            heads.append(replace(head, patch=patch))
        recipe = {
            **base_recipe(self.base),
            "scheduler": "ddim",
            "steps": request.steps,
            "guidance": request.guidance,
            "strength": request.strength,
            "options": options.model_dump(mode="json"),
            "aggregation": self._aggregation_name(options),
            "person": self.nets.settings.person,
            "people_px": [list(head.patch.box) for head in heads],
            "painted_px": [list(head.patch.image.size) for head in heads],
            "matching": [
                {
                    "confidence": round(float(one.confidence.mean()), 4),
                    "coverage": round(float(one.coverage), 4),
                }
                for one in matched
            ],
            "detector": self.detector.name,
            "identity_encoder": self.face_encoder.name if self._reads_identity else "none",
        }
        weights = self.weights if (request.guidance or 1.0) > 1 else without_guide(self.weights)
        told = ("IC-Portrait reads no words: the prompt counts for nothing.",) if request.prompt else ()
        return PortraitResult(
            image=image,
            request=request,
            provenance=Provenance(CARD.name, likeness.__version__, request.seed, weights, recipe),
            warnings=told,
            timings_s={"painting": time.perf_counter() - started},
        )

    def _denoise(
        self,
        request: PortraitRequest,
        options: IcPortraitOptions,
        head: _Head,
        patch: Patch,
        source: torch.Generator,
        progress: Progress,
        matched: list[Matching],
    ) -> Tensor:
        """From the noised style reference to clean latents (1, C, h, w) of one head, by DDIM.

        Noise is drawn for the target, then for the profile, then the sampled pixels. The profile half is
        known at every time step, and so is the target outside of the head.
        """
        base, steps = self.base, request.steps or STEPS
        scheduler, first = ddim(base.scheduler, steps), first_step(steps, request.strength)
        kept = Kept.of(base, patch, source)
        pair = self._pair(head, patch)
        noise = draw(pair.latents_profile.shape, source, device=base.device, dtype=base.dtype)
        profile = Kept(pair.latents_profile, torch.zeros_like(kept.changes), noise)
        condition = self._condition(pair, options, source)
        share = patch.share_of(head.mask)
        control = control_pixels(request.control_images, patch.image.size, base, share)
        aggregation, matching = self._aggregation(options), None
        timesteps = [*scheduler.timesteps, None]
        target = kept.at(scheduler, timesteps[first])
        for index in range(first, steps):
            progress.tick()
            timestep = timesteps[index]
            latents = joined(target, profile.at(scheduler, timestep))
            matching = self.nets.match(base.unet, latents, timestep, pair.rows, condition)
            prediction = self._predict(
                request, options, latents, timestep, pair, condition, matching, aggregation, control
            )
            after = denoised(scheduler, prediction, timestep, latents)
            target = kept.restored(halves(after)[0], scheduler, timesteps[index + 1])
        assert matching is not None  # noqa: S101  at least one step is taken
        matched.append(matching)
        return target

    def _predict(
        self,
        request: PortraitRequest,
        options: IcPortraitOptions,
        latents: Tensor,
        timestep: Tensor,
        pair: Pair,
        condition: Tensor,
        matching: Matching,
        aggregation: Aggregation,
        control: Sequence[Tensor],
    ) -> Tensor:
        """What the UNet says of the pair, its target half with guidance away from the zero embedding.

        Where the base has a guide, it says too what there would be of nobody (`diffusion.guidance`).
        """
        rows, told = pair.rows, pair.told
        scale, guided = request.guidance or 1.0, (request.guidance or 1.0) > 1
        if guided:
            latents = torch.cat([latents, latents])
            nobody = without_person(rows)
            unknown = torch.zeros_like(told) if self._reads_identity else nobody
            rows, told = torch.cat([nobody, rows]), torch.cat([unknown, told])
            condition = torch.cat([condition, condition])
        own = Matching(
            matching.source.expand(len(latents), -1, -1), matching.confidence.expand(len(latents), -1, -1)
        )
        down, middle = self.nets.residuals(
            latents,
            timestep,
            told,
            condition,
            own,
            aggregation=aggregation,
            scale=options.control_scale,
        )
        mine = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        # Other ControlNets know of the target alone: they add nothing to the profile half.
        window = halves(latents)[0]
        scales = [request.control_scale] * len(control)
        theirs = _widened(residuals(self.controlnets, control, scales, window, timestep, rows, None))
        prediction: Tensor = self.base.unet(latents, timestep, rows, **added_up(mine, theirs)).sample
        if not guided:
            return prediction
        (without, _), (with_person, profile) = (halves(half) for half in prediction.chunk(2))
        without = with_guide(self.base.guide, without, window[:1], timestep, nobody[:, :-1])
        target = guide(without, with_person, scale, guidance_rescale(self.base.scheduler))
        return joined(target, profile)

    @torch.no_grad()
    def matching_pictures(self, request: PortraitRequest) -> list[Image.Image]:
        """What the matching net finds on each head of a request halfway through the painting, drawn.

        Raises: as `__call__`.
        """
        request, options = self._checked(request)
        source, drawn = generator(request.seed), []
        steps = request.steps or STEPS
        scheduler, first = ddim(self.base.scheduler, steps), first_step(steps, request.strength)
        timestep = scheduler.timesteps[(first + steps) // 2]
        for head in self._heads(request, options):
            pair = self._pair(head, head.patch)
            latents = joined(pair.latents_target, pair.latents_profile)
            noise = draw(latents.shape, source, device=self.base.device, dtype=self.base.dtype)
            noisy = scheduler.add_noise(latents, noise, timestep.reshape(1))
            condition = self._condition(pair, options, source)
            found = self.nets.match(self.base.unet, noisy, timestep, pair.rows, condition)
            [target, profile] = to_pictures(torch.cat([pair.pixels_target, pair.pixels_profile]))
            drawn.append(draw_matching(target, profile, found))
        return drawn

    def _pair(self, head: _Head, patch: Patch) -> Pair:
        profile = head_of(head.profile, head.face, self.base, patch.image.size)
        return pair_of(self.base, self.image_encoder, patch.image, profile, head.identity)

    def _condition(self, pair: Pair, options: IcPortraitOptions, source: torch.Generator) -> Tensor:
        shares = torch.tensor([options.sampling])
        found = condition_of(pair.pixels_target.float(), pair.pixels_profile.float(), shares, source)
        return found.to(self.base.device, self.base.dtype)

    def _heads(self, request: PortraitRequest, options: IcPortraitOptions) -> list[_Head]:
        """The heads of the style reference that are painted, in the order of its people.

        All are looked for before the first is painted. Raises: FaceError.
        """
        assert request.image is not None  # noqa: S101
        image = request.image.convert("RGB")
        heads = []
        for person in request.people or (Person(request.references, mask=request.mask_image),):
            if person.box_xyxy is None:
                # With a mask the face is not looked for: it may be one that nobody finds.
                mask = person.mask or head_mask(find_one_face(image, self.detector), image.size)
                if request.people:  # a person's mask may be of any size
                    mask = mask.convert("L").resize(image.size)
            else:
                mask = head_mask(find_one_face(image, self.detector, person.box_xyxy), image.size)
            profile = person.references[0].convert("RGB")
            face = find_one_face(profile, self.detector, options.face_box)
            identity = identity_of(profile, face, self.face_encoder) if self._reads_identity else None
            heads.append(_Head(profile, face, identity, mask, self._patch(image, mask, request)))
        return heads

    def _patch(self, image: Image.Image, mask: Image.Image, request: PortraitRequest) -> Patch:
        return Patch.around(image, mask, self.base.size_px, self.base.unit_px, request.size_px)

    @property
    def _reads_identity(self) -> bool:
        return bool(self.nets.settings.identity_encoder)

    def _aggregation_name(self, options: IcPortraitOptions) -> Any:
        return options.aggregation or self.nets.settings.aggregation

    def _aggregation(self, options: IcPortraitOptions) -> Aggregation:
        return AGGREGATIONS[self._aggregation_name(options)]

    def _checked(self, request: PortraitRequest) -> tuple[PortraitRequest, IcPortraitOptions]:
        """Fill in defaults; refuse what cannot be painted."""
        if request.people and request.references:
            raise InputError("Give a profile of one person, or people, not both.")
        for person in request.people or (Person(request.references),):
            if len(person.references) not in CARD.references:
                raise InputError(
                    "IC-Portrait copies one profile of a person: give 1 of reference pictures, "
                    f"got {len(person.references)}."
                )
        options = options_of(IcPortraitOptions, request, "IC-Portrait")
        if options.face_box and request.people:
            raise InputError("face_box is for one profile: with people give pictures of one face each.")
        request = with_settings(request, self.base, steps=STEPS, guidance=self.nets.settings.guidance)
        if request.size_px:
            check_size(request.size_px, self.base, least_px=2 * self.base.unit_px)
        if request.image is None:
            raise InputError(
                "IC-Portrait paints into a style reference: give image, the picture with the pose."
            )
        if len(request.people) > 1 and any(p.box_xyxy is None and p.mask is None for p in request.people):
            raise InputError("Say of each person which face is theirs: give its box or a mask.")
        if not 0 < request.strength <= 1:
            raise InputError(f"strength must be above 0 and at most 1, got {request.strength:g}.")
        if len(request.control_images) != len(self.controlnets):
            raise InputError(
                f"The pipeline has {len(self.controlnets)} ControlNets and got {len(request.control_images)} "
                "control pictures; each needs its own."
            )
        return request, options


def _steps_taken(request: PortraitRequest) -> int:
    steps = request.steps or STEPS
    return steps - first_step(steps, request.strength)


def _widened(theirs: dict[str, Any]) -> dict[str, Any]:
    """Residuals of the target half alone, as those of a pair: nothing is added to the other half."""
    if not theirs:
        return {}
    down, middle = theirs["down_block_additional_residuals"], theirs["mid_block_additional_residual"]
    return {
        "down_block_additional_residuals": [joined(one, torch.zeros_like(one)) for one in down],
        "mid_block_additional_residual": joined(middle, torch.zeros_like(middle)),
    }
