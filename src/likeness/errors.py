"""Every error Likeness raises on purpose, and the exit code the command line gives it.

A message is one sentence: what is wrong, where, what to do. Mistakes in what the user
passed are also `ValueError`, so library callers can catch the usual built-in.

    LikenessError                      exit 1
    |-- InputError (ValueError)        exit 2   a setting, prompt, path or file is wrong
    |   |-- ImageError                 exit 3   a file is not a usable picture
    |   |-- IncompatibleWeightsError   exit 5   base, adapter or encoder do not fit together
    |   `-- FaceError                  exit 4   the picture is fine, its faces are not
    |       |-- NoFaceError
    |       |-- SeveralFacesError
    |       `-- FaceCutOffError
    |-- MissingWeightsError            exit 6   a model file is needed and cannot be had
    |-- ServiceError                   exit 7   a server refused, was silent or answered nonsense
    |-- MemoryFullError                exit 8   the GPU or the machine has no memory left
    `-- Cancelled                      exit 130 the user stopped the work
"""

from __future__ import annotations

__all__ = [
    "AnswerError",
    "Cancelled",
    "FaceCutOffError",
    "FaceError",
    "ImageError",
    "IncompatibleWeightsError",
    "InputError",
    "LikenessError",
    "MemoryFullError",
    "MissingWeightsError",
    "NoFaceError",
    "ServiceError",
    "SeveralFacesError",
    "memory_full",
]


class LikenessError(Exception):
    """Base of every error raised on purpose."""

    exit_code = 1


class InputError(LikenessError, ValueError):
    """Something the user passed is wrong."""

    exit_code = 2


class ImageError(InputError):
    """A file or object cannot be used as a picture."""

    exit_code = 3


class FaceError(InputError):
    """The picture can be read, but not the one face that is needed from it.

    `tried` lists what was attempted ("yunet at 640 px", "rotated by 90 degrees").
    """

    exit_code = 4

    def __init__(self, message: str, tried: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.tried = tried


class NoFaceError(FaceError):
    """No face was found."""


class SeveralFacesError(FaceError):
    """More than one face was found where exactly one is wanted."""


class FaceCutOffError(FaceError):
    """The face leaves the picture."""


class IncompatibleWeightsError(InputError):
    """Weights that do not fit together; the message names the right partner."""

    exit_code = 5


class MissingWeightsError(LikenessError):
    """Weights are needed and are neither here nor reachable; the message says how to provide them."""

    exit_code = 6


class ServiceError(LikenessError):
    """A server was asked and gave no usable answer; the message says which, and what it said."""

    exit_code = 7


class AnswerError(ServiceError):
    """A server that works gave no usable answer to one question, or refused it; others may be answered.

    exchange: the name under which what was said is kept, or "".
    """

    def __init__(self, message: str, exchange: str = "") -> None:
        super().__init__(message)
        self.exchange = exchange


class MemoryFullError(LikenessError):
    """What was asked for does not fit into memory; the message says what takes less."""

    exit_code = 8


def memory_full(error: BaseException) -> MemoryFullError | None:
    """The error that says so, where `error` is a library's way of running out of memory.

    Known by name and words: torch, whose class it is, is not imported to tell.
    """
    words = " ".join(str(error).split())
    on_gpu = type(error).__name__ == "OutOfMemoryError"
    if not (on_gpu or isinstance(error, MemoryError) or "can't allocate memory" in words):
        return None
    what = "The GPU's memory is full" if on_gpu else "The machine's memory is full"
    elsewhere = " or take --device cpu" if on_gpu else " or take a smaller base"
    return MemoryFullError(
        f"{what} ({words[:120].rstrip(' .') or 'no more was given'}): ask for a smaller picture or batch, "
        f"fewer people or ControlNets at once, end what else uses it,{elsewhere}."
    )


class Cancelled(LikenessError):
    """The user stopped the work; finished pictures are kept."""

    exit_code = 130
