from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
import torch
import typer

import likeness.cli.main as command_line
from likeness import errors
from likeness.cli.output import AsJson, progress, show, step_progress

SOURCE = Path(__file__).parents[2] / "src"


def likeness(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "likeness", *words],
        env=os.environ | {"PYTHONPATH": str(SOURCE), "COLUMNS": "100"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        command_line.main(words)
    return int(stop.value.code or 0)


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """A verb `planted` that does what it is told."""

    def plant(act: Callable[[], object]) -> None:
        app = typer.Typer()

        @app.command()
        def planted(number: Annotated[int, typer.Option()] = 1, as_json: AsJson = False) -> None:
            act()

        monkeypatch.setitem(command_line.VERBS, "planted", ("help", lambda: app))

    monkeypatch.delenv("LIKENESS_DEBUG", raising=False)
    return plant


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from likeness.cli.main import main\n"
        "try: main(['--help'])\n"
        "finally: print(*(set(sys.modules) & {'torch', 'diffusers', 'transformers', 'numpy', 'PIL',"
        " 'cv2', 'onnxruntime', 'numba', 'pyarrow'}), file=sys.stderr)\n"
    )
    # Processor time: on a machine with nothing else to do the clock shows no more than that.
    seconds = []
    for _ in range(3):
        before = os.times()
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
            capture_output=True,
            text=True,
            check=True,
        )
        after = os.times()
        seconds.append(
            after.children_user + after.children_system - before.children_user - before.children_system
        )
        assert done.stderr.strip() == "", "heavy modules were imported"
    assert min(seconds) < 1
    for verb in command_line.VERBS:
        assert verb in done.stdout


@pytest.mark.parametrize("verb", command_line.VERBS)
def test_every_verb_has_help_and_loads_no_torch_for_it(verb: str) -> None:
    script = (
        "import sys\n"
        "from likeness.cli.main import main\n"
        f"try: main(['{verb}', '--help'])\n"
        "finally: print(*(set(sys.modules) & {'torch', 'diffusers', 'transformers', 'cv2', 'onnxruntime'}),"
        " file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert f"likeness {verb}" in done.stdout


def leaves(command: object, name: str) -> list[tuple[str, object]]:
    below = getattr(command, "commands", None)
    if not below:
        return [(name, command)]
    return [leaf for word, child in below.items() for leaf in leaves(child, f"{name} {word}")]


@pytest.mark.parametrize("verb", command_line.VERBS)
def test_every_command_takes_json(verb: str) -> None:
    from typer.main import get_command

    for name, command in leaves(get_command(command_line.VERBS[verb][1]()), verb):
        options = [option for parameter in command.params for option in parameter.opts]  # type: ignore[attr-defined]
        assert "--json" in options, f"likeness {name} lacks --json"


def test_version() -> None:
    done = likeness("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, "likeness 0.1.0\n", "")


@pytest.mark.parametrize("words", [("genrate",), ("--nonsense",), ("genrate", "--json")])
def test_usage_errors_are_one_line(words: tuple[str, ...]) -> None:
    done = likeness(*words)
    assert done.returncode == 2
    assert done.stderr.startswith("error: No such ")
    assert done.stderr.count("\n") == 1
    if "--json" in words:
        assert json.loads(done.stdout)["error"]["exit_code"] == 2
    else:
        assert done.stdout == ""


def test_a_usage_error_ends_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["caption", "--", "-5"], "greater than or equal to 0. See --help."),
        (["caption", "7", "--cuont", "2"], "--json). See --help."),
        (["caption"], "Missing argument 'seed'. See --help."),
    ):
        assert call("sitters", *words) == 2
        assert said in capsys.readouterr().err


def test_a_close_word_is_suggested() -> None:
    assert "'generate'" in likeness("genrate").stderr


def error_classes() -> list[type[errors.LikenessError]]:
    named = [getattr(errors, name) for name in errors.__all__]
    return [kind for kind in named if isinstance(kind, type)]


