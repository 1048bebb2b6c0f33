"""The trained modules of SCheese: Fusion IP-Adapter, ConsistencyNet, and the attention that reads them.

Shapes: B pictures, S image tokens of width W, T text tokens, K fused tokens of width D, latents (B, C, h, w).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from likeness.diffusion.channels import with_input_channels
from likeness.diffusion.resampler import PerceiverResampler
from likeness.errors import IncompatibleWeightsError
from likeness.methods.scheese.attention import FusedAttnProcessor, Keys, ReferenceAttnProcessor
from likeness.methods.scheese.config import SCheeseSizes

__all__ = ["FusionProjection", "SCheese", "consistency_net", "features_of"]


class FusionProjection(nn.Module):
    """`f_fused = Proj([f_r ; f_m])`: a query resampler over image tokens and, after them, text tokens.

    Of image tokens alone it is IP-Adapter-plus, and `f_img` of the target in L_align and teacher forcing. The
    resampler's parameters are called as in the published weights.
    """

    def __init__(self, sizes: SCheeseSizes) -> None:
        super().__init__()
        self.words_width = sizes.words_width
        self.image_proj = PerceiverResampler(
            dim=sizes.dim,
            depth=sizes.depth,
            heads=sizes.heads,
            input_width=sizes.image_width,
            output_width=sizes.text_width,
            ff_mult=sizes.ff_mult,
            queries=sizes.queries,
        )
        if sizes.has.fusion:
            # Its bias tells text tokens from image tokens.
            self.words = nn.Linear(sizes.words_width, sizes.image_width)

    def forward(self, image: Tensor, text: Tensor | None = None) -> Tensor:
        """image (B, S, W) states; text (B, T, D) rows of the UNet, or None -> tokens (B, K, D)."""
        if text is None:
            return self.image_proj(image)  # type: ignore[no-any-return]
        words = self.words(text[..., -self.words_width :])
        return self.image_proj(torch.cat([image, words], dim=1))  # type: ignore[no-any-return]


def consistency_net(unet: Any) -> Any:
    """ConsistencyNet's UNet from an inpainting model, or a base's: a copy that reads the latents alone.

    Of an inpainting model's first convolution the channels of the mask and of the masked picture are removed.
    """
    return with_input_channels(unet, int(unet.config.out_channels))


def self_attention(unet: Any) -> list[str]:
    """Paths of the self-attention layers of all transformer blocks, in order."""
    return [name.removesuffix(".processor") for name in unet.attn_processors if ".attn1." in name]


def cross_attention(unet: Any) -> list[str]:
    """Paths of the cross-attention layers, in order."""
    return [name.removesuffix(".processor") for name in unet.attn_processors if ".attn2." in name]


def features_of(
    unet: Any, latents: Tensor, text: Tensor, added: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """What reaches each self-attention of ConsistencyNet, run on clean latents at time step 0.

    text: rows of the empty prompt, (1 or B, T, D). added: SDXL's further conditions.
    Returns: path of the layer -> (B, P, C).
    """
    found: dict[str, Tensor] = {}

    def remember(path: str) -> Any:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            found[path] = given[0]

        return hook

    hooks = [
        unet.get_submodule(path).register_forward_pre_hook(remember(path)) for path in self_attention(unet)
    ]
    try:
        start = torch.zeros(len(latents), dtype=torch.long, device=latents.device)
        unet(latents, start, text.expand(len(latents), -1, -1), added_cond_kwargs=added)
    finally:
        for one in hooks:
            one.remove()
    return found


class SCheese(nn.Module):
    """All that is trained; the base stays frozen.

    unet: the base's, which gives the layers their shapes and their start. consistency: the UNet that
    ConsistencyNet is made from (`consistency_net`), where the variant has one; its layers are the base's.
    Raises: IncompatibleWeightsError when the UNet's text width is not the adapter's.
    """

    def __init__(self, sizes: SCheeseSizes, unet: Any, consistency: Any = None) -> None:
        super().__init__()
        width = unet.config.cross_attention_dim
        if width != sizes.text_width:
            raise IncompatibleWeightsError(
                f"This SCheese adapter is for {sizes.family} (text width {sizes.text_width}), the base has "
                f"text width {width}: give an adapter trained for text width {width}."
            )
        self.sizes = sizes
        self.fusion = FusionProjection(sizes)
        self._cross = cross_attention(unet)
        self.cross = nn.ModuleList(
            FusedAttnProcessor(unet.get_submodule(path), sizes.queries) for path in self._cross
        )
        self._own = self_attention(unet) if sizes.has.consistency else []
        self.reference = nn.ModuleList(ReferenceAttnProcessor(unet.get_submodule(p)) for p in self._own)
        self.consistency_net = consistency_net(consistency or unet) if sizes.has.consistency else None

    @property
    def processors(self) -> dict[str, Any]:
        """The attention processors by the names that `set_attn_processor` wants."""
        layers = [*zip(self._cross, self.cross, strict=True), *zip(self._own, self.reference, strict=True)]
        return {f"{path}.processor": processor for path, processor in layers}

    @property
    def reference_paths(self) -> tuple[str, ...]:
        """The self-attention layers that `reference` stands beside, in its order."""
        return tuple(self._own)

    def begun_as(self, name: str) -> str:
        """What a tensor of ours is called in the UNet that it began as a copy of; others keep theirs."""
        part, _, rest = name.partition(".")
        if part == "consistency_net":
            return rest
        number, _, layer = rest.partition(".")
        if part == "reference":
            return f"{self._own[int(number)]}.{layer.replace('to_out.', 'to_out.0.')}"
        if part == "cross":
            return f"{self._cross[int(number)]}.{layer.replace('_ip.', '.')}"
        return name

    def features(
        self, latents: Tensor, text: Tensor, added: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """`features_of` the clean latents of references; {} for a variant without ConsistencyNet."""
        if self.consistency_net is None:
            return {}
        return features_of(self.consistency_net, latents, text, added)

    def keys(self, features: Mapping[str, Tensor]) -> list[Keys]:
        """Features of references as the denoising net reads them, a pair a layer."""
        return [
            layer.keys_of(features[path])  # type: ignore[operator]
            for path, layer in zip(self._own, self.reference, strict=True)
        ]

    @contextmanager
    def seeing(self, keys: list[Keys], rows: Tensor | None = None, scale: float = 1.0) -> Iterator[None]:
        """Inside the block the processors attend to the references; see `ReferenceAttnProcessor`."""
        try:
            for layer, seen in zip(self.reference, keys, strict=True):
                layer.keys, layer.rows, layer.scale = seen, rows, scale  # type: ignore[assignment]
            yield
        finally:
            for layer in self.reference:
                layer.keys, layer.rows = None, None  # type: ignore[assignment]

    @contextmanager
    def remembering(self, scale: float = 1.0) -> Iterator[None]:
        """Inside the block fused tokens count by `scale`, and keys of the same states are computed once."""
        try:
            for layer in self.cross:
                layer.scale, layer.kept = scale, []  # type: ignore[assignment]
            yield
        finally:
            for layer in self.cross:
                layer.scale, layer.kept = 1.0, None  # type: ignore[assignment]
