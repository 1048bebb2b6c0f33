"""Face parsing: which part of the face, or what is worn, each pixel shows.

The 19 classes carry CelebAMask-HQ's names in the order of the published BiSeNet parsers, so that a
parser of photographs can take a pack's place: BiSeNet itself, or a Segformer (arXiv 2105.15203) in
transformers' format. Left and right are the picture's, as everywhere here; whoever needs one side of a
parser of photographs should look which way it counts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from likeness.errors import IncompatibleWeightsError, MissingWeightsError
from likeness.faces.bisenet import MEAN, SIDE_PX, STD, load_bisenet

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["CLASSES", "FaceParser", "ParserNet", "SegformerParser", "load_parser", "parse_picture"]

CLASSES = (
    "background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r",
    "nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat",
)  # fmt: skip


class FaceParser(Protocol):
    """What tells the parts of faces apart."""

    def parse(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [-1, 1], of any size -> indices into `CLASSES` (B, H, W) uint8."""
        ...


class ParserNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A small U-Net: (B, 3, H, W) in [-1, 1], sides multiples of 16 -> logits (B, 19, H, W).

    width: channels at half size, doubled at each halving down to a sixteenth.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, width: int = 24, classes: int = len(CLASSES)) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 4 * width]
        self.down = nn.ModuleList()
        inputs = 3
        for outputs in widths:
            self.down.append(nn.Sequential(_conv(inputs, outputs, 2), _conv(outputs, outputs, 1)))
            inputs = outputs
        self.up = nn.ModuleList()
        for outputs in reversed(widths[:-1]):
            self.up.append(_conv(inputs + outputs, outputs, 1))
            inputs = outputs
        # Classes are told apart at half size and drawn at full size: four times fewer pixels to convolve.
        # Borders lie where the picture's own four pixels of a cell say, so they are shown again at the end.
        self.out = nn.Sequential(_conv(inputs + 4 * 3, 2 * width, 1), nn.Conv2d(2 * width, 4 * classes, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures: (B, 3, H, W) RGB in [-1, 1]."""
        maps = []
        x = pictures
        for block in self.down:
            x = block(x)
            maps.append(x)
        for block, skipped in zip(self.up, reversed(maps[:-1]), strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = block(torch.cat([x, skipped], dim=1))
        return F.pixel_shuffle(self.out(torch.cat([x, F.pixel_unshuffle(pictures, 2)], dim=1)), 2)

    @torch.no_grad()
    def parse(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], of any size -> indices into `CLASSES` (B, H, W) uint8."""
        height, width = pictures.shape[-2:]
        padded = F.pad(pictures, (0, -width % 16, 0, -height % 16), mode="replicate")
        return cast("Tensor", self(padded).argmax(1).to(torch.uint8))[:, :height, :width]


class SegformerParser:
    """A Segformer whose labels are CelebAMask's, in any order.

    model: transformers' SegformerForSemanticSegmentation. Raises: IncompatibleWeightsError where a label
    is none of `CLASSES`.
    """

    def __init__(self, model: Any, name: str) -> None:
        self._model = model.float().eval().requires_grad_(False)
        labels = [model.config.id2label[index] for index in range(model.config.num_labels)]
        unknown = [label for label in labels if label not in CLASSES]
        if unknown:
            raise IncompatibleWeightsError(
                f"{name} tells {unknown[0]!r}, which is no part of a face: give a Segformer whose labels are "
                f"{', '.join(CLASSES)}."
            )
        self._classes = torch.tensor([CLASSES.index(label) for label in labels], dtype=torch.uint8)

    @torch.no_grad()
    def parse(self, pictures: Tensor) -> Tensor:
        """See `FaceParser`."""
        mean, std = (torch.tensor(one).view(3, 1, 1) for one in (MEAN, STD))
        shown = F.interpolate(pictures, (SIDE_PX, SIDE_PX), mode="bilinear", antialias=True)
        logits = self._model(pixel_values=(shown / 2 + 0.5 - mean) / std).logits
        return self._classes[F.interpolate(logits, pictures.shape[-2:], mode="bilinear").argmax(1)]


def load_parser(path: Path) -> FaceParser:
    """A finished parser, float32, for inference.

    path: a pack's `parser` folder, the folder of a Segformer, or a file of BiSeNet's published weights.
    Raises: MissingWeightsError, IncompatibleWeightsError where it is none of these.
    """
    if path.is_file():
        return load_bisenet(path)
    try:
        config = json.loads((path / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        raise MissingWeightsError(
            f"There is no face parser in {path}: give a pack's parser, the folder of a Segformer, or a file "
            "of BiSeNet's weights."
        ) from None
    if config.get("model_type") == "segformer":
        from transformers import SegformerForSemanticSegmentation

        model: Any = SegformerForSemanticSegmentation.from_pretrained(
            str(path), use_safetensors=True, local_files_only=True
        )
        return SegformerParser(model, str(path))
    net = ParserNet.from_pretrained(str(path), use_safetensors=True, local_files_only=True)
    return cast("ParserNet", net.float().eval().requires_grad_(False))


def parse_picture(net: FaceParser, picture: Image.Image) -> NDArray[np.uint8]:
    """Indices into `CLASSES` (H, W) of a PIL picture."""
    pixels = torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32).copy())
    return net.parse(pixels.permute(2, 0, 1)[None] / 127.5 - 1)[0].numpy()


def _conv(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.GroupNorm(max(1, outputs // 12), outputs),
        nn.SiLU(),
    )
