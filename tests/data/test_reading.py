"""Training input: each sample once an epoch for any number of processes, resumed exactly, by aspect, kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from likeness.data.edit_pairs import pair_sample
from likeness.data.engine import Built, Item, Sample, Work, build, split_of
from likeness.data.latents import LatentsBuilder, base_sha256, latent_reader
from likeness.data.order import EpochOrder, aspect_buckets, bucket_of
from likeness.data.reading import fitted, pixel_reader, read_set
from likeness.diffusion.load import load_base
from likeness.diffusion.prompts import encode_prompts
from likeness.errors import InputError
from likeness.files.images import image_from, png_bytes
from likeness.training import Budget, Moment, Phase, train
from likeness.training.phase import Batch
from tests import tiny
from tests.methods.toys import picture

SIZES = ((64, 64), (48, 80), (80, 48))


@dataclass(frozen=True)
class Pairs:
    """Pairs of toy pictures in three shapes."""

    count: int
    kind: str = "toy pairs"
    threads: int = 1

    def settings(self) -> dict[str, Any]:
        return {}

    def items(self) -> Iterator[Item]:
        return (Item(str(n), {"n": n}) for n in range(self.count))

    def open(self) -> Work:
        return self.pair

    def pair(self, item: Item) -> list[Sample]:
        n = item.data["n"]
        pictures = {
            name: png_bytes(picture(2 * n + late).resize(SIZES[n % 3]))
            for late, name in enumerate(("before", "after"))
        }
        return [pair_sample(pictures, f"change {n}", f"toy {n}", "CC0-1.0")]

    def finish(self, built: Built) -> None:
        pass


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    build(Pairs(20), folder, chunk=6)
    return folder


def test_buckets_have_the_area_and_every_aspect() -> None:
    sizes = aspect_buckets(512, 64)
    assert (512, 512) in sizes and all(w % 64 == 0 and h % 64 == 0 for w, h in sizes)
    assert all(0.8 < w * h / 512**2 < 1.25 and 0.5 <= w / h <= 2 for w, h in sizes)
    assert sizes[bucket_of((1000, 1000), sizes)] == (512, 512)
    wide, tall = sizes[bucket_of((1600, 900), sizes)], sizes[bucket_of((900, 1600), sizes)]
    assert wide[0] > wide[1] and tall[0] < tall[1]
    with pytest.raises(InputError, match="do not divide into cells of 64 px"):
        aspect_buckets(500, 64)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_each_sample_is_read_once_an_epoch_by_any_number_of_processes(world: int) -> None:
    buckets = np.random.default_rng(0).integers(0, 4, 103)
    order = EpochOrder(buckets, 8, seed=5)
    epochs: list[Counter[int]] = []
    draws = 3 * order.batches_an_epoch
    read: dict[int, list[int]] = {}
    for rank in range(world):  # each process asks for its own draws only, in its own order object
        mine = EpochOrder(buckets, 8, seed=5)
        for draw in range(rank, draws, world):
            rows = mine.rows(draw)
            assert len(set(buckets[rows])) == 1 and 1 <= len(rows) <= 8
            read[draw] = rows.tolist()
    for epoch in range(3):
        span = range(epoch * order.batches_an_epoch, (epoch + 1) * order.batches_an_epoch)
        epochs.append(Counter(row for draw in span for row in read[draw]))
    assert all(epoch == Counter(range(103)) for epoch in epochs)
    assert [read[d] for d in range(4)] != [read[order.batches_an_epoch + d] for d in range(4)], (
        "shuffled anew"
    )
    assert any((EpochOrder(buckets, 8, seed=6).rows(d) != order.rows(d)).any() for d in range(1))


def test_rows_and_files_are_read_by_offset_and_split(pairs: Path, tmp_path: Path) -> None:
    rows = read_set(pairs)
    assert len(rows) == 20 and rows.row(3)["instruction"] == "change 3"
    assert set(rows.files(3)) == {"before.png", "after.png"} and set(rows.files(3, ["after"])) == {
        "after.png"
    }
    assert np.array_equal(image_from(rows.files(3)["after.png"], "x"), picture(7).resize(SIZES[0]))
    build(Pairs(4), tmp_path / "more")
    both = read_set([pairs, tmp_path / "more"])
    assert len(both) == 24 and both.files(21) == read_set(tmp_path / "more").files(1)
    people = rows.column("identity")
    train_rows = read_set(pairs, "train")
    assert train_rows.column("identity") == [p for p in people if split_of(p) == "train"]
    with pytest.raises(InputError, match="no row in the split 'dev'"):
        read_set(pairs, "dev")
    with pytest.raises(InputError, match="has no column 'words'; it has key, item"):
        rows.column("words")
    (pairs.parent / "cut").mkdir()
    (pairs.parent / "cut" / "manifest.parquet").write_bytes((pairs / "manifest.parquet").read_bytes())
    with pytest.raises(InputError, match=r"shard .* cannot be read"):
        read_set(pairs.parent / "cut").files(0)


def test_pictures_are_fitted_to_their_bucket(pairs: Path) -> None:
    rows = read_set(pairs)
    reader = pixel_reader(rows, ("before", "after"), side_px=32, batch_size=4, seed=1)
    seen = Counter()
    for draw in range(reader.order.batches_an_epoch):
        batch = reader.batch(draw)
        size = batch["after"].shape[-1], batch["after"].shape[-2]
        assert batch["before"].shape == batch["after"].shape and batch["after"].abs().max() <= 1
        for place, row in enumerate(batch["row"].tolist()):
            seen[row] += 1
            whole = image_from(rows.files(row)["after.png"], "x")
            assert torch.equal(batch["after"][place], fitted(whole, size))
            assert abs(np.log(size[0] / size[1]) - np.log(whole.width / whole.height)) < 0.3
    assert seen == Counter(range(20))
    ramp = Image.fromarray(np.tile(np.arange(0, 200, 2, dtype=np.uint8), (50, 1))).convert("RGB")
    middle = fitted(ramp, (50, 50))
    assert middle.shape == (3, 50, 50)
    assert torch.allclose((middle[0, 0] + 1) * 127.5, torch.arange(50, 150, 2).float(), atol=1), (
        "cut in the middle"
    )


def test_workers_read_the_same_as_none_and_ahead(pairs: Path) -> None:
    rows = read_set(pairs)
    make = partial(pixel_reader, rows, ("before", "after"), side_px=32, batch_size=3, seed=2)
    alone, several = make(), make(workers=3)
    for draw in (0, 2, 4, 6, 7, 3, 30, 28):  # by strides, then about
        one, other = alone.batch(draw), several.batch(draw)
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
        assert set(several._begun), "the next are under way"


class Brightness:
    """Learns from pixels, so that every sample's order counts in the weights."""

    name, every, learning_rate = "brightness", 1, 0.05

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.trainable = torch.nn.Linear(1, 1)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        told = self.trainable(batch["before"].mean((1, 2, 3))[:, None])[:, 0]
        return {"error": (told - batch["after"].mean((1, 2, 3))).square().mean()}


