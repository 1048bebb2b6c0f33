"""What a portrait shows, in words and angles: the judge of prompts, trained on sitters and their truth.

One picture -> for every kind of attribute ("hat", "hair_colour", "expression", ...) the value shown, or
nothing of the kind; where the head is turned, and where the light comes from. Each kind looks at the
picture by a query of its own (cross-attention over a 16 x 16 map), since some are one earring small.

Shapes: B pictures of 128 px, K kinds, V values of all kinds together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["NOT_SHOWN", "AttributeNet", "AttributesFound", "light_direction"]

INPUT_PX = 128
NOT_SHOWN = "nothing of the kind"
"""The value of a kind of which the picture shows nothing, such as the colour of a hat nobody wears."""


class AttributesFound(NamedTuple):
    """logits: kind -> (B, values); pose_deg (B, 3): yaw, pitch and roll; light (B, 3): unit vectors
    towards the key light, x to the picture's right, y up, z towards the camera."""

    logits: dict[str, Tensor]
    pose_deg: Tensor
    light: Tensor


class AttributeNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Residual convolutions to 16 x 16, one attention query a kind, one linear layer a kind.

    kinds: the values of each kind, `NOT_SHOWN` among them where it may be absent. width: channels at
    64 px; the map the queries read has four times as many.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, kinds: Mapping[str, Sequence[str]], width: int = 32, blocks: int = 2, heads: int = 4
    ) -> None:
        super().__init__()
        deep = 4 * width
        self.fine = nn.Sequential(
            _conv(3, width, 2),
            _Residual(width),
            _conv(width, 2 * width, 2),
            _Residual(2 * width),
            _conv(2 * width, deep, 2),
            *(_Residual(deep) for _ in range(blocks)),
        )
        self.context = nn.Sequential(_conv(deep, deep, 2), *(_Residual(deep) for _ in range(blocks)))
        side = INPUT_PX // 8
        self.place = nn.Parameter(0.02 * torch.randn(side * side, deep))
        self.queries = nn.Parameter(torch.randn(len(kinds) + 2, deep))
        self.look = nn.ModuleList(
            nn.TransformerDecoderLayer(
                deep, heads, 2 * deep, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(deep)
        self.answers = nn.ModuleDict({kind: nn.Linear(deep, len(values)) for kind, values in kinds.items()})
        self.pose, self.light = nn.Linear(deep, 3), nn.Linear(deep, 3)

    def forward(self, pictures: Tensor) -> AttributesFound:
        """pictures: (B, 3, 128, 128) RGB in [-1, 1]."""
        fine = self.fine(pictures)
        seen = fine + F.interpolate(self.context(fine), scale_factor=2.0, mode="nearest")
        memory = seen.flatten(2).transpose(1, 2) + self.place
        found = self.queries.expand(len(pictures), -1, -1)
        for layer in self.look:
            found = layer(found, memory)
        found = self.norm(found)
        logits = {kind: answer(found[:, i]) for i, (kind, answer) in enumerate(self.answers.items())}
        return AttributesFound(
            logits,
            30 * self.pose(found[:, -2]).float(),
            F.normalize(self.light(found[:, -1]).float(), dim=-1),
        )

    @torch.no_grad()
    def describe(self, pictures: Tensor) -> list[dict[str, str]]:
        """The likeliest value of every kind, absent ones left out, for (B, 3, 128, 128) in [-1, 1]."""
        kinds: Mapping[str, Sequence[str]] = self.config.kinds
        logits = self(pictures).logits
        best = {kind: logits[kind].argmax(-1).tolist() for kind in kinds}
        rows = [{kind: kinds[kind][best[kind][row]] for kind in kinds} for row in range(len(pictures))]
        return [{kind: value for kind, value in row.items() if value != NOT_SHOWN} for row in rows]


def light_direction(azimuth_deg: Tensor, elevation_deg: Tensor) -> Tensor:
    """Angles of the key light (B,), azimuth to the picture's right -> unit vectors (B, 3)."""
    azimuth, elevation = torch.deg2rad(azimuth_deg), torch.deg2rad(elevation_deg)
    level = elevation.cos()
    return torch.stack([level * azimuth.sin(), elevation.sin(), level * azimuth.cos()], dim=-1)


def _conv(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.GroupNorm(max(1, outputs // 16), outputs),
        nn.SiLU(),
    )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(width, width, 1),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.GroupNorm(max(1, width // 16), width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x + self.body(x))
