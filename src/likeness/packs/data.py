"""Pictures of sitters to train on: drawn once, kept in shards, held in memory as bytes.

    data/train/people-0000400-x2/pixels.npy     (n, H, W, 3) uint8
                                 labels.npy     (n, H, W) uint8, the sitters' own part classes
                                 landmarks.npy  (n, L, 2) float32 px
                                 visible.npy    (n, L) bool
                                 rows.jsonl     seed, view, captions and the scene's record, one a picture

A shard holds `SHARD_PEOPLE` people times the number of views, person by person, and depends on
its people's seeds alone. It is written under a temporary name and renamed, so building goes on where
it stopped.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from likeness.errors import InputError
from likeness.packs.mini import SIZE_PX, first_seed

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from likeness.sitters.parameters import Scene

    Scenes: TypeAlias = Callable[[int, int], list[Scene]]

__all__ = [
    "CAPTIONS",
    "SHARD_PEOPLE",
    "Drawing",
    "Pictures",
    "build_pictures",
    "check_renderer",
    "close_up",
    "collection_views",
    "draw_split",
    "dressed_views",
    "edited_views",
    "load_pictures",
    "turned_views",
    "write_shard",
]

SHARD_PEOPLE = 200
CAPTIONS = 5
"""Captions kept of each picture."""
FREE_VIEW = 1
"""The view that is not straightened where the others are."""
CLOSE_ZOOM = 1.3
NEXT_WEARER = 1_000_003
"""How far apart the seeds are of people who wear the same."""
SAME = 0.5
"""How far apart, of 255 and on average, two drawings of a scene may be on different machines."""
NEW_HAIR = 4
"""How many pictures of a person it takes until one has other hair, where the others share it."""


@dataclass(frozen=True)
class Drawing:
    """One drawn picture and its truth."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    visible: NDArray[np.bool_]
    row: dict[str, Any]