@pytest.mark.parametrize("kind", error_classes())
@pytest.mark.parametrize("as_json", [False, True])
def test_errors_on_purpose(
    plant: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    kind: type[errors.LikenessError],
    as_json: bool,
) -> None:
    def fail() -> None:
        raise kind("a.png is a text file.")

    plant(fail)
    assert call("planted", *(["--json"] if as_json else [])) == kind.exit_code
    out, err = capsys.readouterr()
    assert err == "error: a.png is a text file.\n"
    if as_json:
        expected = {"type": kind.__name__, "message": "a.png is a text file.", "exit_code": kind.exit_code}
        assert json.loads(out) == {"error": expected}
    else:
        assert out == ""


def test_exit_codes_are_stable() -> None:
    assert {kind.__name__: kind.exit_code for kind in error_classes()} == {
        "LikenessError": 1,
        "InputError": 2,
        "ImageError": 3,
        "FaceError": 4,
        "NoFaceError": 4,
        "SeveralFacesError": 4,
        "FaceCutOffError": 4,
        "IncompatibleWeightsError": 5,
        "MissingWeightsError": 6,
        "ServiceError": 7,
        "AnswerError": 7,
        "MemoryFullError": 8,
        "Cancelled": 130,
    }


def test_a_bug_is_one_sentence(plant: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    plant(lambda: {}["key"])
    assert call("planted") == 70
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "error: this is a bug (KeyError: 'key'); "
        "run again with --debug and report the traceback as an issue.\n"
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has"),
            "The GPU's memory",
        ),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes."),
            "The machine's memory",
        ),
        (MemoryError(), "The machine's memory"),
    ],
)
def test_full_memory_is_no_bug(
    plant: Callable[..., None], capsys: pytest.CaptureFixture[str], error: Exception, said: str
) -> None:
    def fill() -> None:
        raise error

    plant(fill)
    assert call("planted", "--json") == 8
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["type"] == "MemoryFullError"
    assert err.startswith(f"error: {said} is full (") and err.count("\n") == 1
    assert "smaller picture" in err and "bug" not in err
    assert ("--device cpu" in err) == ("GPU" in err)


def test_debug_shows_the_traceback(plant: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(lambda: {}["key"])
    for words in (["--debug", "planted"], ["planted", "--debug"]):
        with pytest.raises(KeyError):
            command_line.main(words)
    monkeypatch.setenv("LIKENESS_DEBUG", "1")
    with pytest.raises(KeyError):
        command_line.main(["planted"])


def test_ctrl_c(plant: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    plant(stop)
    assert call("planted") == 130
    assert capsys.readouterr().err == "error: stopped.\n"


def test_wrong_value_names_the_option(plant: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    plant(lambda: None)
    assert call("planted", "--number", "many") == 2
    err = capsys.readouterr().err
    assert "--number" in err
    assert "integer" in err
    assert err.count("\n") == 1
    assert call("planted") == 0


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/tmp/" + "long-name/" * 30 + "[bold]a[/bold].png"  # noqa: S108  printed, not written
    show({"path": Path(path)}, False, f"wrote {path}")
    assert capsys.readouterr().out == f"wrote {path}\n"
    show({"path": Path(path), "score": None}, True, "not printed")
    assert json.loads(capsys.readouterr().out) == {"path": path, "score": None}


def test_progress_is_silent_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with progress("painting", 3) as advance, step_progress("painting") as on_progress:
        advance(1)
        on_progress(1, 3)
    assert capfd.readouterr() == ("", "")


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")  # a dumb terminal is not drawn on
    with progress("rendering", 3) as advance:
        advance(1)
        advance(1)
    with step_progress("painting") as on_progress:
        on_progress(2, 5)
    out, err = capsys.readouterr()
    assert out == ""
    assert "rendering" in err
    assert "2/3" in err
    assert "2/5" in err


def test_nobody_reads_on() -> None:
    read, write = os.pipe()
    os.close(read)
    child = subprocess.Popen(
        [sys.executable, "-m", "likeness", "--help"],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    _, complaint = child.communicate()
    assert complaint == ""
