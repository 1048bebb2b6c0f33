"""Gathering what a ConsistentID pipeline is made of: base, adapter, encoders, detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from likeness.diffusion.control import load_controlnet
from likeness.diffusion.image_encoder import ImageEncoder, load_image_encoder
from likeness.diffusion.load import fetched
from likeness.diffusion.lora import merge_lora
from likeness.errors import IncompatibleWeightsError, MissingWeightsError
from likeness.faces.detect import find_detector
from likeness.faces.embed import load_encoder
from likeness.files.provenance import record_weights
from likeness.files.weights import cache_folder, model_places
from likeness.methods.consistentid.model import ConsistentIDAdapter
from likeness.methods.consistentid.pipeline import ConsistentIDPipeline
from likeness.methods.consistentid.weights import load_adapter, published_adapter
from likeness.packs import open_base
from likeness.types import WeightsRecord

if TYPE_CHECKING:
    import torch

    from likeness.diffusion.load import Base
    from likeness.faces.detect import FaceDetector
    from likeness.faces.embed import FaceEncoder
    from likeness.methods.consistentid.config import ConsistentIDSizes

__all__ = ["load_pipeline"]

ARCFACE_FILES = ("w600k_r50.onnx", "arcface.onnx")
"""The recogniser the published weights are conditioned on, by InsightFace's name or a plain one."""

ARCFACE_LICENCE = "InsightFace, non-commercial research only"


def load_pipeline(
    base: str | Path | Base = "mini",
    adapter: str | Path | ConsistentIDAdapter | None = None,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    detector: FaceDetector | None = None,
    face_encoder: FaceEncoder | Path | str | None = None,
    image_encoder: ImageEncoder | Path | str | None = None,
    controlnets: Sequence[str | Path] = (),
    loras: Mapping[str | Path, float] | Sequence[str | Path] = (),
    sitters: bool = False,
) -> ConsistentIDPipeline:
    """A pipeline ready to paint.

    base: "mini", "sd15", "sdxl", a diffusers folder, a hub name, a .safetensors file, or a loaded
    `Base`. adapter: our folder, a published file or one that is in memory; by default the base's own
    (`adapters/consistentid` in its folder) or the authors' checkpoint for its family. device: cuda
    where there is one, else cpu; or "openvino", the CPU's faster route once it is warm. dtype: fp16
    on cuda, else fp32. The encoders default to those the adapter was trained with, the detector to
    the best there is; for references that are `sitters`, to the pack's own network, which everybody
    has. controlnets: folders or hub names, each with its `control_images` in a request. loras: .safetensors
    files, merged into the base; a mapping gives each its scale.
    Raises: MissingWeightsError, IncompatibleWeightsError, InputError.
    """
    base = open_base(base, device, dtype)
    scales = loras if isinstance(loras, Mapping) else dict.fromkeys(loras, 1.0)
    records = [merge_lora(base, file, scale) for file, scale in scales.items()]
    nets = [load_controlnet(name, base) for name in controlnets]
    beside = base.folder / "adapters" / "consistentid" if base.folder else None
    if isinstance(adapter, ConsistentIDAdapter):
        trained = adapter
    else:
        if adapter is None:
            adapter = beside if beside and beside.is_dir() else _default_adapter(base)
        trained, record = load_adapter(adapter, base)
        records.append(record)
    if not isinstance(image_encoder, ImageEncoder):
        folder = Path(image_encoder) if image_encoder else _image_encoder_folder(base, trained.sizes)
        image_encoder = load_image_encoder(folder, device=base.device, dtype=base.dtype)
        records.append(
            record_weights(folder, "image encoder", _licence(trained.sizes), trained.sizes.image_encoder)
        )
    if image_encoder.width != trained.sizes.image_width:
        raise IncompatibleWeightsError(
            f"The image encoder has states of width {image_encoder.width}, "
            f"the adapter reads {trained.sizes.image_width}: use {trained.sizes.image_encoder}."
        )
    if face_encoder is None:
        face_encoder = _face_encoder(base, trained.sizes)
    elif isinstance(face_encoder, (str, Path)):
        face_encoder = load_encoder(Path(face_encoder))
    if face_encoder.dim != trained.sizes.id_width:
        raise IncompatibleWeightsError(
            f"The face encoder {face_encoder.name} gives {face_encoder.dim} numbers, the adapter reads "
            f"{trained.sizes.id_width}: use {trained.sizes.identity_encoder}."
        )
    records.append(WeightsRecord(face_encoder.name, "identity encoder", face_encoder.licence))
    if detector is None:
        own = base.folder / "landmarks" if base.folder else None
        own = own if own and own.is_dir() else None
        detector = find_detector("sitters" if own and sitters else None, own)
    records.append(WeightsRecord(detector.name, "face detector", detector.licence))
    return ConsistentIDPipeline(
        base,
        trained,
        detector=detector,
        face_encoder=face_encoder,
        image_encoder=image_encoder,
        controlnets=nets,
        weights=tuple(records),
    )


def _default_adapter(base: Base) -> Path:
    if base.family == "mini":
        raise MissingWeightsError(
            f"The pack {base.name} has no adapters/consistentid: give an adapter, or train one."
        )
    return published_adapter(base.family)


def _licence(sizes: ConsistentIDSizes) -> str:
    return "Apache-2.0" if sizes.family == "mini" else "MIT"


def _image_encoder_folder(base: Base, sizes: ConsistentIDSizes) -> Path:
    """The encoder beside the base, else the one the adapter names, from the hub's cache or the hub."""
    if base.folder and (base.folder / "image_encoder").is_dir():
        return base.folder / "image_encoder"
    files = ("config.json", "preprocessor_config.json", "model.safetensors")
    return fetched(sizes.image_encoder, files, what="image encoder")


def _face_encoder(base: Base, sizes: ConsistentIDSizes) -> FaceEncoder:
    """The recogniser beside the base, else ArcFace from a folder named by LIKENESS_MODELS or the cache."""
    if base.folder and (base.folder / "recogniser").is_dir():
        return load_encoder(base.folder / "recogniser")
    for folder in (*model_places(), cache_folder()):
        for name in ARCFACE_FILES:
            file = folder if folder.name == name else folder / name
            if file.is_file():
                return load_encoder(file, ARCFACE_LICENCE)
    raise MissingWeightsError(
        f"ConsistentID on {base.family} knows a person by {sizes.identity_encoder}, which is not here: put "
        f"{ARCFACE_FILES[0]} (InsightFace's buffalo_l, for non-commercial research only) into a folder "
        "named by LIKENESS_MODELS, or pass a face encoder."
    )
