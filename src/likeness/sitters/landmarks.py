"""Where the face's landmarks are, from the geometry alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from likeness.sitters.renderer.geometry import Geometry

__all__ = ["LANDMARKS", "landmark_points"]

# left and right as seen in a frontal picture
LANDMARKS = (
    "left eye", "right eye", "nose tip", "left mouth corner", "right mouth corner",
    "left eye outer", "left eye inner", "left upper lid", "left lower lid",
    "right eye outer", "right eye inner", "right upper lid", "right lower lid",
    "left brow outer", "left brow middle", "left brow inner",
    "right brow outer", "right brow middle", "right brow inner",
    "nose bridge", "left nostril", "right nostril", "upper lip", "lower lip", "chin", "left ear", "right ear",
)  # fmt: skip


def landmark_points(g: Geometry) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (K, 3) in the head frame and the directions (K, 3) the surface faces there."""
    p = {name: float(value) for name, value in g._asdict().items()}
    points: dict[str, tuple[float, float, float]] = {}
    out: dict[str, tuple[float, float, float]] = {}

    def put(name: str, point: tuple[float, float, float], outward: tuple[float, float, float]) -> None:
        points[name], out[name] = point, outward

    for name, side in (("left", -1.0), ("right", 1.0)):

        def on_eye(u: float, v: float, side: float = side) -> tuple[float, float, float]:
            depth = max(p["eye_r"] ** 2 - u * u - v * v, 0.0) ** 0.5
            x = p["eye_x"] + u * p["tilt_cos"] - v * p["tilt_sin"]
            y = u * p["tilt_sin"] + v * p["tilt_cos"] + p["eye_offset"] * side
            return side * x, y, p["eye_z"] + depth

        facing = (0.25 * side, 0.0, 1.0)
        middle = (max(p[f"upper_{name}"], -p[f"lower_{name}"]) - p[f"lower_{name}"]) / 2
        put(f"{name} eye", on_eye(0, middle), facing)
        put(f"{name} eye outer", on_eye(p["eye_w"], 0), (0.7 * side, 0, 1))
        put(f"{name} eye inner", on_eye(-p["eye_w"], 0), (0.1 * side, 0, 1))
        put(f"{name} upper lid", on_eye(0, p[f"upper_{name}"]), facing)
        put(f"{name} lower lid", on_eye(0, -p[f"lower_{name}"]), facing)
        for part, u in (("inner", -1.0), ("middle", 0.0), ("outer", 1.0)):
            y = (
                p["brow_y"]
                + p["brow_arch"] * (1 - (u - 0.25) ** 2)
                + p["brow_tilt"] * u
                + p["brow_offset"] * side
            )
            x = side * (p["eye_x"] + 0.01 + u * p["brow_w"])
            put(f"{name} brow {part}", (x, y, 0.82 - 0.12 * (u + 1)), (side * (0.3 + 0.3 * u), 0.2, 1))
        x = side * p["mouth_w"]
        y = p["mouth_y"] + p["smile"] * (0.75 * x * x / (p["mouth_w"] + 0.12) - 0.02)
        y += (p["smirk"] + p["mouth_slant"]) * x
        put(f"{name} mouth corner", (x, y, p["mouth_z"] - 0.85 * x * x), (0.6 * side, 0, 1))
        wing = side * p["wing_x"] + p["nose_bend"]
        put(f"{name} nostril", (wing, p["nose_y"] - 0.03, p["nose_z"] - 0.06), (0.6 * side, 0, 1))
        put(f"{name} ear", (side * p["ear_x"], -0.05, -0.05), (side, 0, 0.2))
    put("nose tip", (p["nose_bend"], p["nose_y"], p["nose_z"] + p["tip_r"]), (0, 0, 1))
    put("nose bridge", (0, 0.05, p["bridge_z"] + p["bridge_r"]), (0, 0, 1))
    put("upper lip", (0, p["mouth_y"] + p["lip_u"] + 0.45 * p["mouth_open"], p["mouth_z"] + 0.07), (0, 0, 1))
    put("lower lip", (0, p["mouth_y"] - p["lip_l"] - 0.58 * p["mouth_open"], p["mouth_z"] + 0.06), (0, 0, 1))
    chin = (p["jaw_shift"], p["chin_y"] - 0.08 - 0.9 * p["mouth_open"], p["chin_z"] + 0.05)
    put("chin", chin, (0, -0.3, 1))
    directions = np.array([out[name] for name in LANDMARKS])
    return np.array([points[name] for name in LANDMARKS]), directions / np.linalg.norm(directions, axis=1)[
        :, None
    ]
