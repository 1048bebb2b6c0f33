"""Sizes and options of ConsistentID. Imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from likeness.errors import IncompatibleWeightsError

__all__ = [
    "ABLATIONS",
    "CAPTION",
    "PARTS",
    "PART_WORDS",
    "SIZES",
    "TRAINING",
    "Ablation",
    "ConsistentIDOptions",
    "ConsistentIDSizes",
    "ConsistentIDTraining",
    "strength_at",
]

PARTS = ("face", "eyes", "ears", "nose", "mouth")
"""The five face parts in the order of `likeness.faces.parts.part_crops`."""

PART_WORDS = ("face", "ears", "eyes", "nose", "mouth")
"""The order in which the caption's clauses are put (section 3.1, and the published weights)."""

CAPTION = "The person has one face, one nose, two eyes, two ears, and one mouth."
"""The fixed description used when no better one is at hand (footnote 1 of the paper)."""


@dataclass(frozen=True, slots=True)
class ConsistentIDSizes:
    """Everything that differs between the adapters of SD1.5, SDXL and the mini pack.

    text_width: D, the width of the UNet's text rows. image_width: hidden size of the image
    encoder. id_width: length of the identity embedding. The resampler of the facial encoder has
    `part_heads` heads of `part_width // part_heads`, that of the identity tokens `id_heads` heads
    of `text_width // id_heads`. shortcut: add the identity tokens to what they queried.

    family: which base the adapter is for. image_encoder, identity_encoder: the names of the
    encoders it was trained with. null_image: what the image encoder "sees" in the unconditional
    branch: "zeros" (states of zero, what our training drops to) or "zero_picture" (states of an
    all-zero picture, what the published weights expect). pairing: "names" gives each part's crop
    to the word of that part; "published" pairs crops (face, eyes, ears, nose, mouth) with words
    in text order, as the published weights were trained, and joins their prompts to the caption as
    they were (`text.mark_prompt`). merge_step: default for the option.

    identity: what the identity tokens are made of: the "face" (the paper's), or the "picture", the image
    encoder's embedding of `picture_width` numbers alone, as in IP-Adapter, which is compared with.
    """

    family: Literal["mini", "sd15", "sdxl"]
    text_width: int
    image_width: int = 1280
    id_width: int = 512
    part_width: int = 1024
    part_depth: int = 8
    part_heads: int = 16
    id_tokens: int = 4
    id_depth: int = 4
    id_heads: int = 12
    ff_mult: int = 4
    lora_rank: int = 128
    shortcut: bool = False
    image_encoder: str = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
    identity_encoder: str = "arcface"
    null_image: Literal["zeros", "zero_picture"] = "zeros"
    pairing: Literal["names", "published"] = "names"
    merge_step: float = 0.6
    identity: Literal["face", "picture"] = "face"
    picture_width: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As a JSON-ready mapping, the content of the adapter folder's `config.json`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ConsistentIDSizes:
        """Read `config.json`; an unknown or missing entry raises `IncompatibleWeightsError`."""
        known = {field.name for field in fields(cls)}
        given = {key: value for key, value in values.items() if not key.startswith("_")}
        unknown = sorted(set(given) - known)
        if unknown or "family" not in given or "text_width" not in given:
            what = f"has unknown entries {unknown}" if unknown else "lacks 'family' or 'text_width'"
            raise IncompatibleWeightsError(
                f"The adapter's config.json {what}: it was written by another version or another method."
            )
        return cls(**given)


SIZES: dict[str, ConsistentIDSizes] = {
    "sd15": ConsistentIDSizes("sd15", text_width=768, id_heads=12),
    "sdxl": ConsistentIDSizes("sdxl", text_width=2048, id_heads=32, shortcut=True),
    "mini": ConsistentIDSizes(
        "mini",
        text_width=192,
        image_width=192,
        id_width=256,
        part_width=192,
        part_depth=2,
        part_heads=4,
        id_depth=1,
        id_heads=4,
        ff_mult=2,
        lora_rank=16,
        image_encoder="mini",
        identity_encoder="mini-recogniser",
        merge_step=0.2,
    ),
}


@dataclass(frozen=True, slots=True)
class ConsistentIDTraining:
    """How an adapter is trained on a data set; see `training.ConsistentIDPhase` for the weights.

    learning_rate: from nothing; further_rate: of an adapter that was trained before. bare: how often a
    target that has a label picture is seen without its background, in [0, 1].
    """

    learning_rate: float = 1e-4
    further_rate: float = 2e-5
    batch_size: int = 16
    face_weight: float = 0.0
    identity_weight: float = 0.0
    bare: float = 0.5


