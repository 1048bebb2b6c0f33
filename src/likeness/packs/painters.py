"""What paints data sets (`data.target_first`, `data.painted_views`), opened by the names of its parts."""

from __future__ import annotations

from pathlib import Path

from likeness.data.build import open_face_models
from likeness.data.painted_views import ViewPainter, load_novel_view
from likeness.data.target_first import PairPainter
from likeness.diffusion.control import load_controlnet
from likeness.diffusion.image_encoder import load_image_encoder
from likeness.diffusion.ip_adapter import attach_ip_adapter
from likeness.packs.bases import open_base
from likeness.packs.mini import mini_path

__all__ = ["open_pair_painter", "open_view_painter"]


def open_pair_painter(
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


def open_view_painter(
    base: str | Path,
    novel_view: str,
    encoder: Path,
    device: str | None = None,
    sitters: bool = False,
) -> ViewPainter:
    """A base, the user's novel-view model (`load_novel_view`), and the recogniser that filters.

    Raises: MissingWeightsError, IncompatibleWeightsError, InputError as its parts do.
    """
    faces = open_face_models(encoder, mini_path() / "landmarks", None, sitters)
    return ViewPainter(open_base(base, device), load_novel_view(novel_view), faces)
