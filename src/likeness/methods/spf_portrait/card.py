"""What SPF-Portrait is. Imports no torch."""

from __future__ import annotations

from likeness.methods.spf_portrait.config import SpfOptions
from likeness.types import MethodCard

__all__ = ["CARD"]

CARD = MethodCard(
    name="spf-portrait",
    title="SPF-Portrait: Towards Pure Text-to-Portrait Customization with Semantic Pollution-Free "
    "Fine-Tuning",
    paper_url="https://arxiv.org/abs/2504.00396",
    references=range(1),
    options=SpfOptions,
    bases=("mini", "sd15"),
    stages=("naive", "contrastive"),
    weights={
        "mini": "adapters/spf-portrait in the mini pack, and deltas of one's own training",
        "sd15": "deltas of one's own training; the authors published none",
    },
    licences={"deltas": "what their training data allow, declared in the file"},
    identity_encoder="none",
    task="customise",
)
