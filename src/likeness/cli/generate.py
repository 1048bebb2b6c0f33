"""`likeness generate`: portraits of the person on one photo or several."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likeness.cli.boxes import box_of
from likeness.cli.encoders import Encoders
from likeness.cli.licences import Commercial
from likeness.cli.output import AsJson, progress, show
from likeness.errors import InputError

if TYPE_CHECKING:
    from likeness.types import Person

__all__ = ["app", "size_of"]

app = typer.Typer()


class OneByOne(Enum):
    """How one target follows another."""

    ADD = "add"
    REPLACE = "replace"


@app.command()
def generate(
    prompt: Annotated[
        list[str], typer.Option("--prompt", "-p", help="What the portrait shows; repeat for several.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures, made when missing.")],
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            "--reference", "-r", help="A photo of the person; repeat for several of the same person."
        ),
    ] = None,
    person: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead, for several people in one picture: a photo of each, PHOTO or PHOTO@x0,y0,x1,y1 "
            "with the box (px) where that person is; without boxes they stand side by side."
        ),
    ] = None,
    person_prompt: Annotated[
        list[str] | None,
        typer.Option(help="What each person's part of the picture shows, in the order of --person."),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT in px; by default what the base paints best.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="A picture to paint the person into, in place of its one face.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="With --image: white where it is painted anew, of the same size.")
    ] = None,
    image_box: Annotated[
        str | None,
        typer.Option(
            help="With --image: x0,y0,x1,y1 in pixels, the face to paint, when it is not found or not alone."
        ),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            min=0.01, max=1, help="With --image: how far from what was there; 1, the default, is anything."
        ),
    ] = None,
    controlnet: Annotated[
        list[str] | None, typer.Option(help="A ControlNet's folder or hub name; repeatable.")
    ] = None,
    control_image: Annotated[
        list[Path] | None, typer.Option(help="The picture each --controlnet reads, in their order.")
    ] = None,
    control_scale: Annotated[float, typer.Option(min=0, help="How much ControlNets count.")] = 1.0,
    lora: Annotated[
        list[str] | None,
        typer.Option(help="A LoRA of the base, FILE or FILE@SCALE (.safetensors); repeatable."),
    ] = None,
    negative_prompt: Annotated[str, typer.Option(help="What to keep out.")] = "",
    count: Annotated[int, typer.Option(min=1, help="Pictures of each prompt.")] = 1,
    seed: Annotated[
        int, typer.Option(min=0, help="The first picture's seed; the same seed gives the same pixels.")
    ] = 0,
    best_of: Annotated[
        int,
        typer.Option(
            min=1, help="Paint each picture this many times, from one seed after another; keep the likest."
        ),
    ] = 1,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Denoising steps; by default the method's.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(min=1, help="How closely to follow the prompt; 1 is off.")
    ] = None,
    base: Annotated[
        str,
        typer.Option(help="mini, sd15, sdxl, a diffusers folder, a .safetensors file or a name on the hub."),
    ] = "mini",
    customize: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead of a person: what spf-portrait was taught, a delta FILE or FILE@SCALE; repeatable. "
            "With --target alone it is what comes along with the pack."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="Instead of a person: taught words, put behind every prompt; repeatable."),
    ] = None,
    one_by_one: Annotated[
        OneByOne | None,
        typer.Option(
            help="With --target: every picture without any, then with one after another from the same seed, "
            "added to those before or in their place. As many deltas as targets take turns with them."
        ),
    ] = None,
    show_map: Annotated[
        int,
        typer.Option(
            min=0, help="With --target: every so many steps, show where the words may act; 0 never."
        ),
    ] = 0,
    adapter: Annotated[
        Path | None, typer.Option(help="The method's weights, when not those of the base.")
    ] = None,
    method: Annotated[str, typer.Option(help="The portrait method.")] = "consistentid",
    identity_scale: Annotated[
        str | None,
        typer.Option(
            help="Strength of the person, 0 to 2, by default 1. Of consistentid also a schedule: 0.3,0.4:1.0 "
            "is 0.3 at first and 1.0 once 0.4 of the steps are done."
        ),
    ] = None,
    merge_step: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of the steps painted from text alone: later keeps the prompt, earlier the face.",
        ),
    ] = None,
    face_box: Annotated[
        str | None,
        typer.Option(
            help="x0,y0,x1,y1 in pixels: the face on the first reference, when it is not found or not alone."
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="Another option of the method, NAME=VALUE, such as second_pass=0; a name that is none tells "
            "which there are. Repeatable."
        ),
    ] = None,
    judge: Annotated[
        list[Path] | None,
        typer.Option(
            help="A face recogniser (folder or .onnx) to score likeness with; repeatable. Packs bring theirs."
        ),
    ] = None,
    encoder: Encoders = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="cpu, cuda or openvino (a CPU's faster route for many pictures); default: cuda or cpu."
        ),
    ] = None,
    commercial: Commercial = False,
    as_json: AsJson = False,
) -> None:
    """Paint portraits of the person on one photo or several, or of several people, new or into a picture."""
    from likeness.catalog import load_pipeline
    from likeness.evaluation.judge import Judge, open_judge
    from likeness.files.images import read_image
    from likeness.portraits import make_portraits
    from likeness.references import is_sitter, open_detector, reference_warnings
    from likeness.types import RESTYLING

    taught = bool(customize or target)
    if bool(reference) + bool(person) + taught != 1:
        raise InputError(
            "Give one of --reference, photos of one person, --person, one of each of several people, or "
            "--target, taught words, with --customize where they are your own delta's."
        )
    if (one_by_one or show_map) and not target:
        raise InputError("--one-by-one and --show-map need --target, the taught words.")
    if taught and (adapter or judge):
        raise InputError(
            "Taught words have weights of their own, --customize, and paint nobody: leave --adapter and "
            "--judge away."
        )
    pictures = [read_image(path) for path in reference or ()]
    box = box_of(face_box, "--face-box")
    people, files = _people(person or (), person_prompt or ())
    options: dict[str, Any] = {
        "identity_scale": _strength(identity_scale),
        "merge_step": merge_step,
        "face_box": box,
        "target_box": box_of(image_box, "--image-box"),
    }
    weights: Any = adapter
    if taught:
        method = "spf-portrait"
        weights = dict(_scaled(one, "--customize") for one in customize) if customize else None
        options |= {"target": ", ".join(target) if target else None, "show_map": show_map or None}
    options = {key: value for key, value in options.items() if value is not None}
    for name, value in _named(option or ()).items():
        if name in options:
            raise InputError(f"--option {name} says again what another option says: give one of them.")
        options[name] = value
    sitters = all(is_sitter(path) for path in (*(reference or ()), *files))
    pipeline = load_pipeline(
        method,
        base,
        adapter=weights,
        device=device,
        controlnets=controlnet or (),
        loras=dict(_scaled(one, "--lora") for one in lora or ()),
        sitters=sitters,
        commercial=commercial,
    )
    if taught and not getattr(pipeline, "deltas", ()):
        raise InputError(
            f"The base {base} comes without taught words: give --customize, a delta of your own."
        )
    if taught:
        warnings, scorer = [], Judge(reason="painted from words alone, there is nobody to be alike")
    else:
        detector = open_detector(base, sitters)
        first = [one.references[0] for one in people]
        warnings = reference_warnings(pictures or first, base, box, detector)
        scorer = open_judge(base, detector, judge or (), further=encoder or (), sitters=sitters)
    with ExitStack() as stack:
        advance: Callable[[int], None] | None = None

        def on_progress(step: int, steps: int) -> None:
            nonlocal advance
            advance = advance or stack.enter_context(progress("painting", steps, as_json))
            advance(1)

        document = make_portraits(
            pipeline,
            pictures,
            prompt,
            count,
            seed,
            out,
            best_of=best_of,
            judge=scorer,
            negative_prompt=negative_prompt,
            steps=steps,
            guidance=guidance,
            size_px=size_of(size),
            options=options,
            variants=_in_turn(target or (), len(customize or ()), one_by_one) if one_by_one else None,
            people=people,
            image=read_image(image) if image else None,
            mask_image=read_image(mask) if mask else None,
            strength=strength or (RESTYLING if method == "ic-portrait" else 1.0),
            control_images=tuple(read_image(path) for path in control_image or ()),
            control_scale=control_scale,
            warnings=warnings,
            references_are_sitters=sitters,
            on_progress=on_progress,
        )
    show({**document, "out": str(out)}, as_json, *_text(document, out))


def _in_turn(targets: Sequence[str], deltas: int, mode: OneByOne) -> dict[str, dict[str, Any]]:
    """What is painted after what: without any target, then one more, or another, at a time."""
    own = deltas == len(targets)
    turns: dict[str, dict[str, Any]] = {
        "as it is": {"target": "", "show_map": 0, **({"deltas": []} if own else {})}
    }
    for number, words in enumerate(targets):
        first = 0 if mode is OneByOne.ADD else number
        options: dict[str, Any] = {"target": ", ".join(targets[first : number + 1])}
        if own:
            options["deltas"] = list(range(first, number + 1))
        turns[f"{number + 1}: {'+ ' if mode is OneByOne.ADD else ''}{words}"] = options
    return turns


def _strength(text: str | None) -> float | list[tuple[float, float]] | None:
    """STRENGTH, or STRENGTH,SHARE:STRENGTH,... as pairs."""
    if text is None:
        return None
    first, *later = text.split(",")
    try:
        pairs = [(0.0, float(first))]
        for word in later:
            share, value = word.split(":")
            pairs.append((float(share), float(value)))
    except ValueError:
        pairs = []
    if not pairs or not all(0 <= value <= 2 for _, value in pairs):
        raise InputError(
            "--identity-scale takes a strength from 0 to 2, such as 0.7, or STRENGTH,SHARE:STRENGTH, such as "
            f"0.3,0.4:1.0, not {text!r}."
        )
    return pairs if later else pairs[0][1]


def _people(given: Sequence[str], prompts: Sequence[str]) -> tuple[tuple[Person, ...], list[Path]]:
    """PHOTO or PHOTO@x0,y0,x1,y1 of each person, and the photos' files."""
    from likeness.files.images import read_image
    from likeness.types import Person

    if prompts and len(prompts) != len(given):
        raise InputError(f"{len(given)} people need as many --person-prompt, or none, not {len(prompts)}.")
    people, files = [], []
    for index, text in enumerate(given):
        name, at, box = (text, "", "") if Path(text).is_file() else text.rpartition("@")
        files.append(Path(name or text))
        words = prompts[index] if prompts else ""
        people.append(Person((read_image(files[-1]),), box_of(box if at else None, "--person"), prompt=words))
    return tuple(people), files


