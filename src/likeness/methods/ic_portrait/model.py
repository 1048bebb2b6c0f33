"""The two nets: ControlNets that see the pair, and how the one's features follow the other's flow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ControlNetModel
from torch import Tensor

from likeness.methods.ic_portrait.config import AGGREGATIONS, Aggregation, NetSettings
from likeness.methods.ic_portrait.matching import Matching, match, warp
from likeness.methods.ic_portrait.pairs import halves, joined

__all__ = ["InContextControlNet", "Nets", "aggregated", "control_net", "descriptors_of"]

Residuals = tuple[list[Tensor], Tensor]
"""ControlNet's: what is added to each skip connection, and to the middle."""


def control_net(unet: Any) -> Any:
    """A ControlNet (arXiv 2302.05543) begun as a copy of the UNet's down path; at first it adds nothing."""
    return ControlNetModel.from_unet(unet).to(unet.device, unet.dtype)


@contextmanager
def descriptors_of(net: Any, block: int) -> Iterator[list[Tensor]]:
    """Inside, the list holds what down block `block` last made, before it was made smaller: D of eq. 5."""
    found: list[Tensor] = []
    layers = len(net.down_blocks[block].resnets)

    def keep(module: Any, given: Any, output: Any) -> None:
        found[:] = [output[1][layers - 1]]

    handle = net.down_blocks[block].register_forward_hook(keep)
    try:
        yield found
    finally:
        handle.remove()


def aggregated(
    residuals: Residuals, flow: Tensor, aggregation: Aggregation, swapped: Tensor | None = None
) -> Residuals:
    """Annealed feature aggregation: target + W_l * warped profile at each level l, joined again (eq. 7).

    The middle is level L, the number of layers of the down path. The zero convolutions, which are 1 x 1, have
    been applied: they and warping can change places.
    """
    down, middle = residuals
    found = []
    for level, features in enumerate([*down, middle]):
        weight = aggregation.weight(level, len(down))
        if weight:
            target, profile = halves(features, swapped)
            features = joined(target + weight * warp(profile, flow), profile, swapped)
        found.append(features)
    return found[:-1], found[-1]


@dataclass(frozen=True, slots=True, eq=False)
class Nets:
    """Both nets and how they are used together."""

    appearance: Any
    matching: Any
    settings: NetSettings

    @torch.no_grad()
    def match(
        self,
        latents: Tensor,
        timestep: Tensor,
        rows: Tensor,
        condition: Tensor,
        swapped: Tensor | None = None,
    ) -> Matching:
        """Where each cell of the target half finds its like in the profile half.

        latents: noisy pairs (B, C, h, 2 w). rows: (B, 1, D) embeddings. condition: c of eq. 1, (B, 3, H, 2 W)
        in [0, 1].
        """
        with descriptors_of(self.matching, self.settings.descriptor_block) as found:
            self.matching(latents, timestep, encoder_hidden_states=rows, controlnet_cond=condition)
        target, profile = halves(found[0], swapped)
        return match(profile, target)

    def residuals(
        self,
        latents: Tensor,
        timestep: Tensor,
        rows: Tensor,
        condition: Tensor,
        *,
        matching: Matching | None = None,
        aggregation: Aggregation | None = None,
        swapped: Tensor | None = None,
        scale: float = 1.0,
    ) -> Residuals:
        """What both nets add to the UNet's features, in ControlNet's format; as for `match`.

        matching: where it is known; aggregation: the settings' by default.
        """
        matching = matching or self.match(latents, timestep, rows, condition, swapped)
        down, middle = self.appearance(
            latents,
            timestep,
            encoder_hidden_states=rows,
            controlnet_cond=condition,
            conditioning_scale=scale,
            return_dict=False,
        )
        wanted = aggregation or AGGREGATIONS[self.settings.aggregation]
        return aggregated((list(down), middle), matching.flow, wanted, swapped)


class InContextControlNet(ControlNetModel):  # type: ignore[misc]
    """Both nets as one ControlNet, for diffusers' own pipelines.

    They take the pair of latents by a picture twice as wide, the control picture [sampled target | profile],
    and the profile's embedding as `prompt_embeds` (B, 1, D).
    """

    @classmethod
    def of(cls, nets: Nets) -> InContextControlNet:
        """Shares the nets' weights."""
        with torch.device("meta"):
            net: InContextControlNet = cls.from_config(dict(nets.appearance.config))
        net._modules = nets.appearance._modules
        net.__dict__["nets"] = nets
        net.eval()
        return net

    def forward(
        self,
        sample: Tensor,
        timestep: Any,
        encoder_hidden_states: Tensor,
        controlnet_cond: Tensor,
        conditioning_scale: float = 1.0,
        **given: Any,
    ) -> Any:
        """As `ControlNetModel.forward`; the target is on the left. `given` may hold `return_dict` only."""
        at = torch.as_tensor(timestep, device=sample.device)
        down, middle = self.nets.residuals(
            sample, at, encoder_hidden_states, controlnet_cond, scale=conditioning_scale
        )
        return down, middle
