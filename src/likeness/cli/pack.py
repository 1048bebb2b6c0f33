"""`likeness pack`: build, check and describe a model pack."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from likeness.cli.output import AsJson, show
from likeness.packs.mini import GUIDANCE, STEPS

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

Pack = Annotated[
    Path | None,
    typer.Option(help="Folder of the pack; by default the one in this package."),
]
NewPack = Annotated[
    Path | None,
    typer.Option("--pack", help="Folder to write the pack to; by default packs/NAME in --work."),
]
Work = Annotated[Path, typer.Option(help="Folder for pictures, runs and checkpoints; gigabytes.")]
WORK = Path.home() / ".cache" / "likeness" / "pack-mini"


@app.command()
def build(
    name: Annotated[str, typer.Argument(help="Which size: mini, or nano for tests and ablations.")] = "mini",
    part: Annotated[list[str] | None, typer.Option(help="Only this part; may be repeated.")] = None,
    pack: NewPack = None,
    work: Work = WORK,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    resume: Annotated[bool, typer.Option(help="Go on from the newest checkpoint of each part.")] = False,
    minutes: Annotated[float | None, typer.Option(help="Training time of each part.")] = None,
    steps: Annotated[int | None, typer.Option(help="Count steps instead of minutes.")] = None,
    people: Annotated[int, typer.Option(help="How many training people are drawn.")] = 5000,
    judge_people: Annotated[int, typer.Option(help="How many people the judges learn from.")] = 8000,
    views: Annotated[int, typer.Option(help="Pictures of each person.")] = 4,
    seed: Annotated[int, typer.Option(help="Of weights and batches.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    compiled: Annotated[
        bool,
        typer.Option("--compile", help="torch.compile the UNet: faster steps, after minutes."),
    ] = False,
    further: Annotated[
        bool, typer.Option(help="Train the parts that the pack has further, instead of new ones.")
    ] = False,
    hold_back: Annotated[
        list[str] | None,
        typer.Option(
            help="KIND=VALUE, such as hair=afro: the UNet sees no picture that shows it; repeatable."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train the parts of a pack on freshly drawn sitters.

    Without --part, everything in order: the base's parts, then each method's adapter, then
    `likeness pack calibrate`. Ctrl-C
    writes a checkpoint; --resume goes on from it. Under torchrun several processes, on as many
    GPUs or as many cores (give --threads 1), train together. The weights that come along stay as they
    are unless --pack names their folder: with --part or --further, a mini pack that is not in --work yet
    begins as a copy of them.
    """
    import torch

    from likeness.catalog import adapter_names, adapter_recipe
    from likeness.errors import Cancelled, InputError
    from likeness.packs import mini_path
    from likeness.packs.card import copy_pack
    from likeness.packs.presets import PRESETS
    from likeness.packs.recipes import RECIPES
    from likeness.packs.workshop import Workshop
    from likeness.portraits import folder_for
    from likeness.training import join_world

    if name not in PRESETS:
        raise InputError(f"There is no recipe for a pack called '{name}'; there are {' and '.join(PRESETS)}.")
    preset = PRESETS[name]
    known = [*(one for one in RECIPES if one in preset.MINUTES), *adapter_names()]
    parts = part or known
    for wrong in [p for p in parts if p not in known]:
        raise InputError(f"The {name} pack has no part '{wrong}'; its parts are {', '.join(known)}.")
    target = folder_for(pack or work / "packs" / name, "the pack")
    torch.set_num_threads(threads)
    world = join_world(device)
    if world.writes and name == "mini" and pack is None and (part or further):
        copy_pack(mini_path(), target)
    world.wait()
    done: dict[str, Any] = {}
    for one in parts:
        shop = Workshop(
            work=work,
            pack=target,
            preset=preset,
            device=device,
            resume=resume,
            minutes=minutes,
            steps=steps,
            seed=seed,
            people=people,
            judge_people=judge_people,
            views=views,
            on_log=partial(_print_row, one) if not as_json else None,
            compiled=compiled,
            further=further,
            held_back=tuple(hold_back or ()),
        )
        if world.writes:
            shop.borrow()
        if not resume:
            shop.forget_runs(one)
        world.wait()
        recipe = RECIPES[one] if one in RECIPES else adapter_recipe(one)
        result = recipe(shop)
        world.wait()  # until the part is written: the next one may stand on it
        if result.stopped_by == "signal":
            raise Cancelled(f"Stopped at step {result.step} of {one}; go on with --resume.")
        done[one] = {
            "steps": result.step,
            "seconds": round(result.seconds, 1),
            "finished": result.stopped_by == "finished",
        }
    if world.writes and part is None:
        from likeness.packs.recipes.calibration import calibrate as fit

        fit(shop.pack, shop.pictures("calibration"))
    if world.writes:
        lines = [f"{k}: {v['steps']} steps in {v['seconds']:.0f} s" for k, v in done.items()]
        show(done, as_json, *lines, f"written to {target}")


