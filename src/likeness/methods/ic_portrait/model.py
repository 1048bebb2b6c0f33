"""The two nets: ControlNets that see the pair, and how the one's features follow the other's flow."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ControlNetModel
from torch import Tensor

from likeness.methods.ic_portrait.conditioning import told_rows
from likeness.methods.ic_portrait.config import AGGREGATIONS, Aggregation, NetSettings
from likeness.methods.ic_portrait.matching import Matching, match, warp
from likeness.methods.ic_portrait.pairs import halves, joined

__all__ = ["InContextControlNet", "Nets", "aggregated", "control_net", "descriptors_of"]

Residuals = tuple[list[Tensor], Tensor]
"""ControlNet's: what is added to each skip connection, and to the middle."""


def control_net(unet: Any) -> Any:
    """A ControlNet (arXiv 2302.05543) begun as a copy of the UNet's down path; at first it adds nothing."""
    # torch's own cast: diffusers' warns of layers to be kept in fp32, of which there are none.
    return torch.nn.Module.to(ControlNetModel.from_unet(unet), unet.device, unet.dtype)


class _SeenError(Exception):
    """The last layer has spoken: what follows it in the UNet need not run."""


def descriptors_of(
    unet: Any,
    blocks: Sequence[int],
    latents: Tensor,
    timestep: Tensor,
    rows: Tensor,
    added: Residuals,
) -> Tensor:
    """D of eq. 5, (B, C, h, 2 w): what up blocks first make of a pair under a net's residuals.

    Each is of unit length and brought to the size of the last; they are one below the other.
    """
    found: list[Tensor] = []
    layers = [unet.up_blocks[block].resnets[0] for block in blocks]

    def keep(module: Any, given: Any, output: Tensor) -> None:
        found.append(F.normalize(output.float(), dim=1))
        if module is layers[-1]:
            raise _SeenError

    down, middle = added
    residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
    handles = [layer.register_forward_hook(keep) for layer in layers]
    with contextlib.suppress(_SeenError):
        try:
            unet(latents, timestep, rows, **residuals)
        finally:
            for handle in handles:
                handle.remove()
    size = found[-1].shape[-2:]
    return torch.cat([F.interpolate(one, size, mode="bilinear") for one in found], dim=1)


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
        unet: Any,
        latents: Tensor,
        timestep: Tensor,
        rows: Tensor,
        condition: Tensor,
        swapped: Tensor | None = None,
    ) -> Matching:
        """Where each cell of the target half finds its like in the profile half.

        unet: the base's. latents: noisy pairs (B, C, h, 2 w). rows: (B, R + 1, D), from
        `conditioning.rows_with`. condition: c of eq. 1, (B, 3, H, 2 W) in [0, 1].
        """
        down, middle = self.matching(
            latents, timestep, encoder_hidden_states=rows, controlnet_cond=condition, return_dict=False
        )
        blocks = self.settings.descriptor_blocks
        found = descriptors_of(unet, blocks, latents, timestep, rows, (list(down), middle))
        target, profile = halves(found, swapped)
        return match(profile, target)

    def residuals(
        self,
        latents: Tensor,
        timestep: Tensor,
        rows: Tensor,
        condition: Tensor,
        matching: Matching,
        *,
        aggregation: Aggregation | None = None,
        swapped: Tensor | None = None,
        scale: float = 1.0,
    ) -> Residuals:
        """What the appearance net adds to the UNet's features, in ControlNet's format; as for `match`.

        rows: (B, S, D), `conditioning.told_rows`. aggregation: the settings' by default.
        """
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
    """Both nets as one ControlNet, for diffusers' own pipelines with the same UNet.

    They take the pair of latents by a picture twice as wide, the control picture [sampled target | profile],
    and `conditioning.rows_with` the profile's embedding as `prompt_embeds` (B, R + 1, D).
    """

    @classmethod
    def of(cls, nets: Nets, unet: Any, identity: Tensor | None = None) -> InContextControlNet:
        """Shares the nets' weights and the base's UNet.

        identity: (E,) of the profile, for nets that read it (`conditioning.identity_of`).
        """
        with torch.device("meta"):
            net: InContextControlNet = cls.from_config(dict(nets.appearance.config))
        net._modules = nets.appearance._modules
        net.__dict__["nets"], net.__dict__["unet"], net.__dict__["identity"] = nets, unet, identity
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
        seen = (sample, at, encoder_hidden_states, controlnet_cond)
        matching = self.nets.match(self.unet, *seen)
        told = encoder_hidden_states
        if self.identity is not None:
            # diffusers' negative half holds the zero embedding: there nobody is known.
            known = told[:, -1:].any(dim=-1)
            told = told_rows(told, self.identity * known)
        down, middle = self.nets.residuals(
            sample, at, told, controlnet_cond, matching, scale=conditioning_scale
        )
        return down, middle
