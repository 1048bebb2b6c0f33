"""How different two pictures look: LPIPS, and how varied one person's pictures are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from likeness.errors import IncompatibleWeightsError, InputError
from likeness.files.weights import convert_pickle_once, read_safetensors

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from likeness.evaluation.case import Case

__all__ = ["AlexNetLayers", "IntraLpips", "Lpips", "PerceptualNet", "TowerLayers", "lpips_distance"]


class PerceptualNet(Protocol):
    """A network whose layers are compared. weights: how much each channel of a layer counts, (C,)."""

    @property
    def name(self) -> str:
        """For records of scores."""
        ...

    @property
    def weights(self) -> Sequence[Tensor]:
        """One (C,) a layer."""
        ...

    def layers(self, pixels: Tensor) -> Sequence[Tensor]:
        """(B, 3, H, W) in [-1, 1] -> one (B, C, ...) a layer."""
        ...


class AlexNetLayers:
    """The published LPIPS: AlexNet's five convolutions and the weights learned from people's judgements.

    backbone: torchvision's alexnet. linear: the LPIPS package's `weights/v0.1/alex.pth`. Both .pth or
    .safetensors.
    Raises: MissingWeightsError, IncompatibleWeightsError.
    """

    name, licence = "LPIPS AlexNet v0.1", "not declared"
    _MEAN = (-0.030, -0.088, -0.188)
    _STD = (0.458, 0.448, 0.450)
    """Of ImageNet's pixels, for pictures in [-1, 1]."""
    _CONVOLUTIONS = ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))
    """Place among torchvision's `features`, stride, padding."""

    def __init__(self, backbone: Path | str, linear: Path | str) -> None:
        features = read_safetensors(convert_pickle_once(backbone))
        learned = read_safetensors(convert_pickle_once(linear))
        try:
            self._kernels = [
                (features[f"features.{place}.weight"].float(), features[f"features.{place}.bias"].float())
                for place, _, _ in self._CONVOLUTIONS
            ]
            self.weights = [learned[f"lin{layer}.model.1.weight"].float().flatten() for layer in range(5)]
        except KeyError as missing:
            raise IncompatibleWeightsError(
                f"{backbone} and {linear} are not LPIPS's AlexNet: {missing} is missing; give torchvision's "
                "alexnet and the LPIPS package's weights/v0.1/alex.pth."
            ) from None

    def layers(self, pixels: Tensor) -> list[Tensor]:
        """See `PerceptualNet`; sides of at least 63 px."""
        x = (pixels - torch.tensor(self._MEAN).view(3, 1, 1)) / torch.tensor(self._STD).view(3, 1, 1)
        found = []
        for (place, stride, padding), (weight, bias) in zip(self._CONVOLUTIONS, self._kernels, strict=True):
            if place in (3, 6):
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(F.conv2d(x, weight, bias, stride, padding))
            found.append(x)
        return found


class TowerLayers:
    """A pack's stand-in: the tokens after each layer of a vision transformer, all channels alike.

    model: transformers' CLIPVisionModelWithProjection or ViTModel, for pictures in [-1, 1].
    """

    def __init__(self, model: Any, name: str) -> None:
        self._model: nn.Module = model.eval()
        self._config = model.config
        self.name, self.licence = name, "not declared"
        self.weights = [torch.ones(model.config.hidden_size)] * model.config.num_hidden_layers

    def layers(self, pixels: Tensor) -> list[Tensor]:
        """See `PerceptualNet`; pictures are resized to the tower's size."""
        side = self._config.image_size
        x = F.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True)
        out = self._model(pixel_values=x, output_hidden_states=True)
        return [states.transpose(1, 2) for states in out.hidden_states[1:]]


def lpips_distance(net: PerceptualNet, one: Tensor, two: Tensor) -> Tensor:
    """Zhang et al. 2018 (arXiv 1801.03924), eq. 1: (B, 3, H, W) in [-1, 1] twice -> (B,)."""
    total = torch.zeros(len(one))
    for a, b, weight in zip(net.layers(one), net.layers(two), net.weights, strict=True):
        apart = (F.normalize(a, dim=1, eps=1e-10) - F.normalize(b, dim=1, eps=1e-10)).square().flatten(2)
        total = total + (weight[:, None] * apart).sum(1).mean(1)
    return total


@torch.inference_mode()
def _distance(net: PerceptualNet, one: Image.Image, two: Image.Image) -> float:
    if one.size != two.size:
        raise InputError(f"LPIPS compares pictures of one size, got {one.size} and {two.size}; resize them.")
    return float(lpips_distance(net, _pixels(one), _pixels(two)))


def _pixels(image: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]
    return pixels.float() / 127.5 - 1


@dataclass(frozen=True, slots=True)
class Lpips:
    """LPIPS: how far the painted picture is from its source, which should be kept."""

    net: PerceptualNet
    name: ClassVar[str] = "LPIPS"
    unit: ClassVar[str] = "perceptual distance"
    higher_is_better: ClassVar[bool] = False
    source: ClassVar[str] = "Zhang et al. 2018 (arXiv 1801.03924), eq. 1; SPF-Portrait, Table 1"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`; nan without a source."""
        found = [_distance(self.net, case.image, case.source) if case.source else np.nan for case in cases]
        return np.array(found, np.float64)


@dataclass(frozen=True, slots=True)
class IntraLpips:
    """Intra-LPIPS: how far a picture is from the others of the same reference, whose mean is variety."""

    net: PerceptualNet
    name: ClassVar[str] = "intra-LPIPS"
    unit: ClassVar[str] = "perceptual distance"
    higher_is_better: ClassVar[bool] = True
    source: ClassVar[str] = "InstantPortrait, appendix, Table 4"

    def __call__(self, cases: Sequence[Case]) -> NDArray[np.float64]:
        """See `Metric`; cases of one reference share the picture object. nan where it is the only one."""
        groups: dict[int, list[int]] = {}
        for row, case in enumerate(cases):
            groups.setdefault(id(case.references[0]) if case.references else -1 - row, []).append(row)
        out = np.full(len(cases), np.nan)
        for rows in groups.values():
            table = np.zeros((len(rows), len(rows)))
            for i, one in enumerate(rows):
                for j in range(i):
                    apart = _distance(self.net, cases[one].image, cases[rows[j]].image)
                    table[i, j] = table[j, i] = apart
            if len(rows) > 1:
                out[rows] = table.sum(1) / (len(rows) - 1)
        return out
