"""`likeness studio`: everything in a browser."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from likeness.cli.output import AsJson, show
from likeness.errors import MissingWeightsError

__all__ = ["app"]

app = typer.Typer()


@app.command()
def studio(
    data: Annotated[
        Path, typer.Option(help="Folder for everything it keeps: jobs, references, results.", file_okay=False)
    ] = Path("studio"),
    base: Annotated[str, typer.Option(help="As in `likeness generate`.")] = "mini",
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own asks for a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="LIKENESS_STUDIO_TOKEN", help="Asked of everybody; made up where one is needed."),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            envvar="LIKENESS_STUDIO_DATABASE",
            help="postgresql://... for several machines that share the data folder; by default a file in it.",
        ),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="A worker for each: cpu, cuda:0, openvino; by default every GPU, or the processor."
        ),
    ] = None,
    work_only: Annotated[
        bool, typer.Option(help="Only work on the jobs of that data folder and database; serve no page.")
    ] = False,
    serve_only: Annotated[bool, typer.Option(help="Only serve; others work.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make, compare and train in a browser, on this machine. Jobs go on where they were after any kill.

    Nothing leaves the machine. Ctrl-C ends it; what was not finished is taken up at the next start.
    """
    try:
        from likeness.studio.serve import Workers, devices_here, open_studio, serve
    except ImportError:
        raise MissingWeightsError(
            "The page needs a web server that is not installed: pip install 'likeness[studio]'."
        ) from None
    devices = list(device) if device else devices_here()
    opened = open_studio(data, base=base, host=host, database=database, token=token, device=devices[0])
    workers = None if serve_only else Workers(data.resolve(), database, base, devices)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{port}/" + (f"?token={opened.token}" if opened.token else "")

    def say() -> None:
        os.environ.pop("LIKENESS_STUDIO_TOKEN", None)
        lines = [f"{url}  (Ctrl-C ends it)", f"data: {data.resolve()}"]
        show({"url": url, "data": str(data.resolve())}, as_json, *lines)

    if work_only and workers is not None:
        workers.start()
        show({"data": str(data.resolve()), "devices": devices}, as_json, f"working on {data.resolve()}")
        try:
            while True:
                time.sleep(1)
        finally:
            workers.stop()
    serve(opened, workers, host, port, say)
