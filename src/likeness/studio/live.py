"""A camera or a video edited while it runs: the page sends frames, each comes back edited in one step."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from likeness.diffusion.pixels import fitted
from likeness.errors import ImageError, LikenessError
from likeness.files.images import image_from
from likeness.files.video import video_sink
from likeness.flicker import FlickerMeter, Steady
from likeness.studio.pages import only_here, read_page
from likeness.types import PortraitRequest

if TYPE_CHECKING:
    from likeness.types import PortraitPipeline

__all__ = ["LiveEditor", "LiveSettings", "Paced", "live_app", "serve_live"]

FRAME_BYTES = 4 * 2**20
RECENT = 60
"""Frames that latency, rate and flicker are means of."""
SINK_RATE = 20.0
PAUSE_S = 60.0
"""A recording shows a frame no longer than this: what is longer is a pause."""
QUALITY = 90


class LiveSettings(BaseModel):
    """What can be changed while it runs."""

    model_config = ConfigDict(extra="forbid")
    instruction: str = Field(default="", max_length=500)
    style: float = Field(default=1.0, ge=0, le=4)
    keep_background: bool = False
    steady: bool = True


class Paced:
    """Writes frames that come when they come at a steady rate: each is repeated, or left out, by the clock.

    A recording so lasts from the first frame to the last, less what pauses have beyond `PAUSE_S`.
    take: writes a frame. rate: frames a second. clock: seconds.
    """

    def __init__(
        self,
        take: Callable[[Image.Image], None],
        rate: float = SINK_RATE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._take, self._rate, self._clock = take, rate, clock
        self._shown: Image.Image | None = None
        self._came = self._lasts = 0.0
        self._written = 0

    def __call__(self, frame: Image.Image) -> None:
        """The next frame, now: the one before was there until this moment."""
        now = self._clock()
        if self._shown is not None:
            self._lasts += min(now - self._came, PAUSE_S)
            self._write(self._shown, self._lasts)
        self._shown, self._came = frame, now

    def end(self) -> None:
        """The last frame is shown once."""
        if self._shown is not None:
            self._write(self._shown, self._lasts + 1 / self._rate)
        self._shown = None

    def _write(self, frame: Image.Image, until: float) -> None:
        for _ in range(round(until * self._rate) - self._written):
            self._take(frame)
            self._written += 1


@dataclass
class LiveEditor:
    """Edits one frame at a time and keeps count.

    seed: of the one noise that all frames share. size_px: (width, height) of what is edited; None: the
    input's shape at what the base paints best. sink: takes every edited frame. steps: of each edit; None: as
    few as the pipeline's weights need (`steps_needed`).
    """

    pipeline: PortraitPipeline
    settings: LiveSettings = field(default_factory=LiveSettings)
    seed: int = 0
    size_px: tuple[int, int] | None = None
    sink: Callable[[Image.Image], None] | None = None
    frames: int = 0
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.steps is None:
            self.steps = getattr(self.pipeline, "steps_needed", 1)
        self._lock = threading.Lock()
        self._steady = Steady()
        self._latencies: deque[float] = deque(maxlen=RECENT)
        self._done: deque[float] = deque(maxlen=RECENT)
        self._flicker = FlickerMeter(RECENT), FlickerMeter(RECENT)  # of the input, of what is shown

    def change(self, settings: LiveSettings) -> None:
        """Takes hold from the next frame on."""
        with self._lock:
            self.settings = settings
            self._steady.forget()
            self._flicker = FlickerMeter(RECENT), FlickerMeter(RECENT)

    def edit(self, frame: Image.Image) -> Image.Image:
        """One frame, edited. Raises: InputError for settings the pipeline does not take."""
        with self._lock:
            started, now = time.perf_counter(), self.settings
            options: dict[str, Any] = {"style": now.style, "keep_background": now.keep_background}
            request = PortraitRequest(
                now.instruction,
                (frame,),
                size_px=self.size_px,
                steps=self.steps,
                seed=self.seed,
                options=options,
            )
            [result] = self.pipeline([request])
            shown = self._steady(frame, result.image) if now.steady else result.image
            self._count(frame, shown, started)
            if self.sink is not None:
                self.sink(shown)
            return shown

    def _count(self, frame: Image.Image, shown: Image.Image, started: float) -> None:
        self.frames += 1
        ended = time.perf_counter()
        self._latencies.append(ended - started)
        self._done.append(ended)
        for meter, seen in zip(self._flicker, (fitted(frame, shown.size), shown), strict=True):
            meter.see(seen)

    def told(self) -> dict[str, float | int | None]:
        """Of the last frames: latency_ms of the edit; frames_per_s as they came; flicker of both sides, mean
        grey levels (of 255) from frame to frame."""
        span = self._done[-1] - self._done[0] if len(self._done) > 1 else 0.0
        before, after = (meter.mean(2) for meter in self._flicker)
        return {
            "frames": self.frames,
            "latency_ms": round(1000 * float(np.mean(self._latencies)), 1) if self._latencies else None,
            "frames_per_s": round((len(self._done) - 1) / span, 1) if span else None,
            "flicker_before": before,
            "flicker_after": after,
        }


def live_app(
    editor: LiveEditor, source: Path | None = None, sink: tuple[Path, tuple[int, int]] | None = None
) -> FastAPI:
    """GET / the page; POST /frame a picture, answered by the edited one; GET, POST /settings; GET /source.

    /settings also says at what (width, height) frames are edited, `size_px`; the page cuts them to that.
    source: a video file that the page plays instead of a camera. sink: an .mp4 file and its size (width,
    height); it is there, whole, when the server ends, unless no frame came, and plays as fast as it was seen.
    """

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            if sink is not None:
                editor.sink = paced = Paced(stack.enter_context(video_sink(*sink, SINK_RATE)))
                stack.callback(paced.end)
            yield
            editor.sink = None

    app = FastAPI(title="Likeness live", docs_url=None, redoc_url=None, lifespan=life)

    @app.get("/", response_class=HTMLResponse)
    def page() -> str:
        return read_page("live.html")

    @app.get("/settings")
    def settings() -> dict[str, Any]:
        now = {"source": source is not None, "size_px": editor.size_px}
        return {**editor.settings.model_dump(), **now, **editor.told()}

    @app.post("/settings")
    def change(given: LiveSettings) -> dict[str, Any]:
        editor.change(given)
        return settings()

    @app.post("/frame")
    async def frame(request: Request) -> Response:
        data = bytearray()
        async for part in request.stream():
            data += part
            if len(data) > FRAME_BYTES:
                return JSONResponse({"error": "A frame may have 4 MiB at most."}, status_code=413)
        try:
            shown = await run_in_threadpool(lambda: editor.edit(image_from(bytes(data), "The frame")))
        except ImageError as error:
            return JSONResponse({"error": str(error)}, status_code=415)
        except LikenessError as error:
            return JSONResponse({"error": str(error)}, status_code=422)
        packed = BytesIO()
        shown.save(packed, "JPEG", quality=QUALITY)
        told = {f"X-{key.replace('_', '-')}": str(value) for key, value in editor.told().items()}
        return Response(packed.getvalue(), media_type="image/jpeg", headers=told)

    @app.get("/source", response_model=None)
    def video() -> FileResponse | JSONResponse:
        if source is None:
            return JSONResponse({"error": "No video was given; use the camera."}, status_code=404)
        return FileResponse(source)

    return app


def serve_live(app: FastAPI, host: str, port: int) -> None:
    """Serve `live_app` until Ctrl-C."""
    only_here(app, host)
    uvicorn.run(app, host=host, port=port, log_level="warning")
