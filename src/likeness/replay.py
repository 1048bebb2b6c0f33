"""A picture painted again from its own recipe, and what differs where it is not the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import likeness
from likeness.errors import ImageError, InputError
from likeness.files.images import read_image
from likeness.files.provenance import pixels_sha256, record_weights
from likeness.types import Person, PortraitRequest

if TYPE_CHECKING:
    from PIL import Image

    from likeness.types import PortraitResult

__all__ = ["Difference", "added_weights", "compared", "known_pictures", "loading_of", "request_from"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
SETTINGS = ("device", "dtype", "runtime", "scheduler", "steps", "guidance", "size_px", "detector")
"""Of a recipe's settings those that say where and how it was painted."""
ADDED = ("LoRA", "delta", "ControlNet")
"""Roles of weights that are neither the base's nor the method's own: the user had them from elsewhere."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it was. what: "version", "weights: unet", "device", "pixels" and so on."""

    what: str
    before: str
    now: str

    def __str__(self) -> str:
        return f"{self.what}: {self.before} then, {self.now} now"


def known_pictures(places: Iterable[Path]) -> dict[str, Path]:
    """sha256 of pixels -> file, of the pictures given and of those lying in folders given."""
    found: dict[str, Path] = {}
    for place in places:
        files = sorted(place.iterdir()) if place.is_dir() else [place]
        for file in files:
            if file.suffix.lower() not in SUFFIXES and place.is_dir():
                continue
            try:
                found.setdefault(pixels_sha256(read_image(file)), file)
            except ImageError:
                if not place.is_dir():
                    raise
    return found


def request_from(recipe: Mapping[str, Any], picture: Callable[[str], Image.Image | None]) -> PortraitRequest:
    """The request that a recipe tells of.

    picture(sha256 of pixels): the pictures that took part, which a recipe leaves out.
    Raises: InputError for a recipe of another kind, or where a picture is missing.
    """
    told = recipe.get("request")
    if recipe.get("format") != 1 or not isinstance(told, dict) or "prompt" not in told:
        raise InputError("The recipe is not of a picture that a method painted, so it cannot be replayed.")
    missing: list[str] = []

    def find(known: Mapping[str, Any] | None) -> Any:
        if known is None:
            return None
        found = picture(str(known["pixels_sha256"]))
        if found is None:
            width, height = known["size_px"]
            missing.append(f"{width} x {height} px, pixels' sha256 {known['pixels_sha256'][:12]}")
        return found

    try:
        people = tuple(
            Person(
                tuple(find(one) for one in person["references"]),
                tuple(person["box_xyxy"]) if person["box_xyxy"] else None,
                find(person["mask"]),
                person["prompt"],
            )
            for person in told.get("people", ())
        )
        request = PortraitRequest(
            prompt=told["prompt"],
            negative_prompt=told["negative_prompt"],
            references=tuple(find(one) for one in told["references"]),
            size_px=tuple(told["size_px"]) if told["size_px"] else None,
            steps=told["steps"],
            guidance=told["guidance"],
            seed=told["seed"],
            options=told["options"],
            people=people,
            image=find(told.get("image")),
            mask_image=_grey(find(told.get("mask_image"))),
            strength=told.get("strength", 1.0),
            control_images=tuple(find(one) for one in told.get("control_images", ())),
            control_scale=told.get("control_scale", 1.0),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"The recipe lacks what a replay needs ({error}).") from None
    if missing:
        raise InputError(
            f"The recipe leaves photos out, and {len(missing)} that took part "
            f"{'is' if len(missing) == 1 else 'are'} needed ({'; '.join(missing)}): give them as references."
        )
    return request