def test_a_run_resumed_within_an_epoch_is_exact(pairs: Path, tmp_path: Path) -> None:
    reader = partial(pixel_reader, read_set(pairs), ("before", "after"), side_px=32, batch_size=3, workers=2)

    def weights(phase: Phase) -> torch.Tensor:
        return torch.cat([value.flatten() for value in phase.trainable.parameters()])

    whole = Brightness()
    train([whole], reader(), tmp_path / "whole", Budget(steps=12))
    assert 12 > reader().order.batches_an_epoch > 7, "stopped within the first epoch"
    first = Brightness()

    class StopError(Exception):
        pass

    def until(step: int) -> Any:
        batches = reader()

        def batch(moment: Moment) -> Batch:
            if moment.step == step:
                raise StopError
            return batches(moment)

        return batch

    with pytest.raises(StopError):
        train([first], until(5), tmp_path / "run", Budget(steps=12), checkpoint_at=(5,))
    resumed = Brightness()
    train([resumed], reader(), tmp_path / "run", Budget(steps=12), resume=True)
    assert torch.equal(weights(resumed), weights(whole))
    assert not torch.equal(weights(first), weights(whole))


def test_latents_and_text_states_are_kept(pairs: Path, tmp_path: Path) -> None:
    folder = tiny.write_sd15(tmp_path / "base")
    base = load_base(folder)
    builder = LatentsBuilder(
        pairs,
        ("before", "after"),
        ("instruction",),
        partial(load_base, folder),
        base.name,
        base_sha256(base),
        32,
        8,
    )
    made = build(builder, tmp_path / "latents", chunk=7)
    assert len(made.rows) == 20
    rows, source = read_set(tmp_path / "latents"), read_set(pairs)
    assert [rows.row(n)["key"] for n in range(20)] == source.column("key")
    assert rows.column("identity") == source.column("identity")
    reader = latent_reader(rows, batch_size=4, seed=3, workers=2)
    seen = Counter()
    for draw in range(reader.order.batches_an_epoch):
        batch = reader.batch(draw)
        for place, row in enumerate(batch["row"].tolist()):
            seen[row] += 1
            told = source.row(row)
            assert torch.equal(
                batch["instruction"][place], encode_prompts(base, [told["instruction"]]).rows[0]
            )
            size = tuple(rows.row(row)["bucket_px"])
            pixels = fitted(image_from(source.files(row)["before.png"], "x"), size)
            mean, std = base.encode(pixels[None])
            assert torch.equal(batch["before.mean"][place], mean[0])
            assert torch.equal(batch["before.std"][place], std[0])
            assert batch["after.mean"][place].shape[-2:] == (size[1] // 8, size[0] // 8)
    assert seen == Counter(range(20))
    other = LatentsBuilder(pairs, ("before",), (), partial(load_base, folder), "other", "0", 32, 8)
    with pytest.raises(InputError, match="was built with pictures"):
        build(other, tmp_path / "latents")
    with pytest.raises(InputError, match="has no column 'words'"):
        LatentsBuilder(
            pairs, ("after",), ("words",), partial(load_base, folder), "b", "0", 32, 8
        ).items().__next__()
