"""The server without workers: who may ask, what is refused, what is kept, and what is forgotten."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from likeness.errors import ImageError, InputError, ServiceError
from likeness.files.images import png_bytes, read_recipe, write_json, write_png
from likeness.studio import Client, library, work
from likeness.studio.app import Studio, studio_app
from likeness.studio.databases import Sqlite
from likeness.studio.library import safe_file
from likeness.studio.serve import open_studio, sweep
from likeness.studio.worker import Worker
from tests.studio.servers import ask, free_port

PNG = png_bytes(Image.new("RGB", (64, 48), "teal"))


class Served:
    def __init__(self, folder: Path, **settings: Any) -> None:
        self.studio = Studio(Sqlite(folder / "studio.sqlite"), folder, **settings)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = uvicorn.Server(
            uvicorn.Config(
                studio_app(self.studio), port=self.port, log_level="error", timeout_graceful_shutdown=1
            )
        )
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)

    def json(
        self, path: str, method: str = "GET", document: object = None, **headers: str
    ) -> tuple[int, Any]:
        data = None if document is None else json.dumps(document).encode()
        status, said, _ = ask(
            f"{self.url}/api{path}", method, data, Content_Type="application/json", **headers
        )
        return status, json.loads(said) if said else None


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "data").mkdir()
    one = Served(tmp_path / "data")
    yield one
    one.close()


def sitter_picture(served: Served, colour: str = "teal", person: str | None = None) -> tuple[str, str]:
    """A sitter and their picture, put in without the doctor."""
    who = person or served.studio.library.add_person("Anna", "sitter").id
    data = png_bytes(Image.new("RGB", (64, 64), colour), {"sitter": {}})
    return who, served.studio.library.add_picture(who, data).id


def paint(**more: Any) -> dict[str, Any]:
    return {"kind": "paint", "method": "consistentid", "prompt": "a red hat", **more}


def test_the_server_starts_without_torch() -> None:
    said = (
        "import sys, likeness.studio.serve as s; from likeness.studio import routes_jobs, routes_people, "
        "routes_pages; print([m for m in ('torch', 'cv2', 'onnxruntime', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_submit_look_and_find(served: Served) -> None:
    _, picture = sitter_picture(served)
    task = paint(references=[picture], seed=2**53 - 1)
    status, job = served.json("/jobs", "POST", task, Idempotency_Key="k1")
    assert status == 201 and job["state"] == "queued" and job["request"]["seed"] == 2**53 - 1
    assert served.json("/jobs", "POST", task, Idempotency_Key="k1") == (200, job)
    status, said = served.json("/jobs", "POST", paint(references=[picture]), Idempotency_Key="k1")
    assert status == 409 and "another request" in said["error"]
    assert served.json("/jobs?search=RED+hat")[1]["jobs"][0]["id"] == job["id"]
    assert served.json("/jobs?search=blue")[1]["jobs"] == []
    assert served.json(f"/jobs/{job['id']}/cancel", "POST")[1]["state"] == "cancelled"
    assert [e["state"] for e in served.json(f"/jobs/{job['id']}/history")[1]] == ["queued", "cancelled"]
    assert served.json(f"/jobs/{job['id']}/retry", "POST")[1]["state"] == "queued"
    for wrong, where in (
        (paint(references=["0" * 24]), "There is no picture"),
        (paint(seed=-1), "seed"),
        (paint(nonsense=1), "nonsense"),
        ({"kind": "cook"}, "cook"),
        ({"kind": "train", "method": "consistentid", "dataset": "0" * 16, "steps": 1}, "no such data set"),
    ):
        status, said = served.json("/jobs", "POST", wrong)
        assert status == 422 and where in said["error"], said
    for options in ({"x": float("nan")}, {"x": "\ud800"}, {"x": "a" * 30_000}):
        status, said = served.json("/jobs", "POST", paint(references=[picture], options=options))
        assert status == 422 and "options" in said["error"]
    deep, long = b"[" * 200_000, b'{"kind": "paint", "prompt": "' + b"x" * 2**20 + b'"}'
    for data, code in ((deep, 400), (long, 413)):
        status, raw, _ = ask(f"{served.url}/api/jobs", "POST", data, Content_Type="application/json")
        assert status == code and "error" in json.loads(raw)
    assert served.json("/jobs/none")[0] == 404
    assert ask(f"{served.url}/api/jobs/{job['id']}/preview")[0] == 204
    assert ask(f"{served.url}/api/jobs/{'0' * 16}/preview")[0] == 404
    assert served.json("/jobs", "PATCH", {})[0] == 405
    assert ask(f"{served.url}/api/jobs", "POST", b"{", Content_Type="application/json")[0] == 400


def test_events_tell_every_change_and_go_on_where_they_were(served: Served) -> None:
    client = Client(served.url)
    _, picture = sitter_picture(served)
    jobs = [client.submit("paint", method="consistentid", references=[picture], seed=n) for n in range(3)]
    seen = client.events(since=0)
    assert [next(seen)["id"] for _ in range(3)] == [job["id"] for job in jobs]
    client.cancel(jobs[1]["id"])
    change = next(seen)
    assert (change["id"], change["state"]) == (jobs[1]["id"], "cancelled")
    seen.close()  # type: ignore[attr-defined]
    url = f"{served.url}/api/events?limit=1"
    _, said, headers = ask(url, Last_Event_ID=str(jobs[0]["version"]))
    assert headers["content-type"].startswith("text/event-stream")
    assert jobs[2]["id"].encode() in said or jobs[1]["id"].encode() in said


def test_methods_come_with_the_schema_of_their_options(served: Served) -> None:
    found = {one["name"]: one for one in served.json("/methods")[1]}
    assert found["consistentid"]["options"]["properties"]["identity_scale"]["maximum"] == 2
    assert found["consistentid"]["references"] == {"min": 1, "max": 8}
    assert found["spf-portrait"]["task"] == "customise" and not found["spf-portrait"]["missing"]
    missing = found["instant-portrait"]["missing"]
    assert not missing or "likeness pack build" in missing


def test_nothing_is_painted_of_a_real_person_who_did_not_agree(served: Served) -> None:
    client = Client(served.url)
    person = client.add_person("Ben")["id"]
    picture = served.studio.library.add_picture(person, PNG).id
    status, said = served.json("/jobs", "POST", paint(references=[picture]))
    assert status == 403 and "consent" in said["error"]
    for way in ({"image": picture}, {"people": [{"references": [picture]}]}):
        assert served.json("/jobs", "POST", paint(**way))[0] == 403
    kept = client.consent(person, "Ben himself", "Portraits on this machine.")
    assert kept["consent"]["given_by"] == "Ben himself" and abs(kept["consent"]["at"] - time.time()) < 60
    assert served.json("/jobs", "POST", paint(references=[picture]))[0] == 201
    who = served.studio.library.add_person("A sitter", "sitter").id
    with pytest.raises(InputError, match="not of one"):
        served.studio.library.add_picture(who, PNG)


def test_forgetting_a_person_leaves_nothing_of_them(served: Served) -> None:
    store, folder = served.studio.store, served.studio.library.folder
    person, picture = sitter_picture(served, "red")
    _, other = sitter_picture(served, "blue")
    word = "unmistakable-words"
    job = served.json("/jobs", "POST", paint(references=[picture], prompt=word))[1]["id"]
    kept = served.json("/jobs", "POST", paint(references=[other]))[1]["id"]
    claim = store.claim("w")
    assert claim is not None and claim.job.id == job
    for place in ("results", "runs", "work"):
        (folder / place / claim.name).mkdir()
        (folder / place / claim.name / "a.png").write_bytes(PNG)
    (folder / "previews" / f"{claim.name}.jpg").write_bytes(b"x")
    status, said = served.json(f"/people/{person}", "DELETE")
    assert (status, said) == (200, {"pictures": 1, "jobs": 1})
    assert not store.finish(claim, {"folder": claim.name}), "who works on it holds nothing any more"
    for path in folder.rglob("*"):
        assert job not in path.name and picture not in path.name
        if path.is_file():
            assert word.encode() not in path.read_bytes(), path
    assert served.json(f"/people/{person}")[0] == served.json(f"/jobs/{job}")[0] == 404
    assert served.json(f"/jobs/{kept}")[0] == 200
    assert served.json(f"/people/{person}", "DELETE")[0] == 404


def paint_it(served: Served, recipe: dict[str, Any]) -> None:
    """What a worker would do with the next job."""
    claim = served.studio.store.claim("w")
    assert claim is not None
    folder = served.studio.library.folder / "results" / claim.name
    write_png(Image.new("RGB", (64, 64), "red"), folder / "a.png", recipe)
    served.studio.store.finish(claim, {"folder": claim.name, "pictures": [{"file": "a.png"}]})


def test_a_study_is_blind_and_goes_with_whom_it_shows(served: Served) -> None:
    person, picture = sitter_picture(served)
    for method in ("consistentid", "scheese"):
        served.json("/jobs", "POST", paint(method=method, references=[picture], group="g"))
        paint_it(served, {"method": method})
    place = served.studio.library.folder / "studies"
    assert served.json("/studies", "POST", {"name": "s", "kind": "pairs", "groups": ["g"]})[0] == 201
    for file in (place / "s" / "pictures").iterdir():
        with pytest.raises(ImageError, match="no recipe"):
            read_recipe(file)
    served.json(f"/people/{person}", "DELETE")
    assert not (place / "s").exists()


def test_a_replays_replay_is_forgotten_too(served: Served) -> None:
    person, picture = sitter_picture(served)
    job = served.json("/jobs", "POST", paint(references=[picture]))[1]["id"]
    for _ in range(2):
        paint_it(served, {})
        job = served.json("/jobs", "POST", {"kind": "replay", "job": job, "file": "a.png"})[1]["id"]
    assert served.json(f"/people/{person}", "DELETE")[1]["jobs"] == 3
    assert served.json(f"/jobs/{job}")[0] == 404


def test_a_person_forgotten_during_an_upload_stays_forgotten(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = served.studio.library
    person = place.add_person("Ben", "real").id

    def slow(image: Image.Image, path: Path) -> None:
        write_png(image, path)
        place.forget(person)

    monkeypatch.setattr(library, "write_png", slow)
    with pytest.raises(InputError, match="no such person"):
        place.add_picture(person, PNG)
    assert list((place.folder / "pictures").iterdir()) == []


def test_what_is_written_after_the_last_look_is_forgotten_too(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, place = served.studio.store, served.studio.library
    person, _ = sitter_picture(served)
    store.submit("dataset", {}, people=[person])

    def late(kept: Any, claim: Any, progress: Any, folder: Path) -> dict[str, Any]:
        served.json(f"/people/{person}", "DELETE")
        write_json(place.folder / "datasets" / claim.name / "set" / "embeddings.json", [1.0])
        return {}

    monkeypatch.setattr(work, "do", late)
    claim = store.claim("w")
    assert claim is not None
    Worker(store, place, device=None, base="mini").do(claim)
    assert list((place.folder / "datasets").iterdir()) == []


def test_a_folder_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "studio.sqlite").write_text("no database at all " * 20)
    with pytest.raises(ServiceError, match="choose another --data"):
        open_studio(tmp_path)


def test_pictures_that_are_none_or_too_much_are_refused(served: Served) -> None:
    person = Client(served.url).add_person("x")["id"]
    url = f"{served.url}/api/people/{person}/pictures"
    size = (60_000).to_bytes(4, "big")
    header = b"IHDR" + size + size + b"\x08\x02\x00\x00\x00"
    bomb = (
        b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
        + b"\x00\x00\x00\x00IDAT" + zlib.crc32(b"IDAT").to_bytes(4, "big")
    )  # fmt: skip
    for data, code, word in (
        (b"", 422, "empty"),
        (PNG[:60], 415, "broken"),
        (b"<svg/>", 415, "SVG"),
        (bomb, 415, "megapixels"),
        (b"x" * (25 * 2**20 + 1), 413, "25 MiB"),
    ):
        status, said, _ = ask(url, "POST", data)
        assert status == code and word in json.loads(said)["error"], said
    assert list((served.studio.library.folder / "pictures").iterdir()) == []
    assert ask(f"{served.url}/api/people/{'0' * 16}/pictures", "POST", PNG)[0] == 422


def test_no_name_leads_out_of_the_data_folder(served: Served, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(PNG)
    _, picture = sitter_picture(served)
    job = served.json("/jobs", "POST", paint(references=[picture]))[1]["id"]
    store, folder = served.studio.store, served.studio.library.folder
    claim = store.claim("w")
    assert claim is not None
    place = folder / "results" / claim.name
    place.mkdir()
    (place / "a.png").write_bytes(PNG)
    (place / "link.png").symlink_to(tmp_path / "secret.png")
    store.finish(claim, {"folder": claim.name, "pictures": [{"file": "a.png"}]})
    assert ask(f"{served.url}/api/jobs/{job}/files/a.png")[1] == PNG
    for name in (
        "../../secret.png",
        "..%2f..%2f..%2fsecret.png",
        "link.png",
        "%2e%2e/studio.sqlite",
        "/etc/passwd",
        "a.png%00",
    ):
        assert ask(f"{served.url}/api/jobs/{job}/files/{name}")[0] == 404, name
    for path in ("/assets/..%2f..%2fapp.py", "/assets/%2e%2e%2fapp.py"):
        assert b"import" not in ask(f"{served.url}{path}")[1]
    assert safe_file(folder, "x\0y") is None
    status, said = served.json("/jobs", "POST", {"kind": "replay", "job": job, "file": "../../studio.sqlite"})
    assert status == 422 and "no such picture" in said["error"]
    assert served.json("/jobs", "POST", paint(adapter="/etc"))[0] == 201  # refused by name when it is done
    with pytest.raises(InputError, match="no weights called"):
        from likeness.studio.methods import adapter_path

        adapter_path(served.studio.library, "consistentid", "../../etc")


def test_other_sites_and_other_names_are_turned_away(served: Served) -> None:
    url = f"{served.url}/api/about"
    assert ask(url)[0] == 200
    assert ask(url, Host="evil.example")[0] == 403
    assert ask(url, Host=f"localhost:{served.port}")[0] == 200
    assert ask(url, Origin="http://evil.example")[0] == 403
    assert ask(url, Origin=served.url)[0] == 200
    assert ask(url, Sec_Fetch_Site="cross-site")[0] == 403
    _, page, headers = ask(served.url)
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert b"<script>" not in page and b"http" not in page and b"style=" not in page
    assert headers["x-content-type-options"] == "nosniff"


def test_a_token_is_asked_for_off_this_machine(tmp_path: Path) -> None:
    assert open_studio(tmp_path / "a").token is None
    made = open_studio(tmp_path / "b", host="0.0.0.0")  # noqa: S104
    assert made.token and len(made.token) >= 32 and made.hosts is None
    served = Served(tmp_path / "b", token="t0ken", hosts=None)  # noqa: S106
    try:
        assert ask(f"{served.url}/api/about")[0] == ask(served.url)[0] == 401
        assert ask(f"{served.url}/api/about?token=t0ken")[0] == 401, "not in addresses that get logged"
        assert ask(f"{served.url}/api/about", Authorization="Bearer wrong")[0] == 401
        assert ask(f"{served.url}/api/about", Authorization="Bearer t0ken", Host="studio.example")[0] == 200
        assert ask(f"{served.url}/api/about", Cookie="likeness-token=t0ken")[0] == 200
        assert Client(served.url, "t0ken").methods()
        with pytest.raises(InputError, match="token"):
            Client(served.url).methods()
    finally:
        served.close()


def test_what_kills_left_behind_is_swept(tmp_path: Path) -> None:
    import os

    studio = open_studio(tmp_path / "data")
    for name in ("old.1", "new.1"):
        (studio.library.folder / "results" / name).mkdir()
    os.utime(studio.library.folder / "results" / "old.1", (1, 1))
    sweep(studio)
    assert [path.name for path in (studio.library.folder / "results").iterdir()] == ["new.1"]
    studio.close()


def test_the_client_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no address"):
        Client("file:///etc")
    with pytest.raises(ServiceError, match="does not answer"):
        Client(f"http://127.0.0.1:{free_port()}").methods()


PATHS = ("/jobs", "/people", "/studies")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=6,
)


def test_nothing_that_is_sent_makes_it_stumble(served: Served) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from(PATHS),
        st.sampled_from(["paint", "replay", "dataset", "train", "x"]),
        st.dictionaries(
            st.sampled_from(["method", "prompt", "references", "job", "file", "name", "seed", "options"]),
            VALUES,
        ),
    )
    def stumble(path: str, kind: str, document: dict[str, Any]) -> None:
        body = {"kind": kind, **document} if path == "/jobs" else document
        status, said = served.json(path, "POST", body)
        assert status < 500, said
        assert "Traceback" not in json.dumps(said)

    stumble()


def test_the_page_is_built_from_these_sources() -> None:
    """Where it differs: `make page`."""
    import hashlib

    web = Path(__file__).parents[2] / "web"
    front = Path(__file__).parents[2] / "src/likeness/studio/front"
    known = json.loads((front / "sources.json").read_text("utf-8"))
    files = [web / "index.html", web / "package.json", web / "vite.config.js"]
    files += [path for folder in ("src", "public") for path in (web / folder).rglob("*") if path.is_file()]
    now = {str(p.relative_to(web)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    assert known == now
