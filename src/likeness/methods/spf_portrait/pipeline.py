"""Painting with learned attributes: the base's own loop, with what was learned added to its weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

import likeness
from likeness.diffusion.load import Base
from likeness.diffusion.lora import merge_lora
from likeness.diffusion.noise import generator
from likeness.diffusion.openvino import OPENVINO
from likeness.diffusion.pixels import to_pictures, to_pixels
from likeness.diffusion.prompts import encode_prompts, prompt_warnings
from likeness.diffusion.requests import Progress, base_recipe, check_size, options_of, with_settings
from likeness.diffusion.schedule import add_noise
from likeness.diffusion.text_to_image import denoise
from likeness.diffusion.words import words_of
from likeness.errors import InputError
from likeness.files.deltas import DELTA
from likeness.methods.spf_portrait.attention import WORDS, recording
from likeness.methods.spf_portrait.card import CARD
from likeness.methods.spf_portrait.clip import pooled_text
from likeness.methods.spf_portrait.config import SpfOptions
from likeness.methods.spf_portrait.control_map import control_map, phrase_maps, similarity_share, soft_map
from likeness.methods.spf_portrait.map_sheet import ControlMap, map_sheet
from likeness.methods.spf_portrait.text import (
    base_tokens,
    phrase_tokens,
    phrases_of,
    target_tokens,
    with_target,
)
from likeness.methods.spf_portrait.tuning import changed
from likeness.methods.spf_portrait.weights import DeltaCard, base_digest, load_delta
from likeness.packs import mini, open_base
from likeness.sitters.words import plain_words
from likeness.types import PortraitRequest, PortraitResult, Provenance, WeightsRecord

__all__ = ["Delta", "SpfPortraitPipeline", "load"]

STEPS, GUIDANCE = 50, 7.5


def load(
    base: str | Path | Base = "mini",
    adapter: str | Path | Mapping[str, float] | Sequence[str | Path] | None = None,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    loras: Mapping[str, float] | None = None,
    controlnets: Sequence[str | Path] = (),
    sitters: bool = False,
) -> SpfPortraitPipeline:
    """A pipeline ready to paint.

    adapter: a delta, several, or several with their strengths; by default the pack's own, where it has one.
    Without any (an empty sequence) it paints as the base does.
    Raises: MissingWeightsError, IncompatibleWeightsError, InputError.
    """
    if controlnets:
        raise InputError("SPF-Portrait takes no ControlNet.")
    if str(device) == OPENVINO:
        raise InputError("SPF-Portrait changes the UNet's weights and does not run with --device openvino.")
    base = open_base(base, device, dtype)
    if base.family not in CARD.bases:
        raise InputError(f"SPF-Portrait runs on {' and '.join(CARD.bases)}, not on {base.family}.")
    records = [merge_lora(base, file, scale) for file, scale in (loras or {}).items()]
    if adapter is None:
        own = base.folder / "adapters" / CARD.name / DELTA if base.folder else None
        adapter = [own] if own and own.is_file() else []
    if isinstance(adapter, Mapping):
        scales = dict(adapter)
    else:
        files = [adapter] if isinstance(adapter, (str, Path)) else adapter
        scales = {str(file): 1.0 for file in files}
    deltas = []
    for file, scale in scales.items():
        tensors, card, record = load_delta(file, base)
        deltas.append(Delta(tensors, card, scale))
        records.append(replace(record, source=f"{record.source}, scale {scale:g}".lstrip(", ")))
    return SpfPortraitPipeline(base, deltas, weights=records)


@dataclass(frozen=True, slots=True, eq=False)
class Delta:
    """What was learned, where it comes from, and how strongly it takes part."""

    tensors: Mapping[str, Tensor]
    card: DeltaCard | None = None
    scale: float = 1.0


class _Step(NamedTuple):
    """number: from 1. latents: (1, C, h, w) before the step at `timestep`; clean where that is None."""

    number: int
    timestep: Tensor | None
    latents: Tensor


class SpfPortraitPipeline:
    """A `PortraitPipeline` without references: prompt is T_base, the option `target` T_tar."""

    def __init__(
        self, base: Base, deltas: Sequence[Delta] = (), *, weights: Sequence[WeightsRecord] = ()
    ) -> None:
        self.base = base
        self.deltas = tuple(deltas)
        self.weights = (*base.weights, *weights)

    def __call__(
        self,
        requests: list[PortraitRequest],
        *,
        on_step: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> list[PortraitResult]:
        """Paint every request. Raises: InputError for impossible settings, Cancelled."""
        checked = [self._checked(request) for request in requests]
        steps = sum(request.steps or 0 for request, _ in checked)
        tick = Progress(steps, on_step, cancel).tick
        return [self._paint(request, options, tick) for request, options in checked]

    @torch.no_grad()
    def _paint(
        self, request: PortraitRequest, options: SpfOptions, tick: Callable[[], None]
    ) -> PortraitResult:
        started = time.perf_counter()
        words = with_target(request.prompt, options.target)
        kept: list[_Step] = []
        with self._painting(request, options):
            for step in self._steps(request, options):
                if step.timestep is not None:
                    tick()
                    if options.show_map and (step.number - 1) % options.show_map == 0:
                        kept.append(step)
        denoising = time.perf_counter()
        [image] = to_pictures(self.base.decode(step.latents))
        finished = time.perf_counter()
        recipe = {
            **base_recipe(self.base),
            "scheduler": "ddim",
            "steps": request.steps,
            "guidance": request.guidance,
            "size_px": list(request.size_px or ()),
            "options": options.model_dump(mode="json"),
            "targets": [word for card in self._cards(options) for word in card.targets],
        }
        maps = self._control_maps(request, options, kept)
        return PortraitResult(
            image=image,
            request=request,
            provenance=Provenance(CARD.name, likeness.__version__, request.seed, self.weights, recipe),
            warnings=(
                *prompt_warnings(self.base, words, self._known(options), request.negative_prompt),
                *self._other_base(options),
                *self._no_target(options),
            ),
            timings_s={
                "denoising": denoising - started,
                "decoding": finished - denoising,
                **({"maps": time.perf_counter() - finished} if maps else {}),
            },
            extras={"map": map_sheet(image, maps)} if maps else {},
        )

    @contextmanager
    def _customized(
        self, request: PortraitRequest, options: SpfOptions, *, guided: bool = False
    ) -> Iterator[None]:
        """Inside the block the base is what the chosen deltas make of it.

        guided: the texts that are read are the negative prompt and the prompt, not the prompt alone.
        """
        with ExitStack() as stack:
            for delta in self._chosen(options):
                scale, tokens = options.scale * delta.scale, self._target_tokens(request, options, delta)
                if tokens is not None and guided:
                    tokens = torch.cat([torch.zeros_like(tokens), tokens])
                stack.enter_context(changed(self.base.unet, delta.tensors, scale, tokens))
            yield

    def _painting(self, request: PortraitRequest, options: SpfOptions) -> AbstractContextManager[None]:
        """`_customized` for the base's own loop, which under guidance reads the negative prompt first."""
        return self._customized(request, options, guided=(request.guidance or 1.0) > 1)

    def _target_tokens(self, request: PortraitRequest, options: SpfOptions, delta: Delta) -> Tensor | None:
        """(1, T) bool; None without a target.

        Of several deltas each has its own words, where they are said, and none has another's: what one is
        taught for a hat is not to change what another is taught for glasses.
        """
        if not options.target:
            return None
        behind = target_tokens(self.base.tokenizers[0], request.prompt)
        own = self._said(request, options.target, delta)
        others = [self._said(request, options.target, one) for one in self._chosen(options) if one != delta]
        if others and own.any():
            told_all = target_tokens(self.base.tokenizers[0], with_target(request.prompt, options.target))
            behind = own | told_all
        for said in others:
            behind = behind & ~said
        return behind[None].to(self.base.device)

    def _said(self, request: PortraitRequest, target: str, delta: Delta) -> Tensor:
        """Which tokens (T,) are those of a target that the delta was taught, word by word; bool."""
        tokenizer = self.base.tokenizers[0]
        taught = delta.card.targets if delta.card else ()
        words = next((one for one in taught if one in target), "")
        at = target.find(words)
        until, before = target[: at + len(words)] if words else "", target[:at].rstrip(" ,")
        texts = (with_target(request.prompt, until), with_target(request.prompt, before))
        through, first = (base_tokens(tokenizer, text) for text in texts)
        return through & ~first

    @torch.no_grad()
    def control_maps(self, request: PortraitRequest, every: int = 5) -> list[ControlMap]:
        """The map of eq. 10 at every so many steps of painting a picture."""
        request, options = self._checked(request)
        with self._painting(request, options):
            steps = list(self._steps(request, options))[:-1]
        return self._control_maps(request, options, steps[::every])

    @torch.no_grad()
    def control_maps_on(
        self, request: PortraitRequest, picture: Image.Image, timesteps: Sequence[int]
    ) -> list[ControlMap]:
        """The map of eq. 10 on a picture that is there, noised to these time steps; `step` counts them."""
        request, options = self._checked(request)
        pixels = to_pixels(picture.convert("RGB").resize(request.size_px or picture.size))
        clean, _ = self.base.encode(pixels.to(self.base.device))
        noise = torch.randn(clean.shape, generator=generator(request.seed)).to(clean)
        every = [torch.tensor([one], device=clean.device) for one in timesteps]
        steps = [
            _Step(number, at[0], add_noise(self.base.scheduler, clean, noise, at).to(self.base.dtype))
            for number, at in enumerate(every, start=1)
        ]
        return self._control_maps(request, options, steps)

    def _steps(self, request: PortraitRequest, options: SpfOptions) -> Iterator[_Step]:
        """The base's own loop; the last has no timestep and the clean latents."""
        words = with_target(request.prompt, options.target)
        text = encode_prompts(self.base, [request.negative_prompt, words])
        loop = denoise(
            self.base,
            text[:1],
            text[1:],
            [generator(request.seed)],
            steps=request.steps or STEPS,
            guidance=request.guidance or 1.0,
            size_px=request.size_px,
        )
        for number, (timestep, latents) in enumerate(loop, start=1):
            yield _Step(number, timestep, latents)

    def _control_maps(
        self, request: PortraitRequest, options: SpfOptions, kept: Sequence[_Step]
    ) -> list[ControlMap]:
        if not kept:
            return []
        base, unet = self.base, self.base.unet
        phrases = phrases_of(base.tokenizers[0], request.prompt)
        words = with_target(request.prompt, options.target)
        text = encode_prompts(base, [words, request.prompt]).rows
        tokens = phrase_tokens(phrases, text.shape[1])[None].to(base.device)
        embedded = pooled_text(base, [options.target, *(phrase.text for phrase in phrases)])
        similarity = similarity_share(embedded[:1], embedded[None, 1:])
        found = []
        for step in kept:
            latents, timestep = step.latents, step.timestep
            # The recorder first: a second cross-attention then stands beside it, not in its place.
            with recording(unet, with_maps=True) as recorder, self._customized(request, options):
                response = unet(latents, timestep, text[:1]).sample
                maps = recorder.maps
            reference = unet(latents, timestep, text[1:]).sample
            looked = phrase_maps(maps, tokens, (latents.shape[2], latents.shape[3]))
            soft = soft_map(response, reference)
            whole = control_map(soft, looked, similarity.to(looked))
            named = tuple((phrase.text, looked[0, i].cpu()) for i, phrase in enumerate(phrases))
            found.append(ControlMap(step.number, whole[0].cpu(), soft[0].cpu(), named))
        return found

    def _chosen(self, options: SpfOptions) -> list[Delta]:
        every = options.deltas is None
        return [one for number, one in enumerate(self.deltas) if every or number in (options.deltas or ())]

    def _cards(self, options: SpfOptions) -> list[DeltaCard]:
        return [one.card for one in self._chosen(options) if one.card is not None]

    def _other_base(self, options: SpfOptions) -> list[str]:
        own = base_digest(self.base)
        return [
            f"The delta for {', '.join(card.targets) or 'unnamed words'} was trained on {card.base}, whose "
            "weights are not these: what it changes may be more or less than it was."
            for card in self._cards(options)
            if card.base_sha256 and own and card.base_sha256 != own
        ]

    def _known(self, options: SpfOptions) -> set[str]:
        """Words that the base need not have learned from captions: instructions', and what deltas taught."""
        taught = (words_of(target) for card in self._cards(options) for target in card.targets)
        return {*plain_words(), *(word for words in taught for word in words)}

    def _no_target(self, options: SpfOptions) -> list[str]:
        """What a delta for the target's tokens alone says where there are none, unless "" was asked for."""
        idle = [one for one in self._chosen(options) if any(WORDS in name for name in one.tensors)]
        if "target" in options.model_fields_set or not idle:
            return []
        return ["The delta acts on the taught words alone: give them with --target, behind the prompt."]

    def _checked(self, request: PortraitRequest) -> tuple[PortraitRequest, SpfOptions]:
        """Fill in defaults; refuse what cannot be painted."""
        if request.references or request.people or request.image is not None or request.control_images:
            raise InputError(
                "SPF-Portrait paints from words and takes no pictures: 0 of reference pictures, got "
                f"{len(request.references)}."
            )
        options = options_of(SpfOptions, request, "SPF-Portrait")
        wrong = [number for number in options.deltas or () if not 0 <= number < len(self.deltas)]
        if wrong:
            raise InputError(f"There is no delta {wrong[0]}; {len(self.deltas)} were given, counted from 0.")
        if options.show_map and not options.target:
            raise InputError("The control map is of a target's words: give them with --target.")
        base = self.base
        usual = (mini.STEPS, mini.GUIDANCE) if base.family == "mini" else (STEPS, GUIDANCE)
        request = with_settings(request, base, steps=usual[0], guidance=usual[1])
        size = check_size(request.size_px or (base.size_px, base.size_px), base)
        return replace(request, size_px=size), options