def loading_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What `catalog.load_pipeline` takes, as the recipe tells it: name and base. Raises: InputError."""
    settings = recipe.get("settings") or {}
    if not isinstance(recipe.get("method"), str) or not isinstance(settings.get("base"), str):
        raise InputError("The recipe names no method and base, so it cannot be replayed.")
    return {"name": recipe["method"], "base": settings["base"]}


def added_weights(recipe: Mapping[str, Any], places: Iterable[Path]) -> dict[str, Any]:
    """What `catalog.load_pipeline` takes of weights that were added, each as strong as it was.

    places: their files and folders, or folders that hold them; which is which, their sha256 says. A
    ControlNet of the hub is fetched by its name.
    Raises: InputError naming those that are not there.
    """
    wanted = [one for one in recipe.get("weights", ()) if one["role"] in ADDED]
    here = {record_weights(path, "", "").sha256: str(path) for path in _weights_in(places)} if wanted else {}
    scales: dict[str, dict[str, float]] = {"LoRA": {}, "delta": {}}
    nets, missing = [], []
    for one in wanted:
        hub = one["role"] == "ControlNet" and re.fullmatch(r"[\w.-]+/[\w.-]+", one["source"])
        place = here.get(one["sha256"]) or (one["source"] if hub else None)
        if place is None:
            missing.append(f"the {one['role']} {one['name']}, sha256 {_short(one['sha256'])}")
        elif one["role"] == "ControlNet":
            nets.append(place)
        else:
            strength = re.search(r"scale (\S+)$", one["source"])
            scales[one["role"]][place] = float(strength[1]) if strength else 1.0
    if missing:
        raise InputError(f"Weights that took part are not here ({'; '.join(missing)}): give them as weights.")
    found = {"loras": scales["LoRA"], "adapter": scales["delta"], "controlnets": nets}
    return {name: value for name, value in found.items() if value}


def _weights_in(places: Iterable[Path]) -> list[Path]:
    """Single files, and folders of one model as diffusers writes them."""
    found: list[Path] = []
    for place in places:
        inside = (
            sorted(place.iterdir()) if place.is_dir() and not (place / "config.json").is_file() else [place]
        )
        found += [one for one in inside if one.suffix == ".safetensors" or (one / "config.json").is_file()]
    return found


def compared(recipe: Mapping[str, Any], before: Image.Image, result: PortraitResult) -> list[Difference]:
    """What differs between a picture with its recipe and one painted now; nothing where the pixels do not.

    Weights are told by sha256; pixels by how many differ and by how much, in grey levels of 255.
    """
    if pixels_sha256(before) == pixels_sha256(result.image):
        return []
    found = []
    if recipe.get("version") != likeness.__version__:
        found.append(Difference("version", str(recipe.get("version")), likeness.__version__))
    then = {f"{one['role']} {one['name']}": one["sha256"] for one in recipe.get("weights", ())}
    now = {f"{one.role} {one.name}": one.sha256 for one in result.provenance.weights}
    for name in dict.fromkeys([*then, *now]):
        if then.get(name) != now.get(name):
            found.append(Difference(f"weights: {name}", _short(then.get(name)), _short(now.get(name))))
    settings, made = recipe.get("settings") or {}, result.provenance.recipe
    found += [
        Difference(name, str(settings.get(name)), str(made.get(name)))
        for name in SETTINGS
        if settings.get(name) != made.get(name)
    ]
    found.append(_pixels(recipe, before, result.image))
    return found


def _pixels(recipe: Mapping[str, Any], before: Image.Image, after: Image.Image) -> Difference:
    untouched = recipe.get("pixels_sha256") == pixels_sha256(before)
    said = "as the recipe says" if untouched else "changed since it was painted"
    if before.size != after.size:
        return Difference("pixels", f"{before.width} x {before.height}", f"{after.width} x {after.height}")
    apart = np.abs(np.asarray(before.convert("RGB"), np.int16) - np.asarray(after.convert("RGB"), np.int16))
    share = float((apart.max(axis=2) > 0).mean())
    return Difference(
        "pixels",
        said,
        f"{share:.1%} of them differ, by {apart.mean():.2f} grey levels on average and {apart.max()} at most",
    )


def _grey(image: Image.Image | None) -> Image.Image | None:
    return None if image is None else image.convert("L")


def _short(digest: str | None) -> str:
    return "none" if digest is None else (re.sub(r"[^0-9a-f]", "", digest)[:12] or "not recorded")
