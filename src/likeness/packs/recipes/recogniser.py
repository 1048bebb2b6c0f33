"""Recipe of the face recognisers: A, which methods are conditioned on, and B, which only judges.

Sitters come with the truth, so embeddings are also asked for the numbers that make the person:
width of the jaw, depth of the eyes, tone of the skin. The part that answers is dropped afterwards.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from likeness.faces.embed import ArcFaceHead
from likeness.packs import mini
from likeness.training import cosine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Generator, Tensor

    from likeness.packs.data import Pictures
    from likeness.packs.workshop import Workshop
    from likeness.training import Moment, Schedule, TrainResult
    from likeness.training.phase import Batch

__all__ = [
    "Recogniser",
    "RecogniserPhase",
    "aligned_faces",
    "identities_of",
    "persons_in",
    "persons_of",
    "train_judge_recogniser",
    "train_recogniser",
]

PEOPLE_A_BATCH = 96
JITTER = 0.012
"""Standard deviation of landmarks' errors in training, in face sizes: about a detector's."""


class Recogniser(nn.Module):
    """A recogniser with the head it is trained with."""

    def __init__(self, net: nn.Module, dim: int, people: int, parameters: int) -> None:
        super().__init__()
        self.net = net
        self.head = ArcFaceHead(dim, people, scale=24.0, margin=0.3)
        hidden = nn.Linear(dim, dim)
        nn.init.normal_(hidden.weight, std=1.0)  # embeddings are of unit length, not unit variance
        self.tell = nn.Sequential(hidden, nn.SiLU(), nn.Linear(dim, parameters))


@dataclass
class RecogniserPhase:
    """ArcFace over all people, a contrast of the pairs within the batch, and the person's parameters.

    With a few pictures a person and minutes of training a class centre is met too rarely to be
    learned alone; pairs and parameters teach from the first step.
    """

    trainable: Recogniser
    learning_rate: float | Schedule = field(default_factory=lambda: cosine(2e-3, warmup_steps=100))
    name: str = "recogniser"
    every: int = 1
    temperature: float = 0.08

    def loss(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """batch: faces (2P, 3, 112, 112) uint8, the second half the same people again; person (2P,);
        parameters (2P, K) of the people, standardised."""
        faces = augment(mini.to_unit(batch["faces"]), generator)
        embeddings = F.normalize(self.trainable.net(faces).float(), dim=-1)
        one, two = embeddings.chunk(2)
        logits = one @ two.T / self.temperature
        target = torch.arange(len(one), device=one.device)
        pairs = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        arcface = F.cross_entropy(self.trainable.head(embeddings, batch["person"]), batch["person"])
        right = (logits.argmax(1) == target).float().mean()
        told = F.mse_loss(self.trainable.tell(embeddings).float(), batch["parameters"])
        return {"arcface": 0.5 * arcface, "pairs": pairs, "parameters": 4 * told, "_right": right}


def person_parameters(pictures: Pictures) -> Tensor:
    """What each person is made of, (people, K) float32: zero mean and unit variance over the people.

    Left out: moles, which may be absent, and what a hairdresser can change.
    """
    from likeness.packs.data import picture_rows

    views = int((pictures.person == 0).sum())
    people = [row["record"]["identity"] for row in islice(picture_rows(pictures), 0, None, views)]
    names = [
        k for k, v in people[0].items() if isinstance(v, int | float) and "mole" not in k and k != "greying"
    ]
    table = torch.tensor([[person[name] for name in names] for person in people])
    return (table - table.mean(0)) / table.std(0).clamp_min(1e-6)


def augment(faces: Tensor, generator: Generator) -> Tensor:
    """Place, size and tilt, brightness, contrast, colour, blur and a hidden block, drawn for each face in
    [-1, 1]."""
    count, _, height, width = faces.shape

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator).to(faces.device)

    turn, size, shift = (
        0.16 * (draw(count) - 0.5),
        1 + 0.1 * (draw(count) - 0.5),
        0.08 * (draw(count, 2) - 0.5),
    )
    along, across = size * torch.cos(turn), size * torch.sin(turn)
    affine = torch.stack([along, -across, shift[:, 0], across, along, shift[:, 1]], dim=1).view(count, 2, 3)
    grid = F.affine_grid(affine, list(faces.shape), align_corners=False)
    faces = F.grid_sample(faces, grid, padding_mode="border", align_corners=False)

    gain = 1 + 0.3 * (draw(count, 3, 1, 1) - 0.5) + 0.4 * (draw(count, 1, 1, 1) - 0.5)
    faces = faces * gain + 0.3 * (draw(count, 1, 1, 1) - 0.5)
    grey = (draw(count) < 0.1).view(-1, 1, 1, 1)
    faces = torch.where(grey, faces.mean(dim=1, keepdim=True), faces)
    soft = (draw(count) < 0.25).view(-1, 1, 1, 1)
    small = F.avg_pool2d(faces, 2)
    blurred = F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)
    faces = torch.where(soft, blurred, faces)
    hide = (draw(count) < 0.25).view(-1, 1, 1, 1)
    row = torch.arange(height, device=faces.device).view(1, 1, -1, 1)
    column = torch.arange(width, device=faces.device).view(1, 1, 1, -1)
    top, left = draw(count, 1, 1, 1) * height, draw(count, 1, 1, 1) * width
    block = ((row - top).abs() < height // 7) & ((column - left).abs() < width // 7)
    return torch.where(hide & block, torch.zeros_like(faces), faces).clamp(-1, 1)


def aligned_faces(pictures: Pictures, *, jitter: float = 0.0, seed: int = 0) -> Tensor:
    """Every picture's face by its true landmarks, in ArcFace's 112 px square: (N, 3, 112, 112) uint8.

    jitter: standard deviation of the landmarks' errors, in distances between the eyes times two.
    """
    from PIL import Image

    from likeness.faces.align import ARCFACE_TEMPLATE, similarity, warp

    rng = np.random.default_rng(seed)
    out = torch.empty(len(pictures), 112, 112, 3, dtype=torch.uint8)
    five = pictures.landmarks[:, :5].numpy().astype(np.float64)
    pixels = pictures.pixels.permute(0, 2, 3, 1).numpy()
    template = np.asarray(ARCFACE_TEMPLATE, np.float64)
    for row, points in enumerate(five):
        size = 2.2 * np.linalg.norm(points[1] - points[0])
        moved = points + rng.normal(size=points.shape) * jitter * size
        square = warp(Image.fromarray(pixels[row]), similarity(moved, template), (112, 112))
        out[row] = torch.from_numpy(np.array(square))
    return out.permute(0, 3, 1, 2)


def persons_of(shop: Workshop, pictures: Pictures, views: int) -> Tensor:
    """What the recogniser says of each person, the mean of their pictures, (people, E) of unit length."""
    return persons_in(identities_of(shop, pictures), views)


@torch.no_grad()
def identities_of(shop: Workshop, pictures: Pictures) -> Tensor:
    """What the recogniser says of each picture, (N, E) of unit length."""
    net = mini.load_recogniser(shop.part("recogniser")).to(shop.device)
    faces = aligned_faces(pictures).split(256)
    return torch.cat([net(mini.to_unit(few).to(shop.device)).cpu() for few in faces])


def persons_in(identities: Tensor, views: int) -> Tensor:
    """The mean of each person's pictures (people * views, E), (people, E) of unit length."""
    return F.normalize(identities.unflatten(0, (-1, views)).mean(dim=1), dim=1)


