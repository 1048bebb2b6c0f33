"""`accelerate launch --cpu --num_processes N` starts one process where there is no MPI; here N are started.

Its settings for several processes on CPUs are for `mpirun`. Without it one process would train alone, in
silence, N times as long as was meant.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from likeness.errors import InputError

__all__ = ["processes_meant", "start_those_meant"]

PLACES = ("WORLD_SIZE", "RANK", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Who has one of these was started as one of several, by torchrun or MPI."""
LAUNCHERS = ("accelerate", "accelerate-launch", "accelerate.commands", "accelerate_cli", "launch")
"""What accelerate's command is called, without what follows its last dot."""


def processes_meant(launcher: Sequence[str] | None = None) -> int:
    """How many processes `accelerate launch` was told to start where it started this one alone; else 1.

    launcher: the command line of the process that started this one, by default the parent's.
    Raises: InputError where it does not say how many.
    """
    # accelerate names a port where it means several processes, and the number nowhere.
    alone = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1") and "MASTER_PORT" in os.environ
    if not alone or any(name in os.environ for name in PLACES):
        return 1
    if launcher is None:
        import psutil

        launcher = psutil.Process(os.getppid()).cmdline()
    found = _told(launcher)
    if found is None:
        raise InputError(
            "accelerate launch started one process where several were meant; start them with "
            "`torchrun --nproc-per-node N -m likeness ...`."
        )
    return found


def start_those_meant() -> None:
    """Become torchrun with as many processes of this command as `accelerate launch` was told."""
    count = processes_meant()
    if count > 1:
        spec = sys.modules["__main__"].__spec__
        what = [sys.argv[0]] if spec is None else ["-m", spec.name.removesuffix(".__main__")]
        run = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        os.execv(sys.executable, [*run, *what, *sys.argv[1:]])  # noqa: S606  our own words


def _told(launcher: Sequence[str]) -> int | None:
    """The number in a command line of `accelerate launch`, or in the file it names; None without one."""
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    names = [number for number, word in enumerate(launcher) if Path(word).stem in LAUNCHERS]
    if not names:
        return None
    words = list(launcher[names[0] + 1 :])
    try:
        told, _ = launch_command_parser().parse_known_args(words[words[:1] == ["launch"] :])
    except SystemExit:
        return None
    if told.num_processes is None and told.config_file is not None:
        return int(load_config_from_file(told.config_file).num_processes)
    return None if told.num_processes is None else int(told.num_processes)