@dataclass(frozen=True)
class Pictures:
    """Pictures of one split in memory; row i is view `i % views` of person `i // views`.

    pixels (N, 3, H, W) uint8, channels last in memory; labels (N, H, W) uint8; landmarks (N, L, 2) px;
    visible (N, L); person (N,) int64 counted from 0; captions: N lists of sentences.
    """

    pixels: Tensor
    labels: Tensor
    landmarks: Tensor
    visible: Tensor
    person: Tensor
    captions: list[list[str]]
    folder: Path | None = None
    _orders: dict[tuple[int, int], Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.pixels)

    def indices(self, step: int, batch_size: int, seed: int = 0) -> Tensor:
        """Rows of one batch: each epoch in an order of its own, a function of (step, seed) alone."""
        count = len(self)
        where = torch.arange(step * batch_size, (step + 1) * batch_size)
        return torch.stack([self._order(int(w) // count, seed)[int(w) % count] for w in where])

    def _order(self, epoch: int, seed: int) -> Tensor:
        key = (seed, epoch)
        if key not in self._orders:
            for old in [one for one in self._orders if one[0] != seed or one[1] < epoch - 1]:
                del self._orders[old]
            generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
            self._orders[key] = torch.randperm(len(self), generator=generator)
        return self._orders[key]


def build_pictures(
    folder: Path,
    *,
    first_seed: int,
    people: int,
    views: int,
    workers: int | None = None,
    size_px: int = SIZE_PX,
    scenes: Scenes | None = None,
    on_shard: Callable[[int, int], None] | None = None,
) -> None:
    """Draw the shards that are not there yet, on `workers` threads; `on_shard(done, of)` after each.

    scenes: what is drawn of each person, by default `free_views`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    starts = [s for s in range(0, people, SHARD_PEOPLE) if not shard_folder(folder, s, views).is_dir()]
    for done, start in enumerate(starts, 1):
        seeds = range(first_seed + start, first_seed + start + SHARD_PEOPLE)
        write_shard(shard_folder(folder, start, views), draw_people(seeds, views, size_px, workers, scenes))
        if on_shard is not None:
            on_shard(done, len(starts))


def draw_split(
    data: Path,
    split: str,
    *,
    people: int,
    views: int,
    skip: int = 0,
    size_px: int = SIZE_PX,
    workers: int | None = None,
    on_shard: Callable[[int, int], None] | None = None,
) -> Path:
    """`build_pictures` for a split of `mini.first_seed`, in its folder under `data`, which is returned.

    skip: how many people of the split are passed over; those that follow have a folder of their own.
    size_px: smaller pictures are close-ups, for a face needs its pixels; but collections, whose pictures
    differ by their framing.
    """
    folder = split_folder(data, split, skip, size_px)
    views_of = SCENES.get(split, free_views)
    closer = size_px < SIZE_PX and split != "collections"
    build_pictures(
        folder,
        first_seed=first_seed(split) + skip,
        people=people,
        views=views,
        workers=workers,
        size_px=size_px,
        scenes=(lambda seed, views: [close_up(one) for one in views_of(seed, views)]) if closer else views_of,
        on_shard=on_shard,
    )
    return folder


def split_folder(data: Path, split: str, skip: int = 0, size_px: int = SIZE_PX) -> Path:
    """Where `draw_split` writes."""
    size = "" if size_px == SIZE_PX else f"-{size_px}px"
    return data / (split + size + (f"-from-{skip}" if skip else ""))


def load_pictures(folder: Path, *, people: int, views: int) -> Pictures:
    """The first `people` of a split that has been built."""
    shards = [shard_folder(folder, start, views) for start in range(0, people, SHARD_PEOPLE)]
    count = people * views

    def array(name: str) -> Tensor:
        parts = [np.load(shard / f"{name}.npy") for shard in shards]
        return torch.from_numpy(np.concatenate(parts)[:count])

    captions = [row["captions"] for shard in shards for row in read_rows(shard)][:count]
    return Pictures(
        pixels=array("pixels").permute(0, 3, 1, 2),
        labels=array("labels"),
        landmarks=array("landmarks"),
        visible=array("visible"),
        person=torch.arange(count) // views,
        captions=captions,
        folder=folder,
    )


def check_renderer(pictures: Pictures) -> None:
    """Draw the first of loaded pictures again.

    Raises: InputError when it comes out otherwise: another version of the renderer drew what lies there.
    """
    from likeness.sitters import Scene, render_many

    row = next(picture_rows(pictures))
    [drawn] = render_many([Scene.from_record(row["record"])], pictures.pixels.shape[-1])
    there = pictures.pixels[0].permute(1, 2, 0).numpy().astype(np.float32)
    if np.abs(there - drawn.rgb).mean() > SAME:
        raise InputError(
            f"The pictures in {pictures.folder} were drawn by another version of the renderer: remove the "
            "folder, and they are drawn anew."
        )


def read_rows(shard: Path) -> Iterator[dict[str, Any]]:
    """Rows of a shard, in the order of its arrays."""
    with (shard / "rows.jsonl").open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def picture_rows(pictures: Pictures) -> Iterator[dict[str, Any]]:
    """Rows of loaded pictures, in their order."""
    if pictures.folder is None:
        raise InputError(
            "These pictures were not loaded from a folder, so nothing is written of their scenes."
        )
    views = int((pictures.person == 0).sum())
    people = len(pictures) // views
    for start in range(0, people, SHARD_PEOPLE):
        yield from islice(
            read_rows(shard_folder(pictures.folder, start, views)), min(SHARD_PEOPLE, people - start) * views
        )


def shard_folder(folder: Path, start: int, views: int) -> Path:
    """Folder of the shard whose first person is the `start`th of the split."""
    return folder / f"people-{start:07d}-x{views}"


def write_shard(target: Path, drawings: list[Drawing]) -> None:
    """Write a shard whole."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in ("pixels", "labels", "landmarks", "visible"):
        np.save(partial / f"{name}.npy", np.stack([getattr(d, name) for d in drawings]))
    text = "".join(json.dumps(d.row) + "\n" for d in drawings)
    (partial / "rows.jsonl").write_text(text, encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)


def free_views(seed: int, views: int) -> list[Scene]:
    """`sample_scene(seed)`, then pictures in which everything but the person is new."""
    from likeness import sitters

    first = sitters.sample_scene(seed)
    return [first, *(sitters.with_same_person(first, view) for view in range(1, views))]


def straight_views(seed: int, views: int) -> list[Scene]:
    """A person who keeps hair and beard but in every fourth picture; all but `FREE_VIEW` are straightened.

    So a painter learns that hair and beard are as in the reference unless words say otherwise.
    """
    from likeness import sitters

    first = sitters.sample_scene(seed)
    scenes = [first]
    for view in range(1, views):
        keep = () if view % NEW_HAIR == NEW_HAIR - 1 else ("hair",)
        scenes.append(sitters.with_same_person(first, view, keep))
    return [one if view == FREE_VIEW else sitters.straightened(one) for view, one in enumerate(scenes)]


def edited_views(seed: int, views: int) -> list[Scene]:
    """One straight portrait, then edits of it: of one factor, of two, and of one more on each before.

    So any two of them are a pair of the same person in the same pose, one to four factors apart.
    """
    from likeness import sitters

    scenes = [sitters.straightened(sitters.sample_scene(seed))]
    for view in range(1, views):
        start = scenes[0] if view < 3 else scenes[view - 2]
        scenes.append(sitters.edited(start, seed * views + view, 2 if view == 2 else 1))
    return scenes


def collection_views(seed: int, views: int) -> list[Scene]:
    """Portraits of one sitting: person, hair, clothes, what is worn, place and light stay.

    Pose, camera and expression are new in each, so any two of them are told apart by an instruction.
    """
    from likeness import sitters

    first = sitters.sample_scene(seed)
    stays = [name for name in sitters.FACTORS if name not in ("pose", "camera", "expression")]
    return [first, *(sitters.with_same_person(first, view, keep=stays) for view in range(1, views))]


def turned_views(seed: int, views: int) -> list[Scene]:
    """One straight portrait, then the same head from elsewhere, in another place, every other time in another
    light and other clothes too.

    So any two of them are the same person with the same hair and face, seen from two sides; what is around
    the head in one tells nothing of the other.
    """
    from likeness import sitters

    first = sitters.straightened(sitters.sample_scene(seed))
    scenes = [first]
    for view in range(1, views):
        new = {"pose", "camera", "background", *(("light", "clothes") if view % 2 else ())}
        stays = [name for name in sitters.FACTORS if name not in new]
        scenes.append(sitters.with_same_person(first, view, keep=stays))
    return scenes


def stand_in_views(seed: int, views: int) -> list[Scene]:
    """The person's `turned_views` with somebody else's head in each, hair and what is worn on it included."""
    from likeness import sitters

    people = len(sitters.TRAINING_SEEDS)
    scenes = []
    for view, scene in enumerate(turned_views(seed, views)):
        other = sitters.straightened(sitters.sample_scene((seed + (view + 1) * NEXT_WEARER) % people))
        head = {name: getattr(other, name) for name in ("identity", "hair", "accessories", "makeup")}
        scenes.append(dataclasses.replace(scene, **head, seed=None))
    return scenes


def dressed_views(seed: int, views: int) -> list[Scene]:
    """A person, then others of other poses, lights and places who wear the same clothes and accessories."""
    from likeness import sitters

    first = sitters.sample_scene(seed)
    people = len(sitters.TRAINING_SEEDS)
    others = [sitters.sample_scene((seed + view * NEXT_WEARER) % people) for view in range(1, views)]
    return [
        first,
        *(
            dataclasses.replace(other, clothes=first.clothes, accessories=first.accessories, seed=None)
            for other in others
        ),
    ]


SCENES: dict[str, Scenes] = {
    "portraits": straight_views,
    "edits": edited_views,
    "collections": collection_views,
    "views": turned_views,
    "stand-ins": stand_in_views,
    "dressed": dressed_views,
}
"""What is drawn of each person of a split; of all others, `free_views`."""


def close_up(scene: Scene) -> Scene:
    """The same moment from so near that the head fills the picture. `seed` of the new scene is None."""
    camera = dataclasses.replace(scene.camera, zoom=CLOSE_ZOOM)
    return dataclasses.replace(scene, camera=camera, seed=None)


def draw_people(
    seeds: range, views: int, size_px: int, workers: int | None = None, views_of: Scenes | None = None
) -> list[Drawing]:
    """Pictures of the people with these seeds, person by person. views_of: see `build_pictures`."""
    from likeness import sitters

    scenes, rows = [], []
    for seed in seeds:
        for view, scene in enumerate((views_of or free_views)(seed, views)):
            scenes.append(scene)
            captions = sitters.captions(scene, CAPTIONS, seed * views + view)
            rows.append({"seed": seed, "view": view, "captions": captions, "record": scene.record()})
    pictures = sitters.render_many(scenes, size_px, workers=workers)
    return [
        Drawing(
            pixels=picture.rgb,
            labels=picture.labels,
            landmarks=np.asarray(picture.landmarks_px, np.float32),
            visible=np.asarray(picture.landmarks_visible, np.bool_),
            row=row,
        )
        for picture, row in zip(pictures, rows, strict=True)
    ]
