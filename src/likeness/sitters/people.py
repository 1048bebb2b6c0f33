"""Draws a person: bones, flesh, skin, eyes and the hair that grows.

Shape is drawn nearly over the full range of every field, because recognisers need people that
differ; masculinity and age only lean on it. The leanings were set by eye, not measured on people.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from likeness.sitters.parameters import Identity, field_range

__all__ = ["sample_person"]

# Share by which masculinity decides a field, the rest is free; negative: less with masculinity.
_LEAN_MASCULINE = {
    "head_width": 0.15, "face_width": 0.15, "jaw_width": 0.40, "jaw_radius": 0.20, "chin_width": 0.35,
    "chin_height": -0.20, "chin_depth": 0.15, "brow_ridge": 0.55, "brow_thickness": 0.45, "brow_arch": -0.30,
    "brow_height": -0.20, "eye_radius": -0.25, "upper_lid": -0.15, "nose_width": 0.15, "nose_tip": 0.15,
    "bridge_width": 0.20, "upper_lip": -0.30, "lower_lip": -0.30, "neck_width": 0.50, "shoulder_width": 0.45,
    "cheekbone": -0.10, "ear_size": 0.10, "forehead": 0.10,
}  # fmt: skip
# The same for age from 20 to 80 years.
_LEAN_OLD = {"ear_size": 0.20, "upper_lip": -0.15, "upper_lid": -0.20, "nose_length": 0.15}
# Fields where both ends are odd: drawn denser in the middle.
_CENTRAL = ("eye_offset", "brow_offset", "jaw_shift", "nose_bend", "mouth_slant", "head_height", "head_depth")
# Fields drawn below with their own rules.
_OWN_RULES = ("masculinity", "age_years", "freckles", "mole_size", "second_mole_size", "skin_tone", "greying")


def sample_person(rng: np.random.Generator) -> Identity:
    """One person from a random stream: equal streams give equal people."""
    man = _masculinity(rng)
    age = _age(rng)
    old = float(np.clip((age - 20) / 60, 0, 1))
    tone = float(rng.random())
    values: dict[str, Any] = {"masculinity": man, "age_years": age, "skin_tone": tone}
    for field in dataclasses.fields(Identity):
        if "range" not in field.metadata or field.name in _OWN_RULES:
            continue
        low, high = field_range(Identity, field.name)
        share = float(rng.beta(2.5, 2.5)) if field.name in _CENTRAL else float(rng.random())
        for leaning, target in ((_LEAN_MASCULINE, man), (_LEAN_OLD, old)):
            lean = leaning.get(field.name, 0.0)
            share = (1 - abs(lean)) * share + abs(lean) * (target if lean > 0 else 1 - target)
        values[field.name] = low + (high - low) * share
    values.update(_skin(rng, tone, old))
    values.update(_hair_and_eyes(rng, tone, age, man))
    recede = float(rng.random())
    if man > 0.6 and recede < 0.15 + 0.5 * old:
        low, high = field_range(Identity, "forehead")
        values["forehead"] = high - (high - low) * 0.25 * (1 - old) * float(rng.random())
    return Identity(**_in_proportion(values))


def _masculinity(rng: np.random.Generator) -> float:
    """Two humps near 0.18 and 0.82 and a fifth of everybody anywhere."""
    hump, free, anywhere = float(rng.normal(0, 0.10)), float(rng.random()), float(rng.random())
    side = rng.random() < 0.5
    humped = float(np.clip((0.82 if side else 0.18) + hump, 0, 1))
    return anywhere if free < 0.2 else humped


def _age(rng: np.random.Generator) -> float:
    """18 to 85 years, four of five people between 20 and 60."""
    part, where = float(rng.random()), float(rng.random())
    if part < 0.04:
        return 18 + 2 * where
    if part < 0.80:
        return 20 + 40 * where
    return 60 + 25 * float(where**1.3)


def _skin(rng: np.random.Generator, tone: float, old: float) -> dict[str, float]:
    freckled = rng.random() < 0.30 * max(0.0, 1 - 1.6 * tone)
    strength = float(rng.uniform(0.4, 1.0))
    moles = [float(rng.uniform(0.010, 0.024)) if rng.random() < 0.28 + 0.12 * old else 0.0 for _ in range(2)]
    return {"freckles": strength if freckled else 0.0, "mole_size": moles[0], "second_mole_size": moles[1]}


def _hair_and_eyes(rng: np.random.Generator, tone: float, age: float, man: float) -> dict[str, Any]:
    light = max(0.0, 1 - 1.7 * tone)  # 0 from the middle of the tones on
    hair = _pick(
        rng,
        {
            "black": 0.12 + 0.9 * tone, "dark brown": 0.18 + 0.4 * tone, "brown": 0.20 * (1.15 - tone),
            "chestnut": 0.12 * (1.05 - tone), "auburn": 0.10 * light + 0.01, "red": 0.15 * light,
            "blond": 0.25 * light, "light blond": 0.14 * light,
        },
    )  # fmt: skip
    eyes = _pick(
        rng,
        {
            "dark brown": 0.15 + 1.2 * tone, "brown": 0.25 + 0.5 * tone, "hazel": 0.14 * (1 - tone) + 0.03,
            "green": 0.16 * light + 0.01, "blue": 0.32 * light + 0.005, "grey": 0.10 * light,
        },
    )  # fmt: skip
    # Grey starts near 42 and is complete near 80, a decade sooner or later.
    level = (age - 42) / 38 + float(rng.normal(0, 0.18)) + 0.05 * man
    greying = float(np.clip(level, 0, 1)) if age > 30 else 0.0
    if greying > 0.6:
        hair, greying = ("white" if greying > 0.85 else "grey"), 0.0
    if greying < 0.1:
        greying = 0.0
    freckles: dict[str, Any] = {}
    if hair in ("red", "auburn") and tone < 0.35 and rng.random() < 0.6:
        freckles = {"freckles": float(rng.uniform(0.5, 1.0))}
    return {"hair_colour": hair, "eye_colour": eyes, "greying": greying, **freckles}


def _pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    names, values = list(weights), np.array(list(weights.values()))
    return names[int(np.searchsorted(np.cumsum(values) / values.sum(), rng.random(), side="right"))]


def _in_proportion(values: dict[str, Any]) -> dict[str, Any]:
    """Moves the fields that would run into each other just far enough apart."""
    v = dict(values)

    def limit(name: str, low: float, high: float) -> None:
        allowed = field_range(Identity, name)
        v[name] = float(np.clip(np.clip(v[name], low, high), *allowed))

    big = 9.0
    limit("face_width", v["head_width"] - 0.20, v["head_width"] - 0.05)
    limit("jaw_width", v["face_width"] - 0.30, v["face_width"] - 0.06)
    limit("chin_width", 0, v["jaw_width"] - 0.20)
    limit("eye_spacing", -big, v["face_width"] - 0.22)
    limit("eye_spacing", v["eye_radius"] + 0.075, big)
    limit("brow_height", v["eye_radius"] * 0.95 - 0.02, big)
    limit("upper_lid", v["lower_lid"] + 0.08, big)
    # the mouth keeps a chin under it
    limit("nose_length", -big, 0.42)
    limit("mouth_drop", -big, 0.92 - v["nose_length"])
    limit("chin_height", -big, -(v["nose_length"] + v["mouth_drop"]) - 0.24)
    limit("jaw_height", v["chin_height"] + 0.22, v["chin_height"] + 0.52)
    limit("mouth_width", v["nose_width"] + 0.06, big)
    limit("nose_tip", -big, v["nose_width"] + 0.02)
    return v
