"""Every method at toy width, behind one interface, for the contract test.

A new method adds a class here and a line to `TOYS`.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from likeness.diffusion.image_encoder import load_image_encoder
from likeness.diffusion.load import Base, load_base
from likeness.faces.detect import Detection
from likeness.faces.embed import RecogniserNet
from likeness.methods.consistentid.config import CAPTION, PARTS, ConsistentIDSizes
from likeness.methods.consistentid.loading import load_pipeline as load_consistentid
from likeness.methods.consistentid.model import ConsistentIDAdapter
from likeness.methods.consistentid.text import mark_prompt
from likeness.methods.consistentid.training import ConsistentIDPhase
from likeness.methods.consistentid.weights import new_adapter, save_adapter
from likeness.methods.ic_portrait.config import NetSettings
from likeness.methods.ic_portrait.config import Training as IcTraining
from likeness.methods.ic_portrait.model import Nets, control_net
from likeness.methods.ic_portrait.pipeline import load as load_ic_portrait
from likeness.methods.ic_portrait.training import AppearancePhase, MatchingPhase, PersonPhase
from likeness.methods.ic_portrait.weights import save_nets
from likeness.methods.instant_portrait.config import DistillStage, EditSettings
from likeness.methods.instant_portrait.model import Discriminator, editing_unet
from likeness.methods.instant_portrait.pipeline import load as load_instant_portrait
from likeness.methods.instant_portrait.training import DiscriminatorPhase, IdeNetPhase, IpNetPhase
from likeness.methods.instant_portrait.weights import save_editor
from likeness.methods.scheese.config import SCheeseSizes
from likeness.methods.scheese.model import SCheese
from likeness.methods.scheese.pipeline import load as load_scheese
from likeness.methods.scheese.training import SCheesePhase
from likeness.methods.scheese.weights import save_adapter as save_scheese
from likeness.methods.spf_portrait.pipeline import load as load_spf_portrait
from likeness.methods.spf_portrait.training import ContrastivePhase, NaivePhase
from likeness.methods.spf_portrait.tuning import Tuning
from likeness.methods.spf_portrait.weights import DeltaCard, base_digest, save_delta
from likeness.training.phase import Batch, Phase
from likeness.types import Face, PortraitPipeline, PortraitRequest
from tests import tiny

SIDE_PX = 96


class MiddleDetector:
    """A detector for toy pictures: the face is always in the middle."""

    name = "middle"
    licence = "none"

    def search(self, image: Image.Image) -> Detection:
        return Detection(self(image), (self.name,))

    def __call__(self, image: Image.Image) -> list[Face]:
        width, height = image.size
        points = np.array([[0.38, 0.42], [0.62, 0.42], [0.5, 0.56], [0.4, 0.68], [0.6, 0.68]])
        box = (width * 0.25, height * 0.2, width * 0.75, height * 0.8)
        return [Face(box, (points * [width, height]).astype(np.float32))]


class PixelEncoder:
    """A face encoder for toy pictures: 4 x 4 pixels, centred and of unit length."""

    licence = "none"
    dim = 48

    def __init__(self, name: str = "pixels") -> None:
        self.name = name

    def __call__(self, aligned: list[Image.Image]) -> np.ndarray:
        rows = np.stack([np.asarray(face.resize((4, 4)), np.float32).ravel() for face in aligned])
        rows -= rows.mean(1, keepdims=True)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)


class Toy(ABC):
    """One method, small enough to paint and train in a second."""

    base: Base
    reads_words = True
    """Whether a picture depends on the prompt."""

    @abstractmethod
    def pipeline(self) -> PortraitPipeline: ...

    @abstractmethod
    def phases(self) -> list[Phase]: ...

    @abstractmethod
    def batch(self, step: int) -> Batch: ...

    @abstractmethod
    def save(self, folder: Path) -> None: ...

    @abstractmethod
    def loaded(self, folder: Path) -> PortraitPipeline: ...

    def request(self, seed: int, **settings: Any) -> PortraitRequest:
        fixed = {
            "prompt": "a man wearing a red hat",
            "references": (REFERENCE,),
            "steps": 3,
            "size_px": (64, 64),
        }
        return PortraitRequest(seed=seed, **{**fixed, **settings})


REFERENCE = picture(0)


def consistentid_sizes(base: Base) -> ConsistentIDSizes:
    return ConsistentIDSizes(
        base.family,
        text_width=base.text_width,
        image_width=32,
        id_width=PixelEncoder.dim,
        part_width=32,
        part_depth=1,
        part_heads=2,
        id_depth=1,
        id_heads=2,
        lora_rank=2,
        shortcut=base.family == "sdxl",
    )


def consistentid_adapter(base: Base) -> ConsistentIDAdapter:
    """Seeded, and moved off its start, where LoRA is zero."""
    torch.manual_seed(0)
    adapter = new_adapter(base, consistentid_sizes(base))
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return adapter.eval()


class ToyConsistentID(Toy):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = load_base(folder)
        self.adapter = consistentid_adapter(self.base)
        encoder = tiny.write_image_encoder(folder.parent / "image_encoder")
        self.image_encoder = load_image_encoder(encoder, device="cpu", dtype=torch.float32)

    def pipeline(self) -> PortraitPipeline:
        folder = self.folder.parent / f"{self.folder.name}-adapter"
        if not folder.exists():
            self.save(folder)
        return self.loaded(folder)

    def loaded(self, folder: Path) -> PortraitPipeline:
        return load_consistentid(
            self.base,
            folder,
            detector=MiddleDetector(),
            face_encoder=PixelEncoder(),
            image_encoder=self.image_encoder,
        )

    def save(self, folder: Path) -> None:
        save_adapter(self.adapter, folder, dtype=torch.float32)

    def request(self, seed: int, **settings: Any) -> PortraitRequest:
        # A second pass would paint the toys' small faces at the size of a whole SDXL picture.
        settings.setdefault("options", {"second_pass": 0})
        return super().request(seed, **settings)

    def phases(self) -> list[Phase]:
        return [ConsistentIDPhase(self.adapter, self.base, drop=0.3)]

    def batch(self, step: int) -> Batch:
        size, channels = 4, self.base.unet.config.in_channels
        source = torch.Generator().manual_seed(100 + step)
        marked = mark_prompt(self.base.tokenizers, "a man wearing a red hat", CAPTION, PARTS)
        batch = {
            "latents": torch.randn(size, channels, 8, 8, generator=source),
            "part_tokens": marked.part_tokens.expand(size, -1),
            "crop_states": torch.randn(size, 5, 17, 32, generator=source),
            "valid": torch.tensor([[True, True, False, True, True]] + [[True] * 5] * (size - 1)),
            "image_states": torch.randn(size, 17, 32, generator=source),
            "id_embedding": torch.randn(size, PixelEncoder.dim, generator=source),
            "part_masks": torch.rand(size, 5, 8, 8, generator=source),
        }
        for index, ids in enumerate(marked.ids):
            batch["text_ids" if index == 0 else f"text_ids_{index + 1}"] = ids.expand(size, -1)
        return batch


class ToyInstantPortrait(Toy):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = load_base(folder)
        torch.manual_seed(0)
        # Moved off the start, where the picture counts for nothing.
        self.unets = [editing_unet(self.base.unet) for _ in range(3)]
        with torch.no_grad():
            for unet in self.unets:
                unet.conv_in.weight += 0.1 * torch.randn_like(unet.conv_in.weight)
        self.recogniser = RecogniserNet(width=8, depth=(1, 1), dim=16).eval().requires_grad_(False)
        self.backbone = tiny.backbone()
        self.discriminator = Discriminator(self.backbone, width=8)

    def pipeline(self) -> PortraitPipeline:
        folder = self.folder.parent / f"{self.folder.name}-editor"
        if not folder.exists():
            self.save(folder)
        return self.loaded(folder)

    def loaded(self, folder: Path) -> PortraitPipeline:
        return load_instant_portrait(self.base, folder)

    def save(self, folder: Path) -> None:
        settings = EditSettings(self.base.family, "ide-net", steps=4)  # type: ignore[arg-type]
        save_editor(self.unets[0], settings, folder, dtype=torch.float32)

    def phases(self) -> list[Phase]:
        ide, student, teacher = self.unets
        stage = DistillStage(100, 300, distill=0.5, triplet=1.0, inversion=True)
        distilled = IpNetPhase(
            student, teacher, self.discriminator, self.backbone, self.base, stage, margin=-1.0, crop_px=32
        )
        return [
            IdeNetPhase(ide, self.base, self.recogniser, learning_rate=1e-3),
            distilled,
            DiscriminatorPhase(self.discriminator, distilled),
        ]

    def batch(self, step: int) -> Batch:
        size, channels = 3, self.base.unet.config.in_channels
        source = torch.Generator().manual_seed(100 + step)
        affine = torch.tensor([[0.4, 0.0, 8.0], [0.0, 0.4, 8.0]])
        return {
            "pixels_before": torch.rand(size, 3, 64, 64, generator=source) * 2 - 1,
            "pixels_after": torch.rand(size, 3, 64, 64, generator=source) * 2 - 1,
            "image_latents": torch.randn(size, channels, 8, 8, generator=source),
            "latents": torch.randn(size, channels, 8, 8, generator=source),
            "text": torch.randn(size, 77, self.base.text_width, generator=source),
            "face_affine": affine.expand(size, 2, 3),
        }


class ToySpfPortrait(Toy):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = load_base(folder)
        torch.manual_seed(0)
        self.naive = Tuning(self.base.unet, "all")
        self.tuning = Tuning(self.base.unet, "cross-attention")
        with torch.no_grad():
            for parameter in self.tuning.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
        self.projection = torch.randn(3, 8)

    def clip_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(pixels.mean((2, 3)) @ self.projection + 0.1, dim=-1)

    def pipeline(self) -> PortraitPipeline:
        folder = self.folder.parent / f"{self.folder.name}-delta"
        if not folder.exists():
            self.save(folder)
        return self.loaded(folder)

    def loaded(self, folder: Path) -> PortraitPipeline:
        return load_spf_portrait(self.base, folder / "delta.safetensors")

    def save(self, folder: Path) -> None:
        card = DeltaCard(self.base.family, self.base.name, base_digest(self.base), ("a red hat",))
        save_delta(self.tuning.delta(self.base.unet), card, folder / "delta.safetensors", dtype=torch.float32)

    def phases(self) -> list[Phase]:
        return [
            NaivePhase(self.naive, self.base, learning_rate=1e-3),
            ContrastivePhase(self.tuning, self.base, self.clip_image, learning_rate=1e-3),
        ]

    def batch(self, step: int) -> Batch:
        size, channels, width = 2, self.base.unet.config.in_channels, self.base.text_width
        source = torch.Generator().manual_seed(100 + step)
        unit = torch.nn.functional.normalize
        tokens = torch.zeros(size, 77, dtype=torch.bool)
        tokens[:, 1:6] = True
        phrases = torch.zeros(size, 2, 77, dtype=torch.bool)
        phrases[:, 0, 1:3] = phrases[:, 1, 3:6] = True
        return {
            "latents": torch.randn(size, channels, 8, 8, generator=source),
            "base_text": torch.randn(size, 77, width, generator=source),
            "full_text": torch.randn(size, 77, width, generator=source),
            "base_tokens": tokens,
            "target_tokens": ~tokens,
            "phrases": phrases,
            "similarity": torch.rand(size, 2, generator=source),
            "target": unit(torch.randn(size, 8, generator=source), dim=-1),
            "wanted": unit(torch.randn(size, 8, generator=source), dim=-1),
        }

    def request(self, seed: int, **settings: Any) -> PortraitRequest:
        settings.setdefault("references", ())
        return super().request(seed, **settings)


class ToySCheese(Toy):
    def __init__(self, folder: Path, variant: str = "scheese") -> None:
        self.folder = folder
        self.base = load_base(folder)
        torch.manual_seed(0)
        self.adapter = SCheese(scheese_sizes(self.base, variant), self.base.unet)
        with torch.no_grad():
            for parameter in self.adapter.parameters():
                parameter += 0.02 * torch.randn_like(parameter)
        encoder = tiny.write_image_encoder(folder.parent / "image_encoder")
        self.image_encoder = load_image_encoder(encoder, device="cpu", dtype=torch.float32)

    def pipeline(self) -> PortraitPipeline:
        folder = self.folder.parent / f"{self.folder.name}-scheese"
        if not folder.exists():
            self.save(folder)
        return self.loaded(folder)

    def loaded(self, folder: Path) -> PortraitPipeline:
        return load_scheese(self.base, folder, image_encoder=self.image_encoder)

    def save(self, folder: Path) -> None:
        save_scheese(self.adapter, folder, dtype=torch.float32)

    def phases(self) -> list[Phase]:
        return [SCheesePhase(self.adapter, self.base, learning_rate=1e-3)]

    def batch(self, step: int) -> Batch:
        size, channels, width = 4, self.base.unet.config.in_channels, self.base.text_width
        source = torch.Generator().manual_seed(100 + step)
        batch = {
            "latents": torch.randn(size, channels, 8, 8, generator=source),
            "reference_latents": torch.randn(size, channels, 8, 8, generator=source),
            "reference_states": torch.randn(size, 17, 32, generator=source),
            "target_states": torch.randn(size, 17, 32, generator=source),
            "text": torch.randn(size, 77, width, generator=source),
        }
        if self.base.family == "sdxl":
            batch["text_pooled"] = torch.randn(size, 64, generator=source)
        return batch


def scheese_sizes(base: Base, variant: str = "scheese") -> SCheeseSizes:
    return SCheeseSizes(
        base.family,  # type: ignore[arg-type]
        base.text_width,
        base.text_encoders[-1].config.hidden_size,
        32,
        dim=32,
        heads=2,
        depth=1,
        queries=3,
        variant=variant,
        steps=3,
    )


class ToyIcPortrait(Toy):
    reads_words = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = load_base(folder)
        torch.manual_seed(0)
        # Moved off the start, where they add nothing.
        models = [control_net(self.base.unet) for _ in range(2)]
        with torch.no_grad():
            for parameter in (p for model in models for p in model.parameters()):
                parameter += 0.05 * torch.randn_like(parameter)
        self.nets = Nets(*models, NetSettings(self.base.family, (-2, -1)))  # type: ignore[arg-type]
        self.person = copy.deepcopy(self.base.unet).requires_grad_(True)
        encoder = tiny.write_image_encoder(folder.parent / "wide_encoder", self.base.text_width)
        self.image_encoder = load_image_encoder(encoder, device="cpu", dtype=torch.float32)

    def pipeline(self) -> PortraitPipeline:
        folder = self.folder.parent / f"{self.folder.name}-nets"
        if not folder.exists():
            self.save(folder)
        return self.loaded(folder)

    def loaded(self, folder: Path) -> PortraitPipeline:
        return load_ic_portrait(
            self.base, folder, detector=MiddleDetector(), image_encoder=self.image_encoder
        )

    def save(self, folder: Path) -> None:
        save_nets(self.nets, folder, dtype=torch.float32)

    def request(self, seed: int, **settings: Any) -> PortraitRequest:
        return super().request(seed, **{"prompt": "", "image": picture(5), **settings})

    def phases(self) -> list[Phase]:
        return [
            MatchingPhase(self.nets.matching, self.base, IcTraining(), learning_rate=1e-3),
            AppearancePhase(self.nets, self.base, IcTraining(), learning_rate=1e-3),
            PersonPhase(self.person, self.base, learning_rate=1e-3),
        ]

    def batch(self, step: int) -> Batch:
        size, channels = 3, self.base.unet.config.in_channels
        source = torch.Generator().manual_seed(100 + step)
        pixels = [torch.rand(size, 3, 64, 64, generator=source) * 2 - 1 for _ in range(2)]
        latents = [torch.randn(size, channels, 8, 8, generator=source) for _ in range(2)]
        return {
            "pixels_target": pixels[0],
            "pixels_profile": pixels[1],
            "latents_target": latents[0],
            "latents_profile": latents[1],
            "latents": latents[0],
            "embedding": torch.randn(size, self.base.text_width, generator=source),
        }


TOYS: dict[str, Callable[[Path], Toy]] = {
    "consistentid": ToyConsistentID,
    "ic-portrait": ToyIcPortrait,
    "instant-portrait": ToyInstantPortrait,
    "scheese": ToySCheese,
    "spf-portrait": ToySpfPortrait,
}
WRITERS = {"mini": tiny.write_mini, "sd15": tiny.write_sd15, "sdxl": tiny.write_sdxl}