def train_recogniser(shop: Workshop) -> TrainResult:
    """Recogniser A, on the training people; see `check.verification`."""
    net = shop.preset.recogniser()
    return _train(shop, "recogniser", net, ("train", "portraits"), seed=shop.seed)


def train_judge_recogniser(shop: Workshop) -> TrainResult:
    """Recogniser B: another architecture, other people, another seed."""
    net = shop.preset.judge_recogniser()
    return _train(shop, "judge_recogniser", net, ("judge",), seed=shop.seed + 1)


def _train(shop: Workshop, part: str, net: Any, splits: Sequence[str], seed: int) -> TrainResult:
    """splits: of the same people, whose pictures are put together."""
    faces = []
    for split in splits:
        pictures = shop.pictures(split)
        build = functools.partial(aligned_faces, pictures, jitter=JITTER, seed=seed)
        faces.append(shop.kept("faces", None, build, split))
    parameters = person_parameters(shop.pictures(splits[0]))
    people, views = len(parameters), shop.views
    torch.manual_seed(seed)
    shop.begin(net, part)
    model = Recogniser(net, 256, people, parameters.shape[1]).to(shop.device)
    model = model.to(memory_format=torch.channels_last)

    def batches(moment: Moment) -> Batch:
        from likeness.training.loop import seeded

        generator = seeded(seed, moment.draw, 63)
        person = torch.randperm(people, generator=generator)[:PEOPLE_A_BATCH]
        count = len(splits) * views
        one = torch.randint(count, person.shape, generator=generator)
        other = (one + 1 + torch.randint(count - 1, person.shape, generator=generator)) % count
        both, view = torch.cat([person, person]), torch.cat([one, other])
        rows = both * views + view % views
        chosen = [faces[int(v) // views][int(row)] for v, row in zip(view, rows, strict=True)]
        return {"faces": torch.stack(chosen), "person": both, "parameters": parameters[both]}

    phase = RecogniserPhase(model, name=part)
    result = shop.train([phase], batches, part, weight_decay=0.05, ema_decay=0.998)
    if result.finished:
        averaged: Any = result.emas[part].module
        averaged = averaged.net.to(memory_format=torch.contiguous_format)
        shop.export(part, part, averaged, splits[0], views=len(splits) * views)
    return result
