"""From descriptors to a flow: equations 5 and 6, and features carried along it.

B pairs; C channels; h x w cells of a half. A cell's index is `row * w + column`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["CHUNK", "Matching", "cost_volume", "endpoint_error", "match", "warp"]

CHUNK = 1024
"""Target cells that are compared with all of the source's at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """The best source cell of every target cell.

    source: (B, h, w) int64, its index. confidence: (B, h, w), their cosine, in [-1, 1].
    """

    source: Tensor
    confidence: Tensor

    @property
    def flow(self) -> Tensor:
        """F of eq. 6: (B, 2, h, w), dx and dy in cells, from a target cell to where its source lies."""
        height, width = self.source.shape[-2:]
        rows = torch.arange(height, device=self.source.device)[:, None]
        columns = torch.arange(width, device=self.source.device)[None]
        return torch.stack([self.source % width - columns, self.source // width - rows], dim=1).float()

    @property
    def coverage(self) -> Tensor:
        """Share of the source's cells that some target cell takes, (B,)."""
        flat = self.source.flatten(1)
        taken = torch.zeros(flat.shape, device=flat.device).scatter_(1, flat, 1.0)
        return taken.mean(dim=1)


def cost_volume(source: Tensor, target: Tensor) -> Tensor:
    """Eq. 5 for all pairs: two descriptors (B, C, h, w) -> cosines (B, target cells, source cells)."""
    with torch.autocast(source.device.type, enabled=False):
        return _unit_rows(target) @ _unit_rows(source).transpose(1, 2)


def match(source: Tensor, target: Tensor, chunk: int = CHUNK) -> Matching:
    """Eq. 6: the arg max of eq. 5 for each target cell, `chunk` target cells at a time.

    Only the arg max is used, so the whole volume, of (h w)^2 cosines, is never held.
    """
    known, rows = _unit_rows(source).transpose(1, 2), _unit_rows(target)
    with torch.autocast(source.device.type, enabled=False):
        best = [(part @ known).max(dim=-1) for part in rows.split(chunk, dim=1)]
    shape = (len(target), *target.shape[-2:])
    return Matching(
        torch.cat([one.indices for one in best], dim=1).view(shape),
        torch.cat([one.values for one in best], dim=1).view(shape),
    )


def warp(features: Tensor, flow: Tensor) -> Tensor:
    """Features (B, C, h, w) of the profile, each taken from where the flow points: (B, C, h, w).

    flow: (B, 2, fh, fw) in cells of its own size; it is brought to the features' size first.
    """
    height, width = features.shape[-2:]
    own = torch.tensor([width / flow.shape[-1], height / flow.shape[-2]], device=flow.device)
    if flow.shape[-2:] != (height, width):
        flow = F.interpolate(flow, (height, width), mode="bilinear", align_corners=False, antialias=True)
    moved = flow * own.view(1, 2, 1, 1)
    columns = torch.arange(width, device=flow.device)[None] + 0.5 + moved[:, 0]
    rows = torch.arange(height, device=flow.device)[:, None] + 0.5 + moved[:, 1]
    grid = torch.stack([columns / width, rows / height], dim=-1) * 2 - 1
    found: Tensor = F.grid_sample(features.float(), grid, padding_mode="border", align_corners=False)
    return found.to(features.dtype)


def endpoint_error(flow: Tensor, true: Tensor) -> Tensor:
    """Distance (B, h, w) in cells of where two flows (B, 2, h, w) end."""
    distance: Tensor = torch.linalg.vector_norm(flow - true, dim=1)
    return distance


def _unit_rows(descriptors: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h w, C) of unit length, fp32: half precision cannot tell near cosines apart."""
    return F.normalize(descriptors.float().flatten(2).transpose(1, 2), dim=-1)
