"""What SCheese is. Imports no torch."""

from __future__ import annotations

from likeness.methods.scheese.config import SCheeseOptions
from likeness.types import MethodCard

__all__ = ["CARD"]

CARD = MethodCard(
    name="scheese",
    title="Say Cheese! Detail-Preserving Portrait Collection Generation via Natural Language Edits",
    paper_url="https://openaccess.thecvf.com/CVPR2026",
    references=range(1, 2),
    options=SCheeseOptions,
    bases=("mini", "sd15", "sdxl"),
    stages=("ip-adapter", "scheese"),
    weights={
        "mini": "adapters/scheese in the mini pack",
        "sd15": "weights of one's own training; the authors published none",
        "sdxl": "weights of one's own training; the authors published none",
    },
    licences={
        "mini": "Apache-2.0",
        "own": "what the base's and the training data's allow, declared in the file",
    },
    identity_encoder="none when it paints; mini-recogniser taught it (mini)",
    task="collect",
)
