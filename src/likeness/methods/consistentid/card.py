"""What ConsistentID is. Imports no torch."""

from __future__ import annotations

from likeness.methods.consistentid.config import ConsistentIDOptions
from likeness.types import MethodCard

__all__ = ["CARD"]

CARD = MethodCard(
    name="consistentid",
    title="ConsistentID: Portrait Generation with Multimodal Fine-Grained Identity Preserving",
    paper_url="https://arxiv.org/abs/2404.16771",
    references=range(1, 9),
    options=ConsistentIDOptions,
    bases=("mini", "sd15", "sdxl"),
    stages=("adapter",),
    weights={
        "sd15": "JackAILab/ConsistentID/ConsistentID-v1.bin",
        "sdxl": "JackAILab/ConsistentID/ConsistentID_SDXL-v1.bin",
        "mini": "adapters/consistentid in the mini pack",
    },
    licences={
        "code of the published system": "MIT",
        "published weights": "MIT; conditioned on InsightFace embeddings (non-commercial research)",
        "mini": "Apache-2.0",
    },
    identity_encoder="arcface (sd15, sdxl), mini-recogniser (mini)",
)
