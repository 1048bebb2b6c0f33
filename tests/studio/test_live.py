"""The live page: frames over a real server, flicker, the sink, and a browser with a video as its camera."""

from __future__ import annotations

import dataclasses
import gc
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import uvicorn
from fastapi.testclient import TestClient
from PIL import Image

from likeness.cli.main import main
from likeness.files.video import frames_of
from likeness.flicker import Steady, flicker
from likeness.methods.instant_portrait.pipeline import InstantPortraitPipeline
from likeness.studio.live import LiveEditor, LiveSettings, Paced, live_app, serve_live
from likeness.types import PortraitRequest, PortraitResult
from tests import tiny
from tests.methods.toys import ToyInstantPortrait, picture
from tests.studio.servers import CHROMIUM, served


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyInstantPortrait:
    return ToyInstantPortrait(tiny.write_mini(tmp_path_factory.mktemp("toy") / "mini"))


def ask(url: str, data: bytes | None = None, kind: str = "image/jpeg") -> tuple[int, bytes, dict[str, str]]:
    request = urllib.request.Request(url, data, {"Content-Type": kind})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310  our own server
            return reply.status, reply.read(), {name.lower(): value for name, value in reply.headers.items()}
    except urllib.error.HTTPError as error:
        return error.code, error.read(), {}


def jpeg(image: Image.Image) -> bytes:
    packed = BytesIO()
    image.save(packed, "JPEG", quality=95)
    return packed.getvalue()


def editor(toy: ToyInstantPortrait, **settings: object) -> LiveEditor:
    return LiveEditor(toy.pipeline(), LiveSettings(instruction="a red hat", **settings), size_px=(64, 64))  # type: ignore[arg-type]


def test_frames_come_back_edited_and_instructions_change(toy: ToyInstantPortrait, tmp_path: Path) -> None:
    live = editor(toy, steady=False)
    frame = jpeg(picture(0))
    with served(live_app(live, sink=(tmp_path / "sink.mp4", (64, 64)))) as url:
        page = ask(url)[1]
        assert b"<title>Likeness live" in page and b"--paper" in page and b"style.css" not in page
        status, first, told = ask(f"{url}/frame", frame)
        assert status == 200
        edited = Image.open(BytesIO(first))
        assert edited.size == (64, 64)
        again = Image.open(BytesIO(ask(f"{url}/frame", frame)[1]))
        assert np.array_equal(np.asarray(edited), np.asarray(again)), "one noise for all frames"
        new = json.dumps({"instruction": "glasses", "style": 1.5, "steady": False}).encode()
        assert ask(f"{url}/settings", new, "application/json")[0] == 200
        status, other, told = ask(f"{url}/frame", frame)
        assert not np.array_equal(np.asarray(Image.open(BytesIO(other))), np.asarray(edited))
        assert float(told["x-latency-ms"]) > 0
        assert told["x-frames"] == "3"
        now = json.loads(ask(f"{url}/settings")[1])
        assert (now["instruction"], now["style"], now["source"]) == ("glasses", 1.5, False)
        for data, code in ((b"no picture", 415), (b"x" * (5 * 2**20), 413)):
            status, said, _ = ask(f"{url}/frame", data)
            assert (status, "error" in json.loads(said)) == (code, True)
        assert ask(f"{url}/settings", b'{"style": 9}', "application/json")[0] == 422
        assert ask(f"{url}/source")[0] == 404
        keep = json.dumps({"keep_background": True}).encode()
        ask(f"{url}/settings", keep, "application/json")
        status, said, _ = ask(f"{url}/frame", frame)
        assert (status, "parser" in json.loads(said)["error"]) == (422, True)
        assert not (tmp_path / "sink.mp4").exists()
    assert list(frames_of(tmp_path / "sink.mp4"))
    with served(live_app(live, sink=(tmp_path / "none.mp4", (64, 64)))) as url:
        ask(f"{url}/settings")
    assert [file.name for file in tmp_path.iterdir()] == ["sink.mp4"], "no frame, no file"


@pytest.mark.parametrize(
    ("times", "written"),
    [
        ([0], [0]),
        ([0, 0.125, 0.25, 0.375], [0, 1, 2, 3]),
        ([0, 0.5, 0.625, 1], [0, 0, 0, 0, 1, 2, 2, 2, 3]),  # slower
        ([index / 32 for index in range(17)], [2, 5, 10, 13, 16]),  # faster
        ([7, 7.125, 1007.125], [0, *[1] * 480, 2]),  # a pause
    ],
)
def test_a_recording_lasts_as_long_as_it_took(times: list[float], written: list[int]) -> None:
    taken: list[int] = []
    now = iter(times)
    paced = Paced(lambda frame: taken.append(frame.width - 1), 8.0, lambda: next(now))
    for index in range(len(times)):
        paced(Image.new("RGB", (index + 1, 1)))
    paced.end()
    assert taken == written


def test_frames_of_another_shape(toy: ToyInstantPortrait, tmp_path: Path) -> None:
    live = LiveEditor(toy.pipeline(), size_px=(128, 72))
    client = TestClient(live_app(live))
    assert client.get("/settings").json()["size_px"] == [128, 72]
    for index, size in enumerate(((256, 144), (96, 96))):
        reply = client.post("/frame", content=jpeg(picture(0).resize(size)))
        assert Image.open(BytesIO(reply.content)).size == (128, 72)
        assert reply.headers["X-frames"] == str(index + 1)
    held = Steady()
    square = Image.new("RGB", (64, 64), "black")
    held(square, Image.new("RGB", (64, 32), "black"))
    square.paste("white", (0, 0, 64, 16))  # what is cut off
    shown = held(square, Image.new("RGB", (64, 32), "white"))
    assert np.asarray(shown)[8:].max() < 40, "what moves beyond the cut moves nothing inside it"


