"""How fast a portrait is edited: one step beside twenty, and the live page's server end to end.

Speed does not depend on what the weights have learned: where the pack has no editor yet, one with the pack's
UNet is timed, as training begins with. The frames of the stream are a sitter's, 128 px, sent as JPEG over
HTTP to the real server, one after another, as the page does.
"""

from __future__ import annotations

import argparse
import http.client
import resource
import socket
import threading
import time
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import uvicorn
from PIL import Image
from record import record

from likeness.diffusion.openvino import OPENVINO
from likeness.evaluation.result import ordering, summarised
from likeness.methods.instant_portrait.config import EditSettings
from likeness.methods.instant_portrait.model import editing_unet
from likeness.methods.instant_portrait.pipeline import InstantPortraitPipeline, load
from likeness.methods.instant_portrait.weights import save_editor
from likeness.packs import mini_path, open_base
from likeness.sitters import HELD_OUT_SEEDS, sample_scene, straightened
from likeness.sitters.render import render
from likeness.studio.live import LiveEditor, LiveSettings, live_app
from likeness.types import PortraitRequest

TIMES = 12
"""One step is to be this many times as fast as twenty."""
RATE = 20.0
"""Frames a second that the live server is to reach."""


def pipeline_on(device: str) -> InstantPortraitPipeline:
    if (mini_path() / "adapters" / "instant-portrait").is_dir():
        return load("mini", device=device)
    with TemporaryDirectory() as folder:
        unet = editing_unet(open_base("mini", "cpu").unet)
        save_editor(unet, EditSettings("mini", "ipnet", steps=1), Path(folder), dtype=torch.float32)
        return load("mini", folder, device=device)


def seconds_of(pipeline: InstantPortraitPipeline, pictures: list[Image.Image], steps: int) -> np.ndarray:
    """Of each picture, encode to decode, after one that warms up."""
    found = []
    for index, picture in enumerate([pictures[0], *pictures]):
        started = time.perf_counter()
        pipeline([PortraitRequest("put on a red hat", (picture,), steps=steps, seed=index)])
        found.append(time.perf_counter() - started)
    return np.array(found[1:])


def streamed(
    pipeline: InstantPortraitPipeline, pictures: list[Image.Image], frames: int
) -> tuple[np.ndarray, int]:
    """Frames a second of each tenth of a stream through the server; memory grown after the first, KiB."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    wanted = LiveSettings(instruction="put on a red hat")
    editor = LiveEditor(pipeline, wanted, size_px=(128, 128), steps=1)
    server = uvicorn.Server(uvicorn.Config(live_app(editor), port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    packed = []
    for picture in pictures:
        data = BytesIO()
        picture.save(data, "JPEG", quality=92)
        packed.append(data.getvalue())
    client = http.client.HTTPConnection("127.0.0.1", port)
    rates, held = [], []
    for _ in range(10):
        started = time.perf_counter()
        for index in range(frames // 10):
            client.request("POST", "/frame", packed[index % len(packed)], {"Content-Type": "image/jpeg"})
            if client.getresponse().read()[:2] != b"\xff\xd8":
                raise SystemExit("a frame did not come back as a picture")
        rates.append((frames // 10) / (time.perf_counter() - started))
        held.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    server.should_exit = True
    thread.join(10)
    return np.array(rates), held[-1] - held[0]


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pictures", type=int, default=10)
    arguments.add_argument("--frames", type=int, default=10_000)
    given = arguments.parse_args()
    scenes = [straightened(sample_scene(seed)) for seed in list(HELD_OUT_SEEDS)[: given.pictures]]
    pictures = [Image.fromarray(render(scene, 128).rgb) for scene in scenes]
    metrics, orderings = {}, []
    for device in ("cpu", OPENVINO):
        pipeline = pipeline_on(device)
        one, twenty = seconds_of(pipeline, pictures, 1), seconds_of(pipeline, pictures, 20)
        metrics[f"seconds a picture in one step, {device}"] = summarised(one, "s")
        metrics[f"seconds a picture in twenty steps, {device}"] = summarised(twenty, "s")
        metrics[f"times as fast, {device}"] = summarised(twenty / one, "ratio")
        claim = f"one step is at least {TIMES} times as fast as twenty, {device}"
        orderings.append(ordering(claim, "ours", twenty, TIMES * one))
    rates, grown = streamed(pipeline, pictures, given.frames)
    metrics["frames a second of the live server, openvino"] = summarised(rates, "frames/s")
    metrics["memory grown over the stream"] = summarised(np.array([grown / 1024]), "MiB")
    orderings.append(
        ordering(f"the live server edits at least {RATE:g} frames a second", "ours", rates, np.full(10, RATE))
    )
    record("editing-speed", "instant-portrait", metrics, given=given, n=given.pictures, orderings=orderings)
