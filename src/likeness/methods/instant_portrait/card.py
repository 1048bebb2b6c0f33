"""What InstantPortrait is. Imports no torch."""

from __future__ import annotations

from likeness.methods.instant_portrait.config import InstantPortraitOptions
from likeness.types import MethodCard

__all__ = ["CARD"]

CARD = MethodCard(
    name="instant-portrait",
    title="InstantPortrait: One-Step Portrait Editing via Diffusion Multi-Objective Distillation",
    paper_url="https://proceedings.iclr.cc/paper_files/paper/2025/hash/29c71a71cf3b354036d9b413cd049cbf-Abstract-Conference.html",
    references=range(1, 2),
    options=InstantPortraitOptions,
    bases=("mini", "sd15"),
    stages=("ide-net", "ipnet"),
    weights={
        "sd15": "timbrooks/instruct-pix2pix (the baseline; the paper's weights were never published)",
        "mini": "adapters/instant-portrait (one step), adapters/instant-portrait-teacher (many) in the pack",
    },
    licences={
        "instruct-pix2pix": "MIT",
        "mini": "Apache-2.0",
    },
    identity_encoder="none when it paints; mini-recogniser taught it (mini)",
    task="edit",
    adapters=("instant-portrait", "instant-portrait-teacher"),
)
