"""What a worker does for each kind of job."""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likeness.catalog import card, load_pipeline
from likeness.collection import make_collection
from likeness.diffusion.pixels import to_pictures
from likeness.diffusion.preview import watched
from likeness.errors import InputError, MissingWeightsError
from likeness.evaluation.coherence import Coherence, SamePersons
from likeness.evaluation.judge import Judge, open_judge
from likeness.files.images import read_image, read_recipe, to_json, write_json, write_png
from likeness.files.provenance import recipe_of
from likeness.portraits import make_portraits
from likeness.references import KnowsFaces, open_detector, reference_warnings
from likeness.replay import compared, loading_of, request_from
from likeness.studio.methods import adapter_path
from likeness.studio.tasks import MakeDataset, Paint, Replay, Train
from likeness.types import Person

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from likeness.studio.jobs import Claim
    from likeness.studio.library import Library
    from likeness.studio.worker import Progress
    from likeness.types import PortraitPipeline

__all__ = ["Kept", "do"]

LOADED = 2
"""Pipelines kept in memory: the last ones used."""


class Kept:
    """The models that stay loaded between jobs."""

    def __init__(self, library: Library, base: str, device: str | None) -> None:
        self.library, self.base, self.device = library, base, device
        self._pipelines: OrderedDict[tuple[Any, ...], PortraitPipeline] = OrderedDict()
        self._judges: dict[tuple[str, bool], tuple[Any, Judge]] = {}

    def pipeline(self, method: str, base: str, adapter: Path | None, sitters: bool) -> PortraitPipeline:
        """Loaded once, as long as it is used."""
        key = (method, base, adapter, sitters)
        if key not in self._pipelines:
            while len(self._pipelines) >= LOADED:
                self._pipelines.popitem(last=False)
            self._pipelines[key] = load_pipeline(
                method, base, adapter=adapter, device=self.device, sitters=sitters
            )
        self._pipelines.move_to_end(key)
        return self._pipelines[key]

    def judge(self, base: str, sitters: bool) -> tuple[Any, Judge]:
        """The detector and the judge of a base's pictures; the judge remembers nobody."""
        key = (base, sitters)
        if key not in self._judges:
            detector = open_detector(base, sitters)
            self._judges = {key: (detector, open_judge(base, detector, sitters=sitters))}
        detector, judge = self._judges[key]
        return detector, judge.fresh()

    def clear(self) -> None:
        """Drop everything, with what it may remember of anybody."""
        self._pipelines.clear()
        self._judges.clear()

    def partial(self, work: Path) -> dict[str, Any] | None:
        """What a job that was stopped had finished, or None."""
        file = work / "result.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def do(kept: Kept, claim: Claim, progress: Progress, work: Path) -> dict[str, Any]:
    """Do a job in its own folder `work`; its result.

    Raises: errors of `likeness.errors` for what cannot be done; Cancelled, Lost.
    """
    kind, request = claim.job.kind, claim.job.request
    if kind == "paint":
        return _paint(kept, Paint(**request), progress, work)
    if kind == "replay":
        return _replay(kept, Replay(**request), progress, work)
    if kind == "dataset":
        return _dataset(kept, MakeDataset(**request), claim, progress, work)
    if kind == "train":
        return _train(kept, Train(**request), claim, progress, work)
    raise InputError(f"There is no kind of job {kind!r}.")


