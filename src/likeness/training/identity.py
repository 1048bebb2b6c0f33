"""What a recogniser says of the faces that a training step is about to paint.

No paper's, but the mini pack's: through the noise loss alone a small net and few pictures tell too little of
a person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from likeness.diffusion.schedule import predicted_latents
from likeness.faces.embed import identity_loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from likeness.diffusion.load import Base

__all__ = ["Recognised"]


@dataclass(frozen=True, slots=True, eq=False)
class Recognised:
    """Mean identity loss of what is predicted from a batch's noisiest pictures that still hold a face.

    recogniser: (B, 3, 112, 112) aligned faces -> (B, E) of unit length. until: share of the noise schedule
    up to which a predicted picture has a face to compare; above it nothing of the face is decided. most: how
    many pictures of a batch are decoded.
    """

    base: Base
    recogniser: nn.Module
    until: float = 0.75
    most: int = 6

    def __call__(
        self,
        scheduler: Any,
        noisy: Tensor,
        prediction: Tensor,
        timesteps: Tensor,
        affine: Tensor,
        person: Tensor,
        *,
        among: Tensor | None = None,
        picture: Callable[[Tensor, Tensor], Tensor] = lambda clean, rows: clean,
    ) -> Tensor:
        """A scalar with gradients; 0 where no picture is clear enough.

        noisy, prediction: (B, C, h, w); timesteps: (B,). affine: (B, 2, 3), aligned face px -> picture px.
        person: (B, E) unit length. among: (B,) bool, the pictures that may be looked at.
        picture(clean, rows): the part of clean latents that is the picture, where they hold more.
        """
        clear = timesteps < self.until * scheduler.config.num_train_timesteps
        if among is not None:
            clear = clear & among
        noisiest = timesteps.masked_fill(~clear, -1).argsort(descending=True)
        rows = noisiest[: min(self.most, int(clear.sum()))]
        clean = predicted_latents(scheduler, noisy[rows], prediction[rows].float(), timesteps[rows])
        latents = picture(clean, rows)
        if not len(rows):
            return latents.sum() * 0
        pixels = self.base.decode(latents)
        return identity_loss(pixels, affine[rows], person[rows], self.recogniser).mean()
