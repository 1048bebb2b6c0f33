"""Asking a vision-language model about pictures: any server that speaks OpenAI's chat protocol.

An answer is a pydantic model. Servers differ in whether they hold a model to a schema, so the schema is
sent, written into the prompt, and checked here; a wrong answer is sent back with what is wrong about it.
Every exchange is kept as a file named by its content: asked again, it is read, and it can be audited.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from likeness.errors import AnswerError, MissingWeightsError, ServiceError
from likeness.files.images import write_json
from likeness.files.page import inline
from likeness.files.provenance import pixels_sha256

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Asked", "Question", "VisionLanguageModel", "asked_so_far"]

Answer = TypeVar("Answer", bound=BaseModel)
OF_THE_QUESTION = (400, 413, 422)
"""Statuses that refuse one request, as for its pictures or its length; another one may be answered."""


@dataclass(frozen=True, slots=True, eq=False)
class Question(Generic[Answer]):
    """A text about pictures (PIL RGB, in the order the text speaks of them), and the shape of the answer."""

    text: str
    images: tuple[Image.Image, ...]
    answer: type[Answer]


class VisionLanguageModel:
    """One model on one server.

    url: up to and with "/v1". key: as the server wants it, "none" for local ones. kept: folder of all
    exchanges. attempts: of each request, with growing pauses, where the server is busy, failing or silent
    for timeout_s seconds. repairs: how often a wrong answer is sent back. concurrency: requests at once.
    side_px: pictures are sent as JPEG with a longer side of so many px at most; None: as they are, as PNG.
    Raises: MissingWeightsError without the `vlm` extra.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key: str = "none",
        *,
        kept: Path,
        timeout_s: float = 120.0,
        attempts: int = 4,
        repairs: int = 2,
        concurrency: int = 4,
        max_tokens: int = 512,
        side_px: int | None = None,
    ) -> None:
        self.url, self.model, self.kept = url, model, kept
        self.repairs, self.concurrency, self.max_tokens = repairs, concurrency, max_tokens
        self.side_px = side_px
        self._settings = {
            "base_url": url,
            "api_key": key,
            "timeout": timeout_s,
            "max_retries": attempts - 1,
        }
        self._client, self._asking = self._connected(), _Once()

    def _connected(self) -> Any:
        try:
            from openai import OpenAI
        except ImportError:
            raise MissingWeightsError(
                "A vision-language server is asked through the openai package: pip install 'likeness[vlm]'."
            ) from None
        return OpenAI(**self._settings)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self.__dict__ if name not in ("_client", "_asking")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)  # another process has its own connections
        self._client, self._asking = self._connected(), _Once()

    def ask(self, question: Question[Answer]) -> Answer:
        """The answer, from an earlier exchange where there was one.

        Raises: ServiceError for a server that refuses, cannot be reached or keeps silent; AnswerError for
        answers that stay wrong after all repairs, and where the server refuses this question.
        """
        file = self._file(question)
        with self._asking.of(file.stem):  # threads with one question wait for one answer
            return self._asked(file, question)

    def _asked(self, file: Path, question: Question[Answer]) -> Answer:
        known = _read(file, question.answer)
        if known is not None:
            return known
        started = time.perf_counter()
        said: list[str] = []
        tokens = [0, 0]
        messages = [{"role": "user", "content": _content(question, self.side_px)}]
        wrong = ""
        failed = file.with_suffix(".failed.json")
        for _ in range(self.repairs + 1):
            try:
                text, used = self._complete(messages, question.answer)
            except AnswerError as error:
                self._keep(failed, question, said, None, tokens, time.perf_counter() - started, str(error))
                raise AnswerError(str(error), failed.stem) from None
            said.append(text)
            tokens = [before + more for before, more in zip(tokens, used, strict=True)]
            try:
                found = _parsed(said[-1], question.answer)
            except ValueError as error:
                wrong = str(error)
                messages += [
                    {"role": "assistant", "content": said[-1]},
                    {"role": "user", "content": f"{wrong} Answer with one JSON object of that schema only."},
                ]
                continue
            self._keep(file, question, said, found, tokens, time.perf_counter() - started)
            return found
        self._keep(failed, question, said, None, tokens, time.perf_counter() - started)
        raise AnswerError(
            f"{self.model} at {self.url} gave no usable answer in {len(said)} attempts: {wrong} "
            "Ask a more able model.",
            failed.stem,
        )

    def name_of(self, question: Question[Any]) -> str:
        """Of its exchange: the file in `kept`, without its ending."""
        return self._file(question).stem

    def ask_many(
        self,
        questions: Sequence[Question[Answer]],
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[Answer | ServiceError]:
        """`ask`, several at once, in the questions' order; what failed is the error. Ctrl-C waits for the
        requests under way and keeps their answers."""
        answers: list[Answer | ServiceError | None] = [None] * len(questions)
        pool = ThreadPoolExecutor(self.concurrency)
        try:
            running = {pool.submit(self._ask_or_error, q): place for place, q in enumerate(questions)}
            for number, future in enumerate(as_completed(running), start=1):
                answers[running[future]] = future.result()
                if on_progress is not None:
                    on_progress(number, len(questions))
        finally:
            pool.shutdown(cancel_futures=True)
        return [answer for answer in answers if answer is not None]

    def _ask_or_error(self, question: Question[Answer]) -> Answer | ServiceError:
        try:
            return self.ask(question)
        except ServiceError as error:
            return error

    def _complete(self, messages: Sequence[Any], answer: type[BaseModel]) -> tuple[str, tuple[int, int]]:
        """What was said, and the tokens of the request and the answer as the server counts them."""
        import openai

        schema = {"name": answer.__name__, "schema": answer.model_json_schema()}
        try:
            out = self._client.chat.completions.create(
                model=self.model,
                messages=messages,
                temperature=0,
                max_tokens=self.max_tokens,
                response_format={"type": "json_schema", "json_schema": schema},
            )
        except openai.APITimeoutError:
            raise ServiceError(
                f"{self.url} did not answer within {self._client.timeout:g} s; give it more time or fewer "
                "questions at once."
            ) from None
        except openai.APIConnectionError as error:
            raise ServiceError(
                f"{self.url} cannot be reached ({error.__cause__ or error}); is the server running?"
            ) from None
        except openai.APIStatusError as error:
            kind = AnswerError if error.status_code in OF_THE_QUESTION else ServiceError
            raise kind(
                f"{self.url} refused the request for {self.model!r} with status {error.status_code}: "
                f"{' '.join(error.message.split()):.200}"
            ) from None
        except ValueError:  # its body is no JSON
            raise ServiceError(self._other_tongue()) from None
        try:
            text = str(out.choices[0].message.content or "") if out.choices else ""
            return text, (out.usage.prompt_tokens, out.usage.completion_tokens) if out.usage else (0, 0)
        except AttributeError:
            raise ServiceError(self._other_tongue()) from None

    def _other_tongue(self) -> str:
        return f"{self.url} does not speak OpenAI's chat protocol; give the address up to and with /v1."

    def _file(self, question: Question[Any]) -> Path:
        told: list[object] = [self.model, question.text, _schema(question.answer), _sha256s(question)]
        if self.side_px is not None:
            told.append(self.side_px)
        digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()
        return self.kept / digest[:2] / f"{digest}.json"

    def _keep(
        self,
        file: Path,
        question: Question[Any],
        said: list[str],
        found: BaseModel | None,
        tokens: Sequence[int],
        seconds: float,
        refused: str | None = None,
    ) -> None:
        write_json(
            file,
            {
                "url": self.url,
                "model": self.model,
                "text": question.text,
                "images_sha256": _sha256s(question),
                "side_px": self.side_px,
                "schema": question.answer.model_json_schema(),
                "said": said,
                "refused": refused,
                "answer": None if found is None else found.model_dump(mode="json"),
                "tokens": {"request": tokens[0], "answer": tokens[1]},
                "seconds": round(seconds, 3),
            },
        )


class _Once:
    """A lock a name, as long as anybody holds it or waits for it."""

    def __init__(self) -> None:
        self._all, self._held = threading.Lock(), dict[str, tuple[threading.Lock, int]]()

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        with self._all:
            lock, users = self._held.get(name, (threading.Lock(), 0))
            self._held[name] = lock, users + 1
        try:
            with lock:
                yield
        finally:
            with self._all:
                lock, users = self._held.pop(name)
                if users > 1:
                    self._held[name] = lock, users - 1


@dataclass(frozen=True, slots=True)
class Asked:
    """What a folder of exchanges adds up to. requests: sent, repairs included; failed: questions without a
    usable answer; tokens as servers count them, 0 where they do not; seconds: of waiting, summed."""

    questions: int
    requests: int
    failed: int
    request_tokens: int
    answer_tokens: int
    seconds: float


def asked_so_far(kept: Path) -> Asked:
    """Adds up `kept` of a `VisionLanguageModel`."""
    every = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(kept.glob("*/*.json"))]
    tokens = [one.get("tokens", {"request": 0, "answer": 0}) for one in every]
    return Asked(
        questions=len(every),
        requests=sum(len(one["said"]) + bool(one.get("refused")) for one in every),
        failed=sum(one["answer"] is None for one in every),
        request_tokens=sum(one["request"] for one in tokens),
        answer_tokens=sum(one["answer"] for one in tokens),
        seconds=sum(one["seconds"] for one in every),
    )


