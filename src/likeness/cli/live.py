"""`likeness live`: a camera or a video edited while it runs, in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from likeness.cli.edit import edit_size
from likeness.cli.output import AsJson, show
from likeness.errors import InputError, MissingWeightsError

__all__ = ["app"]

app = typer.Typer()


@app.command()
def live(
    instruction: Annotated[
        str, typer.Option("--instruction", "-i", help="What to change; the page can change it while it runs.")
    ] = "",
    source: Annotated[
        Path | None, typer.Option(help="A video file in place of the browser's camera.")
    ] = None,
    sink: Annotated[
        Path | None,
        typer.Option(
            help="Record the edited frames in this .mp4 too, at the speed seen; whole when it ends."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Of each frame; by default 1, or 4 where the pack has no one-step editor."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="WIDTHxHEIGHT in px, multiples of 8; by default a square that the base paints best."
        ),
    ] = None,
    style: Annotated[float, typer.Option(min=0, max=4, help="As in `likeness edit`.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the one noise that all frames share.")] = 0,
    base: Annotated[str, typer.Option(help="As in `likeness generate`.")] = "mini",
    adapter: Annotated[
        Path | None, typer.Option(help="The editing weights, when not those of the base.")
    ] = None,
    method: Annotated[str, typer.Option(help="The editing method.")] = "instant-portrait",
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or openvino (a CPU's faster route); default: cuda or cpu.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8013,
    as_json: AsJson = False,
) -> None:
    """Edit a camera's picture while it runs, on a page in the browser.

    The page sends frames to this computer and nowhere else. Browsers give the camera to pages of this very
    computer, or to those served by https.
    """
    from likeness.catalog import load_pipeline
    from likeness.files.video import open_video

    wanted = edit_size(size)
    if source is not None:
        open_video(source)
    if sink is not None and sink.suffix.lower() != ".mp4":
        raise InputError(f"--sink writes .mp4 files, not {sink.name!r}.")
    try:
        from likeness.studio.live import LiveEditor, LiveSettings, live_app, serve_live
    except ImportError:
        raise MissingWeightsError(
            "The page needs a web server that is not installed: pip install 'likeness[studio]'."
        ) from None
    pipeline = load_pipeline(method, base, adapter=adapter, device=device)
    side = getattr(getattr(pipeline, "base", None), "size_px", 512)
    size_px = wanted or (side, side)
    editor = LiveEditor(
        pipeline,
        LiveSettings(instruction=instruction, style=style),
        seed=seed,
        size_px=size_px,
        steps=steps,
    )
    page = live_app(editor, source, (sink, size_px) if sink else None)
    show({"url": f"http://{host}:{port}"}, as_json, f"http://{host}:{port}  (Ctrl-C ends it)")
    serve_live(page, host, port)