@app.command()
def calibrate(
    pack: Pack = None,
    work: Work = WORK,
    people: Annotated[int, typer.Option(min=2, help="How many held-out people.")] = 400,
    views: Annotated[int, typer.Option(min=2, help="Pictures of each.")] = 4,
    encoder: Annotated[
        list[Path] | None,
        typer.Option(help="A recogniser of yours (folder or .onnx) to judge beside the pack's; repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit what the recognisers' cosines mean: the chance that two pictures show one person.

    To be done again when a recogniser or the landmark network was trained; `check` measures it on other
    people.
    """
    from likeness.packs import mini_path, read_card
    from likeness.packs.presets import PRESETS
    from likeness.packs.recipes.calibration import calibrate as fit
    from likeness.packs.workshop import Workshop

    where = pack or mini_path()
    preset = PRESETS[read_card(where).name]
    shop = Workshop(work=work, pack=where, preset=preset, calibration_people=people, views=views)
    found = fit(where, shop.pictures("calibration"), encoder or ())
    lines = [
        f"{' + '.join(one.encoders)}: two pictures of one person are given {one.own_pictures:.0%}"
        for one in found.sets
    ]
    show(found.model_dump(), as_json, *lines)


@app.command()
def draw(
    split: Annotated[
        list[str] | None,
        typer.Argument(
            help="train, portraits, edits, collections, views, stand-ins, dressed, judge, held_out, "
            "calibration; all by default."
        ),
    ] = None,
    work: Work = WORK,
    people: Annotated[int, typer.Option(help="Training people.")] = 5000,
    judge_people: Annotated[int, typer.Option(help="People the judges learn from.")] = 8000,
    held_out_people: Annotated[int, typer.Option(help="People nothing is trained on.")] = 500,
    views: Annotated[int, typer.Option(help="Pictures of each person.")] = 4,
    as_json: AsJson = False,
) -> None:
    """Draw the pictures that `build`, `check` and `calibrate` would draw. Goes on where it stopped."""
    from likeness.errors import InputError
    from likeness.packs.data import draw_split
    from likeness.packs.workshop import Workshop

    of_training = ("train", "portraits", "edits", "collections", "views", "stand-ins", "dressed")
    counts = dict.fromkeys(of_training, people)
    counts |= {"judge": judge_people, "held_out": held_out_people}
    counts |= {"calibration": Workshop.calibration_people}
    chosen = split or list(counts)
    for wrong in [one for one in chosen if one not in counts]:
        raise InputError(f"There is no split {wrong!r}; there are {', '.join(counts)}.")
    for one in chosen:
        draw_split(
            work / "data",
            one,
            people=counts[one],
            views=views,
            on_shard=partial(_print_shard, one) if not as_json else None,
        )
    show(
        {one: counts[one] * views for one in chosen},
        as_json,
        *(f"{o}: {counts[o] * views} pictures" for o in chosen),
    )


@app.command()
def card(pack: Pack = None, as_json: AsJson = False) -> None:
    """Sizes, hashes, licences, training data, seeds and hours of a pack."""
    from dataclasses import asdict

    from likeness.packs import mini_path, read_card

    found = read_card(pack or mini_path())
    lines = [
        f"{found.name}: {found.size_px} px, {found.bytes / 1e6:.1f} MB, {found.licence}, "
        f"{found.hours:.2f} hours of training",
        f"trained on {found.training_data}",
    ]
    for name, one in found.parts.items():
        lines.append(
            f"  {name}: {one.parameters / 1e6:.2f}M parameters, {one.bytes / 1e6:.1f} MB, {one.steps} steps, "
            f"{one.hours:.2f} h, seed {one.seed}, {one.pictures} pictures of {one.people} people "
            f"from seed {one.first_seed}"
        )
        lines += [f"    {file} {digest}" for file, digest in one.sha256.items()]
    show(asdict(found), as_json, *lines)


@app.command()
def sheet(
    out: Annotated[Path, typer.Option("--out", "-o", help="The PNG to write.")],
    count: Annotated[int, typer.Option(min=1, help="How many portraits.")] = 48,
    columns: Annotated[int, typer.Option(min=1, help="Portraits in a row.")] = 8,
    guidance: Annotated[
        float, typer.Option(min=1, help="How closely to follow the words; 1 is off.")
    ] = GUIDANCE,
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps.")] = STEPS,
    eta: Annotated[float, typer.Option(min=0, max=1, help="Noise added anew at each step.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Chooses captions and noise.")] = 0,
    pack: Pack = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or openvino.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Portraits from words alone, for captions of people that nothing was trained on, on one sheet."""
    from likeness.diffusion.pixels import to_pictures
    from likeness.diffusion.text_to_image import paint_text
    from likeness.files.images import contact_sheet, write_png
    from likeness.packs import open_base
    from likeness.sitters import HELD_OUT_SEEDS, captions, sample_scene

    first = HELD_OUT_SEEDS.start + seed * count
    prompts = [captions(sample_scene(one), 5, one)[0] for one in range(first, first + count)]
    base = open_base(pack or "mini", device, "float32")
    seeds = list(range(seed * count, (seed + 1) * count))
    pictures = to_pictures(paint_text(base, prompts, seeds, steps=steps, guidance=guidance, eta=eta))
    recipe = {"prompts": prompts, "seeds": seeds, "steps": steps, "guidance": guidance, "eta": eta}
    write_png(contact_sheet(pictures, columns), out, {"sheet": recipe})
    show({"out": str(out), **recipe}, as_json, str(out))


@app.command()
def words(
    prompt: Annotated[
        str | None, typer.Argument(help="Report the words of this prompt the pack does not know.")
    ] = None,
    pack: Pack = None,
    as_json: AsJson = False,
) -> None:
    """The words a pack has learned, most frequent first; or those of a prompt it has not."""
    from likeness.packs import known_words, mini_path, unknown_words

    where = pack or mini_path()
    if prompt is None:
        known = known_words(where)
        show(known, as_json, " ".join(known))
        return
    missing = unknown_words(where, prompt)
    text = f"The pack does not know: {', '.join(missing)}." if missing else "The pack knows every word."
    show({"prompt": prompt, "unknown": missing}, as_json, text)


@app.command()
def check(
    pack: Pack = None,
    work: Work = WORK,
    part: Annotated[list[str] | None, typer.Option(help="Only this part; may be repeated.")] = None,
    people: Annotated[int, typer.Option(min=2, help="How many held-out people.")] = 500,
    views: Annotated[int, typer.Option(min=2, help="Pictures of each.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Which held-out people: those from this one on.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Measure a pack on sitters that nothing was trained on, beside what its parts are to reach."""
    from likeness.errors import InputError
    from likeness.packs import mini_path, read_card
    from likeness.packs.check import CHECKS, check_pack
    from likeness.packs.data import check_renderer
    from likeness.packs.mini import first_seed
    from likeness.packs.presets import PRESETS
    from likeness.packs.targets import targets_of
    from likeness.packs.workshop import Workshop

    for wrong in [p for p in part or () if p not in CHECKS]:
        raise InputError(f"Nothing measures '{wrong}'; there are checks of {', '.join(CHECKS)}.")
    where = pack or mini_path()
    preset = PRESETS[read_card(where).name]
    kept = first_seed("calibration") - first_seed("held_out")
    if seed + people > kept:
        raise InputError(f"Checks have {kept} held-out people; {people} from {seed} on are too many.")
    shop = Workshop(
        work=work, pack=where, preset=preset, held_out_people=people, held_out_from=seed, views=views
    )
    pictures = shop.pictures("held_out")
    check_renderer(pictures)
    table = check_pack(shop.pack, pictures, tuple(part) if part else None)
    targets = {one: targets_of(one, row) for one, row in table.items()}
    lines = [line for one, row in table.items() for line in _checked(one, row, targets[one])]
    show({one: {**row, "targets": targets[one]} for one, row in table.items()}, as_json, *lines)


def _checked(part: str, row: dict[str, float], targets: dict[str, dict[str, str | bool]]) -> Iterator[str]:
    """A line a measure: its value, half its interval, its target."""
    for name, value in row.items():
        if name.endswith(("_interval", "_n")) or name == "n":
            continue
        half, target = row.get(f"{name}_interval"), targets.get(name)
        line = f"{part}: {name} {value:.4g}" + (f" +- {half:.2g}" if half is not None else "")
        if target:
            line += f" (target {target['target']}: {'reached' if target['reached'] else 'missed'})"
        yield line


def _print_row(part: str, row: dict[str, Any]) -> None:
    values = ", ".join(f"{key.split('/')[-1]} {value:.4g}" for key, value in row.items())
    typer.echo(f"{part}: {values}", err=True)


def _print_shard(split: str, done: int, of: int) -> None:
    typer.echo(f"{split}: shard {done} of {of}", err=True)
