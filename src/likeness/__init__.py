"""Portraits that keep the person: five published systems behind one library.

    from likeness import PortraitRequest, load_pipeline, read_image, save_portrait

    pipeline = load_pipeline("consistentid", base="mini")
    [result] = pipeline([PortraitRequest("wearing a red hat", (read_image("me.png"),))])
    save_portrait(result, "portrait.png")

Names are imported when first used: `import likeness` loads neither torch nor Pillow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from likeness.catalog import card, load_pipeline, method_names
    from likeness.errors import (
        Cancelled,
        FaceCutOffError,
        FaceError,
        ImageError,
        IncompatibleWeightsError,
        InputError,
        LikenessError,
        MissingWeightsError,
        NoFaceError,
        SeveralFacesError,
    )
    from likeness.files.images import read_image, read_recipe
    from likeness.files.provenance import save_portrait
    from likeness.types import (
        Face,
        MethodCard,
        Person,
        PortraitPipeline,
        PortraitRequest,
        PortraitResult,
        Provenance,
        Sample,
        WeightsRecord,
    )

__version__ = "0.1.0"

__all__ = [
    "Cancelled",
    "Face",
    "FaceCutOffError",
    "FaceError",
    "ImageError",
    "IncompatibleWeightsError",
    "InputError",
    "LikenessError",
    "MethodCard",
    "MissingWeightsError",
    "NoFaceError",
    "Person",
    "PortraitPipeline",
    "PortraitRequest",
    "PortraitResult",
    "Provenance",
    "Sample",
    "SeveralFacesError",
    "WeightsRecord",
    "__version__",
    "card",
    "load_pipeline",
    "method_names",
    "read_image",
    "read_recipe",
    "save_portrait",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'likeness' has no attribute {name!r}")
    from likeness import catalog, errors, types

    for module in (catalog, errors, types):
        if name in module.__all__:
            return getattr(module, name)
    from likeness.files import images, provenance

    return getattr(provenance if name in provenance.__all__ else images, name)


def __dir__() -> list[str]:
    return __all__