def test_a_frame_takes_the_steps_that_the_weights_need(toy: ToyInstantPortrait) -> None:
    pipeline, taken = toy.pipeline(), list[int | None]()

    def painted(requests: list[PortraitRequest]) -> list[PortraitResult]:
        taken.extend(request.steps for request in requests)
        return pipeline(requests)

    painted.steps_needed = pipeline.steps_needed  # type: ignore[attr-defined]
    for steps in (None, 2):
        LiveEditor(painted, size_px=(64, 64), steps=steps).edit(picture(0))  # type: ignore[arg-type]
    assert pipeline.settings.stage == "ide-net"
    assert taken == [4, 2]
    taught = dataclasses.replace(pipeline.settings, stage="ipnet")
    assert InstantPortraitPipeline(pipeline.base, pipeline.unet, taught).steps_needed == 1


def test_what_stands_still_is_held_still() -> None:
    rng = np.random.default_rng(0)
    scene = np.asarray(picture(0).resize((64, 64)), np.float32)

    def noisy(strength: float) -> Image.Image:
        seen = scene + rng.normal(0, strength, scene.shape)
        return Image.fromarray(seen.clip(0, 255).astype(np.uint8))

    steady = Steady()
    edits = [noisy(8) for _ in range(20)]
    shown = [steady(noisy(1), edit) for edit in edits]
    loose = np.mean([flicker(a, b) for a, b in pairwise(edits)])
    held = np.mean([flicker(a, b) for a, b in pairwise(shown[1:])])
    assert held < 0.5 * loose


def test_what_moves_is_shown_at_once_and_slow_changes_arrive() -> None:
    steady = Steady()
    black, white = (Image.new("RGB", (64, 64), colour) for colour in ("black", "white"))
    steady(black, black)
    assert np.asarray(steady(white, white)).min() == 255
    steady.forget()
    for level in range(0, 256, 2):  # each step is far below what counts as moved
        grey = Image.new("RGB", (64, 64), (level,) * 3)
        shown = steady(grey, grey)
    assert np.asarray(shown).min() > 235
    half = Image.new("RGB", (64, 64), "black")
    half.paste("white", (32, 0, 64, 64))
    steady.forget()
    steady(black, black)
    changed = np.asarray(steady(half, Image.new("RGB", (64, 64), "white")))
    assert changed[:, 40:].min() == 255
    assert changed[:, :24].max() < 40, "where nothing moved, nearly the old picture"


def test_memory_stays_flat(toy: ToyInstantPortrait) -> None:
    import resource

    def kept() -> tuple[int, int]:
        """How many pictures and tensors there are, and the most KiB that there ever were."""
        gc.collect()
        held = sum(issubclass(type(one), Image.Image | torch.Tensor) for one in gc.get_objects())
        return held, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    live = LiveEditor(toy.pipeline(), LiveSettings(instruction="a red hat"), size_px=(64, 64), steps=1)

    def watch(frames: int) -> None:
        for index in range(frames):
            live.edit(picture(index % 7).resize((640, 480)))  # as a camera's, 0.9 MiB each

    watch(20)
    before = kept()
    watch(40)
    after = kept()
    assert after[0] <= before[0]
    assert after[1] - before[1] < 40 * 64, "64 KiB a frame"
    assert live.frames == 60


def test_the_command_refuses_what_is_no_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["--source", str(tmp_path / "no.mp4")], "does not exist"),
        (["--sink", "out.gif"], "writes .mp4"),
        (["--size", "100x64"], "multiples of 8"),
    ):
        with pytest.raises(SystemExit) as left:
            main(["live", *words])
        assert left.value.code
        assert said in capsys.readouterr().err


def test_a_name_of_another_site_is_turned_away(
    toy: ToyInstantPortrait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "v.mp4").write_bytes(b"private")
    monkeypatch.setattr(uvicorn, "run", lambda *given, **more: None)
    app = live_app(editor(toy), tmp_path / "v.mp4")
    serve_live(app, "127.0.0.1", 8013)
    for name, status in (("evil.example", 400), ("127.0.0.1", 200)):
        assert TestClient(app, base_url=f"http://{name}:8013").get("/source").status_code == status


def write_y4m(file: Path, frames: list[Image.Image], rate: int = 20) -> None:
    """Raw video, as Chromium takes it for a camera."""
    width, height = frames[0].size
    with file.open("wb") as out:
        out.write(f"YUV4MPEG2 W{width} H{height} F{rate}:1 Ip A1:1 C420\n".encode())
        for frame in frames:
            y, cb, cr = frame.convert("YCbCr").split()
            half = (width // 2, height // 2)
            out.write(b"FRAME\n" + y.tobytes() + cb.resize(half).tobytes() + cr.resize(half).tobytes())


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "the browser sent too few frames"
        time.sleep(0.1)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_with_a_video_as_its_camera(toy: ToyInstantPortrait, tmp_path: Path) -> None:
    shown = [picture(0).resize((320, 240)).rotate(3 * index) for index in range(8)]
    write_y4m(tmp_path / "camera.y4m", shown)
    live = editor(toy)
    with served(live_app(live)) as url:
        command = [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={tmp_path / 'camera.y4m'}", "--remote-debugging-port=0",
            f"{url}/#camera",
        ]  # fmt: skip
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: live.frames >= 10)
            told = live.told()
            assert told["flicker_before"], "the camera's picture moves"
            assert told["frames_per_s"]
            new = json.dumps({"instruction": "glasses"}).encode()
            assert ask(f"{url}/settings", new, "application/json")[0] == 200
            seen = live.frames
            until(lambda: live.frames >= seen + 5)
            assert live.settings.instruction == "glasses"
        finally:
            browser.kill()
            browser.wait(10)
