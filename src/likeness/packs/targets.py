"""What a mini pack's parts are to reach on held-out people, by the names that `packs.check` measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from likeness.packs.check_words import CATEGORIES

__all__ = ["TARGETS", "Target", "targets_of"]


@dataclass(frozen=True)
class Target:
    """A bound that a measure is to keep: not below `value`, or with `at_most` not above it."""

    value: float
    at_most: bool = False

    def reached_by(self, measured: float) -> bool:
        """Whether the measure itself keeps the bound, whatever its interval; nan does not."""
        return measured <= self.value if self.at_most else measured >= self.value

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.value:g}"


_RECOGNISER = {"accuracy": Target(0.97), "tar_at_far_1e-3": Target(0.85)}

TARGETS: Mapping[str, Mapping[str, Target]] = {
    "autoencoder": {"psnr_db": Target(31), "face_similarity": Target(0.90)},
    "clip": {"right_of_100": Target(0.80), "over_90_percent": Target(1)},
    "landmarks": {"found": Target(1), "error": Target(0.03, at_most=True)},
    "recogniser": _RECOGNISER,
    "judge_recogniser": _RECOGNISER,
    "parser": {"mean_iou": Target(0.80)},
    "attributes": {
        **dict.fromkeys(CATEGORIES, Target(0.95)),
        **{f"{angle}_error_deg": Target(5, at_most=True) for angle in ("yaw", "pitch", "roll")},
        "light_error_deg": Target(15, at_most=True),
    },
    "vit": {"all": Target(0.85)},
    "unet": {
        "named_attributes_seen": Target(0.90),
        "fid_times_real": Target(2, at_most=True),
        "seconds_a_picture": Target(3, at_most=True),
    },
}


def targets_of(part: str, measured: Mapping[str, float]) -> dict[str, dict[str, str | bool]]:
    """Of each measure of a part that has a target: {"target": ">= 31", "reached": False}."""
    return {
        name: {"target": str(target), "reached": target.reached_by(measured[name])}
        for name, target in TARGETS.get(part, {}).items()
        if name in measured
    }