def _named(given: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE as JSON says it, or as words where it is none."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals or name in found:
            raise InputError(f"--option takes NAME=VALUE, each name once, not {text!r}.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def size_of(text: str | None) -> tuple[int, int] | None:
    """WIDTHxHEIGHT as two numbers. Raises: InputError for anything else."""
    if text is None:
        return None
    try:
        width, height = (int(word) for word in text.lower().split("x"))
    except ValueError:
        raise InputError(f"--size takes WIDTHxHEIGHT in pixels, such as 512x768, not {text!r}.") from None
    return width, height


def _scaled(text: str, option: str) -> tuple[str, float]:
    """FILE or FILE@SCALE."""
    if Path(text).exists():
        return text, 1.0
    name, _, scale = text.rpartition("@")
    if not name:
        return text, 1.0
    try:
        value = float(scale)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{option} takes FILE or FILE@SCALE, not {text!r}.")
    return name, value


def _text(document: dict[str, Any], out: Path) -> list[str]:
    lines = [f"{out / picture['file']}{_score(picture)}" for picture in document["pictures"]]
    lines.append(str(out / document["contact_sheet"]))
    likeness = document["likeness"]
    if likeness["mean"] is not None:
        own = likeness["own_pictures"]
        lines.append(
            f"same person: {likeness['mean']:.0%} on average by {' and '.join(likeness['encoders'])}; "
            f"two real pictures of one person: {own:.0%}"
        )
    if likeness["reason"]:
        lines.append(f"no likeness score: {likeness['reason']}")
    lines += [text for picture in document["pictures"] for text in picture["explained"]]
    return lines + [f"warning: {warning}" for warning in document["warnings"]]


def _score(picture: dict[str, Any]) -> str:
    if picture["likeness"] is not None:
        return f"  same person: {picture['likeness']:.0%}"
    return "".join(f"  cosine {value:.2f} by {name}" for name, value in picture["cosines"].items())
