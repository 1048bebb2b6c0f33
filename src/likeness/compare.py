"""The same references and words through several methods: pictures side by side, scores, seconds, memory.

Each variant paints in a process of its own, so that its memory is its own and a failure spares the others.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from likeness.catalog import card
from likeness.errors import InputError
from likeness.files.images import contact_sheet, read_image, write_json, write_png

__all__ = ["SHEET", "Variant", "compare", "variant_of"]

SHEET = "side-by-side.png"
RESULT = "compare.json"


@dataclass(frozen=True, slots=True)
class Variant:
    """METHOD[@BASE][+ADAPTER] taken apart; `text` is what was given, `folder` where its pictures go."""

    text: str
    method: str
    base: str
    adapter: str | None

    @property
    def folder(self) -> str:
        """A name for a folder."""
        return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in self.text)


def variant_of(text: str) -> Variant:
    """Such as "consistentid", "consistentid@sd15", "consistentid@mini+runs/mine".

    Raises: InputError for an empty part.
    """
    front, plus, adapter = text.partition("+")
    method, at, base = front.partition("@")
    if not method or (at and not base) or (plus and not adapter):
        raise InputError(f"{text!r} is no variant; write METHOD, METHOD@BASE or METHOD@BASE+ADAPTER.")
    return Variant(text, method, base or "mini", adapter or None)


def compare(
    variants: Sequence[Variant],
    references: Sequence[Path],
    prompts: Sequence[str],
    out: Path,
    *,
    settings: Mapping[str, str | int | None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Run `likeness generate` for every variant, and put what comes out side by side.

    settings: further options of `likeness generate`, such as {"seed": 3, "steps": 20}. Writes a folder a
    variant, the sheet (a row a picture, a column a variant) and `compare.json`, whose content is
    returned: for each variant mean likeness, seconds a picture, peak memory, or the error that ended it.
    Raises: InputError for too few or repeated variants, for a method that there is not, or when no variant
    paints.
    """
    if len(variants) < 2 or len({variant.folder for variant in variants}) < len(variants):
        raise InputError("Give two or more different variants to compare.")
    for variant in variants:
        card(variant.method)
    tables = []
    for number, variant in enumerate(variants):
        tables.append(_painted(variant, references, prompts, out, settings or {}))
        if on_progress is not None:
            on_progress(number + 1, len(variants))
    document = {"format": 1, "prompts": list(prompts), "variants": tables}
    painted = [table for table in tables if table["error"] is None]
    if not painted:
        raise InputError(f"No variant painted anything; the first said: {tables[0]['error']}")
    write_png(_sheet(read_image(references[0]), painted, out), out / SHEET)
    write_json(out / RESULT, document)
    return document


def _painted(
    variant: Variant,
    references: Sequence[Path],
    prompts: Sequence[str],
    out: Path,
    settings: Mapping[str, str | int | None],
) -> dict[str, Any]:
    command = [sys.executable, "-m", "likeness", "generate", "--json", "--out", str(out / variant.folder)]
    command += ["--method", variant.method, "--base", variant.base]
    command += ["--adapter", variant.adapter] if variant.adapter else []
    for path in references:
        command += ["--reference", str(path)]
    for prompt in prompts:
        command += ["--prompt", prompt]
    for name, value in settings.items():
        command += [f"--{name}", str(value)] if value is not None else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own command
    table: dict[str, Any] = {"variant": variant.text, "folder": variant.folder, "error": None}
    try:
        document = json.loads(done.stdout)
    except ValueError:
        return {**table, "error": f"it ended with code {done.returncode}: {done.stderr.strip()[-300:]}"}
    if "error" in document:
        return {**table, "error": document["error"]["message"]}
    pictures = document["pictures"]
    seconds = [sum(picture["timings_s"].values()) for picture in pictures]
    return {
        **table,
        "likeness": document["likeness"],
        "seconds_a_picture": round(sum(seconds) / len(seconds), 3),
        "peak_memory_mib": document["peak_memory_mib"],
        "pictures": pictures,
    }


def _sheet(reference: Image.Image, painted: Sequence[Mapping[str, Any]], out: Path) -> Image.Image:
    """The reference and what each variant made of each prompt; likeness below."""
    images, labels = [], []
    for rows in zip(*(table["pictures"] for table in painted), strict=True):
        shown = [
            read_image(out / table["folder"] / row["file"]) for table, row in zip(painted, rows, strict=True)
        ]
        size = max((image.size for image in shown), key=lambda size: size[0])
        images.append(ImageOps.contain(reference, size))
        labels.append(rows[0]["prompt"])
        for table, row, image in zip(painted, rows, shown, strict=True):
            likeness = row["likeness"]
            images.append(ImageOps.contain(image, size))
            labels.append(table["variant"] if likeness is None else f"{table['variant']} ({likeness:.0%})")
    return contact_sheet(images, len(painted) + 1, labels)