def _paint(kept: Kept, task: Paint, progress: Progress, work: Path) -> dict[str, Any]:
    library, base = kept.library, task.base or kept.base
    pictures = {identifier: library.read(identifier) for identifier in task.pictures()}
    known = [library.picture(identifier) for identifier in pictures]
    shown = [one for one in known if one is not None and one.id != task.mask]
    sitters = bool(shown) and all(one.sitter for one in shown)
    progress.say(f"loading {task.method}")
    adapter = adapter_path(library, task.method, task.adapter)
    pipeline = kept.pipeline(task.method, base, adapter, sitters)
    references = [pictures[one] for one in task.references]
    warnings: list[str] = []
    judge = Judge(reason="painted from words alone, there is nobody to be alike")
    if references or task.people:
        try:
            detector, judge = kept.judge(base, sitters)
            faces = references or [pictures[figure.references[0]] for figure in task.people]
            warnings = reference_warnings(faces, base, None, detector)
        except MissingWeightsError as error:
            judge = Judge(reason=str(error))
    size = task.size_px or (_side(pipeline),) * 2
    people = tuple(
        Person(
            tuple(pictures[one] for one in figure.references),
            None
            if figure.box is None
            else tuple(v * side for v, side in zip(figure.box, size * 2, strict=True)),  # type: ignore[arg-type]
            prompt=figure.prompt,
        )
        for figure in task.people
    )
    progress.say("painting")
    if card(task.method).task == "collect":
        return _collection(pipeline, references, task, judge, warnings, sitters, progress, work)
    with watched(_look(pipeline, progress)):
        document = make_portraits(
            pipeline,
            references,
            [task.prompt],
            task.count,
            task.seed,
            work,
            best_of=task.best_of,
            judge=judge,
            warnings=warnings,
            references_are_sitters=sitters or not shown,
            on_progress=progress.step,
            negative_prompt=task.negative_prompt,
            size_px=task.size_px,
            steps=task.steps,
            guidance=task.guidance,
            options=task.options,
            people=people,
            image=pictures[task.image] if task.image else None,
            mask_image=pictures[task.mask].convert("L") if task.mask else None,
            strength=task.strength,
        )
    progress.check()
    return document


def _collection(
    pipeline: PortraitPipeline,
    references: list[Image.Image],
    task: Paint,
    judge: Judge,
    warnings: list[str],
    sitters: bool,
    progress: Progress,
    work: Path,
) -> dict[str, Any]:
    """One picture for each line of the words, judged as a set."""
    edits = [line.strip() for line in task.prompt.splitlines() if line.strip()]
    if not edits or len(references) != 1:
        raise InputError("A collection takes one portrait, and instructions: one a line.")
    without = pipeline.face_encoder.name if isinstance(pipeline, KnowsFaces) else None
    with watched(_look(pipeline, progress)):
        document = make_collection(
            pipeline,
            references[0],
            edits,
            work,
            count=task.count if task.count > 1 else None,
            seed=task.seed,
            judge=judge,
            coherence=Coherence([SamePersons(judge, without)]),
            warnings=warnings,
            references_are_sitters=sitters,
            on_progress=progress.step,
            steps=task.steps,
            guidance=task.guidance,
            size_px=task.size_px,
            options=task.options,
        )
    progress.check()
    return document


def _replay(kept: Kept, task: Replay, progress: Progress, work: Path) -> dict[str, Any]:
    library = kept.library
    file = library.folder / "results" / task.file
    recipe, before = read_recipe(file), read_image(file)
    sitters: list[bool] = []

    def find(digest: str) -> Image.Image | None:
        identifier = library.with_pixels(digest)
        if identifier is None:
            return None
        known = library.picture(identifier)
        sitters.append(known is not None and known.sitter)
        return library.read(identifier)

    request = request_from(recipe, find)
    given = loading_of(recipe)
    progress.say(f"loading {given['name']}")
    adapter = adapter_path(library, given["name"], _adapter_of(library, task))
    pipeline = kept.pipeline(given["name"], given["base"], adapter, bool(sitters) and all(sitters))
    progress.say("painting")
    with watched(_look(pipeline, progress)):
        [result] = pipeline([request], on_step=progress.step)
    differences = compared(recipe, before, result)
    write_png(result.image, work / "replayed.png", recipe_of(result))
    document = {
        "identical": not differences,
        "differences": [{"what": one.what, "before": one.before, "now": one.now} for one in differences],
        "pictures": [{"file": "replayed.png", "prompt": request.prompt, "seed": request.seed}],
        "of": task.file,
    }
    write_json(work / "result.json", document)
    return document


def _adapter_of(library: Library, task: Replay) -> str | None:
    """The adapter that the job of a picture was painted with; a replay's is that of what it replays."""
    job: str | None = task.job
    request: dict[str, Any] = {}
    with library.database.reading() as rows:
        while job is not None:
            found = rows("SELECT request FROM jobs WHERE id = ?", job)
            request = json.loads(found[0]["request"]) if found else {}
            job = request.get("job")
    return request.get("adapter")


