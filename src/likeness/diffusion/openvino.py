"""The UNet and the autoencoder through OpenVINO: the CPU's faster route, at bf16.

A base loaded with `device="openvino"` has stand-ins that are called like the modules they hold.
The first call with shapes not met before converts and compiles the module with all that is attached
to it then, which takes seconds; the later ones gain. Weights are read at that moment: this is for
painting and for a teacher that stays as it is, not for what is trained.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import sys
import warnings
from collections.abc import Callable, Hashable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from likeness.errors import InputError

__all__ = ["OPENVINO", "OpenVinoUnet", "OpenVinoVae", "has_openvino", "require_openvino"]

OPENVINO = "openvino"
"""What `device` is called."""

_Compiled = Callable[[list[Tensor]], Tensor]


class _Converted:
    """Compiled forms of one module, by what they were compiled for. precision: "bf16" or "f32"."""

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self._known: dict[Hashable, _Compiled] = {}

    def __call__(self, module: nn.Module, inputs: list[Tensor], key: Hashable = ()) -> Tensor:
        shapes = tuple((tuple(tensor.shape), tensor.dtype) for tensor in inputs)
        if (shapes, key) not in self._known:
            with _signal_stack_kept():
                self._known[shapes, key] = self._compile(module, inputs)
                return self._known[shapes, key](inputs)
        return self._known[shapes, key](inputs)

    def _compile(self, module: nn.Module, inputs: list[Tensor]) -> _Compiled:
        openvino = require_openvino()
        plain = torch.autocast("cpu", enabled=False)  # the precision is OpenVINO's to choose
        with torch.no_grad(), plain, warnings.catch_warnings():
            # The tracer warns that sizes are taken for constants: here they are, a shape a compilation.
            warnings.simplefilter("ignore")
            model = openvino.convert_model(
                module, example_input=tuple(inputs), input=[tuple(tensor.shape) for tensor in inputs]
            )
        settings = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # processes that train together would share one core
        }
        compiled = openvino.Core().compile_model(model, "CPU", settings)

        def run(tensors: list[Tensor]) -> Tensor:
            # The answer lies in a buffer that the next call writes over.
            return torch.from_numpy(compiled([tensor.numpy() for tensor in tensors])[0].copy())

        return run


class OpenVinoUnet:
    """Stands in for a frozen `UNet2DConditionModel` on the CPU, attached processors included.

    Everything but the call is the module's own. Numbers that processors hold (scales) are compiled
    in; other numbers compile anew.
    """

    def __init__(self, unet: Any, precision: str = "bf16") -> None:
        self._unet, self._converted = unet, _Converted(precision)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._unet, name)

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        added_cond_kwargs: dict[str, Tensor] | None = None,
    ) -> SimpleNamespace:
        """sample (B, C, h, w), timestep a scalar or (B,), states (B, T, D) -> object with `.sample`."""
        added = added_cond_kwargs or {}
        inputs = [sample, torch.as_tensor(timestep, dtype=torch.float32).reshape(-1), encoder_hidden_states]
        key = tuple(
            (name, processor, *sorted((k, v) for k, v in vars(processor).items() if _is_number(v)))
            for name, processor in self._unet.attn_processors.items()
        )
        names = tuple(added)
        out = self._converted(_UnetCall(self._unet, names), [*inputs, *added.values()], (key, names))
        return SimpleNamespace(sample=out)


class OpenVinoVae:
    """Stands in for a frozen autoencoder; everything but coding and decoding is the module's own."""

    def __init__(self, vae: Any, precision: str = "bf16") -> None:
        self._vae, self._converted = vae, _Converted(precision)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vae, name)

    def encode(self, pixels: Tensor) -> SimpleNamespace:
        """(B, 3, H, W) -> object with `.latent_dist`, of latents (B, C, h, w)."""
        from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

        moments = self._converted(_EncoderCall(self._vae), [pixels], "encode")
        return SimpleNamespace(latent_dist=DiagonalGaussianDistribution(moments))

    def decode(self, latents: Tensor) -> SimpleNamespace:
        """(B, C, h, w) -> object with `.sample` (B, 3, H, W)."""
        return SimpleNamespace(sample=self._converted(_DecoderCall(self._vae), [latents], "decode"))


class _UnetCall(nn.Module):
    """A UNet that takes tensors in a row and gives one."""

    def __init__(self, unet: nn.Module, added: tuple[str, ...]) -> None:
        super().__init__()
        self.unet, self.added = unet, added

    def forward(self, sample: Tensor, timestep: Tensor, states: Tensor, *added: Tensor) -> Tensor:
        more = dict(zip(self.added, added, strict=True)) if added else None
        out: Tensor = self.unet(sample, timestep, states, added_cond_kwargs=more, return_dict=False)[0]
        return out


class _EncoderCall(nn.Module):
    """An autoencoder that codes when it is called; its mean and logarithm of variance."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, pixels: Tensor) -> Tensor:
        out: Tensor = self.vae.encode(pixels, return_dict=False)[0].parameters
        return out


class _DecoderCall(nn.Module):
    """An autoencoder that decodes when it is called."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        out: Tensor = self.vae.decode(latents, return_dict=False)[0]
        return out


class _SignalStack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_ = (("pointer", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def _signal_stack_kept() -> Iterator[None]:
    """Give the thread its alternate signal stack back.

    OpenVINO leaves one of its own behind, on which the next signal, such as Ctrl-C, ends the process with
    a segmentation fault.
    """
    if sys.platform != "linux":
        yield
        return
    libc, before = ctypes.CDLL(None), _SignalStack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float))


def has_openvino() -> bool:
    """Whether the library is installed; does not import it."""
    return importlib.util.find_spec("openvino") is not None


def require_openvino() -> Any:
    """The library, without its telemetry package, which reports every import unless forbidden.

    Raises: InputError when it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError:
        raise InputError(
            "The device openvino needs the openvino package: pip install 'likeness[openvino]', or use cpu."
        ) from None
    return openvino
