"""The `likeness` command: finds the verb, and turns every outcome into an exit code.

A verb is a module `likeness.cli.VERB` with `app: typer.Typer` (of one command, or of several); it
is listed in `VERBS` with its line of help, and imported only when it is called. Inside, it raises
errors of `likeness.errors` and prints through `likeness.cli.output`; all the rest happens here:

- an error on purpose: one line `error: ...` on stderr, the exit code of its class;
- a wrong option or argument: the same, exit code 2;
- Ctrl-C: `stopped.`, 130;
- anything else is a bug: one sentence how to report it, exit code 70; the traceback with
  `--debug` or `LIKENESS_DEBUG=1`.

With `--json`, stdout holds exactly one JSON document: the result, or
`{"error": {"type": ..., "message": ..., "exit_code": ...}}`. stderr stays as it is without.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

import likeness
from likeness.errors import Cancelled, LikenessError, memory_full

__all__ = ["VERBS", "app", "main"]

EXIT_BUG = 70
EXIT_STOPPED = Cancelled.exit_code


def _ablate() -> typer.Typer:
    from likeness.cli import ablate

    return ablate.app


def _collect() -> typer.Typer:
    from likeness.cli import collect

    return collect.app


def _compare() -> typer.Typer:
    from likeness.cli import compare

    return compare.app


def _dataset() -> typer.Typer:
    from likeness.cli import dataset

    return dataset.app


def _demo() -> typer.Typer:
    from likeness.cli import demo

    return demo.app


def _edit() -> typer.Typer:
    from likeness.cli import edit

    return edit.app


def _evaluate() -> typer.Typer:
    from likeness.cli import evaluate

    return evaluate.app


def _face() -> typer.Typer:
    from likeness.cli import face

    return face.app


def _generate() -> typer.Typer:
    from likeness.cli import generate

    return generate.app


def _live() -> typer.Typer:
    from likeness.cli import live

    return live.app


def _pack() -> typer.Typer:
    from likeness.cli import pack

    return pack.app


def _pollution() -> typer.Typer:
    from likeness.cli import pollution

    return pollution.app


def _restyle() -> typer.Typer:
    from likeness.cli import restyle

    return restyle.app


def _replay() -> typer.Typer:
    from likeness.cli import replay

    return replay.app


def _score() -> typer.Typer:
    from likeness.cli import score

    return score.app


def _sitters() -> typer.Typer:
    from likeness.cli import sitters

    return sitters.app


def _studio() -> typer.Typer:
    from likeness.cli import studio

    return studio.app


def _study() -> typer.Typer:
    from likeness.cli import study

    return study.app


def _train() -> typer.Typer:
    from likeness.cli import train

    return train.app


VERBS: dict[str, tuple[str, Callable[[], typer.Typer]]] = {
    "demo": ("Paint three portraits of a bundled sitter and write a page to look at.", _demo),
    "generate": ("Paint portraits of the person on one photo or several.", _generate),
    "compare": ("Paint with several methods, bases or adapters and put the pictures side by side.", _compare),
    "score": ("Say how likely pictures show the same person.", _score),
    "edit": ("Change portraits by an instruction, in one step, the person kept.", _edit),
    "collect": ("Paint a collection from one portrait and instructions, and check it as a set.", _collect),
    "restyle": ("Put a person into a picture: in its pose and light, everything else kept.", _restyle),
    "replay": ("Paint a picture again from its own recipe, and say what differs.", _replay),
    "studio": ("Everything in a browser: make, compare, train, live, studies, sitters.", _studio),
    "live": ("Edit a camera's picture while it runs, on a page in the browser.", _live),
    "evaluate": ("Measure a method by its paper's protocol, with intervals, cases and a report.", _evaluate),
    "pollution": ("Say what else a LoRA, a delta or a fine-tune changed, on one page.", _pollution),
    "study": ("Let people judge pictures, blind, and count what they say.", _study),
    "face": ("Inspect photos: can a portrait be made from them, and which are best?", _face),
    "train": ("Train a method on a data set, or on a few photos of one's own.", _train),
    "ablate": (
        "Train a method's variants equally long and say which of its paper's orderings hold.",
        _ablate,
    ),
    "dataset": ("Build a data set to train on from a folder of pictures, and check one.", _dataset),
    "sitters": ("Make pictures of people who do not exist, with their ground truth.", _sitters),
    "pack": ("Look at, check or train the models that come with the package.", _pack),
}


class _Verbs(TyperGroup):
    """Lists the verbs from `VERBS` and imports one when it is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if args[0] not in VERBS:
            return super().resolve_command(ctx, args)
        command = get_command(VERBS[args[0]][1]())
        command.name = args[0]
        # Typer offers these on every app; here they belong to `likeness` alone.
        completion = ("install_completion", "show_completion")
        command.params = [option for option in command.params if option.name not in completion]
        return args[0], command, args[1:]


app = typer.Typer(
    cls=_Verbs,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, (_help, _) in VERBS.items():
    app.command(_name, help=_help)(lambda: None)


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks (anywhere on the line; or LIKENESS_DEBUG=1).")
    ] = False,
) -> None:
    """Portraits that keep the person.

    Every command takes --json: stdout then holds one JSON document, also for an error.
    """
    if version:
        typer.echo(f"likeness {likeness.__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = words[: words.index("--")] if "--" in words else words
    debug = "--debug" in options or os.environ.get("LIKENESS_DEBUG", "") not in ("", "0")
    words = [word for word in words if word != "--debug" or word not in options]
    code = _run(words, as_json="--json" in options, debug=debug)
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # `likeness ... | head`: nobody reads on, and Python shall not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _run(words: list[str], *, as_json: bool, debug: bool) -> int:
    try:
        outcome = get_command(app).main(words, prog_name="likeness", standalone_mode=False)
    except LikenessError as error:
        if debug:
            raise
        return _fail(type(error).__name__, str(error), error.exit_code, as_json)
    except typer.TyperException as error:
        message = " ".join(error.format_message().split())
        if not message:  # the command was called without arguments and has printed its help
            return 2
        full_stop = "" if message[-1] in ".!?" else "."  # what pydantic says of a value has none
        return _fail("UsageError", f"{message}{full_stop} See --help.", 2, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("Cancelled", "stopped.", EXIT_STOPPED, as_json)
    except BrokenPipeError:
        return 1
    except Exception as error:
        if debug:
            raise
        full = memory_full(error)
        if full is not None:
            return _fail(type(full).__name__, str(full), full.exit_code, as_json)
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return _fail(
            "UnexpectedError",
            f"this is a bug ({said:.300}); run again with --debug and report the traceback as an issue.",
            EXIT_BUG,
            as_json,
        )
    # Typer turns typer.Exit into its code, and Ctrl-C into 130.
    code = outcome if isinstance(outcome, int) else 0
    return _fail("Cancelled", "stopped.", code, as_json) if code == EXIT_STOPPED else code


def _fail(kind: str, message: str, code: int, as_json: bool) -> int:
    if as_json:
        document = {"error": {"type": kind, "message": message, "exit_code": code}}
        print(json.dumps(document, ensure_ascii=False))
    print(f"error: {message}", file=sys.stderr)
    return code
