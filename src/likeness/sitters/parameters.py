"""What a picture of a sitter is made of: one frozen dataclass a factor.

Lengths are in head units (the eyeballs lie about 0.6 apart, a head is about 2 tall), in the
head's own frame: x to the right of the picture, y up, z towards the camera, eye level at 0.
Angles are degrees. Shares and strengths are 0 to 1 unless a range is given. A field's allowed
range is in its metadata (`field_range`), which the sampler draws from and the checks use.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from likeness.errors import InputError

__all__ = [
    "Accessories",
    "Background",
    "Camera",
    "Clothes",
    "Expression",
    "Hairstyle",
    "Identity",
    "Light",
    "Makeup",
    "Pose",
    "Scene",
    "field_range",
]

HairKind = Literal[
    "bald", "buzz cut", "short hair", "side part", "quiff", "bob", "long hair", "wavy hair", "bun",
    "ponytail", "pigtails", "curls", "afro",
]  # fmt: skip
BeardKind = Literal["none", "stubble", "moustache", "goatee", "short beard", "full beard"]
ExpressionKind = Literal[
    "neutral", "smiling", "grinning", "laughing", "surprised", "frowning", "sad", "winking", "eyes closed",
    "smirking",
]  # fmt: skip
LightKind = Literal["soft", "window", "sunset", "noon", "rim", "cool", "studio", "neon"]
GarmentKind = Literal["t-shirt", "v-neck", "turtleneck", "hoodie", "shirt", "jacket", "scoop top"]
PatternKind = Literal["plain", "striped", "pinstriped", "checked", "polka-dot", "camouflage"]
GlassesKind = Literal["none", "glasses", "round glasses", "sunglasses"]
HatKind = Literal["none", "cap", "beanie", "bobble hat", "sun hat"]
EarringKind = Literal["none", "studs", "hoops"]
NecklaceKind = Literal["none", "chain", "beads", "pendant"]
BackgroundKind = Literal["studio", "room", "beach", "forest", "city", "lights"]


def ranged(low: float, high: float, default: float | None = None) -> Any:
    """A float field that must lie in [low, high]."""
    return dataclasses.field(
        default=(low + high) / 2 if default is None else default, metadata={"range": (low, high)}
    )


def field_range(owner: type, name: str) -> tuple[float, float]:
    """Allowed (low, high) of a float field, e.g. `field_range(Identity, "nose_width")`."""
    low, high = next(f for f in dataclasses.fields(owner) if f.name == name).metadata["range"]
    return float(low), float(high)


@dataclass(frozen=True)
class _Checked:
    """Refuses values outside a field's range or choices, naming both."""

    def __post_init__(self) -> None:
        kinds = {
            name: get_args(globals()[choice])
            for name, choice in _CHOICES.get(type(self).__name__, {}).items()
        }
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            where = f"{type(self).__name__}.{f.name}"
            if "range" in f.metadata:
                low, high = f.metadata["range"]
                if not low - 1e-6 <= float(value) <= high + 1e-6:
                    raise InputError(f"{where} is {value}, but must lie between {low:g} and {high:g}.")
            elif f.name in kinds and value not in kinds[f.name]:
                raise InputError(f"{where} is {value!r}, but must be one of: {', '.join(kinds[f.name])}.")


_CHOICES: dict[str, dict[str, str]] = {
    "Hairstyle": {"kind": "HairKind", "beard": "BeardKind"},
    "Expression": {"kind": "ExpressionKind"},
    "Light": {"kind": "LightKind"},
    "Clothes": {"garment": "GarmentKind", "pattern": "PatternKind"},
    "Accessories": {
        "glasses": "GlassesKind",
        "hat": "HatKind",
        "earrings": "EarringKind",
        "necklace": "NecklaceKind",
    },
    "Background": {"kind": "BackgroundKind"},
}


