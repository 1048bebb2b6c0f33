"""Opening IC-Portrait: base, nets, image encoder and detector, by name or folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from likeness.diffusion.control import load_controlnet
from likeness.diffusion.image_encoder import ImageEncoder, load_image_encoder
from likeness.diffusion.load import Base, fetched
from likeness.diffusion.lora import merge_lora
from likeness.errors import IncompatibleWeightsError, InputError, MissingWeightsError
from likeness.faces.detect import FaceDetector, find_detector
from likeness.faces.embed import FaceEncoder, load_encoder
from likeness.files.provenance import record_weights
from likeness.methods.ic_portrait.card import CARD
from likeness.methods.ic_portrait.config import NetSettings
from likeness.methods.ic_portrait.pipeline import IcPortraitPipeline
from likeness.methods.ic_portrait.weights import load_nets, load_person
from likeness.packs import open_base
from likeness.types import WeightsRecord

__all__ = ["load_pipeline", "open_detector", "open_face_encoder", "open_image_encoder"]


def load_pipeline(
    base: str | Path | Base = "mini",
    adapter: str | Path | None = None,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    detector: FaceDetector | None = None,
    image_encoder: ImageEncoder | Path | None = None,
    face_encoder: FaceEncoder | None = None,
    controlnets: Sequence[str | Path] = (),
    loras: Mapping[str, float] | None = None,
    sitters: bool = False,
) -> IcPortraitPipeline:
    """A pipeline ready to paint.

    base: "mini", "sd15" or a base of their families. adapter: both nets (`weights.load_nets`), by default the
    pack's own; with a person's UNet beside them that one paints. image_encoder: CLIP's vision tower with the
    base's width, by default the base's own or what the nets name. face_encoder: for nets that read an
    identity the one they were trained with, by default the base's own. sitters: as for the other methods.
    Raises: MissingWeightsError, IncompatibleWeightsError, InputError.
    """
    base = open_base(base, device, dtype)
    if base.family not in CARD.bases:
        raise InputError(f"IC-Portrait runs on {' and '.join(CARD.bases)}, not on {base.family}.")
    if base.runtime != "torch":
        raise InputError("IC-Portrait's nets do not run with --device openvino: take cpu or cuda.")
    if adapter is None:
        own = base.folder / "adapters" / "ic-portrait" if base.folder else None
        if own is None or not own.is_dir():
            raise MissingWeightsError(
                f"The base {base.name} has no adapters/ic-portrait: train one with `likeness pack build mini "
                "--part ic-portrait` or `likeness train ic-portrait --data DATA --from-nothing`, or give an "
                "adapter."
            )
        adapter = own
    nets, more = load_nets(adapter, base)
    person = load_person(adapter, base)
    if person is not None:
        weights = tuple(one for one in base.weights if one.role != "unet")
        base = replace(base, unet=person, weights=weights)
    records = [*(merge_lora(base, file, scale) for file, scale in (loras or {}).items()), *more]
    if not isinstance(image_encoder, ImageEncoder):
        image_encoder, record = open_image_encoder(base, nets.settings, image_encoder)
        records.append(record)
    detector = detector or open_detector(base, sitters)
    records.append(WeightsRecord(detector.name, "face detector", detector.licence))
    face_encoder = face_encoder or open_face_encoder(base, nets.settings)
    if face_encoder is not None and nets.settings.identity_encoder:
        records.append(WeightsRecord(face_encoder.name, "identity encoder", face_encoder.licence))
    return IcPortraitPipeline(
        base,
        nets,
        image_encoder,
        detector=detector,
        face_encoder=face_encoder,
        controlnets=[load_controlnet(name, base) for name in controlnets],
        weights=tuple(records),
    )


def open_image_encoder(
    base: Base, settings: NetSettings, folder: Path | None = None
) -> tuple[ImageEncoder, WeightsRecord]:
    """The tower whose embedding stands in for text: of `folder`, the base, or the settings' from the hub.

    Raises: MissingWeightsError; IncompatibleWeightsError where it is not as wide as the base's text.
    """
    beside = base.folder / "image_encoder" if base.folder else None
    folder = folder or (beside if beside and beside.is_dir() else None)
    if folder is None:
        files = ("config.json", "preprocessor_config.json", "model.safetensors")
        folder = fetched(settings.image_encoder, files, what="image encoder")
    encoder = load_image_encoder(folder, device=base.device, dtype=base.dtype)
    width = encoder.model.config.projection_dim
    if width != base.text_width:
        raise IncompatibleWeightsError(
            f"The image encoder's embedding is {width} wide, the base {base.name} reads {base.text_width}: "
            f"give {settings.image_encoder}."
        )
    licence = "Apache-2.0" if base.family == "mini" else "MIT"
    return encoder, record_weights(folder, "image encoder", licence)


def open_face_encoder(base: Base, settings: NetSettings) -> FaceEncoder | None:
    """The base's own, if it has one.

    Raises: MissingWeightsError where the nets read an identity, and there is none.
    """
    recogniser = base.folder / "recogniser" if base.folder else None
    if recogniser is not None and recogniser.is_dir():
        return load_encoder(recogniser)
    if settings.identity_encoder:
        raise MissingWeightsError(
            f"These nets of IC-Portrait read an identity by {settings.identity_encoder}, and the base "
            f"{base.name} has no recogniser: give that as face_encoder, or paint with the pack they were "
            "trained in."
        )
    return None


def open_detector(base: Base, sitters: bool) -> FaceDetector:
    """The base's own for sitters, else the best there is."""
    landmarks = base.folder / "landmarks" if base.folder else None
    landmarks = landmarks if landmarks and landmarks.is_dir() else None
    return find_detector("sitters" if landmarks and sitters else None, landmarks)
