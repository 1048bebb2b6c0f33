"""The studio from Python: the same API that its pages use.

studio = Client("http://127.0.0.1:8000")
anna = studio.add_person("Anna", kind="sitter")
photo = studio.add_picture(anna["id"], "anna.png")
job = studio.submit("paint", method="consistentid", prompt="a woman, laughing", references=[photo["id"]])
job = studio.wait(job["id"])
studio.save(job, "out")
"""

from __future__ import annotations

import json
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from likeness.errors import InputError, LikenessError, ServiceError
from likeness.files.images import write_bytes

__all__ = ["Client"]

ENDED = ("done", "failed", "cancelled")


class Client:
    """A studio at an address. token: where the server asks for one. timeout_s: for one answer."""

    def __init__(
        self, url: str = "http://127.0.0.1:8000", token: str | None = None, timeout_s: float = 60
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(f"{url!r} is no address; give one such as http://127.0.0.1:8000.")
        self.url, self.token, self.timeout_s = url.rstrip("/"), token, timeout_s

    def submit(self, kind: str, *, key: str | None = None, **request: Any) -> dict[str, Any]:
        """Queue a job; sent again after a lost answer it is still one job. key: one's own name for it."""
        headers = {"Idempotency-Key": key or secrets.token_hex(12)}
        document = {"kind": kind, **request}
        for attempt in range(5):
            try:
                return self._json("POST", "/jobs", document, headers)
            except ServiceError:
                if attempt == 4:
                    raise
                time.sleep(0.2 * 2**attempt)
        raise AssertionError

    def job(self, identifier: str) -> dict[str, Any]:
        """A job as it stands."""
        return self._json("GET", f"/jobs/{identifier}")

    def jobs(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Every job, newest first; filters: state, kind, group, search."""
        before: int | None = None
        while True:
            asked = {**filters, "limit": 200, **({} if before is None else {"before": before})}
            page = self._json("GET", f"/jobs?{urllib.parse.urlencode(asked)}")
            yield from page["jobs"]
            before = page["next"]
            if before is None:
                return

    def wait(self, identifier: str, timeout_s: float = 3600) -> dict[str, Any]:
        """The job when it has ended.

        Raises: LikenessError with the reason where it failed; ServiceError where it takes too long.
        """
        ends = time.monotonic() + timeout_s
        while True:
            job = self.job(identifier)
            if job["state"] == "failed":
                raise LikenessError(job["error"])
            if job["state"] in ENDED:
                return job
            if time.monotonic() > ends:
                raise ServiceError(f"The job {identifier} has not ended after {timeout_s:g} s.")
            time.sleep(0.2)

    def events(self, since: int | None = None) -> Iterator[dict[str, Any]]:
        """Jobs as they change, without end."""
        query = "" if since is None else f"?since={since}"
        with self._open("GET", f"/events{query}") as reply:
            for line in reply:
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])

    def cancel(self, identifier: str) -> dict[str, Any]:
        """Stop a job."""
        return self._json("POST", f"/jobs/{identifier}/cancel")

    def retry(self, identifier: str) -> dict[str, Any]:
        """Queue a job again that failed or was cancelled."""
        return self._json("POST", f"/jobs/{identifier}/retry")

    def save(self, job: dict[str, Any], folder: Path | str) -> list[Path]:
        """Write the pictures that a job made; their files."""
        saved = []
        for one in (job["result"] or {}).get("pictures", ()):
            name = Path(one["file"]).name
            path = Path(folder) / name
            write_bytes(path, self._bytes("GET", f"/jobs/{job['id']}/files/{urllib.parse.quote(name)}"))
            saved.append(path)
        return saved

    def methods(self) -> list[dict[str, Any]]:
        """What there is, with the schemas of options."""
        found: list[dict[str, Any]] = json.loads(self._bytes("GET", "/methods"))
        return found

    def add_person(self, name: str, kind: str = "real") -> dict[str, Any]:
        """Somebody new; kind "sitter" for one who does not exist."""
        return self._json("POST", "/people", {"name": name, "kind": kind})

    def consent(self, person: str, given_by: str, statement: str) -> dict[str, Any]:
        """Record that a real person agreed."""
        return self._json("PUT", f"/people/{person}/consent", {"given_by": given_by, "statement": statement})

    def add_picture(self, person: str, picture: Path | str | bytes, label: str = "") -> dict[str, Any]:
        """A picture of a person, with the doctor's verdict."""
        data = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
        query = urllib.parse.urlencode({"label": label})
        found: dict[str, Any] = json.loads(self._bytes("POST", f"/people/{person}/pictures?{query}", data))
        return found

    def forget(self, person: str) -> dict[str, Any]:
        """Delete a person, their pictures and everything made of them."""
        return self._json("DELETE", f"/people/{person}")

    def _json(
        self, method: str, path: str, document: Any = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        data = None if document is None else json.dumps(document).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        found: dict[str, Any] = json.loads(self._bytes(method, path, data, sent))
        return found

    def _bytes(
        self, method: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None
    ) -> bytes:
        with self._open(method, path, data, headers) as reply:
            found: bytes = reply.read()
        return found

    def _open(
        self, method: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Any:
        sent = {"Content-Type": "application/octet-stream", **(headers or {})}
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(f"{self.url}/api{path}", data, sent, method=method)  # noqa: S310
        try:
            return urllib.request.urlopen(request, timeout=self.timeout_s)  # noqa: S310  checked: http(s)
        except urllib.error.HTTPError as error:
            raise _said(error) from None
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise ServiceError(f"The studio at {self.url} does not answer: {reason}.") from None


def _said(error: urllib.error.HTTPError) -> LikenessError:
    """The server's sentence as an error of ours."""
    with error:
        try:
            words = json.loads(error.read())["error"]
        except (ValueError, KeyError, TypeError):
            words = f"The studio answered {error.code}."
    return InputError(words) if 400 <= error.code < 500 else ServiceError(words)
