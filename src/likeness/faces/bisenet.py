"""BiSeNet (arXiv 1808.00897) as the published face parsers have it: ResNet-18 in place of the spatial path.

Module names are those of the weights, so that a published file fits without being renamed.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from likeness.errors import IncompatibleWeightsError
from likeness.files.weights import convert_pickle_once, read_safetensors

__all__ = ["BiSeNet", "load_bisenet"]

SIDE_PX = 512
"""Of the pictures that it learned from."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels in [0, 1]."""


class BiSeNet(nn.Module):
    """(B, 3, H, W) normalised by `MEAN` and `STD`, sides multiples of 32 -> logits (B, classes, H, W).

    The two other outputs, at coarser features, are for training alone; they are there for their weights.
    """

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        self.cp = _ContextPath()
        self.ffm = _Fusion()
        self.conv_out = _Output(256, 256, classes)
        self.conv_out16 = _Output(128, 64, classes)
        self.conv_out32 = _Output(128, 64, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """See the class."""
        logits = self.conv_out(self.ffm(*self.cp(pictures)))
        return F.interpolate(logits, pictures.shape[-2:], mode="bilinear", align_corners=True)

    @torch.no_grad()
    def parse(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], of any size -> indices into `parsing.CLASSES` (B, H, W) uint8."""
        mean, std = (torch.tensor(one, device=pictures.device).view(3, 1, 1) for one in (MEAN, STD))
        shown = F.interpolate(pictures, (SIDE_PX, SIDE_PX), mode="bilinear", antialias=True)
        logits = self((shown / 2 + 0.5 - mean) / std)
        return F.interpolate(logits, pictures.shape[-2:], mode="bilinear").argmax(1).to(torch.uint8)


def load_bisenet(path: Path) -> BiSeNet:
    """Published weights, .safetensors or a pickle of tensors; float32, for inference.

    Raises: MissingWeightsError, IncompatibleWeightsError where they are another network's.
    """
    tensors = read_safetensors(convert_pickle_once(path))
    net = BiSeNet()
    try:
        net.load_state_dict(tensors)
    except RuntimeError:
        raise IncompatibleWeightsError(
            f"{path} is not a BiSeNet with a ResNet-18 and 19 classes: give the published "
            "face-parsing weights, or the folder of a Segformer that parses faces."
        ) from None
    return net.float().eval().requires_grad_(False)


class _Conv(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class _Output(nn.Module):
    def __init__(self, inputs: int, width: int, classes: int) -> None:
        super().__init__()
        self.conv = _Conv(inputs, width)
        self.conv_out = nn.Conv2d(width, classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.conv_out(self.conv(x))
        return logits


class _Refinement(nn.Module):
    """Features weighed by what the whole picture shows, channel by channel."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = _Conv(inputs, outputs)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.conv(x)
        whole = self.bn_atten(self.conv_atten(F.adaptive_avg_pool2d(features, 1)))
        return features * torch.sigmoid(whole)


class _ContextPath(nn.Module):
    """-> features of 128 channels each at an eighth of the side: of little context, and of much."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = _Resnet18()
        self.arm16, self.arm32 = _Refinement(256, 128), _Refinement(512, 128)
        self.conv_head32, self.conv_head16 = _Conv(128, 128), _Conv(128, 128)
        self.conv_avg = _Conv(512, 128, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        eighth, sixteenth, last = self.resnet(pictures)
        whole = self.conv_avg(F.adaptive_avg_pool2d(last, 1))
        coarse = self.arm32(last) + whole
        coarse = self.conv_head32(F.interpolate(coarse, sixteenth.shape[-2:], mode="nearest"))
        finer = self.arm16(sixteenth) + coarse
        return eighth, self.conv_head16(F.interpolate(finer, eighth.shape[-2:], mode="nearest"))


class _Fusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convblk = _Conv(256, 256, 1)
        self.conv1 = nn.Conv2d(256, 64, 1, bias=False)
        self.conv2 = nn.Conv2d(64, 256, 1, bias=False)

    def forward(self, near: Tensor, context: Tensor) -> Tensor:
        features: Tensor = self.convblk(torch.cat([near, context], dim=1))
        weight = self.conv2(F.relu(self.conv1(F.adaptive_avg_pool2d(features, 1))))
        return features * torch.sigmoid(weight) + features


class _Resnet18(nn.Module):
    """-> features at an eighth (128 channels), a sixteenth (256) and a thirty-second (512) of the side."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(_Block(64, 64), _Block(64, 64))
        self.layer2 = nn.Sequential(_Block(64, 128, 2), _Block(128, 128))
        self.layer3 = nn.Sequential(_Block(128, 256, 2), _Block(256, 256))
        self.layer4 = nn.Sequential(_Block(256, 512, 2), _Block(512, 512))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(pictures))), 3, stride=2, padding=1)
        eighth = self.layer2(self.layer1(x))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential()
        if stride != 1 or inputs != outputs:
            shrunk = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shrunk, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        added = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(self.downsample(x) + added)
