"""`likeness face`: judge photos as references."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likeness.cli.boxes import box_of
from likeness.cli.output import AsJson, show
from likeness.errors import InputError, LikenessError, NoFaceError

if TYPE_CHECKING:
    from likeness.faces.detect import FaceDetector
    from likeness.faces.doctor import Verdict

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


class Detector(Enum):
    """Which face detector to use."""

    YUNET = "yunet"
    SITTERS = "sitters"


@app.callback()
def _root() -> None:
    """Inspect photos: can a portrait be made from them, and which are best?"""


@app.command()
def inspect(
    photos: Annotated[list[Path], typer.Argument(help="Pictures to judge.")],
    detector: Annotated[
        Detector | None, typer.Option(help="yunet for photos, sitters for synthetic people.")
    ] = None,
    box: Annotated[
        str | None, typer.Option(help="Judge the face in x0,y0,x1,y1 (pixels), whatever is detected.")
    ] = None,
    best: Annotated[
        int | None, typer.Option(min=1, help="Also name the best K photos of one person.")
    ] = None,
    encoder: Annotated[
        Path | None, typer.Option(help="Face encoder (folder or .onnx) that tells people apart for --best.")
    ] = None,
    needs: Annotated[
        int | None, typer.Option(min=8, help="Face size in pixels that is enough (96; sitters 48).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say of each photo whether a portrait can be made from it, and why not.

    Exit code 0: every photo was judged (also when it is unusable). 3: a file is no picture.
    4: a picture has no face. With several photos the rest is still judged, and the highest
    code is returned.
    """
    hand = box_of(box, "--box")
    if hand is not None and len(photos) > 1:
        raise InputError("--box belongs to one photo; inspect the others without it.")
    from likeness.faces.detect import find_detector
    from likeness.packs import mini_path

    finder = find_detector(detector.value if detector else None, mini_path() / "landmarks")
    needs_px = needs or (48 if finder.name == "sitters" else 96)
    entries, verdicts, code = [], {}, 0
    for path in photos:
        entry: dict[str, Any] = {"path": str(path)}
        try:
            verdict = _judge(path, finder, hand, needs_px)
        except LikenessError as error:
            code = max(code, error.exit_code)
            message = str(error)
            entry["error"] = {
                "type": type(error).__name__,
                "message": message,
                "exit_code": error.exit_code,
            }
            typer.echo(f"error: {message}", err=True)
        else:
            verdicts[path] = verdict
            entry |= verdict.to_dict()
            if not verdict.faces:
                code = max(code, NoFaceError.exit_code)
            if not as_json:
                show(entry, False, *_lines(path, verdict))
        entries.append(entry)
    document: dict[str, Any] = {
        "detector": {"name": finder.name, "licence": finder.licence},
        "needs_px": needs_px,
        "photos": entries,
    }
    if best is not None:
        chosen, how = _best(verdicts, best, encoder, finder)
        document["best"] = {"photos": [str(path) for path in chosen], "compared_by": how}
        if not as_json:
            show({}, False, f"best {len(chosen)} (by {how}): {', '.join(map(str, chosen)) or 'none'}")
    if as_json:
        show(document, True)
    elif finder.name == "sitters":
        show(
            {},
            False,
            "The detector at hand knows synthetic sitters only; LIKENESS_MODELS can name YuNet's folder.",
        )
    raise typer.Exit(code)


def _judge(
    path: Path, detector: FaceDetector, box: tuple[float, float, float, float] | None, needs_px: int
) -> Verdict:
    from likeness.faces.doctor import inspect as judge
    from likeness.files.images import read_image

    return judge(read_image(path), detector, box, needs_px)


def _lines(path: Path, verdict: Verdict) -> list[str]:
    """The verdict in words: one line, then one for each reason."""
    count = len(verdict.faces)
    faces = "no face" if count == 0 else "1 face" if count == 1 else f"{count} faces"
    numbers = ""
    if verdict.measures is not None:
        m = verdict.measures
        numbers = f"  ({m.size_px:.0f} px, sharpness {m.sharpness:.2f}, yaw {m.angle.yaw:.0f})"
    lines = [f"{path}: {faces}, {verdict.status}{numbers}"]
    return lines + [f"    {reason.sentence}" for reason in verdict.reasons]


def _best(
    verdicts: dict[Path, Verdict], k: int, encoder: Path | None, detector: FaceDetector
) -> tuple[list[Path], str]:
    """The best photos and how they were compared."""
    from likeness.faces.doctor import best_subset

    paths, judged = list(verdicts), list(verdicts.values())
    folder = encoder
    if folder is None and detector.name == "sitters":
        from likeness.packs import mini_path

        folder = mini_path() / "recogniser"
    if folder is None:
        return [paths[i] for i in best_subset(judged, None, k)], "quality alone; --encoder adds who it is"
    import numpy as np

    from likeness.faces.align import align_arcface
    from likeness.faces.embed import load_encoder
    from likeness.files.images import read_image

    encode = load_encoder(folder)
    rows = np.zeros((len(judged), encode.dim), np.float32)
    for index, (path, verdict) in enumerate(verdicts.items()):
        if verdict.face is not None:
            rows[index] = encode([align_arcface(read_image(path), verdict.face)])[0]
    return [paths[i] for i in best_subset(judged, rows, k)], f"quality and {encode.name}"
