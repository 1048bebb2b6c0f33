"""Video files in and out, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from likeness.errors import ImageError
from likeness.files.images import whole_file

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["VIDEO_SUFFIXES", "Video", "frames_of", "open_video", "video_sink"]

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"})


@dataclass(frozen=True, slots=True)
class Video:
    """What a video file says of itself. frames: by its header, which may be wrong or 0."""

    size_px: tuple[int, int]
    frames_per_s: float
    frames: int


def open_video(path: Path | str) -> Video:
    """Raises: ImageError for a file that is no video."""
    import cv2

    capture = _capture(path)
    try:
        size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        rate = float(capture.get(cv2.CAP_PROP_FPS))
        return Video(size, rate if 0 < rate < 1000 else 25.0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    finally:
        capture.release()


def frames_of(path: Path | str) -> Iterator[Image.Image]:
    """The frames of a video file, RGB, upright. Raises: ImageError for a file that is no video."""
    capture = _capture(path)
    try:
        while True:
            there, frame = capture.read()
            if not there:
                return
            yield Image.fromarray(np.ascontiguousarray(frame[:, :, ::-1]))
    finally:
        capture.release()


@contextmanager
def video_sink(
    path: Path | str, size_px: tuple[int, int], frames_per_s: float
) -> Iterator[Callable[[Image.Image], None]]:
    """Writes an .mp4 (MPEG-4 part 2) whole: yields what takes its frames, all of `size_px`.

    Without a frame there is no file.
    Raises: ImageError where it cannot be written.
    """
    import cv2

    with suppress(_NoFramesError), whole_file(path) as partial:
        # The codec is chosen by the name's ending, which a partial file's name may lack.
        beside = partial.with_name(f"{partial.name}.mp4")
        # Lower-case types are the ones players know.
        writer = cv2.VideoWriter(str(beside), cv2.VideoWriter.fourcc(*"mp4v"), frames_per_s, size_px)
        if not writer.isOpened():
            raise ImageError(
                f"The video {path} cannot be written: choose another folder, or .mp4 as its ending."
            )
        taken = 0
        try:

            def take(frame: Image.Image) -> None:
                nonlocal taken
                taken += 1
                writer.write(
                    np.ascontiguousarray(np.asarray(frame.convert("RGB").resize(size_px))[:, :, ::-1])
                )

            yield take
            writer.release()
            if not taken:
                raise _NoFramesError
            beside.replace(partial)
        finally:
            writer.release()
            beside.unlink(missing_ok=True)


class _NoFramesError(Exception):
    """So that an empty file is dropped."""


def _capture(path: Path | str) -> Any:
    import cv2

    if not Path(path).is_file():
        raise ImageError(f"{path} does not exist; check the name.")
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise ImageError(f"{path} is no video that can be read: give an .mp4, .mov, .webm, .mkv or .avi.")
    return capture