def _look(pipeline: PortraitPipeline, progress: Progress) -> Callable[[Callable[[], Tensor]], None]:
    """Decodes what forms, now and then."""
    base: Any = getattr(pipeline, "base", None)

    def look(clean: Callable[[], Tensor]) -> None:
        if base is not None and progress.wants_preview():
            pixels = base.decode(clean()[:1].to(base.dtype)).float().clamp(-1, 1).cpu()
            progress.preview(to_pictures(pixels)[0])

    return look


def _side(pipeline: PortraitPipeline) -> int:
    return int(getattr(getattr(pipeline, "base", None), "size_px", 512))


def _dataset(kept: Kept, task: MakeDataset, claim: Claim, progress: Progress, work: Path) -> dict[str, Any]:
    """Beside its pictures: `set` and `pictures` in `datasets/JOB.ATTEMPT`, where nothing else writes."""
    from likeness.data.build import build, sidecar
    from likeness.faces.embed import load_encoder
    from likeness.files.weights import sha256_of
    from likeness.packs.mini import pack_folder

    library = kept.library
    place = library.folder / "datasets" / claim.name
    folder, pictures = place / "set", place / "pictures"
    sitters = task.person is None
    if task.person is None:
        progress.say("painting sitters")
        _paint_sitters(task, pictures, progress)
    else:
        person = library.person(task.person)
        if person is None or not person.pictures:
            raise InputError("This person has no pictures; add some first.")
        sitters = all(one.sitter for one in person.pictures)
        pictures.mkdir(parents=True, exist_ok=True)
        for one in person.pictures:
            shutil.copyfile(library.picture_file(one.id), pictures / f"{one.id}.png")
    pack = pack_folder(kept.base)
    encoder = pack / "recogniser"
    if not encoder.is_dir():
        raise InputError(
            f"The base {kept.base} brings no face recogniser: build the data set with "
            "`likeness dataset build --encoder`."
        )
    progress.say("looking at faces")
    dataset = build(
        pictures,
        folder,
        detector=open_detector(kept.base, sitters),
        encoder=load_encoder(encoder),
        encoder_sha256=sha256_of(next(iter(sorted(encoder.glob("*.safetensors"))))),
        captions=sidecar("person", pictures),
        person=None if task.person is None else task.person,
        on_picture=progress.step,
    )
    about = dataset.about
    work.mkdir(parents=True, exist_ok=True)
    document = {
        "name": task.name,
        "dataset": claim.name,
        "pictures_count": about.pictures,
        "people_count": about.people,
        "sitters": sitters,
        "left_out": dict(about.left_out),
    }
    write_json(work / "result.json", document)
    return json.loads(to_json(document))  # type: ignore[no-any-return]


def _paint_sitters(task: MakeDataset, folder: Path, progress: Progress) -> None:
    """Pictures of synthetic people, a folder each, with their captions beside them."""
    from PIL import Image

    from likeness.sitters import captions, sample_scene, with_same_person
    from likeness.sitters.render import render

    total = task.people * task.pictures
    for number in range(total):
        person, picture = divmod(number, task.pictures)
        scene = sample_scene(task.seed + person)
        scene = with_same_person(scene, picture) if picture else scene
        place = folder / f"sitter-{task.seed + person}"
        write_png(
            Image.fromarray(render(scene, 160).rgb), place / f"{picture:03d}.png", {"sitter": scene.record()}
        )
        (place / f"{picture:03d}.txt").write_text(captions(scene, 1, picture)[0], encoding="utf-8")
        progress.step(number + 1, total)


def _train(kept: Kept, task: Train, claim: Claim, progress: Progress, work: Path) -> dict[str, Any]:
    """In `runs/JOB.ATTEMPT`: an attempt goes on from the checkpoints of the one before."""
    from likeness.studio.training import train

    return train(kept.library, kept.base, kept.device, task, claim, progress, work)
