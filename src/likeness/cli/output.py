"""What every verb prints: text for people or one JSON document on stdout, progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["AsJson", "progress", "show", "step_progress"]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def show(document: object, as_json: bool, *text: RenderableType) -> None:
    """Print the result of a verb: `document` as JSON, or `text` (strings, rich tables) for people.

    Strings are printed as they are: no markup, no wrapping inside a path.
    """
    from likeness.files.images import to_json

    if as_json:
        print(to_json(document))
        return
    from rich.console import Console

    console = Console(markup=False, highlight=False, soft_wrap=True)
    for part in text:
        console.print(part)


@contextmanager
def progress(words: str, total: int | None, as_json: bool = False) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr; yields `advance(steps)`.

    Silent with `--json` and where stderr is no terminal.
    """
    with _bar(words, total, as_json) as update:
        done = 0

        def advance(steps: int) -> None:
            nonlocal done
            done += steps
            update(done, total)

        yield advance


@contextmanager
def step_progress(words: str, as_json: bool = False) -> Iterator[Callable[[int, int], None]]:
    """The same for work that says how far it is; yields `on_progress(step, steps)`."""
    with _bar(words, None, as_json) as update:
        yield update


@contextmanager
def _bar(words: str, total: int | None, as_json: bool) -> Iterator[Callable[[int, int | None], None]]:
    if as_json or not sys.stderr.isatty():
        yield lambda step, steps: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(words, total=total)
        yield lambda step, steps: bar.update(task, completed=step, total=steps)