@dataclass(frozen=True)
class Identity(_Checked):
    """The person: bones, flesh, skin and eyes. Nothing here changes between two of their pictures."""

    masculinity: float = ranged(0, 1)
    age_years: float = ranged(18, 85, 35)
    # skull and jaw
    head_width: float = ranged(0.62, 0.84)
    head_height: float = ranged(0.80, 0.95)
    head_depth: float = ranged(0.84, 0.96)
    forehead: float = ranged(0.55, 0.90)  # height of the hairline over the eyes
    face_width: float = ranged(0.48, 0.74)
    jaw_width: float = ranged(0.28, 0.62)
    jaw_height: float = ranged(-0.74, -0.46)
    jaw_radius: float = ranged(0.09, 0.24)
    chin_width: float = ranged(0.0, 0.20)
    chin_height: float = ranged(-1.16, -0.82)
    chin_depth: float = ranged(0.46, 0.70)
    chin_radius: float = ranged(0.08, 0.18)
    cheekbone: float = ranged(0.08, 0.30)
    cheek_height: float = ranged(-0.34, -0.12)
    flesh: float = ranged(-0.14, 0.20)  # hollow to full cheeks
    brow_ridge: float = ranged(0.04, 0.13)
    # eyes and brows
    eye_spacing: float = ranged(0.26, 0.38)
    eye_radius: float = ranged(0.165, 0.250)
    eye_width: float = ranged(0.84, 1.0)  # share of the eyeball's radius
    eye_tilt: float = ranged(-8, 12)
    upper_lid: float = ranged(0.42, 0.72)  # opening above the eye's centre, share of its radius
    lower_lid: float = ranged(0.28, 0.46)
    eye_depth: float = ranged(-0.04, 0.05)
    brow_height: float = ranged(0.17, 0.34)
    brow_width: float = ranged(0.17, 0.26)
    brow_thickness: float = ranged(0.014, 0.055)
    brow_arch: float = ranged(0.0, 0.09)
    brow_tilt: float = ranged(-0.07, 0.03)
    # nose
    nose_length: float = ranged(0.24, 0.44)
    nose_depth: float = ranged(0.82, 1.04)
    nose_bridge: float = ranged(0.62, 0.80)
    bridge_width: float = ranged(0.04, 0.09)
    nose_tip: float = ranged(0.055, 0.120)
    nose_bump: float = ranged(-0.07, 0.08)
    nose_width: float = ranged(0.05, 0.17)
    nostril_size: float = ranged(0.045, 0.09)
    # mouth
    mouth_drop: float = ranged(0.20, 0.34)  # from nose tip to lips
    mouth_width: float = ranged(0.15, 0.30)
    upper_lip: float = ranged(0.020, 0.075)
    lower_lip: float = ranged(0.030, 0.095)
    mouth_depth: float = ranged(0.74, 0.86)
    # ears, neck and shoulders
    ear_size: float = ranged(0.70, 1.40)
    ear_angle: float = ranged(0.05, 0.70)
    neck_width: float = ranged(0.26, 0.40)
    shoulder_width: float = ranged(1.05, 1.55)
    # no face is its own mirror image
    nose_bend: float = ranged(-0.06, 0.06)
    mouth_slant: float = ranged(-0.08, 0.08)
    eye_offset: float = ranged(-0.025, 0.025)  # one eye higher than the other
    brow_offset: float = ranged(-0.03, 0.03)
    jaw_shift: float = ranged(-0.06, 0.06)
    # skin and eyes
    skin_tone: float = ranged(0, 1)  # lightest to darkest
    skin_undertone: float = ranged(-1, 1)  # rosy to olive
    blush: float = ranged(0, 1)
    freckles: float = ranged(0, 1, 0)
    mole_x: float = ranged(-0.5, 0.5)
    mole_y: float = ranged(-0.85, -0.1)
    mole_size: float = ranged(0, 0.024, 0)
    second_mole_x: float = ranged(-0.5, 0.5)
    second_mole_y: float = ranged(-0.85, -0.1)
    second_mole_size: float = ranged(0, 0.024, 0)
    eye_colour: str = "brown"
    iris_size: float = ranged(0.46, 0.62)
    hair_colour: str = "brown"  # as it grows; a hairstyle may dye it
    greying: float = ranged(
        0, 0.6, 0
    )  # share of grey strands as it grows; past that the colour is grey or white


@dataclass(frozen=True)
class Hairstyle(_Checked):
    """Head and facial hair as worn today."""

    kind: HairKind = "short hair"
    colour: str = "brown"
    grey: float = ranged(0, 1, 0)
    length: float = ranged(0, 1)  # within what the kind allows
    volume: float = ranged(0, 1)
    wave: float = ranged(0, 1, 0)
    parting: float = ranged(-0.4, 0.4, 0.2)  # x of the parting
    fringe: float = ranged(0, 1, 0)  # 0 none, 1 down to the brows
    beard: BeardKind = "none"
    beard_length: float = ranged(0, 1)