TRAINING: dict[str, ConsistentIDTraining] = {
    "sd15": ConsistentIDTraining(),
    "sdxl": ConsistentIDTraining(),
    # The adapter is small and young; the paper's rate is for 200 times its weights. In minutes it would learn
    # to paint no backgrounds.
    "mini": ConsistentIDTraining(1e-3, 2e-4, 24, face_weight=3.0, identity_weight=0.1, bare=0.0),
}
"""Section 4.1's settings, and those of the pack's own recipe."""


@dataclass(frozen=True, slots=True)
class Ablation:
    """What an adapter is trained and painted with (Table 4, figure 14).

    overall: the identity tokens. parts: the face parts in the text. localised: eq. 1. identity: see
    `ConsistentIDSizes`.
    """

    overall: bool = True
    parts: bool = True
    localised: bool = True
    identity: Literal["face", "picture"] = "face"

    @property
    def scales(self) -> tuple[float, float]:
        """Strengths of the identity tokens and of the low-rank changes, which IP-Adapter does without."""
        return float(self.overall), float(self.identity == "face")

    @property
    def options(self) -> dict[str, Any]:
        """How its pictures are painted."""
        identity, lora = self.scales
        fixed: dict[str, Any] = {"identity_scale": identity, "lora_scale": lora}
        return fixed if self.parts else {**fixed, "merge_step": 1.0}


ABLATIONS: dict[str, Ablation] = {
    "whole": Ablation(),
    "not localised": Ablation(localised=False),
    "overall": Ablation(parts=False, localised=False),
    "parts": Ablation(overall=False),
    "IP-Adapter": Ablation(parts=False, localised=False, identity="picture"),
}
"""Table 4's rows, figure 14's, and IP-Adapter (arXiv 2308.06721) as Table 3 compares with it."""


MOST = 2.0
"""The largest strength."""

Strength = float | tuple[tuple[float, float], ...]
"""One for all steps, or pairs of (share of the steps, strength from there on), the first share 0."""


def strength_at(strength: Strength, share: float) -> float:
    """What holds once `share` of the steps, in [0, 1), have been taken."""
    if not isinstance(strength, tuple):
        return strength
    return next(value for start, value in reversed(strength) if start <= share)


def _strength(given: Any) -> Strength:
    pairs: tuple[tuple[float, float], ...]
    try:
        if not isinstance(given, (list, tuple)):
            pairs = ((0.0, float(given)),)
        else:
            pairs = tuple((float(share), float(value)) for share, value in given)
    except (TypeError, ValueError):
        pairs = ()
    shares = [share for share, _ in pairs]
    grow = all(one < later for one, later in pairwise([*shares, 1.0]))
    if not pairs or shares[0] != 0 or not grow or not all(0 <= value <= MOST for _, value in pairs):
        raise PydanticCustomError(
            "strength",
            "give a number from 0 to 2, or pairs of (share of the steps, strength from there on) whose "
            "shares begin at 0 and grow and stay below 1",
        )
    return pairs if isinstance(given, (list, tuple)) else pairs[0][1]


class ConsistentIDOptions(BaseModel):
    """What a caller may set per picture besides the fields of `PortraitRequest`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    merge_step: float | None = Field(default=None, ge=0, le=1)
    """Share of the steps painted from text alone before the face parts join in (0.6 = 30 of 50);
    later follows the prompt more, earlier the face. None: the adapter's own default."""
    # Forms made of the schema offer the number alone.
    identity_scale: Annotated[
        Strength,
        BeforeValidator(_strength),
        WithJsonSchema({"type": "number", "minimum": 0, "maximum": MOST}),
    ] = 1.0
    """Strength of the identity tokens' attention, 0 to 2, or pairs such as [[0, 0.3], [0.4, 1]]: 0.3 at
    first, 1 once 0.4 of the steps are done."""
    lora_scale: float = Field(default=1.0, ge=0, le=2)
    """Strength of the low-rank changes to the base's attention."""
    eta: float = Field(default=0.0, ge=0, le=1)
    """Noise added anew at each step, from 0 (DDIM, the paper's) to 1 (DDPM)."""
    caption: str = CAPTION
    """Description of the face that names its parts; each named part gets its picture."""
    face_box: tuple[float, float, float, float] | None = None
    """(x0, y0, x1, y1) px of the face on the first reference, for when it is not found or not alone."""
    target_box: tuple[float, float, float, float] | None = None
    """(x0, y0, x1, y1) px of the face to paint on the picture that is painted into, likewise."""
    second_pass: float = Field(default=0.25, ge=0, le=1)
    """Faces smaller than this share of the size the base paints best are painted again, enlarged; 0: none."""
    id_shortcut_scale: float = Field(default=1.0, ge=0, le=2)
    """Weight of what was read from the picture where the identity embedding is added to it (SDXL)."""
