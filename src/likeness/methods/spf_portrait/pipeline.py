"""Painting with learned attributes: the base's own loop, with what was learned added to its weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

import likeness
from likeness.diffusion.guidance import guide
from likeness.diffusion.load import Base, load_base
from likeness.diffusion.lora import merge_lora
from likeness.diffusion.noise import generator, initial_latents
from likeness.diffusion.pixels import to_pictures
from likeness.diffusion.prompts import encode_prompts, prompt_warnings
from likeness.diffusion.schedule import ddim, denoised, guidance_rescale
from likeness.errors import Cancelled, InputError
from likeness.methods.spf_portrait.attention import recording
from likeness.methods.spf_portrait.card import CARD
from likeness.methods.spf_portrait.config import SpfOptions
from likeness.methods.spf_portrait.control_map import (
    Phrase,
    control_map,
    phrase_maps,
    phrases_of,
    similarity_share,
    soft_map,
)
from likeness.methods.spf_portrait.tuning import changed
from likeness.methods.spf_portrait.weights import DeltaCard, base_digest, load_delta
from likeness.packs import mini, mini_path
from likeness.types import PortraitRequest, PortraitResult, Provenance, WeightsRecord

__all__ = ["ControlMap", "SpfPortraitPipeline", "load", "with_target"]

STEPS, GUIDANCE = 50, 7.5


def load(
    base: str | Path | Base = "mini",
    adapter: str | Path | Mapping[str, float] | Sequence[str | Path] | None = None,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    loras: Mapping[str, float] | None = None,
    controlnets: Sequence[str | Path] = (),
    sitters: bool = False,
) -> SpfPortraitPipeline:
    """A pipeline ready to paint.

    adapter: a delta, several, or several with their strengths; without any it paints as the base does.
    Raises: MissingWeightsError, IncompatibleWeightsError, InputError.
    """
    device = str(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if controlnets:
        raise InputError("SPF-Portrait takes no ControlNet.")
    if device == "openvino":
        raise InputError("SPF-Portrait changes the UNet's weights and does not run with --device openvino.")
    if not isinstance(base, Base):
        number = dtype or (torch.float16 if device.startswith("cuda") else torch.float32)
        base = load_base(mini_path() if str(base) == "mini" else base, device=device, dtype=number)
    if base.family not in CARD.bases:
        raise InputError(f"SPF-Portrait runs on {' and '.join(CARD.bases)}, not on {base.family}.")
    records = [merge_lora(base, file, scale) for file, scale in (loras or {}).items()]
    if adapter is None:
        scales: dict[str, float] = {}
    elif isinstance(adapter, Mapping):
        scales = dict(adapter)
    else:
        files = [adapter] if isinstance(adapter, (str, Path)) else adapter
        scales = {str(file): 1.0 for file in files}
    delta: dict[str, Tensor] = {}
    cards = []
    for file, scale in scales.items():
        one, card, record = load_delta(file, base)
        for name, tensor in one.items():
            delta[name] = delta.get(name, 0) + scale * tensor.float()
        cards.append(card)
        records.append(replace(record, source=f"{record.source}, scale {scale:g}".lstrip(", ")))
    return SpfPortraitPipeline(base, delta, tuple(cards), weights=tuple(records))


@dataclass(frozen=True, slots=True, eq=False)
class ControlMap:
    """Where the target may act at one step: the map (h, w) and what each phrase of the prompt looks at."""

    step: int
    map: Tensor
    phrases: tuple[tuple[str, Tensor], ...]


class SpfPortraitPipeline:
    """A `PortraitPipeline` without references: prompt is T_base, the option `target` T_tar."""

    def __init__(
        self,
        base: Base,
        delta: Mapping[str, Tensor],
        cards: tuple[DeltaCard, ...] = (),
        *,
        weights: tuple[WeightsRecord, ...] = (),
    ) -> None:
        self.base = base
        self.delta = dict(delta)
        self.cards = cards
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
        done = 0

        def tick() -> None:
            nonlocal done
            if cancel is not None and cancel():
                raise Cancelled("Stopped before the picture was finished.")
            done += 1
            if on_step is not None:
                on_step(done, steps)

        return [self._paint(request, options, tick) for request, options in checked]

    @torch.no_grad()
    def _paint(
        self, request: PortraitRequest, options: SpfOptions, tick: Callable[[], None]
    ) -> PortraitResult:
        started = time.perf_counter()
        words = with_target(request.prompt, options.target)
        text = encode_prompts(self.base, [request.negative_prompt, words]).rows
        with changed(self.base.unet, self.delta, options.scale):
            latents = [after for _, after in self._steps(request, text, tick)][-1]
        denoising = time.perf_counter()
        [image] = to_pictures(self.base.decode(latents).float().clamp(-1, 1).cpu())
        finished = time.perf_counter()
        recipe = {
            "base": self.base.name,
            "family": self.base.family,
            "scheduler": "ddim",
            "steps": request.steps,
            "guidance": request.guidance,
            "size_px": list(request.size_px or ()),
            "options": options.model_dump(mode="json"),
            "targets": [word for card in self.cards for word in card.targets],
            "device": str(self.base.device),
            "runtime": self.base.runtime,
            "dtype": str(self.base.dtype).removeprefix("torch."),
        }
        return PortraitResult(
            image=image,
            request=request,
            provenance=Provenance(CARD.name, likeness.__version__, request.seed, self.weights, recipe),
            warnings=(*prompt_warnings(self.base, words), *self._other_base()),
            timings_s={"denoising": denoising - started, "decoding": finished - denoising},
        )

    def _steps(
        self, request: PortraitRequest, text: Tensor, tick: Callable[[], None] = lambda: None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """DDIM with guidance; yields each step's (timestep, latents after it). text: without, with words."""
        base, scale = self.base, request.guidance or 1.0
        scheduler = ddim(base.scheduler, request.steps or STEPS)
        width, height = request.size_px or (base.size_px, base.size_px)
        latents = initial_latents(
            generator(request.seed),
            channels=base.unet.config.in_channels,
            height=height // base.downscale,
            width=width // base.downscale,
            sigma=scheduler.init_noise_sigma,
            device=base.device,
            dtype=base.dtype,
        )
        for timestep in scheduler.timesteps:
            tick()
            if scale > 1:
                both = base.unet(torch.cat([latents, latents]), timestep, text).sample
                without, with_words = both.chunk(2)
                prediction = guide(without, with_words, scale, guidance_rescale(base.scheduler))
            else:
                prediction = base.unet(latents, timestep, text[1:]).sample
            latents = denoised(scheduler, prediction, timestep, latents)
            yield timestep, latents

    @torch.no_grad()
    def control_maps(
        self, request: PortraitRequest, clip_text: Callable[[list[str]], Tensor], every: int = 5
    ) -> list[ControlMap]:
        """The map of eq. 10 while a picture is painted, every so many steps.

        clip_text: texts -> (N, E) embeddings of unit length.
        """
        request, options = self._checked(request)
        base, unet = self.base, self.base.unet
        phrases: list[Phrase] = phrases_of(base.tokenizers[0], request.prompt)
        words = with_target(request.prompt, options.target)
        text = encode_prompts(base, [request.negative_prompt, words, request.prompt]).rows
        tokens = torch.zeros(1, len(phrases), text.shape[1], dtype=torch.bool, device=base.device)
        for index, phrase in enumerate(phrases):
            tokens[0, index, list(phrase.tokens)] = True
        embedded = clip_text([options.target, *(phrase.text for phrase in phrases)])
        similarity = similarity_share(embedded[:1], embedded[None, 1:])
        found = []
        with changed(unet, self.delta, options.scale):
            steps = [(at, latents.clone()) for at, latents in self._steps(request, text[:2])]
        for index, (timestep, latents) in list(enumerate(steps))[::every]:
            with changed(unet, self.delta, options.scale), recording(unet, with_maps=True) as recorder:
                response = unet(latents, timestep, text[1:2]).sample
                maps = recorder.maps
            reference = unet(latents, timestep, text[2:]).sample
            looked = phrase_maps(maps, tokens, (latents.shape[2], latents.shape[3]))
            whole = control_map(soft_map(response, reference), looked, similarity.to(looked))
            named = tuple((phrase.text, looked[0, i].cpu()) for i, phrase in enumerate(phrases))
            found.append(ControlMap(index + 1, whole[0].cpu(), named))
        return found

    def _other_base(self) -> list[str]:
        own = base_digest(self.base)
        return [
            f"The delta for {', '.join(card.targets) or 'unnamed words'} was trained on {card.base}, whose "
            "weights are not these: what it changes may be more or less than it was."
            for card in self.cards
            if card.base_sha256 and own and card.base_sha256 != own
        ]

    def _checked(self, request: PortraitRequest) -> tuple[PortraitRequest, SpfOptions]:
        """Fill in defaults; refuse what cannot be painted."""
        if request.references or request.people or request.image is not None or request.control_images:
            raise InputError(
                "SPF-Portrait paints from words and takes no pictures: 0 of reference pictures, got "
                f"{len(request.references)}."
            )
        try:
            options = SpfOptions(**request.options)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(f"SPF-Portrait's option {where!r}: {first['msg']}.") from error
        base = self.base
        usual = (mini.STEPS, mini.GUIDANCE) if base.family == "mini" else (STEPS, GUIDANCE)
        steps = usual[0] if request.steps is None else request.steps
        most = base.scheduler.config.num_train_timesteps
        if not 1 <= steps <= most:
            raise InputError(f"steps must be between 1 and {most}, got {steps}.")
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


def with_target(prompt: str, target: str) -> str:
    """T_base + ", " + T_tar."""
    return f"{prompt.rstrip(' .')}, {target}" if target else prompt
