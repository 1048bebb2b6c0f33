"""`likeness restyle`: a style reference with the profile's person in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from likeness.cli.boxes import box_of
from likeness.cli.licences import Commercial
from likeness.cli.output import AsJson, show, step_progress
from likeness.errors import InputError

__all__ = ["app"]

app = typer.Typer()

SITTER = "sitter:"


@app.command()
def restyle(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures, made when missing.")],
    mapped: Annotated[
        list[str] | None, typer.Argument(metavar="[N=PHOTO]...", help="More of --map.", show_default=False)
    ] = None,
    profile: Annotated[Path | None, typer.Option(help="A photo of the person: who.")] = None,
    style: Annotated[
        str | None,
        typer.Option(
            help="The picture that the person comes into: pose, light, clothes, place. On packs also "
            "sitter:SEED, a sitter rendered for it."
        ),
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map", help="Instead of --profile, on a group: N=PHOTO, faces numbered from the left; repeat."
        ),
    ] = None,
    face_box: Annotated[
        str | None,
        typer.Option(
            help="x0,y0,x1,y1 in pixels: the face on the profile, when it is not found or not alone."
        ),
    ] = None,
    refine: Annotated[
        Path | None,
        typer.Option(help="Instead of --style: a result of any method, to be made more like the profile."),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=1,
            help="How far from what was there: too far loses the light, too near keeps the face.",
        ),
    ] = None,
    light: Annotated[
        str | None,
        typer.Option(
            help="On packs: the style reference's light: azimuth,elevation,colour, such as -50,30,sunset."
        ),
    ] = None,
    yaw: Annotated[
        float | None, typer.Option(help="On packs: how far the style reference's head is turned, degrees.")
    ] = None,
    sampling: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of the style reference's pixels that are seen; more keeps light."
        ),
    ] = None,
    aggregation: Annotated[
        str | None, typer.Option(help="annealed, flat or none: how the profile's features count.")
    ] = None,
    show_matching: Annotated[
        bool, typer.Option(help="Also draw what corresponds to what, and how surely: matching.png.")
    ] = False,
    count: Annotated[int, typer.Option(min=1, help="Pictures, each of a seed of its own.")] = 1,
    best_of: Annotated[int, typer.Option(min=1, help="Paint each this many times; keep the likest.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same pixels.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps; the method's.")] = None,
    guidance: Annotated[
        float | None, typer.Option(min=1, help="How closely to follow the profile; 1 is off.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="White where the person comes, instead of the one face's head.")
    ] = None,
    controlnet: Annotated[list[str] | None, typer.Option(help="As in `likeness generate`.")] = None,
    control_image: Annotated[list[Path] | None, typer.Option(help="As in `likeness generate`.")] = None,
    control_scale: Annotated[float, typer.Option(min=0, help="How much ControlNets count.")] = 1.0,
    base: Annotated[str, typer.Option(help="As in `likeness generate`.")] = "mini",
    adapter: Annotated[
        Path | None, typer.Option(help="The nets, when not those of the base, or a person's.")
    ] = None,
    method: Annotated[str, typer.Option(help="The method.")] = "ic-portrait",
    judge: Annotated[list[Path] | None, typer.Option(help="As in `likeness generate`.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: cuda where there is one.")] = None,
    commercial: Commercial = False,
    as_json: AsJson = False,
) -> None:
    """Paint a person into a picture: who by the profile, all else by the style reference.

    Only the head changes; clothes, background and pose stay. Groups are painted face by face.
    """
    from likeness.catalog import load_pipeline
    from likeness.evaluation.judge import open_judge
    from likeness.files.images import read_image
    from likeness.references import is_sitter, open_detector, reference_warnings
    from likeness.restyling import REFINING, RESTYLING, people_on
    from likeness.restyling import restyle as paint

    photos = _photos([*(map_ or ()), *(mapped or ())])
    if bool(profile) == bool(photos):
        raise InputError("Give --profile, a photo of the person, or on a group --map N=PHOTO of each.")
    if refine and (style or light or yaw is not None):
        raise InputError("--refine is the style reference: leave --style, --light and --yaw away.")
    if mask and photos:
        raise InputError("--mask is for one person: with --map the faces say where.")
    if face_box and photos:
        raise InputError("--face-box is the face on --profile: with --map give pictures of one face each.")
    box = box_of(face_box, "--face-box")
    given = [path for path in (profile, *photos.values()) if path]
    pictures = [read_image(path) for path in given]
    reference = read_image(refine) if refine else _style(style, light, yaw, base)
    sitters = all(is_sitter(path) for path in given)
    pipeline = load_pipeline(
        method,
        base,
        adapter=adapter,
        device=device,
        controlnets=controlnet or (),
        sitters=sitters,
        commercial=commercial,
    )
    detector = open_detector(base, sitters)
    people = people_on(reference, detector, photos, str(style or "the style reference")) if photos else ()
    if profile and not mask:
        _one_face(reference, detector)
    options = {"sampling": sampling, "aggregation": aggregation, "face_box": box}
    with step_progress("painting", as_json) as on_progress:
        document = paint(
            pipeline,
            reference,
            out,
            profile=pictures[0] if profile else None,
            people=people,
            strength=strength or (REFINING if refine else RESTYLING),
            count=count,
            seed=seed,
            best_of=best_of,
            show_matching=show_matching,
            judge=open_judge(base, detector, judge or (), sitters=sitters),
            warnings=reference_warnings(pictures, base, box, detector),
            references_are_sitters=sitters,
            on_progress=on_progress,
            steps=steps,
            guidance=guidance,
            mask_image=read_image(mask) if mask else None,
            control_images=tuple(read_image(path) for path in control_image or ()),
            control_scale=control_scale,
            options={key: value for key, value in options.items() if value is not None},
        )
    show({**document, "out": str(out)}, as_json, *_text(document, out))


def _photos(given: list[str]) -> dict[int, Path]:
    """N=PHOTO of each person."""
    found: dict[int, Path] = {}
    for text in given:
        number, equals, photo = text.partition("=")
        if not equals or not number.strip().isdecimal() or not photo:
            raise InputError(f"--map takes N=PHOTO, such as 1=anna.jpg, not {text!r}.")
        if int(number) in found:
            raise InputError(f"--map names face {int(number)} twice.")
        found[int(number)] = Path(photo)
    return found


def _style(style: str | None, light: str | None, yaw: float | None, base: str) -> Any:
    """The style reference as it is, or a sitter rendered for it."""
    from likeness.files.images import read_image
    from likeness.packs.mini import pack_folder
    from likeness.restyling import STYLE_SEED, sitter_picture

    rendered = style is not None and style.startswith(SITTER)
    wanted = light is not None or yaw is not None
    if style is None and not wanted:
        raise InputError("Give --style, the picture that the person comes into, or --refine.")
    if style is not None and not rendered:
        if wanted:
            raise InputError(
                "--light and --yaw render the style reference, which no picture can be: give --style "
                "sitter:SEED, or leave it away."
            )
        return read_image(style)
    if not (pack_folder(base) / "landmarks").is_dir():
        raise InputError(f"{base} paints no sitters: give --style a picture in the light and pose you want.")
    seed = style.removeprefix(SITTER) if style else str(STYLE_SEED)
    if not seed.isdecimal():
        raise InputError(f"--style sitter:SEED takes a number, not {seed!r}.")
    return sitter_picture(int(seed), light, yaw)


def _one_face(reference: Any, detector: Any) -> None:
    """Raises InputError where the profile could be any of several."""
    from likeness.restyling import numbered_faces

    count = len(numbered_faces(reference, detector))
    if count > 1:
        raise InputError(
            f"The style reference has {count} faces, numbered from the left: say who is who with "
            "--map 1=PHOTO instead of --profile."
        )


def _text(document: dict[str, Any], out: Path) -> list[str]:
    lines = []
    for picture in document["pictures"]:
        cosines = "".join(f"  cosine {value:.2f} by {name}" for name, value in picture["cosines"].items())
        chance = picture["likeness"]
        lines.append(
            f"{out / picture['file']}{cosines if chance is None else f'  same person: {chance:.0%}'}"
        )
    lines += [str(out / document[name]) for name in ("contact_sheet", "matching") if document.get(name)]
    if document["likeness"]["reason"]:
        lines.append(f"no likeness score: {document['likeness']['reason']}")
    lines += [text for picture in document["pictures"] for text in picture["explained"]]
    return lines + [f"warning: {warning}" for warning in document["warnings"]]
