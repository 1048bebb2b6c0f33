"""What paints edit pairs (`data.target_first`), opened by the names of its parts."""

from __future__ import annotations

from pathlib import Path

from likeness.data.build import open_face_models
from likeness.data.target_first import PairPainter
from likeness.diffusion.control import load_controlnet
from likeness.diffusion.image_encoder import load_image_encoder
from likeness.diffusion.ip_adapter import attach_ip_adapter
from likeness.packs.bases import open_base
from likeness.packs.mini import mini_path

__all__ = ["open_painter"]


def open_painter(
    base: str | Path,
    ip_adapter: Path,
    image_encoder: Path,
    controlnet: str | Path,
    encoder: Path,
    device: str | None = None,
    sitters: bool = False,
) -> PairPainter:
    """A base with IP-Adapter and canny ControlNet, and the recogniser that filters.

    Raises: MissingWeightsError, IncompatibleWeightsError, InputError as its parts do.
    """
    opened = open_base(base, device)
    tower = load_image_encoder(image_encoder, device=opened.device, dtype=opened.dtype)
    return PairPainter(
        opened,
        attach_ip_adapter(opened, ip_adapter, tower),
        load_controlnet(controlnet, opened),
        open_face_models(encoder, mini_path() / "landmarks", None, sitters),
    )
