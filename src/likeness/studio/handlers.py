"""What the desks do: judge a reference, paint a synthetic person, edit a frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import numpy as np
from PIL import Image

from likeness.errors import InputError
from likeness.files.images import image_from, png_bytes, read_image

__all__ = ["doctor", "live", "sitter_schema"]

SITTER_PX = 512


def doctor(base: str) -> dict[str, Callable[..., Any]]:
    """inspect: the doctor's verdict. sitter: a synthetic person. check: a data set. study: see `studies`."""
    detectors: dict[bool, Any] = {}

    def inspect(file: str, sitter: bool) -> dict[str, Any]:
        from likeness.faces.doctor import inspect as judge
        from likeness.references import needed_px, open_detector

        if sitter not in detectors:
            detectors[sitter] = open_detector(base, sitter)
        return judge(read_image(Path(file)), detectors[sitter], needs_px=needed_px(base)).to_dict()

    return {"inspect": inspect, "sitter": _sitter, "check": _check, "study": _study}


def _study(what: str, folder: str, *values: Any) -> Any:
    """A function of `studies`, by name."""
    from likeness.studio import studies

    known: dict[str, Callable[..., Any]] = {
        "items": studies.items, "keep": studies.keep, "listed": studies.listed, "make": studies.make,
        "summary": studies.summary,
    }  # fmt: skip
    return known[what](Path(folder), *values)


def _check(folder: str) -> list[dict[str, Any]]:
    """What is wrong with a data set."""
    from likeness.data.manifest import check

    return [
        {"file": one.file, "line": one.line, "column": one.column, "text": one.text}
        for one in check(Path(folder))
    ]


def _sitter(seed: int, picture: int, changes: dict[str, dict[str, Any]], size_px: int, layer: str) -> bytes:
    """A PNG with the scene as its recipe. layer: picture, labels, depth, normals or landmarks."""
    from likeness.sitters import sample_scene, with_same_person
    from likeness.sitters.render import render

    scene = sample_scene(seed)
    if picture:
        scene = with_same_person(scene, picture)
    record = scene.record()
    for factor, values in changes.items():
        if factor not in record or factor == "seed":
            raise InputError(f"A sitter has no {factor!r}.")
        record[factor] = {**record[factor], **values}
    changed = type(scene).from_record(record) if changes else scene
    painted = render(changed, size_px)
    if layer == "picture":
        return png_bytes(Image.fromarray(painted.rgb), {"sitter": changed.record(), "size_px": size_px})
    return png_bytes(Image.fromarray(_layer(painted, layer)))


def _layer(painted: Any, layer: str) -> np.ndarray:
    """Ground truth as a picture to look at."""
    if layer == "labels":
        hues = np.linspace(0, 255, 24, endpoint=False).astype(np.uint8)
        grey = np.where(painted.labels == 0, 0, 255).astype(np.uint8)
        hue = hues[(painted.labels.astype(int) * 7) % len(hues)]
        bands = (hue, np.where(grey > 0, 130, 0), np.where(grey > 0, 220, 30))
        hsv = Image.merge("HSV", [Image.fromarray(band.astype(np.uint8)) for band in bands])
        return np.asarray(hsv.convert("RGB"))
    if layer == "depth":
        seen = painted.depth > 0
        near, far = (painted.depth[seen].min(), painted.depth[seen].max()) if seen.any() else (0, 1)
        grey = np.where(seen, 255 - 215 * (painted.depth - near) / max(far - near, 1e-6), 0)
        return np.repeat(grey.astype(np.uint8)[..., None], 3, 2)
    if layer == "normals":
        return np.asarray((painted.normals + 1) * 127.5).astype(np.uint8)
    if layer == "landmarks":
        from PIL import ImageDraw

        image = Image.fromarray((painted.rgb * 0.55).astype(np.uint8))
        draw, r = ImageDraw.Draw(image), max(2, image.width // 160)
        for (x, y), seen in zip(painted.landmarks_px, painted.landmarks_visible, strict=True):
            colour = (140, 230, 190) if seen else (230, 130, 110)
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        return np.asarray(image)
    raise InputError(f"There is no layer {layer!r}: picture, labels, depth, normals or landmarks.")


def sitter_schema(seed: int, picture: int) -> dict[str, Any]:
    """Every slider of a sitter: factor -> fields with range or choices, and the value it has."""
    from typing import get_type_hints

    from likeness.sitters import parameters, sample_scene, with_same_person
    from likeness.sitters.words import captions

    scene = sample_scene(seed)
    if picture:
        scene = with_same_person(scene, picture)
    factors: dict[str, list[dict[str, Any]]] = {}
    for factor in dataclasses.fields(scene):
        value = getattr(scene, factor.name)
        if not dataclasses.is_dataclass(value):
            continue
        hints = get_type_hints(type(value), vars(parameters))
        rows = []
        for one in dataclasses.fields(value):
            row: dict[str, Any] = {"name": one.name, "value": getattr(value, one.name)}
            if "range" in one.metadata:
                row["low"], row["high"] = one.metadata["range"]
            elif choices := get_args(hints[one.name]):
                row["choices"] = list(choices)
            elif colours := _colours(factor.name, one.name):
                row["choices"] = colours
            elif hints[one.name] is bool:
                row["choices"] = [False, True]
            else:
                continue
            rows.append(row)
        factors[factor.name] = rows
    return {"seed": seed, "picture": picture, "factors": factors, "caption": captions(scene, 1, 0)[0]}


def _colours(factor: str, name: str) -> list[str]:
    from likeness.sitters import palette

    tables: dict[tuple[str, str], Any] = {
        ("identity", "eye_colour"): palette.EYES,
        ("identity", "hair_colour"): palette.HAIR,
        ("hair", "colour"): [*palette.HAIR, *palette.DYES],
        ("accessories", "glasses_colour"): palette.FRAMES,
        ("makeup", "lipstick_colour"): palette.LIPSTICK,
        ("makeup", "eyeshadow_colour"): palette.EYESHADOW,
        ("background", "colour"): palette.BACKDROP,
        ("background", "second_colour"): palette.BACKDROP,
    }
    if (factor, name) in tables:
        return list(tables[factor, name])
    return list(palette.CLOTH) if name.endswith("colour") else []


def live(base: str, device: str | None, method: str, adapter: str | None) -> dict[str, Callable[..., Any]]:
    """frame(JPEG bytes): the edited JPEG and what is told of the last frames."""
    from likeness.catalog import load_pipeline
    from likeness.studio.live import QUALITY, LiveEditor, LiveSettings

    pipeline = load_pipeline(method, base, adapter=adapter, device=device)
    side = getattr(getattr(pipeline, "base", None), "size_px", 512)
    editor = LiveEditor(pipeline, LiveSettings(), size_px=(side, side))

    def frame(data: bytes, wanted: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
        settings = LiveSettings(**wanted)
        if settings != editor.settings:
            editor.change(settings)
        shown = editor.edit(image_from(data, "The frame", pixels_max=4_000_000))
        packed = BytesIO()
        shown.save(packed, "JPEG", quality=QUALITY)
        return packed.getvalue(), editor.told()

    return {"frame": frame}
