"""Train parts of a pack on a machine that has a GPU and PyTorch but no network.

On a machine with a network, from the repository's root:

    python scripts/train_offline.py wheels .wheels --python 3.12

Copy the repository with .wheels to the other machine and train there; minutes follow each part:

    python scripts/train_offline.py train --wheels .wheels --out OUT \\
        --minutes recogniser=3 unet=8 -- --device cuda

OUT then holds the pack's changed files in pieces small enough for any channel. Back here:

    python scripts/train_offline.py join OUT src/likeness/packs/mini

What follows `--` goes to `likeness pack build`. Parts stand on one another: name them in the
order of `likeness pack build --help`, and those they stand on must be in the pack or come first.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MISSING = ("diffusers", "pydantic", "pydantic-core", "annotated-types", "typing-inspection")
"""What an image with PyTorch, transformers, numba and OpenCV lacks."""
PIECE_BYTES = 15 << 20


def main(arguments: list[str] | None = None) -> None:
    """Run one of the three commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)

    one = commands.add_parser("wheels", help="download what the other machine lacks")
    one.add_argument("folder", type=Path)
    one.add_argument("--python", default="3.12", help="Python of the other machine")
    one.set_defaults(run=wheels)

    one = commands.add_parser("train", help="train there")
    one.add_argument("--wheels", type=Path)
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--name", default="mini", help="which pack: mini or nano")
    one.add_argument("--pack", type=Path, help="the pack's folder, by default the package's own")
    one.add_argument("--minutes", nargs="+", required=True, metavar="PART=MINUTES")
    one.add_argument("options", nargs="*", metavar="-- OPTIONS", help="for likeness pack build")
    one.set_defaults(run=train)

    one = commands.add_parser("join", help="put the pieces into a pack")
    one.add_argument("folder", type=Path)
    one.add_argument("pack", type=Path)
    one.set_defaults(run=join)

    chosen = parser.parse_args(arguments)
    chosen.run(chosen)


def wheels(chosen: argparse.Namespace) -> None:
    """Download `MISSING`, in the versions of the lock."""
    lock = (ROOT / "requirements" / "runtime.txt").read_text(encoding="utf-8")
    pinned = [found.group() for n in MISSING if (found := re.search(rf"^{n}==[^\s;]+", lock, re.MULTILINE))]
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
         "--python-version", chosen.python, "--platform", "manylinux2014_x86_64", "--platform",
         "manylinux_2_17_x86_64", "--dest", str(chosen.folder), *pinned],
        check=True,
    )  # fmt: skip
    print(*sorted(p.name for p in chosen.folder.glob("*.whl")), sep="\n")


def train(chosen: argparse.Namespace) -> None:
    """Train part after part and write what changed, whatever stops the parts that follow."""
    if chosen.wheels:
        found = sorted(map(str, chosen.wheels.glob("*.whl")))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", *found]
        subprocess.run(command, check=True)
    pack = chosen.pack or ROOT / "src" / "likeness" / "packs" / chosen.name
    started, environment = time.time(), {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    failed = ""
    for one in chosen.minutes:
        part, _, minutes = one.partition("=")
        command = [sys.executable, "-m", "likeness", "pack", "build", chosen.name, "--pack", str(pack)]
        command += ["--part", part, "--minutes", minutes or "5", *chosen.options]
        print("+", *command, flush=True)
        if subprocess.run(command, env=environment).returncode:
            failed = part
            break
    written = split(pack, started, chosen.out)
    print(f"{written} pieces in {chosen.out}")
    if failed:
        sys.exit(f"{failed} failed; the pieces hold what was finished before.")


def split(pack: Path, since: float, out: Path) -> int:
    """Files of a pack changed after `since`, as out/pack.tar.000 and so on; returns how many pieces."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for file in sorted(p for p in pack.rglob("*") if p.is_file() and p.stat().st_mtime >= since):
            tar.add(file, file.relative_to(pack).as_posix())
    content = whole.getvalue()
    out.mkdir(parents=True, exist_ok=True)
    pieces = range(0, len(content), PIECE_BYTES)
    for number, start in enumerate(pieces):
        (out / f"pack.tar.{number:03d}").write_bytes(content[start : start + PIECE_BYTES])
    return len(pieces)


def join(chosen: argparse.Namespace) -> None:
    """Put what `split` wrote into a pack, over what it has."""
    content = b"".join(piece.read_bytes() for piece in sorted(chosen.folder.glob("pack.tar.*")))
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        tar.extractall(chosen.pack, filter="data")
        print(*tar.getnames(), sep="\n")


if __name__ == "__main__":
    main()
