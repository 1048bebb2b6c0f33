"""A small landmark network of our own, trained on rendered sitters.

One 128 px picture with at most one face -> is there a face, its box, K landmarks, and which of
them can be seen. Landmarks are read off heatmaps by soft-argmax: the mean position under a
softmax over the map, which is exact below the map's pixel and has a gradient everywhere
(Nibali et al. 2018, arXiv 1801.07372, sections 3 and 4.3: the transform, and why the maps need
a term of their own).

Shapes: B pictures, K landmarks. Landmarks 0 to 4 are those of `likeness.types.Face`.
All positions are px of the 128 px input, pixel centres at .5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "INPUT_PX",
    "LandmarkNet",
    "LandmarkTarget",
    "LandmarksFound",
    "landmark_loss",
    "letterbox",
    "load_landmark_net",
    "random_views",
]

INPUT_PX = 128


class LandmarksFound(NamedTuple):
    """score (B,) logit; box_xyxy (B, 4) px; landmarks_px (B, K, 2) px; visible (B, K) logits;
    log_maps (B, K, 32, 32) log probabilities of each landmark's place."""

    score: Tensor
    box_xyxy: Tensor
    landmarks_px: Tensor
    visible: Tensor
    log_maps: Tensor


@dataclass(frozen=True, slots=True)
class LandmarkTarget:
    """What the network should have said.

    face (B,) 1 or 0; box_xyxy (B, 4) px; landmarks_px (B, K, 2) px; visible (B, K) 1 or 0.
    Rows without a face are ignored but for `face`.
    """

    face: Tensor
    box_xyxy: Tensor
    landmarks_px: Tensor
    visible: Tensor


class LandmarkNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Strided stem to 32 x 32, residual blocks, a deeper 8 x 8 path for context, heatmaps.

    landmarks: K >= 5. mirror: for each landmark, the one it becomes in a mirrored picture.
    width: channels at 32 x 32; 32 gives 0.35 million parameters, 48 0.79 million.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, landmarks: int = 5, mirror: tuple[int, ...] = (1, 0, 2, 4, 3), width: int = 32, blocks: int = 2
    ) -> None:
        super().__init__()
        if landmarks < 5 or sorted(mirror) != list(range(landmarks)):
            raise ValueError(f"mirror must name each of the {landmarks} landmarks (at least 5) once.")
        self.stem = nn.Sequential(
            _conv(3, width // 2, stride=2),
            _conv(width // 2, width, stride=2),
            *(_Residual(width) for _ in range(blocks)),
        )
        self.down = nn.Sequential(
            _conv(width, 2 * width, stride=2),
            _Residual(2 * width),
            _conv(2 * width, 2 * width, stride=2),
            *(_Residual(2 * width) for _ in range(blocks)),
        )
        self.up = nn.Conv2d(2 * width, width, 1)
        self.fuse = nn.Sequential(_Residual(width), nn.Conv2d(width, landmarks, 1))
        self.head = nn.Sequential(
            nn.Linear(4 * width + 2 * landmarks, 2 * width), nn.SiLU(), nn.Linear(2 * width, 5 + landmarks)
        )

    def forward(self, pictures: Tensor) -> LandmarksFound:
        """pictures: (B, 3, 128, 128) RGB in [-1, 1]."""
        fine = self.stem(pictures)
        deep = self.down(fine)
        joined = fine + F.interpolate(
            self.up(deep), size=fine.shape[-2:], mode="bilinear", align_corners=False
        )
        maps = self.fuse(joined)
        log_maps = maps.flatten(2).log_softmax(-1).reshape(maps.shape)
        points = _mean_place(log_maps)  # (B, K, 2) in [0, 1]
        context = torch.cat([deep.mean((2, 3)), deep.amax((2, 3)), points.flatten(1)], 1)
        out = self.head(context)
        score, correction, visible = out[:, 0], out[:, 1:5], out[:, 5:]
        # pooled features do not know where things are; the landmarks do, so the box starts from them
        low, high = points.amin(1), points.amax(1)
        spread = (high - low).mean(1, keepdim=True).clamp_min(0.02)
        box = torch.cat([low, high], 1) + correction * spread
        return LandmarksFound(score, box * INPUT_PX, points * INPUT_PX, visible, log_maps)


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.GroupNorm(max(1, outputs // 8), outputs),
        nn.SiLU(),
    )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(width, width),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.GroupNorm(max(1, width // 8), width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x + self.body(x))


def _mean_place(log_maps: Tensor) -> Tensor:
    """(B, K, H, W) log probabilities -> (B, K, 2) expected x, y in [0, 1]."""
    weight = log_maps.exp()
    x, y = _axis(log_maps, -1), _axis(log_maps, -2)
    return torch.stack([(weight.sum(2) * x).sum(-1), (weight.sum(3) * y).sum(-1)], -1)


def _axis(maps: Tensor, dim: int) -> Tensor:
    """Cell centres along a dimension, in [0, 1]."""
    cells = maps.shape[dim]
    return (torch.arange(cells, device=maps.device, dtype=maps.dtype) + 0.5) / cells


def landmark_loss(found: LandmarksFound, target: LandmarkTarget) -> dict[str, Tensor]:
    """Terms to add up, each a scalar: "landmarks", "maps", "box", "visible", "face".

    Distances are divided by the face's size, so all faces weigh the same, and go through a
    smooth absolute value. "maps" is the cross entropy of the heatmaps with a Gaussian of one
    cell, which finds the right neighbourhood long before the mean place does. Hidden landmarks
    count a quarter, for the truth there is a guess.
    """
    has = target.face
    count = has.sum().clamp_min(1)
    size = (target.box_xyxy[:, 2:] - target.box_xyxy[:, :2]).mean(1).clamp_min(1)
    weight = (0.25 + 0.75 * target.visible) * has[:, None]
    miss = (found.landmarks_px - target.landmarks_px) / size[:, None, None]
    near = F.smooth_l1_loss(miss, torch.zeros_like(miss), reduction="none", beta=0.02).sum(-1)
    box_miss = (found.box_xyxy - target.box_xyxy) / size[:, None]
    box = F.smooth_l1_loss(box_miss, torch.zeros_like(box_miss), reduction="none", beta=0.05).mean(-1)
    seen = F.binary_cross_entropy_with_logits(found.visible, target.visible, reduction="none").mean(1)
    height, width = found.log_maps.shape[-2:]
    place = target.landmarks_px / INPUT_PX
    dx = (_axis(found.log_maps, -1) - place[..., :1]) * width  # (B, K, W) cells
    dy = (_axis(found.log_maps, -2) - place[..., 1:]) * height
    wanted = (-(dx[:, :, None, :] ** 2 + dy[:, :, :, None] ** 2) / 2).flatten(2).softmax(-1)
    maps = -(wanted * found.log_maps.flatten(2)).sum(-1)
    return {
        "maps": 0.2 * (maps * weight).sum() / weight.sum().clamp_min(1),
        "landmarks": 10 * (near * weight).sum() / weight.sum().clamp_min(1),
        "box": 2 * (box * has).sum() / count,
        "visible": 0.2 * (seen * has).sum() / count,
        "face": 0.5 * F.binary_cross_entropy_with_logits(found.score, has),
    }


def random_views(
    pictures: Tensor,
    target: LandmarkTarget,
    generator: torch.Generator,
    mirror: tuple[int, ...] = (1, 0, 2, 4, 3),
    empty: float = 0.15,
) -> tuple[Tensor, LandmarkTarget]:
    """Training pictures at new places, sizes, slants and colours, some with the face taken out.

    pictures: (B, 3, 128, 128) in [-1, 1]. empty: share of rows turned into pictures without a
    face (a corner enlarged away from the face, or tiles shuffled), which teach the score.
    """
    b = len(pictures)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    angle, flip = (rand(b) - 0.5) * 0.7, rand(b) < 0.5
    scale = torch.exp((rand(b) - 0.5) * 1.1)  # of the face in the new picture: 0.58 to 1.7
    centre = (target.box_xyxy[:, :2] + target.box_xyxy[:, 2:]) / 2 / INPUT_PX * 2 - 1
    size = (target.box_xyxy[:, 2:] - target.box_xyxy[:, :2]).amax(1) / INPUT_PX * 2
    scale = torch.minimum(scale, 1.8 / size.clamp_min(0.1))
    room = (0.95 - size * scale / 2).clamp_min(0.02)
    place = (rand(b, 2) * 2 - 1) * room[:, None]
    c, s = torch.cos(angle), torch.sin(angle)
    # new = R scale (old - centre) + place, in [-1, 1]; grid_sample wants the inverse
    forward = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1) * scale[:, None, None]
    forward[flip, 0] *= -1
    shift = place - (forward @ centre[:, :, None])[:, :, 0]
    inverse = torch.linalg.inv(forward)
    theta = torch.cat([inverse, -(inverse @ shift[:, :, None])], 2)
    grid = F.affine_grid(theta, [b, 3, INPUT_PX, INPUT_PX], align_corners=False)
    # never mirrored at the border: that would show the face twice
    padding = "border" if float(rand(1)) < 0.7 else "zeros"
    new = F.grid_sample(pictures, grid, mode="bilinear", padding_mode=padding, align_corners=False)
    gain, lift = 1 + 0.3 * (rand(b, 3, 1, 1) - 0.5), 0.3 * (rand(b, 1, 1, 1) - 0.5)
    new = (new * gain + lift + 0.04 * rand(b, 1, 1, 1) * torch.randn(new.shape, generator=generator)).clamp(
        -1, 1
    )

    def moved(points: Tensor) -> Tensor:
        unit = points / INPUT_PX * 2 - 1
        return ((unit @ forward.transpose(1, 2) + shift[:, None]) + 1) / 2 * INPUT_PX

    points, visible = moved(target.landmarks_px), target.visible.clone()
    order = torch.tensor(mirror)
    points[flip], visible[flip] = points[flip][:, order], visible[flip][:, order]
    inside = ((points >= 0) & (points <= INPUT_PX)).all(-1)
    # the box keeps its size and moves with its centre: a turned head's box is no larger
    middle = moved(((target.box_xyxy[:, :2] + target.box_xyxy[:, 2:]) / 2)[:, None])[:, 0]
    half = (target.box_xyxy[:, 2:] - target.box_xyxy[:, :2]) / 2 * scale[:, None]
    face = target.face.clone()
    gone = rand(b) < empty
    new[gone] = _without_face(pictures, target, gone, generator)
    face[gone] = 0
    box = torch.cat([middle - half, middle + half], 1)
    return new, LandmarkTarget(face, box, points, visible * inside)


def _without_face(
    pictures: Tensor, target: LandmarkTarget, rows: Tensor, generator: torch.Generator
) -> Tensor:
    """A square beside, above or below the face, enlarged; where there is no room, shuffled tiles."""
    out = []
    for index in torch.nonzero(rows).flatten().tolist():
        picture = pictures[index]
        x0, y0, x1, y1 = (int(v) for v in target.box_xyxy[index].tolist())
        rooms = [
            (0, 0, x0, INPUT_PX),
            (x1, 0, INPUT_PX, INPUT_PX),
            (0, 0, INPUT_PX, y0),
            (0, y1, INPUT_PX, INPUT_PX),
        ]
        rooms = [r for r in rooms if min(r[2] - r[0], r[3] - r[1]) >= 20]
        if rooms and float(torch.rand((), generator=generator)) < 0.6:
            a, b, c, d = rooms[int(torch.randint(len(rooms), (), generator=generator))]
            side = min(c - a, d - b)
            left = a + int(torch.randint(c - a - side + 1, (), generator=generator))
            top = b + int(torch.randint(d - b - side + 1, (), generator=generator))
            part = picture[None, :, top : top + side, left : left + side]
            out.append(F.interpolate(part, (INPUT_PX, INPUT_PX), mode="bilinear", align_corners=False)[0])
        else:
            tiles = picture.unfold(1, 16, 16).unfold(2, 16, 16).flatten(1, 2)  # (3, 64, 16, 16)
            tiles = tiles[:, torch.randperm(64, generator=generator)].reshape(3, 8, 8, 16, 16)
            out.append(tiles.permute(0, 1, 3, 2, 4).reshape(3, INPUT_PX, INPUT_PX))
    return torch.stack(out) if out else pictures[:0]


def letterbox(image: Image.Image) -> tuple[Tensor, NDArray[np.float64]]:
    """The whole picture in the network's square: (3, 128, 128) in [-1, 1], and the affine used.

    The affine maps picture px to network px. The free rim is mid grey (0).
    """
    scale = INPUT_PX / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.convert("RGB")
    if size != image.size:
        small = small.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)
    left, top = (INPUT_PX - size[0]) // 2, (INPUT_PX - size[1]) // 2
    canvas = torch.zeros(3, INPUT_PX, INPUT_PX)
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 127.5 - 1
    canvas[:, top : top + size[1], left : left + size[0]] = pixels
    affine = np.array([[size[0] / image.width, 0, left], [0, size[1] / image.height, top]], np.float64)
    return canvas, affine


def load_landmark_net(path: str) -> LandmarkNet:
    """The network of a folder with config.json and safetensors, ready to use, float32."""
    net: LandmarkNet = LandmarkNet.from_pretrained(path, use_safetensors=True, local_files_only=True)
    net.float().eval().requires_grad_(False)
    return net