@dataclass(frozen=True)
class Expression(_Checked):
    """What the face does."""

    kind: ExpressionKind = "neutral"
    strength: float = ranged(0.5, 1, 0.8)
    gaze_right: float = ranged(-0.35, 0.35, 0)  # share of the eyeball's radius, 0 looks at the camera
    gaze_up: float = ranged(-0.2, 0.2, 0)
    winking_eye: Literal["left", "right"] = "left"  # as seen in the picture


@dataclass(frozen=True)
class Pose(_Checked):
    """How the head turns: yaw to the picture's right, pitch up, roll clockwise."""

    yaw_deg: float = ranged(-60, 60, 0)
    pitch_deg: float = ranged(-25, 25, 0)
    roll_deg: float = ranged(-20, 20, 0)
    body_follow: float = ranged(0, 1, 0.35)  # share of the yaw that the shoulders turn along


@dataclass(frozen=True)
class Camera(_Checked):
    """Where the picture is taken from."""

    field_of_view_deg: float = ranged(12, 36, 22)
    zoom: float = ranged(0.75, 1.3, 1)
    shift_x: float = ranged(-0.25, 0.25, 0)
    shift_y: float = ranged(-0.2, 0.2, 0)
    elevation_deg: float = ranged(-12, 15, 2)


@dataclass(frozen=True)
class Light(_Checked):
    """The key light; fill and ambient light come from the background."""

    kind: LightKind = "soft"
    azimuth_deg: float = ranged(-80, 80, 35)  # from the picture's left (-) to its right (+)
    elevation_deg: float = ranged(5, 70, 40)
    strength: float = ranged(0.7, 1.3, 1)


@dataclass(frozen=True)
class Clothes(_Checked):
    """One garment, with what is worn under a jacket."""

    garment: GarmentKind = "t-shirt"
    colour: str = "blue"
    pattern: PatternKind = "plain"
    pattern_colour: str = "white"
    pattern_scale: float = ranged(2.2, 4.6, 3.2)
    inner_colour: str = "white"  # under a jacket
    logo: int = 0  # 0 none, 1 ring, 2 square, 3 triangle


@dataclass(frozen=True)
class Accessories(_Checked):
    """What can be put on and taken off."""

    glasses: GlassesKind = "none"
    glasses_colour: str = "black"
    glasses_width: float = ranged(0.19, 0.26, 0.22)
    glasses_height: float = ranged(0.13, 0.21, 0.17)
    hat: HatKind = "none"
    hat_colour: str = "red"
    hat_trim_colour: str = "red"
    earrings: EarringKind = "none"
    necklace: NecklaceKind = "none"
    metal: Literal["gold", "silver"] = "gold"
    scarf: bool = False
    scarf_colour: str = "red"


@dataclass(frozen=True)
class Makeup(_Checked):
    """Colour on lips and lids."""

    lipstick: float = ranged(0, 1, 0)
    lipstick_colour: str = "red"
    eyeshadow: float = ranged(0, 1, 0)
    eyeshadow_colour: str = "purple"


@dataclass(frozen=True)
class Background(_Checked):
    """The place, out of focus."""

    kind: BackgroundKind = "studio"
    colour: str = "grey"
    second_colour: str = "white"
    seed: int = 0  # which room, which trees
    blur: float = ranged(0.008, 0.035, 0.02)
    horizon: float = ranged(-0.08, 0.08, 0)


@dataclass(frozen=True)
class Scene:
    """One picture: a person and everything around them. `seed` is where it was drawn from, if it was."""

    identity: Identity = Identity()
    hair: Hairstyle = Hairstyle()
    expression: Expression = Expression()
    pose: Pose = Pose()
    camera: Camera = Camera()
    light: Light = Light()
    clothes: Clothes = Clothes()
    accessories: Accessories = Accessories()
    makeup: Makeup = Makeup()
    background: Background = Background()
    seed: int | None = None

    def record(self) -> dict[str, Any]:
        """Every parameter as plain JSON values, factor by factor."""
        return dataclasses.asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Scene:
        """The scene that `record` was taken from.

        Raises InputError naming a factor or field that does not exist.
        """
        factors: dict[str, Any] = {}
        for name, value in record.items():
            kinds: dict[str, Any] = {f.name: type(f.default) for f in dataclasses.fields(cls)}
            if name not in kinds:
                raise InputError(f"A scene has no {name!r}; it has: {', '.join(kinds)}.")
            try:
                factors[name] = value if name == "seed" else kinds[name](**value)
            except TypeError as error:
                raise InputError(f"The scene's {name} does not fit: {error}.") from error
        return cls(**factors)
