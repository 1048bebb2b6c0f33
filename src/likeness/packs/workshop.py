"""Where a pack is being made: its folders, its data, its budget. Recipes get one of these."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from filelock import FileLock
from safetensors.torch import load_file

from likeness.diffusion.parts import save_part
from likeness.errors import MissingWeightsError
from likeness.files.int8 import INT8_FILE, read_int8
from likeness.packs import mini
from likeness.packs.card import PartRecord, copy_part, read_card, record_part, release
from likeness.packs.data import Pictures, draw_split, load_pictures, shard_folder, split_folder
from likeness.packs.presets import Preset
from likeness.training import Budget, TrainResult, World, train

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from likeness.training import Phase
    from likeness.training.loop import Batches

__all__ = ["Workshop"]


@dataclass
class Workshop:
    """One build.

    work:    folder of pictures and runs, outside the package. pack: folder the parts are written to.
    minutes: of training for the part in hand; None: the preset's. steps: counted instead, when given;
             then `minutes` limits this call and the part can be resumed.
    preset: which size is built.
    people, views: how many training people, and pictures of each. held_out_from: how many held-out people
                   are passed over.
    compiled: whether the UNet runs through torch.compile while it trains.
    held_back: attributes ("hair=afro") on pictures that the UNet does not learn from.
    further: train the parts that the pack has further instead of new ones, where the recipe can (`begin`).
    """

    work: Path
    pack: Path
    preset: Preset = mini
    device: str = "cpu"
    resume: bool = False
    minutes: float | None = None
    steps: int | None = None
    seed: int = 0
    people: int = 5000
    judge_people: int = 8000
    held_out_people: int = 500
    held_out_from: int = 0
    calibration_people: int = 400
    views: int = 4
    workers: int | None = None
    compiled: bool = False
    further: bool = False
    held_back: tuple[str, ...] = ()
    on_log: Callable[[dict[str, Any]], None] | None = None
    trained: dict[str, Any] = field(default_factory=dict)
    _begun: dict[str, PartRecord] = field(default_factory=dict, repr=False)

    def pictures(self, split: str) -> Pictures:
        """The pictures of a split, drawn first where they are not there yet."""
        return _pictures(
            self.work / "data",
            split,
            self.people_of(split),
            self.views,
            self.held_out_from if split == "held_out" else 0,
            self.preset.SIZE_PX,
            self.workers,
        )

    def budgeted(self, minutes: float) -> Workshop:
        """The same build, with `minutes` of training where neither minutes nor steps were asked for."""
        asked = self.minutes is not None or self.steps is not None
        return self if asked else dataclasses.replace(self, minutes=minutes)

    def part_of(self, share: float) -> Workshop:
        """The same build with a share of its budget, for one of several stages."""
        return dataclasses.replace(
            self,
            minutes=self.minutes and self.minutes * share,
            steps=self.steps and max(1, round(self.steps * share)),
        )

    def people_of(self, split: str) -> int:
        """How many people a split has; the splits are those of `mini.first_seed`."""
        return {
            "train": self.people,
            "portraits": self.people,
            "edits": self.people,
            "collections": self.people,
            "views": self.people,
            "stand-ins": self.people,
            "dressed": self.people,
            "judge": self.judge_people,
            "held_out": self.held_out_people,
            "calibration": self.calibration_people,
        }[split]

    def train(self, phases: Sequence[Phase], batches: Batches, part: str, **options: Any) -> TrainResult:
        """`training.train` with this build's folders and budget for one part."""
        minutes = self.minutes
        if minutes is None and self.steps is None:
            minutes = self.preset.MINUTES[part]
        torch.set_float32_matmul_precision("high")
        run = self.work / "runs" / self.preset.NAME / part
        world = World.here()
        if not self.resume and world.writes:
            shutil.rmtree(run, ignore_errors=True)
        world.wait()
        result = train(
            phases,
            batches,
            run,
            Budget(steps=self.steps, minutes=minutes),
            seed=self.seed,
            device=self.device,
            resume=self.resume,
            on_log=self.on_log,
            **options,
        )
        self.trained[part] = result
        return result

    def forget_runs(self, part: str) -> None:
        """Remove what an earlier build left of a part's runs, of all its stages.

        A build that is stopped in its first stage would else be taken up, in its second, where the earlier
        one stood.
        """
        if World.here().writes:
            for run in (self.work / "runs" / self.preset.NAME).glob(f"{part}*"):
                shutil.rmtree(run)

    def export(
        self,
        part: str,
        folder: str,
        model: nn.Module,
        split: str = "train",
        *,
        hours_before: float = 0.0,
        views: int | None = None,
        int8: bool = False,
        **measures: float,
    ) -> Path:
        """Write a part as fp16 safetensors with its config, whole, and enter it in the pack's card.

        `folder` is relative to the pack. Floating point buffers and weights are stored in fp16, or with
        `int8` half as large (`diffusion.parts.save_part`).
        hours_before: of training by another recipe, whose work this one continues. views: pictures of each
        person, where more than one split was learned from.
        """
        target = self.pack / folder
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        model.to("cpu")
        save_part(model, partial, int8=int8)
        _forget_origin(partial / "config.json")
        release(self.pack, folder)
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(target)
        steps, hours = self.spent(part, folder)
        self.record(
            folder,
            split,
            parameters=sum(p.numel() for p in model.parameters()),
            steps=steps,
            hours=hours_before + hours,
            pictures=self.people_of(split) * (views or self.views),
            measures={k: round(v, 5) for k, v in measures.items()},
        )
        return target

    def record(
        self,
        folder: str,
        split: str,
        *,
        parameters: int,
        steps: int,
        hours: float,
        pictures: int,
        people: int | None = None,
        measures: Mapping[str, float] | None = None,
    ) -> None:
        """Enter a folder that lies in the pack into its card. people: the split's, unless told."""
        record_part(
            self.pack,
            folder,
            folder,
            pack_name=self.preset.NAME,
            size_px=self.preset.SIZE_PX,
            parameters=parameters,
            seed=self.seed,
            steps=steps,
            hours=round(hours, 4),
            people=self.people_of(split) if people is None else people,
            pictures=pictures,
            first_seed=mini.first_seed(split),
            measures=dict(measures or {}),
        )

    def begin(self, model: nn.Module, folder: str) -> bool:
        """With `further`, give a new model the weights that the pack has of it; returns whether it did.

        Channels and layers that the pack's has not stay as they are. The part's card will count the
        steps and hours of both trainings.
        """
        self._begun.pop(folder, None)
        if not self.further:
            return False
        old: dict[str, Tensor] = {}
        for file in sorted(self.part(folder).glob("*.safetensors")):
            old |= read_int8(file, self.pack / "unet") if file.name == INT8_FILE else load_file(file)
        state = model.state_dict()
        for name, tensor in state.items():
            if name in old:
                tensor[tuple(slice(size) for size in old[name].shape)] = old[name].to(tensor)
        model.load_state_dict(state)
        self._begun[folder] = read_card(self.pack).parts[folder]
        return True

    def spent(self, part: str, folder: str) -> tuple[int, float]:
        """Steps and hours of the training of a part, those before `begin` included."""
        result: TrainResult = self.trained[part]
        before = self._begun.get(folder)
        steps = result.step + (before.steps if before else 0)
        return steps, round(result.seconds / 3600 + (before.hours if before else 0), 4)

    def kept(
        self, name: str, by: str | None, build: Callable[[], Tensor], split: str = "portraits"
    ) -> Tensor:
        """A tensor that frozen part `by` makes of a split's pictures, built once and kept on disk; without
        `by`, what is made of the pictures alone.

        It is mapped, not read, so that processes training together share it. What was made by
        other weights of the part, or of other pictures, is not used.
        """
        made_from = sorted(self.part(by).glob("*.safetensors")) if by else []
        # What is drawn first tells how all is drawn: by another renderer or rule it would differ.
        pictures = split_folder(self.work / "data", split, size_px=self.preset.SIZE_PX)
        first = shard_folder(pictures, 0, self.views)
        made_from += sorted(path for path in first.iterdir() if path.is_file())
        digest = hashlib.sha256(b"".join(f.read_bytes() for f in made_from)).hexdigest()[:16]
        made_of = f"{name}-{split}-{digest}-{self.people}x{self.views}"
        file = self.work / "kept" / self.preset.NAME / f"{made_of}.npy"
        world = World.here()
        if world.writes:
            file.parent.mkdir(parents=True, exist_ok=True)
            # Other trainings may want it at the same time (`files.sharing`): one of them makes it.
            with FileLock(file.with_name(f".{made_of}.lock")):
                if not file.is_file():
                    made = build().cpu()
                    for old in file.parent.glob(f"{name}-{split}-*"):
                        old.unlink()
                    partial = file.with_suffix(".partial.npy")
                    plain = made.view(torch.int16) if made.dtype == torch.bfloat16 else made
                    np.save(partial, plain.numpy())
                    partial.replace(file)
        world.wait()
        found = torch.from_numpy(np.load(file, mmap_mode="c"))
        return found.view(torch.bfloat16) if found.dtype == torch.int16 else found

    def borrow(self) -> None:
        """Copy the parts that this size takes from the mini pack as they are, card entries included."""
        source = mini.mini_path()
        for folder in self.preset.BORROWED:
            if not (self.pack / folder).is_dir():
                copy_part(source, self.pack, folder, self.preset.NAME, self.preset.SIZE_PX)

    def part(self, folder: str) -> Path:
        """Folder of a finished part that the part in hand stands on.

        Raises MissingWeightsError when it has not been built.
        """
        path = self.pack / folder
        if not (path / "config.json").is_file():
            raise MissingWeightsError(
                f"The pack in {self.pack} has no {folder} yet; first build it: `likeness pack "
                f"build {self.preset.NAME} --pack {self.pack}`."
            )
        return path


@functools.lru_cache(maxsize=3)
def _pictures(
    data: Path, split: str, people: int, views: int, skip: int, size_px: int, workers: int | None
) -> Pictures:
    world, folder = World.here(), split_folder(data, split, skip, size_px)
    if world.writes:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            draw_split(data, split, people=people, views=views, skip=skip, size_px=size_px, workers=workers)
    world.wait()
    return load_pictures(folder, people=people, views=views)


def _forget_origin(config: Path) -> None:
    """Folders of the build machine have no place in a pack."""
    if not config.is_file():
        return
    content = json.loads(config.read_text(encoding="utf-8"))
    content.pop("_name_or_path", None)
    config.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
