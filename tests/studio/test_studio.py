"""The studio as it runs: server, worker, mini pack and browser, with kills in the middle."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from likeness.cli.main import main
from likeness.diffusion.image_encoder import load_image_encoder
from likeness.diffusion.load import load_base
from likeness.errors import LikenessError
from likeness.files.images import read_recipe
from likeness.methods.ic_portrait.config import NETS
from likeness.methods.ic_portrait.model import Nets, control_net
from likeness.methods.ic_portrait.weights import save_nets
from likeness.methods.instant_portrait.config import EditSettings
from likeness.methods.instant_portrait.model import editing_unet
from likeness.methods.instant_portrait.weights import save_editor
from likeness.methods.scheese.weights import new_adapter, save_adapter
from likeness.methods.spf_portrait.tuning import Tuning
from likeness.methods.spf_portrait.weights import DeltaCard, base_digest, save_delta
from likeness.packs import mini_path
from likeness.studio import Client
from tests.studio.servers import CHROMEDRIVER, CHROMIUM, Running, browser, running, until

ACCESSIBLE = Path(__file__).with_name("accessible.js").read_text("utf-8")
WORDS = "A man wearing a red beanie, smiling, in front of the sea."
PAGES = ("", "gallery", "compare", "train", "live", "study", "sitters", "people")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """With untrained weights of the methods the pack may have none of, put where users put theirs."""
    data = tmp_path_factory.mktemp("studio") / "data"
    base, adapters = load_base(mini_path()), data / "adapters"
    editor = editing_unet(base.unet)
    save_editor(editor, EditSettings("mini", "ipnet", steps=1), adapters / "instant-portrait/new")
    nets = Nets(control_net(base.unet), control_net(base.unet), NETS["mini"])
    save_nets(nets, adapters / "ic-portrait/new")
    encoder = load_image_encoder(mini_path() / "image_encoder", device="cpu", dtype=torch.float32)
    save_adapter(new_adapter(base, encoder), adapters / "scheese/new")
    tuning = Tuning(base.unet, "cross-attention")
    delta = {name: torch.zeros_like(one) for name, one in tuning.delta(base.unet).items()}
    card = DeltaCard("mini", "mini", base_digest(base), targets=("a red hat",))
    save_delta(delta, card, adapters / "spf-portrait/hat.safetensors")
    with running(data, "--device", "cpu") as one:
        yield one


@pytest.fixture(scope="module")
def client(studio: Running) -> Client:
    return Client(studio.url, timeout_s=600)


@pytest.fixture(scope="module")
def sitter(client: Client) -> dict[str, Any]:
    """A synthetic person made from the page's own route, with the doctor's verdict."""
    found: dict[str, Any] = client._json("POST", "/sitters/reference", {"seed": 10_000_003})
    return found


@pytest.fixture(scope="module")
def painted(client: Client, sitter: dict[str, Any]) -> dict[str, Any]:
    job = client.submit(
        "paint",
        method="consistentid",
        prompt=WORDS,
        references=[sitter["pictures"][0]["id"]],
        steps=6,
        seed=5,
    )
    return client.wait(job["id"])


def test_a_picture_from_its_reference_to_its_recipe(
    client: Client, sitter: dict[str, Any], painted: dict[str, Any], tmp_path: Path
) -> None:
    assert sitter["kind"] == "sitter" and sitter["pictures"][0]["verdict"]["faces"]
    [one] = painted["result"]["pictures"]
    assert 0 < one["likeness"] < 1 and painted["steps"] == painted["step"] == 6
    [file] = client.save(painted, tmp_path)
    recipe = read_recipe(file)
    assert recipe["request"]["prompt"] == WORDS and recipe["pixels_sha256"] == one["pixels_sha256"]
    assert painted["preview"] >= 1, "the forming picture was to be seen"
    assert client.methods()


def test_a_replay_is_the_same_picture_or_says_why_not(
    client: Client, painted: dict[str, Any], sitter: dict[str, Any], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    again = client.submit("replay", job=painted["id"], file=painted["result"]["pictures"][0]["file"])
    assert client.wait(again["id"])["result"]["identical"] is True
    [file] = client.save(painted, tmp_path / "pictures")
    reference = client._bytes("GET", f"/pictures/{sitter['pictures'][0]['id']}/file")
    with pytest.raises(SystemExit) as left:
        main(["replay", str(file)])
    assert left.value.code == 2 and "leaves photos out" in capsys.readouterr().err
    (tmp_path / "reference.png").write_bytes(reference)  # in the folder above: found by its pixels


def test_cancel_stops_within_two_steps(client: Client, sitter: dict[str, Any]) -> None:
    job = client.submit(
        "paint", method="consistentid", prompt=WORDS, references=[sitter["pictures"][0]["id"]], steps=250
    )
    until(lambda: client.job(job["id"])["step"] >= 2)
    asked = client.cancel(job["id"])
    ended = client.wait(job["id"])
    assert ended["state"] == "cancelled" and ended["step"] - asked["step"] <= 2
    again = client.retry(job["id"])
    assert again["state"] == "queued" and client.cancel(job["id"])["state"] in ("cancelled", "running")


def test_kills_of_worker_and_server_lose_nothing(
    studio: Running, client: Client, sitter: dict[str, Any]
) -> None:
    picture = sitter["pictures"][0]["id"]
    keys = [f"kill-{n}" for n in range(2)]
    request: dict[str, Any] = {
        "method": "consistentid",
        "prompt": WORDS,
        "references": [picture],
        "steps": 24,
    }
    jobs = [client.submit("paint", key=key, seed=n, **request) for n, key in enumerate(keys)]
    until(lambda: client.job(jobs[0]["id"])["step"] >= 3)
    [worker] = studio.workers()
    os.kill(worker, signal.SIGKILL)
    until(lambda: studio.workers() not in ([], [worker]))
    studio.kill()
    studio.start()
    again = [client.submit("paint", key=key, seed=n, **request) for n, key in enumerate(keys)]
    assert [job["id"] for job in again] == [job["id"] for job in jobs], "submitted twice, there once"
    for job in jobs:
        ended = client.wait(job["id"])
        assert ended["state"] == "done" and ended["result"]["folder"] == f"{job['id']}.{ended['attempt']}"
        states = [event["state"] for event in client._json("GET", f"/jobs/{job['id']}/history")]
        assert states.count("done") == 1
        name = ended["result"]["pictures"][0]["file"]
        Image.open(BytesIO(client._bytes("GET", f"/jobs/{job['id']}/files/{name}"))).verify()
        assert len(list((studio.data / "results").glob(f"{job['id']}.*"))) == 1
    assert client.job(jobs[0]["id"])["attempt"] >= 2
    assert not list((studio.data / "work").iterdir()) and not list((studio.data / "previews").iterdir())


@pytest.mark.skipif(CHROMEDRIVER is None or CHROMIUM is None, reason="needs Chromium and ChromeDriver")
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_every_page_opens_and_can_be_used_by_everybody(
    studio: Running, painted: dict[str, Any], tmp_path: Path, phone: bool
) -> None:
    with browser(
        tmp_path / "profile", width=390 if phone else 1280, height=844 if phone else 900, phone=phone
    ) as page:
        for name in (*PAGES, f"gallery/{painted['id']}"):
            page.open(f"{studio.url}/{name}")
            page.until(
                "document.querySelector('h1, .empty') && !document.querySelector('[aria-busy=true]:empty')"
            )
            assert page.run(ACCESSIBLE) == [], name
        assert page.errors() == []


@pytest.mark.skipif(CHROMEDRIVER is None or CHROMIUM is None, reason="needs Chromium and ChromeDriver")
def test_a_picture_made_in_the_browser(studio: Running, sitter: dict[str, Any], tmp_path: Path) -> None:
    """A photo is uploaded and judged, consent asked for, a sitter chosen, a picture painted and looked at."""
    photo = tmp_path / "ben.png"
    Image.radial_gradient("L").convert("RGB").save(photo)
    with browser(tmp_path / "profile") as page:
        page.open(studio.url)
        page.until("document.querySelector('.references')")
        page.files(".references input[type=file]", photo)
        page.until("[...document.querySelectorAll('.verdict')].some(e => e.textContent.includes('unusable'))")
        page.until("document.body.textContent.includes('ben is a real person')")
        page.run(
            "const s = document.querySelector('.references select'); s.value = arguments[0];"
            "s.dispatchEvent(new Event('change', {bubbles: true}))", sitter["id"],
        )  # fmt: skip
        page.until("document.querySelector('.thumb[aria-pressed=true]')")
        page.run(
            "const t = document.querySelector('textarea'); t.value = arguments[0];"
            "t.dispatchEvent(new Event('input', {bubbles: true}))", WORDS,
        )  # fmt: skip
        before = {job["id"] for job in Client(studio.url).jobs()}
        page.run("document.querySelector('button.main[type=submit]').click()")
        [made] = until(lambda: [job for job in Client(studio.url).jobs() if job["id"] not in before])
        assert made["request"]["prompt"] == WORDS and made["request"]["references"]
        page.until(f"document.querySelector('.stage-picture[src*=\"{made['id']}\"]')")
        Client(studio.url).wait(made["id"])
        page.until(
            "[...document.querySelectorAll('.stage button')].some(e => e.textContent === 'Look closer')"
        )
        page.run(
            "[...document.querySelectorAll('.stage button')].find(e => e.textContent == 'Look closer').click()"  # noqa: E501
        )
        page.until("document.querySelector('.slider') && location.pathname.startsWith('/gallery/')")
        assert page.errors() == []


@pytest.mark.skipif(CHROMEDRIVER is None or CHROMIUM is None, reason="needs Chromium and ChromeDriver")
@pytest.mark.parametrize(
    ("task", "method", "words"),
    [
        ("Portrait", "consistentid", WORDS),
        ("Edit", "instant-portrait", "put on a red hat"),
        ("Collection", "scheese", "turn the head to the left\nsmile"),
        ("Restyle", "ic-portrait", ""),
        ("Customise", "spf-portrait", "a woman in a room"),
    ],
)
def test_each_method_from_its_form(
    studio: Running, sitter: dict[str, Any], tmp_path: Path, task: str, method: str, words: str
) -> None:
    """The form of its task, filled in by hand in the browser, until the picture stands on the page."""
    with browser(tmp_path / "profile") as page:
        page.open(studio.url)
        page.until("document.querySelector('.segments')")
        page.run(
            "[...document.querySelectorAll('.segments label')].find(e => e.textContent === arguments[0])"
            ".querySelector('input').click()", task,
        )  # fmt: skip
        page.until(f'document.body.textContent.includes("{method}\'s options")')
        for place in range(page.run("return document.querySelectorAll('.references').length")):
            page.run(
                "const s = document.querySelectorAll('.references')[arguments[0]].querySelector('select');"
                "s.value = arguments[1]; s.dispatchEvent(new Event('change', {bubbles: true}))",
                place, sitter["id"],
            )  # fmt: skip
            page.until(
                f"document.querySelectorAll('.references')[{place}].querySelector('[aria-pressed=true]')"
            )
        for field, value in (
            ("textarea", words),
            ("input[placeholder=own]", "3"),
        ):  # the first own is the steps
            page.run(
                "const f = document.querySelector(arguments[0]); f.value = arguments[1];"
                "f.dispatchEvent(new Event('input', {bubbles: true}))", field, value,
            )  # fmt: skip
        before = {job["id"] for job in Client(studio.url).jobs()}
        page.run("document.querySelector('button.main[type=submit]').click()")
        [made] = until(lambda: [job for job in Client(studio.url).jobs() if job["id"] not in before])
        done = Client(studio.url).wait(made["id"])
        assert done["request"]["method"] == method and done["request"]["steps"] == 3
        assert len(done["result"]["pictures"]) == max(1, words.count("\n") + 1)
        page.until(f"document.querySelector('.stage-picture[src*=\"{made['id']}\"]')?.naturalWidth > 0")
        assert page.errors() == []


@pytest.mark.skipif(CHROMEDRIVER is None or CHROMIUM is None, reason="needs Chromium and ChromeDriver")
def test_a_job_is_cancelled_and_a_picture_replayed_on_the_page(
    studio: Running, client: Client, sitter: dict[str, Any], painted: dict[str, Any], tmp_path: Path
) -> None:
    press = "[...document.querySelectorAll('button')].find(e => e.textContent === arguments[0]).click()"
    long = client.submit(
        "paint", method="consistentid", prompt=WORDS, references=[sitter["pictures"][0]["id"]], steps=250
    )
    with browser(tmp_path / "profile") as page:
        page.open(studio.url)
        page.until("[...document.querySelectorAll('button')].some(e => e.textContent === 'Cancel')")
        page.run(press, "Cancel")
        assert until(lambda: client.job(long["id"])["state"] not in ("queued", "running"))
        assert client.job(long["id"])["state"] == "cancelled"
        page.open(f"{studio.url}/gallery/{painted['id']}")
        page.until(
            "[...document.querySelectorAll('button')].some(e => e.textContent === 'Replay this picture')"
        )
        page.run(press, "Replay this picture")
        page.until("document.body.textContent.includes('Every pixel is the same')", 120)
        assert page.errors() == []


def test_a_data_set_and_a_training_while_two_listen(client: Client, studio: Running) -> None:
    heard: list[list[str]] = [[], []]
    start = client._json("GET", "/about")["change"]

    def listen(place: list[str]) -> None:
        for job in Client(studio.url).events(since=start):
            if job["kind"] == "dataset":
                place.append(job["state"])
                if job["state"] in ("cancelled", "done"):
                    return

    threads = [threading.Thread(target=listen, args=(place,), daemon=True) for place in heard]
    for one in threads:
        one.start()
    job = client.submit("dataset", name="One sitter", people=1, pictures=2)
    made = client.wait(job["id"])
    for one in threads:
        one.join(20)
    for states in heard:  # who listens late hears what is, not what was
        told = list(dict.fromkeys(states))
        assert told == ["queued", "running", "done"][-len(told) :]
    assert made["result"]["people_count"] == 1
    assert client._json("GET", f"/datasets/{job['id']}/check") == []
    trained = client.submit(
        "train", method="consistentid", dataset=job["id"], steps=2, batch_size=2, hold_out=0
    )
    ended = client.wait(trained["id"])
    curves = client._json("GET", f"/runs/{trained['id']}")
    assert curves["losses"] and curves["scores"][-1]["step"] == 2 and curves["validation"]
    own = next(one for one in client.methods() if one["name"] == "consistentid")["adapters"]
    assert own == [f"run {ended['result']['run']}"], "what was trained can be painted with"


def test_the_other_methods_paint_too(client: Client, sitter: dict[str, Any]) -> None:
    picture = sitter["pictures"][0]["id"]
    asked = [
        client.submit(
            "paint", method="instant-portrait", prompt="put on a red hat", references=[picture], adapter="new"
        ),
        client.submit(
            "paint", method="instant-portrait", prompt="put on a red hat", references=[picture], steps=2
        ),
        client.submit("paint", method="spf-portrait", prompt="a woman in a room", steps=2),
    ]
    assert all(one["own_adapter"] for one in client.methods() if one["name"] == "instant-portrait"), (
        "a pack's many-step editor is enough"
    )
    for job in asked:
        assert client.wait(job["id"])["result"]["pictures"]
    with pytest.raises(LikenessError, match="no weights called"):
        job = client.submit("paint", method="instant-portrait", references=[picture], adapter="../x")
        client.wait(job["id"])


@pytest.mark.skipif(CHROMEDRIVER is None or CHROMIUM is None, reason="needs Chromium and ChromeDriver")
def test_a_camera_is_edited_in_the_browser(studio: Running, tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as page:
        page.open(f"{studio.url}/live")
        page.until("document.querySelector('.bar button.main:not(:disabled)')")
        page.run(
            "[...document.querySelectorAll('button')].find(e => e.textContent == 'Use the camera').click()"
        )
        frames = "Number([...document.querySelectorAll('.told dd')].at(-1).textContent)"
        assert page.until(f"{frames} >= 3", 600)
        painted = "document.querySelector('canvas').getContext('2d').getImageData(60, 60, 1, 1).data[3]"
        assert page.run(f"return {painted}") == 255
        assert page.errors() == []
