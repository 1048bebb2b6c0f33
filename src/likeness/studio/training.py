"""A training as a job: it goes on where a killed worker left it, and tells its steps meanwhile."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likeness.catalog import load_training, training_stages
from likeness.data.manifest import read_dataset
from likeness.errors import Cancelled, InputError
from likeness.evaluation.judge import open_judge
from likeness.files.images import write_json
from likeness.finetune import finetune, split_people, validation_of
from likeness.references import open_detector
from likeness.studio.runs import dataset_folder, newest_run
from likeness.training import Budget, TrainingOptions
from likeness.training.checkpoint import latest_checkpoint

if TYPE_CHECKING:
    from likeness.studio.jobs import Claim
    from likeness.studio.library import Library
    from likeness.studio.tasks import Train
    from likeness.studio.worker import Progress

__all__ = ["train"]


def train(
    library: Library, base: str, device: str | None, task: Train, claim: Claim, progress: Progress, work: Path
) -> dict[str, Any]:
    """Do a training job; its result names the run folder.

    Raises: InputError for settings that do not fit; Cancelled, when the run can be taken up by a retry.
    """
    if task.steps is None and task.minutes is None:
        raise InputError("Say how long to train: steps, or minutes.")
    if training_stages(task.method):
        raise InputError(
            f"{task.method} is trained in stages, on a data set of its own kind: use `likeness train`."
        )
    folder, about = dataset_folder(library, task.dataset)
    chosen = task.base or base
    run = library.folder / "runs" / claim.name
    before = newest_run(library, claim.job.id)
    if before is not None and before != run:
        before.replace(run)
    sitters = bool(about["sitters"])
    dataset = read_dataset(folder)
    learned, held = split_people(dataset, task.hold_out, task.seed)
    progress.say(f"loading {task.method}")
    training = load_training(
        task.method,
        dataset,
        learned,
        chosen,
        TrainingOptions(
            from_nothing=task.from_nothing,
            batch_size=task.batch_size,
            learning_rate=task.learning_rate,
            sitters=sitters,
            device=device,
            seed=task.seed,
        ),
    )
    judge = open_judge(chosen, open_detector(chosen, sitters), sitters=sitters)
    settings = task.model_dump(mode="json")
    progress.say("training")
    total = task.steps or 0
    found = finetune(
        _Watched(training, progress, total),
        run,
        Budget(steps=task.steps, minutes=task.minutes),
        validation_of(dataset, held, judge),
        settings=settings,
        seed=task.seed,
        device=device or "cpu",
        checkpoint_minutes=task.checkpoint_minutes,
        resume=latest_checkpoint(run) is not None,
        log_every=max(1, min(10, total // 50)) if total else 10,
    )
    if found["stopped_by"] != "signal":
        progress.step(found["steps"], max(total, found["steps"]))
    document = {**{key: value for key, value in found.items() if key != "adapter"}, "run": claim.name}
    write_json(work / "result.json", document)
    if found["stopped_by"] == "signal":
        raise Cancelled("Stopped; a retry goes on from here.")
    return document


class _Watched:
    """A `finetune.Training` that tells its steps, and when it is to stop does so as on Ctrl-C: with a
    checkpoint."""

    def __init__(self, training: Any, progress: Progress, total: int) -> None:
        self._training, self._progress, self._total = training, progress, total

    def __getattr__(self, name: str) -> Any:
        return getattr(self._training, name)

    def batches(self, moment: Any) -> Any:
        """See `finetune.Training`."""
        try:
            self._progress.step(moment.step, max(self._total, moment.step))
        except Cancelled:
            signal.raise_signal(signal.SIGINT)
        return self._training.batches(moment)
