"""What `likeness train --own` gains: portraits of held-out sitters before and after a few of their photos.

The same reference, words and seeds by the adapter that comes along and by the one trained further. Likeness
is to a picture that is neither the reference nor among the photos, by a recogniser that gave nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from record import record

from likeness.catalog import load_pipeline
from likeness.cli.main import main
from likeness.evaluation.judge import Judge, open_judge
from likeness.evaluation.result import ordering, summarised
from likeness.files.images import write_png
from likeness.references import open_detector
from likeness.sitters import sample_scene, straightened, with_same_person
from likeness.sitters.render import render
from likeness.types import PortraitPipeline, PortraitRequest

PROMPTS = ("A portrait in front of a blue wall.", "Smiling, wearing a red t-shirt, in front of the sea.")
PHOTOS = 4


def trained(photos: Path, run: Path, steps: int) -> Path:
    """The weights that `likeness train --own` makes of a folder."""
    words = ["train", "consistentid", "--own", str(photos), "--sitters", "--steps", str(steps), "--json"]
    words += ["--checkpoint-minutes", "600", "-o", str(run)]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main(words)
    return Path(json.loads(said.getvalue())["adapter"])


def chances(
    pipeline: PortraitPipeline, reference: Image.Image, kept: Image.Image, judge: Judge, without: str
) -> list[float]:
    """How likely each prompt's portrait shows the person of the picture kept back; nan without a face."""
    requests = [PortraitRequest(prompt, (reference,), seed=seed) for seed, prompt in enumerate(PROMPTS)]
    found = [judge.compare(one.image, [kept], without).chance for one in pipeline(requests)]
    return [np.nan if one is None else one for one in found]


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--people", type=int, default=6)
    arguments.add_argument("--steps", type=int, default=60)
    arguments.add_argument("--seed", type=int, default=10_000_300)
    given = arguments.parse_args()
    detector = open_detector("mini", references_are_sitters=True)
    plain = load_pipeline("consistentid", "mini", sitters=True)
    judge, without = open_judge("mini", detector, sitters=True), plain.face_encoder.name  # type: ignore[attr-defined]
    before: list[float] = []
    after: list[float] = []
    number, people = given.seed, 0
    while people < given.people:
        first = straightened(sample_scene(number))
        number += 1
        views = [first, *(straightened(with_same_person(first, view)) for view in range(1, PHOTOS + 1))]
        pictures = [Image.fromarray(render(one, 128).rgb) for one in views]
        if not all(len(detector(picture)) == 1 for picture in pictures):
            continue
        people += 1
        *photos, kept = pictures
        with tempfile.TemporaryDirectory() as folder:
            for view, picture in enumerate(photos):
                write_png(picture, Path(folder) / "photos" / f"{view}.png")
            weights = trained(Path(folder) / "photos", Path(folder) / "run", given.steps)
            better = load_pipeline("consistentid", "mini", adapter=weights, sitters=True)
            before += chances(plain, photos[0], kept, judge, without)
            after += chances(better, photos[0], kept, judge, without)
    whose = np.arange(people).repeat(len(PROMPTS))
    metrics = {
        "same person, before": summarised(np.array(before), "chance", whose=whose),
        f"same person, after {given.steps} steps": summarised(np.array(after), "chance", whose=whose),
    }
    claim = ordering(
        "portraits are likelier of a person after training on a few photos of them",
        "ours",
        np.array(after),
        np.array(before),
        whose=whose,
    )
    record(
        "own-photos", "consistentid", metrics, given=given, n=len(before), seed=given.seed, orderings=[claim]
    )
