"""Asking a vision-language model about pictures: any server that speaks OpenAI's chat protocol.

An answer is a pydantic model. Servers differ in whether they hold a model to a schema, so the schema is
sent, written into the prompt, and checked here; a wrong answer is sent back with what is wrong about it.
Every exchange is kept as a file named by its content: asked again, it is read, and it can be audited.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from likeness.errors import MissingWeightsError, ServiceError
from likeness.files.images import write_json
from likeness.files.page import inline
from likeness.files.provenance import pixels_sha256

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Question", "VisionLanguageModel"]

Answer = TypeVar("Answer", bound=BaseModel)


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
    ) -> None:
        try:
            from openai import OpenAI
        except ImportError:
            raise MissingWeightsError(
                "A vision-language server is asked through the openai package: pip install 'likeness[vlm]'."
            ) from None
        self.url, self.model, self.kept = url, model, kept
        self.repairs, self.concurrency, self.max_tokens = repairs, concurrency, max_tokens
        self._client = OpenAI(base_url=url, api_key=key, timeout=timeout_s, max_retries=attempts - 1)

    def ask(self, question: Question[Answer]) -> Answer:
        """The answer, from an earlier exchange where there was one.

        Raises: ServiceError for a server that refuses, cannot be reached or keeps silent, and for answers
        that stay wrong after all repairs.
        """
        file = self._file(question)
        known = _read(file, question.answer)
        if known is not None:
            return known
        started, said = time.perf_counter(), []
        messages = [{"role": "user", "content": _content(question)}]
        wrong = ""
        for _ in range(self.repairs + 1):
            said.append(self._complete(messages, question.answer))
            try:
                found = _parsed(said[-1], question.answer)
            except ValueError as error:
                wrong = str(error)
                messages += [
                    {"role": "assistant", "content": said[-1]},
                    {"role": "user", "content": f"{wrong} Answer with one JSON object of that schema only."},
                ]
                continue
            self._keep(file, question, said, found, time.perf_counter() - started)
            return found
        self._keep(file.with_suffix(".failed.json"), question, said, None, time.perf_counter() - started)
        raise ServiceError(
            f"{self.model} at {self.url} gave no usable answer in {len(said)} attempts: {wrong} "
            "Ask a more able model."
        )

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

    def _complete(self, messages: Sequence[Any], answer: type[BaseModel]) -> str:
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
            raise ServiceError(
                f"{self.url} refused the request for {self.model!r} with status {error.status_code}: "
                f"{' '.join(error.message.split()):.200}"
            ) from None
        return str(out.choices[0].message.content or "") if out.choices else ""

    def _file(self, question: Question[Any]) -> Path:
        told = json.dumps(
            [self.model, question.text, _schema(question.answer), [pixels_sha256(i) for i in question.images]]
        )
        digest = hashlib.sha256(told.encode()).hexdigest()
        return self.kept / digest[:2] / f"{digest}.json"

    def _keep(
        self, file: Path, question: Question[Any], said: list[str], found: BaseModel | None, seconds: float
    ) -> None:
        write_json(
            file,
            {
                "url": self.url,
                "model": self.model,
                "text": question.text,
                "images_sha256": [pixels_sha256(image) for image in question.images],
                "schema": question.answer.model_json_schema(),
                "said": said,
                "answer": None if found is None else found.model_dump(mode="json"),
                "seconds": round(seconds, 3),
            },
        )


def _schema(answer: type[BaseModel]) -> str:
    return json.dumps(answer.model_json_schema(), sort_keys=True)


def _content(question: Question[Any]) -> list[dict[str, Any]]:
    text = f"{question.text}\n\nAnswer with one JSON object of this schema: {_schema(question.answer)}"
    return [
        *({"type": "image_url", "image_url": {"url": inline(image)}} for image in question.images),
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
