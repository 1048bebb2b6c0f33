"""The study's server, asked as the page asks it."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from likeness.errors import InputError
from likeness.evaluation.study import Study, answers_of, build_study, shown_to
from likeness.studio.study import study_app
from tests.evaluation.test_study import evaluation, two
from tests.studio.servers import CHROMIUM, served


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[str, Path, Study]]:
    folder = tmp_path / "study"
    study = build_study(two(tmp_path), folder, kind="pairs", seed=3)
    with served(study_app(folder)) as url:
        yield url, folder, study


def ask(url: str, given: object = None) -> tuple[int, bytes]:
    data = None if given is None else json.dumps(given).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310  our own server
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_a_rater_answers_and_comes_back(place: tuple[str, Path, Study]) -> None:
    url, folder, study = place
    status, page = ask(url)
    assert status == 200 and b"<title>Likeness study</title>" in page and b"http" not in page
    assert b"--paper" in page and b"style.css" not in page, "the style is inside"
    _, content = ask(f"{url}/items?rater=anna")
    shown = json.loads(content)
    assert b"ours" not in content and b"theirs" not in content, "blind"
    assert {item["id"] for item in shown["items"]} == {item.id for item in study.items}
    first = shown["items"][0]
    for name in (first["reference"], *first["pictures"]):
        status, picture = ask(f"{url}/{name}")
        assert status == 200 and picture.startswith(b"\x89PNG")
    given = {"rater": "anna", "item": first["id"], "question": "person", "value": "left"}
    assert ask(f"{url}/answers", given)[0] == 200
    assert json.loads(ask(f"{url}/items?rater=anna")[1])["items"][0]["answers"] == {"person": "left"}
    assert json.loads(ask(f"{url}/items?rater=bo")[1])["items"][0]["answers"] == {}
    assert len(answers_of(folder)) == 1


def test_what_is_not_the_studys_is_refused(place: tuple[str, Path, Study], tmp_path: Path) -> None:
    url, folder, study = place
    for name in ("answers.sqlite", "study.json", "../ours/cases.parquet", "pictures/none.png"):
        assert ask(f"{url}/{name}")[0] == 404
    good = {"rater": "anna", "item": study.items[0].id, "question": "person", "value": "left"}
    for wrong in ({"value": "middle"}, {"item": "x"}, {"rater": " "}, {"extra": "1"}):
        assert ask(f"{url}/answers", {**good, **wrong})[0] == 422
    assert answers_of(folder) == []
    with pytest.raises(InputError, match="is no study"):
        study_app(tmp_path)


RATER = """<!doctype html><title>rater</title>
<iframe id="page" src="/" width="900" height="900"></iframe><script>
const frame = document.getElementById("page");
const wait = async test => { for (let n = 0; n < 600; n++) { const found = test(frame.contentDocument);
  if (found) return found; await new Promise(go => setTimeout(go, 50)); }
  throw new Error("waited: " + test); };
const said = {seen: [], broken: 0};
const key = name => frame.contentDocument.body.dispatchEvent(new frame.contentWindow.KeyboardEvent("keydown",
  {key: name, bubbles: true, cancelable: true}));
frame.onload = async () => { try {
  await wait(page => page.getElementById("rater"));
  frame.contentDocument.getElementById("rater").value = "anna";
  frame.contentDocument.querySelector("#start button").click();
  for (let item = 0; item < ITEMS; item++) {
    await wait(page => page.querySelector("header span")?.textContent.startsWith(`${item + 1} of`));
    const pictures = [...frame.contentDocument.images];
    await Promise.all(pictures.map(picture => picture.decode().catch(() => said.broken++)));
    said.seen.push(pictures.map(picture => picture.alt));
    if (frame.contentDocument.getElementById("next").disabled !== true) said.broken++;
    if (item === 0) key(KEY); else frame.contentDocument.querySelectorAll("[data-value]")[2].click();
    await wait(page => page.querySelector('[aria-pressed="true"]'));
    for (const field of frame.contentDocument.querySelectorAll("fieldset"))
      if (!field.querySelector('[aria-pressed="true"]')) { const of = field.dataset.question;
        field.querySelector("[data-value]").click();
        await wait(page => page.querySelector(`[data-question="${of}"] [aria-pressed="true"]`)); }
    key("Enter");
  }
  said.end = (await wait(page => /Thank you/.test(page.body.textContent) && page.body)).textContent;
} catch (error) { said.error = String(error); }
await fetch("/said", {method: "POST", headers: {"Content-Type": "application/json"},
  body: JSON.stringify(said)});
};
</script>"""
"""A page around the study's that does what a rater does: types a name, presses keys, clicks, looks."""


def rated(folder: Path, tmp_path: Path, items: int, key: str) -> dict[str, Any]:
    """What a rater in a real browser sees and does, from the first page to the last."""
    app, told = FastAPI(), []

    @app.get("/rater", response_class=HTMLResponse)
    def rater() -> str:
        return RATER.replace("ITEMS", str(items)).replace("KEY", json.dumps(key))

    @app.post("/said")
    def said(what: dict[str, Any]) -> None:
        told.append(what)

    app.mount("/", study_app(folder))
    with served(app) as url:
        command = [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--remote-debugging-port=0", f"{url}/rater",
        ]  # fmt: skip
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 120
            while not told and time.monotonic() < end:
                time.sleep(0.05)
        finally:
            browser.kill()
            browser.wait(10)
    assert told, "the browser did not get to the end"
    assert "error" not in told[0], told[0]
    return told[0]


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_pairs_are_judged_in_a_browser(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    study = build_study(two(tmp_path), folder, kind="pairs", seed=3)
    said = rated(folder, tmp_path, 3, key="2")
    assert said["seen"] == [["Reference", "Left", "Right"]] * 3 and said["broken"] == 0
    assert "You have judged 3 of 3" in said["end"]
    given = {(one.item, one.question): one.value for one in answers_of(folder, "anna")}
    order = [item.id for item in shown_to(study, "anna")]
    wanted = {(order[0], "person"): "equal"}  # by the key "2"
    wanted |= {(name, "person"): "right" for name in order[1:]}  # by the third button
    assert given == wanted | {(name, "prompt"): "left" for name in order}


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_collections_are_rated_in_a_browser(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    build_study([evaluation(tmp_path / "ours", 100)], folder, kind="collections", seed=3)
    said = rated(folder, tmp_path, 2, key="4")
    assert said["seen"] == [["Reference", "Picture 1", "Picture 2"]] * 2 and said["broken"] == 0
    assert sorted(one.value for one in answers_of(folder)) == ["2", "4"]
    assert {one.question for one in answers_of(folder)} == {"coherence"}
