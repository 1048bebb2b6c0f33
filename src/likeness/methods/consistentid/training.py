"""The training step (section 3.3): noise loss plus attention localisation, base frozen.

Shapes: B pictures, C latent channels of h x w, T = 77 tokens, N = 5 parts, S image tokens of
width W, E identity width.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from likeness.diffusion.attention import attached, within
from likeness.diffusion.prompts import TextRows, encode_ids, encode_prompts, size_conditions
from likeness.diffusion.schedule import ddim, noised, prediction_target
from likeness.methods.consistentid.config import PARTS
from likeness.methods.consistentid.losses import FACIAL_WEIGHT, facial_localisation_loss, noise_loss
from likeness.training.identity import Recognised

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from likeness.diffusion.load import Base
    from likeness.methods.consistentid.conditioning import Identity
    from likeness.methods.consistentid.model import ConsistentIDAdapter
    from likeness.methods.consistentid.text import MarkedPrompt
    from likeness.training.phase import Schedule

__all__ = ["ConsistentIDPhase", "training_row"]


def training_row(identity: Identity, prompt: MarkedPrompt) -> dict[str, Tensor]:
    """The conditioning half of one row of a batch, without the leading B (see `ConsistentIDPhase`)."""
    row = {
        "part_tokens": prompt.part_tokens,
        "crop_states": identity.crops,
        "valid": identity.valid,
        "image_states": identity.states,
        "id_embedding": identity.embedding,
    }
    for index, ids in enumerate(prompt.ids):
        row["text_ids" if index == 0 else f"text_ids_{index + 1}"] = ids
    return row


@dataclass(eq=False)
class ConsistentIDPhase:
    """The one phase of ConsistentID: both modules and the attention adapters together (Table 4).

    A batch holds, all computed beforehand if one likes:
      latents      (B, C, h, w)  scaled latents of the target picture
      text_ids     (B, T) int64  the marked prompt without its markers (`mark_prompt`); SDXL also
                                 text_ids_2; or text_rows (B, T, D) in their place (SDXL with text_pooled)
      part_tokens  (B, N) int64  where each part of `PARTS` is named, 0: not named
      crop_states  (B, N, S, W)  image states of the reference's parts in the order of `PARTS`
      valid        (B, N) bool   which parts were seen
      image_states (B, S, W)     image states of the reference portrait
      id_embedding (B, E)        unit length
      part_masks   (B, N, h', w') optional, parts of the target picture in [0, 1], for eq. 1
      person_mask  (B, h', w')   optional, places of the target in [0, 1] that are the person's own
      face_affine  (B, 2, 3)     aligned face px -> target picture px, for a phase with a recogniser

    face_weight: what places of the person, or else of the face by its part mask, count beyond the others' 1
    in eq. 2; 0 in the paper, whose base knows faces. drop: share of pictures that lose every condition,
    identity included, so that guidance has an unconditional branch. dropped_text: what text becomes then;
    "zeros" as in the paper, or the rows of the "empty" prompt, which is what the frozen base knows
    as no condition.

    recogniser: what made the ID embeddings, (B, 3, 112, 112) -> (B, E); with it, the `identity_rows`
    noisiest pictures of the lower `identity_until` of all steps are decoded as predicted, for there
    the face is the adapter's to decide, and their faces compared with the person: `identity_weight` times
    `identity_loss`. None in the paper; a small base and few pictures tell too little of a person
    through the noise loss alone.
    """

    adapter: ConsistentIDAdapter
    base: Base
    learning_rate: float | Schedule = 1e-4
    facial_weight: float = FACIAL_WEIGHT
    normalise_maps: bool = False
    face_weight: float = 0.0
    drop: float = 0.1
    dropped_text: Literal["empty", "zeros"] = "empty"
    recogniser: nn.Module | None = None
    identity_weight: float = 0.1
    identity_rows: int = 6
    identity_until: float = 0.75
    name: str = "adapter"
    every: int = 1
    _empty: TextRows | None = None

    def __post_init__(self) -> None:
        # The base's noise schedule under DDPM's convention; some samplers scale their noise otherwise.
        self._scheduler = ddim(self.base.scheduler, steps=1)

    @property
    def trainable(self) -> ConsistentIDAdapter:
        """Everything of ours; the base stays frozen."""
        return self.adapter

    def loss(self, batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        """Eq. 2 as "noise" and, where the batch has part masks, lambda times eq. 1 as "facial"."""
        latents = batch["latents"].to(self.base.device)
        count = latents.shape[0]
        noisy, noise, timesteps = noised(self._scheduler, latents, generator)
        dropped = (torch.rand(count, generator=generator) < self.drop).to(latents.device)

        text = self._text(batch, dropped)
        used = batch["valid"] & (batch["part_tokens"] > 0) & ~dropped[:, None]
        rows = self._fused(text.rows, batch, used)
        keep = (~dropped)[:, None]
        id_tokens = self.adapter.image_proj(
            batch["id_embedding"] * keep, batch["image_states"] * keep[..., None]
        )

        wanted = "part_masks" in batch and self.facial_weight > 0
        maps: list[list[Tensor]] = []  # the first of the prediction, others of what is computed anew

        def reading() -> AbstractContextManager[None]:
            maps.append([])
            return self._reading(maps[-1] if wanted else None)

        with within(self.base.unet, reading):
            prediction = self.base.unet(
                noisy,
                timesteps,
                torch.cat([rows, id_tokens.to(rows.dtype)], dim=1),
                added_cond_kwargs=size_conditions(
                    text.pooled, batch["latents"].shape[-2:], self.base.downscale
                ),
            ).sample

        target = prediction_target(self._scheduler, latents, noise, timesteps)
        terms = {"noise": noise_loss(prediction, target, self._place_weight(batch))}
        if self.recogniser is not None:
            recognised = Recognised(self.base, self.recogniser, self.identity_until, self.identity_rows)
            seen, person = (self._scheduler, noisy, prediction, timesteps), batch["id_embedding"]
            unlike = recognised(*seen, batch["face_affine"], person, among=~dropped)
            terms["identity"] = self.identity_weight * unlike
            terms["_unlike"] = unlike.detach()
        if wanted:
            facial = facial_localisation_loss(
                maps[0], batch["part_masks"], batch["part_tokens"], used, normalise=self.normalise_maps
            )
            terms["facial"] = self.facial_weight * facial
            terms["_facial_unweighted"] = facial.detach()
        return terms

    def _place_weight(self, batch: dict[str, Tensor]) -> Tensor | None:
        if not self.face_weight:
            return None
        if "person_mask" in batch:
            face = batch["person_mask"][:, None].float()
        elif "part_masks" in batch:
            face = batch["part_masks"][:, PARTS.index("face"), None].float()
        else:
            return None
        return 1 + self.face_weight * F.interpolate(face, size=batch["latents"].shape[-2:], mode="area")

    def _text(self, batch: dict[str, Tensor], dropped: Tensor) -> TextRows:
        if "text_rows" in batch:
            text = TextRows(batch["text_rows"], batch.get("text_pooled"))
        else:
            text = encode_ids(self.base, tuple(batch[k] for k in ("text_ids", "text_ids_2") if k in batch))
        if self._empty is None:
            self._empty = encode_prompts(self.base, [""])
        nothing = self._empty.rows if self.dropped_text == "empty" else torch.zeros_like(self._empty.rows)
        rows = torch.where(dropped[:, None, None], nothing.to(text.rows.dtype), text.rows)
        if text.pooled is None or self._empty.pooled is None:
            return TextRows(rows)
        nothing = self._empty.pooled if self.dropped_text == "empty" else torch.zeros_like(self._empty.pooled)
        return TextRows(rows, torch.where(dropped[:, None], nothing.to(text.pooled.dtype), text.pooled))

    def _fused(self, rows: Tensor, batch: dict[str, Tensor], used: Tensor) -> Tensor:
        """`FacialEncoder` over parts put into the order of their tokens."""
        places = batch["part_tokens"].masked_fill(~used, rows.shape[1])  # unused parts go last
        order = places.argsort(dim=1, stable=True)
        index = torch.arange(len(order), device=order.device)[:, None]
        token_mask = torch.zeros(len(order), rows.shape[1] + 1, dtype=torch.bool, device=order.device)
        token_mask = token_mask.scatter(1, places, True)[:, :-1]
        fused: Tensor = self.adapter.FacialEncoder(
            rows, batch["crop_states"][index, order], token_mask, used[index, order]
        )
        return fused

    @contextmanager
    def _reading(self, maps: list[Tensor] | None) -> Iterator[None]:
        """Inside the block the UNet reads the adapter; maps: what attention maps of text are appended to."""
        processors: list[Any] = list(self.adapter.adapter_modules)
        try:
            for processor in processors:
                processor.record = maps
            with attached(self.base.unet, self.adapter.processors):
                yield
        finally:
            for processor in processors:
                processor.record = None
