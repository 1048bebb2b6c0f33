"""What IC-Portrait is. Imports no torch."""

from __future__ import annotations

from likeness.methods.ic_portrait.config import IcPortraitOptions
from likeness.types import MethodCard

__all__ = ["CARD"]

CARD = MethodCard(
    name="ic-portrait",
    title="IC-Portrait: In-Context Matching for View-Consistent Personalized Portrait Generation",
    paper_url="https://arxiv.org/abs/2501.17159",
    references=range(1, 2),
    options=IcPortraitOptions,
    bases=("mini", "sd15"),
    stages=("matching", "appearance", "person"),
    weights={
        "sd15": "none published: train them on pictures of people from several sides",
        "mini": "adapters/ic-portrait in the mini pack",
    },
    licences={"mini": "Apache-2.0", "openai/clip-vit-large-patch14": "MIT"},
    identity_encoder="none: the profile is copied feature by feature, no recogniser takes part",
    task="restyle",
)
