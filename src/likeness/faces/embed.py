"""From an aligned face to a unit vector: two faces of one person have a high dot product.

Two small recognisers of different build are trained on sitters: `RecogniserNet` gives the
identity that a method is conditioned on, `JudgeRecogniserNet` scores its pictures, so that no
method is judged by the network it was taught with. For photos, weights of a user's choice run
from an ONNX file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from likeness.errors import IncompatibleWeightsError, InputError, MissingWeightsError
from likeness.files.weights import model_places

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from PIL import Image

__all__ = [
    "ArcFaceHead",
    "FaceEncoder",
    "JudgeRecogniserNet",
    "OnnxEncoder",
    "RecogniserNet",
    "TorchEncoder",
    "crop_faces",
    "faces_to_tensor",
    "identity_loss",
    "load_encoder",
    "provided_encoders",
]

ALIGNED_PX = 112


@runtime_checkable
class FaceEncoder(Protocol):
    """Aligned faces -> unit vectors. `licence` is that of its weights."""

    @property
    def name(self) -> str:
        """For records of scores."""
        ...

    @property
    def licence(self) -> str:
        """Of the weights, an SPDX name."""
        ...

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        ...

    def __call__(self, aligned: list[Image.Image]) -> NDArray[np.float32]:
        """aligned: N RGB pictures by `align_arcface`. Returns (N, dim) float32 of unit length."""
        ...


class RecogniserNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A residual network in the manner of ArcFace's (arXiv 1801.07698, section 3.1).

    (B, 3, 112, 112) in [-1, 1] -> (B, dim) of unit length. width: channels of the first stage,
    doubled at each; depth: blocks per stage; stride: of the first convolution, 4 where faces come from
    pictures so small that 112 px hold no more; the last map is flattened, not averaged, for in
    aligned faces the place of a feature carries identity.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, width: int = 32, depth: tuple[int, ...] = (1, 2, 2, 1), dim: int = 256, stride: int = 2
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, width, 2 * stride - 1, stride, stride - 1, bias=False),
            nn.BatchNorm2d(width),
            nn.PReLU(width),
        ]
        inputs = width
        for stage, blocks in enumerate(depth):
            outputs = width * 2**stage
            for block in range(blocks):
                layers.append(_ResidualBlock(inputs, outputs, stride=2 if block == 0 and stage > 0 else 1))
                inputs = outputs
        self.body = nn.Sequential(*layers)
        side = -(-ALIGNED_PX // (stride * 2 ** (len(depth) - 1)))
        self.neck = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.Flatten(), nn.Linear(inputs * side * side, dim), nn.BatchNorm1d(dim)
        )

    def forward(self, aligned: Tensor) -> Tensor:
        """aligned: (B, 3, 112, 112) in [-1, 1]."""
        return F.normalize(self.neck(self.body(aligned)), dim=1)


class _ResidualBlock(nn.Module):
    """BN-conv-BN-PReLU-conv-BN, the block of ArcFace's "IR" networks."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.skip = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.skip(x) + self.body(x))


class JudgeRecogniserNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A convolutional network in the manner of ConvNeXt (arXiv 2201.03545), for judging.

    (B, 3, 112, 112) in [-1, 1] -> (B, dim) of unit length. Layer norms instead of batch norms and
    large depthwise kernels: as unlike `RecogniserNet` as its size allows. The last 7 x 7 map is
    thinned and flattened, for averaging it would forget where on the face a feature was seen.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, width: int = 48, depth: tuple[int, ...] = (1, 2, 2), dim: int = 256) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 7, 4, 2), _ChannelNorm(width)]
        for stage, blocks in enumerate(depth):
            channels = width * 2**stage
            if stage > 0:
                layers += [_ChannelNorm(channels // 2), nn.Conv2d(channels // 2, channels, 2, 2)]
            layers += [_ConvNextBlock(channels) for _ in range(blocks)]
        self.body = nn.Sequential(*layers)
        last, side = width * 2 ** (len(depth) - 1), ALIGNED_PX // (4 * 2 ** (len(depth) - 1))
        self.thin = nn.Sequential(_ChannelNorm(last), nn.Conv2d(last, width, 1))
        self.out = nn.Linear(width * side * side, dim)

    def forward(self, aligned: Tensor) -> Tensor:
        """aligned: (B, 3, 112, 112) in [-1, 1]."""
        return F.normalize(self.out(self.thin(self.body(aligned)).flatten(1)), dim=1)


class _ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _ConvNextBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, 1, 3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.wide = nn.Linear(channels, 4 * channels)
        self.narrow = nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.narrow(F.gelu(self.wide(y)))
        return cast("Tensor", x + y.permute(0, 3, 1, 2))


class ArcFaceHead(nn.Module):
    """Additive angular margin, for training only: arXiv 1801.07698, equation 3.

        logit of the true class = s cos(theta + m), of every other class = s cos(theta)

    where theta is the angle between the embedding and the class's weight row. Past
    theta = pi - m, where cos(theta + m) would rise again, its tangent-like continuation
    cos(theta) - m sin(m) keeps the loss monotonic.
    """

    def __init__(self, dim: int, identities: int, scale: float = 32.0, margin: float = 0.5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(identities, dim) / dim**0.5)
        self.scale, self.margin = scale, margin

    def forward(self, embedding: Tensor, identity: Tensor) -> Tensor:
        """embedding: (B, dim) unit length; identity: (B,) int64. Returns (B, identities) logits
        for cross entropy."""
        cosine = F.linear(embedding, F.normalize(self.weight, dim=1)).clamp(-1 + 1e-6, 1 - 1e-6)
        true = cosine.gather(1, identity[:, None])
        theta = torch.acos(true)
        moved = torch.where(
            theta + self.margin < torch.pi,
            torch.cos(theta + self.margin),
            true - self.margin * float(np.sin(self.margin)),
        )
        return self.scale * cosine.scatter(1, identity[:, None], moved)


def crop_faces(pixels: Tensor, affine: Tensor) -> Tensor:
    """Faces in ArcFace's square, with gradients: (B, 3, H, W) in any range -> (B, 3, 112, 112) float32.

    affine: (B, 2, 3), aligned face px -> picture px, the inverse of what `align_arcface` warps by.
    """
    height, width = pixels.shape[-2:]
    half = ALIGNED_PX / 2
    to_crop = torch.tensor([[half, 0, half], [0, half, half], [0, 0, 1]])
    to_unit = torch.tensor([[2 / width, 0], [0, 2 / height]])
    # Under autocast places would be rounded to bfloat16, by pixels.
    with torch.autocast(affine.device.type, enabled=False):
        theta = to_unit.to(affine) @ (affine @ to_crop.to(affine))
        theta[:, :, 2] -= 1
        size = [len(pixels), pixels.shape[1], ALIGNED_PX, ALIGNED_PX]
        grid = F.affine_grid(theta, size, align_corners=False)
    return F.grid_sample(pixels.float(), grid, padding_mode="border", align_corners=False)


def identity_loss(
    pixels: Tensor, affine: Tensor, embedding: Tensor, recogniser: Callable[[Tensor], Tensor]
) -> Tensor:
    """1 - cosine between the face on each picture and its person, (B,), with gradients. No paper's.

    pixels: (B, 3, H, W) in [-1, 1]. affine: (B, 2, 3), aligned face px -> picture px. embedding: (B, E)
    unit length. recogniser: aligned faces (B, 3, 112, 112) in [-1, 1] -> (B, E) unit length.
    """
    found = recogniser(crop_faces(pixels, affine)).float()
    return 1 - (found * embedding.float()).sum(dim=1)


def faces_to_tensor(aligned: Sequence[Image.Image]) -> Tensor:
    """N RGB pictures of 112 px -> (N, 3, 112, 112) float32 in [-1, 1].

    Raises:
        InputError: a picture of another size; `align_arcface` makes them.
    """
    for image in aligned:
        if image.size != (ALIGNED_PX, ALIGNED_PX):
            raise InputError(
                f"A face encoder takes aligned faces of {ALIGNED_PX} px, not {image.width} x {image.height}; "
                "use align_arcface first."
            )
    if not aligned:
        return torch.zeros(0, 3, ALIGNED_PX, ALIGNED_PX)
    pixels = np.stack([np.asarray(image.convert("RGB")) for image in aligned])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


class TorchEncoder:
    """FaceEncoder over one of our own networks."""

    def __init__(self, net: RecogniserNet | JudgeRecogniserNet, name: str, licence: str) -> None:
        self.net = net.float().eval().requires_grad_(False)
        self.name, self.licence = name, licence
        self.dim: int = net.config.dim

    def __call__(self, aligned: list[Image.Image]) -> NDArray[np.float32]:
        """See `FaceEncoder`."""
        pixels = faces_to_tensor(aligned)
        if not len(pixels):
            return np.zeros((0, self.dim), np.float32)
        with torch.inference_mode():
            return np.asarray(self.net(pixels.to(self.net.device)).float().cpu().numpy(), np.float32)


class OnnxEncoder:
    """FaceEncoder over ONNX weights the user brings: ArcFace, AuraFace, SFace and their like.

    licence: what the user says it is; it is written into every score's record. pixels: the
    range the weights expect, (-1, 1) for the ArcFace family; (0, 255) for SFace, which is told
    by its 128 numbers when `pixels` is None.

    Raises:
        IncompatibleWeightsError: the file is no recogniser of 112 px RGB faces.
    """

    def __init__(
        self, path: Path, licence: str = "not declared", pixels: tuple[float, float] | None = None
    ) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self._input = self._session.get_inputs()[0].name
            trial = self._run(np.zeros((1, 3, ALIGNED_PX, ALIGNED_PX), np.float32))
        except Exception as error:
            raise IncompatibleWeightsError(
                f"{path} is not an ONNX face recogniser for (1, 3, 112, 112) pictures; "
                "give the recogniser file of ArcFace, AuraFace or SFace, not a detector."
            ) from error
        if trial.ndim != 2 or trial.shape[0] != 1 or len(self._session.get_outputs()) != 1:
            raise IncompatibleWeightsError(
                f"{path} gives {len(self._session.get_outputs())} outputs, the first of shape {trial.shape}, "
                "where a recogniser gives one row of numbers; give the recogniser file, not a detector."
            )
        self.name, self.licence, self.dim = path.stem, licence, int(trial.shape[1])
        self._pixels = pixels or ((0.0, 255.0) if self.dim == 128 else (-1.0, 1.0))

    def _run(self, blob: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self._session.run(None, {self._input: blob})[0], np.float32)

    def __call__(self, aligned: list[Image.Image]) -> NDArray[np.float32]:
        """See `FaceEncoder`."""
        low, high = self._pixels
        blobs = (faces_to_tensor(aligned).numpy() + 1) / 2 * (high - low) + low
        # one by one: many published files fix the batch at 1
        rows = [self._run(blob[None].astype(np.float32))[0] for blob in blobs]
        if not rows:
            return np.zeros((0, self.dim), np.float32)
        found = np.stack(rows)
        unit: NDArray[np.float32] = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-8)
        return unit


PUBLISHED = ("w600k_*.onnx", "glintr100*.onnx", "arcface*.onnx", "auraface*.onnx", "*sface*.onnx")
"""Names under which recognisers are published."""


def provided_encoders() -> list[Path]:
    """Recognisers in the folders of LIKENESS_MODELS, known by their published names; in order of name."""
    found: dict[str, Path] = {}
    for place in model_places():
        for file in (file for name in PUBLISHED for file in place.glob(name)):
            found.setdefault(file.name, file)
    return [found[name] for name in sorted(found)]


def load_encoder(path: Path, licence: str | None = None) -> FaceEncoder:
    """A face encoder from a folder (config.json + safetensors) or an .onnx file.

    licence: of the weights; our own folders are Apache-2.0, an ONNX file is "not declared"
    unless it is said here.

    Raises:
        MissingWeightsError: nothing there. IncompatibleWeightsError: something else there.
    """
    if path.is_file() and path.suffix == ".onnx":
        return OnnxEncoder(path, licence or "not declared")
    config_file = path / "config.json"
    if not config_file.is_file():
        raise MissingWeightsError(
            f"{path} holds no face encoder; give a folder with config.json and safetensors, or an .onnx file."
        )
    config: dict[str, Any] = json.loads(config_file.read_text(encoding="utf-8"))
    classes: dict[str, Any] = {"RecogniserNet": RecogniserNet, "JudgeRecogniserNet": JudgeRecogniserNet}
    found = classes.get(str(config.get("_class_name")))
    if found is None:
        raise IncompatibleWeightsError(
            f"{path} holds a {config.get('_class_name', 'model of unknown kind')}, not a face encoder; "
            f"give a folder of {' or '.join(classes)}."
        )
    net = found.from_pretrained(str(path), use_safetensors=True, local_files_only=True)
    return TorchEncoder(net, f"likeness {path.name}", licence or "Apache-2.0")