def _schema(answer: type[BaseModel]) -> str:
    return json.dumps(answer.model_json_schema(), sort_keys=True)


def _sha256s(question: Question[Any]) -> list[str]:
    return [pixels_sha256(image) for image in question.images]


def _jpeg(image: Image.Image, side_px: int) -> str:
    """As a data URL."""
    small, data = image.convert("RGB"), io.BytesIO()
    small.thumbnail((side_px, side_px))
    small.save(data, format="JPEG", quality=92)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def _content(question: Question[Any], side_px: int | None) -> list[dict[str, Any]]:
    text = f"{question.text}\n\nAnswer with one JSON object of this schema: {_schema(question.answer)}"
    urls = [inline(image) if side_px is None else _jpeg(image, side_px) for image in question.images]
    return [
        *({"type": "image_url", "image_url": {"url": url}} for url in urls),
        {"type": "text", "text": text},
    ]


def _read(file: Path, answer: type[Answer]) -> Answer | None:
    if not file.is_file():
        return None
    kept = json.loads(file.read_text(encoding="utf-8"))
    return answer.model_validate(kept["answer"])


def _parsed(text: str, answer: type[Answer]) -> Answer:
    """The first JSON object in a text that fits; models talk around it.

    Raises: ValueError with a sentence about what is wrong.
    """
    decoder = json.JSONDecoder()
    wrong = "There is no JSON object in the answer."
    for start, letter in enumerate(text):
        if letter != "{":
            continue
        try:
            value, _ = decoder.raw_decode(text, start)
            return answer.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the object"
            wrong = f"In the answer's JSON, {where}: {first['msg']}."
        except ValueError:
            continue
    raise ValueError(wrong)
