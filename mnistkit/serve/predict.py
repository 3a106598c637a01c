"""``POST /predict``: picture files in, digits out."""

from __future__ import annotations

import asyncio
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import NoDigitError, PictureError
from mnistkit.digits.pictures import decode, normalize
from mnistkit.serve.http import Refusal, Request, Response, bad, busy, json_response, shown
from mnistkit.serve.multipart import parse_multipart

if TYPE_CHECKING:
    from mnistkit.serve.repository import Repository, ServedModel
    from mnistkit.serve.settings import Settings


class Pictures:
    """Decodes and reads pictures in threads of its own, so that a large photo does not hold up anything else."""

    def __init__(self, repository: Repository, settings: Settings) -> None:
        self._repository, self._settings = repository, settings
        self._pool = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="pictures")
        self._pending = 0

    @property
    def waiting(self) -> int:
        """Requests that wait for a thread."""
        return max(0, self._pending - self._settings.concurrency)

    async def answer(self, request: Request) -> Response:
        """Answer a request.

        Raises:
            Refusal: 400 for anything that is not a picture, 404, 415, 422 when nothing is drawn, 429, 504.
        """
        query = _query(request.query)
        model = self._repository.get(query.get("model", self._repository.default))
        if model.classifier is None:
            raise bad(
                f"model: expected one that reads 28x28 pictures, got {model.name}; use /v2/models/{model.name}/infer"
            )
        explain = _switch(query.get("explain", "0"))
        files = self._files(request)
        if self._pending >= self._settings.concurrency + self._settings.max_queue:
            raise busy(f"the queue is full: expected at most {self._settings.max_queue} requests waiting; try again")
        self._pending += 1
        work = asyncio.get_running_loop().run_in_executor(self._pool, self._read, model, files, explain)
        work.add_done_callback(self._done)
        try:
            # Shielded: a thread cannot be interrupted, and its place is taken until it really ends.
            answer = await asyncio.wait_for(asyncio.shield(work), self._settings.timeout)
        except TimeoutError:
            message = f"timeout: expected an answer within {self._settings.timeout:g} s, got none"
            raise Refusal(504, message) from None
        return json_response({"model_name": model.name, "predictions": answer})

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _done(self, work: asyncio.Future[Any]) -> None:
        self._pending -= 1
        if not work.cancelled():
            work.exception()  # seen, so that one that came after the deadline is not reported as forgotten

    def _files(self, request: Request) -> list[tuple[str, bytes]]:
        content_type = request.headers.get(b"content-type", b"").strip()
        kind = content_type.split(b";")[0].strip().lower()
        if kind == b"multipart/form-data":
            parts = parse_multipart(request.body, content_type, limit=self._settings.max_pictures)
            if not parts:
                raise bad("body: expected picture files, got an empty form")
            return [(part.filename or part.name or "picture", bytes(part.content)) for part in parts]
        if kind and not kind.startswith(b"image/") and kind != b"application/octet-stream":
            accepted = "image/*, application/octet-stream or multipart/form-data"
            raise Refusal(415, f"header Content-Type: expected {accepted}, got {shown(kind.decode('latin-1'))}")
        if not request.body:
            raise bad("body: expected a picture file, got 0 bytes")
        return [("picture", request.body)]

    def _read(self, model: ServedModel, files: list[tuple[str, bytes]], explain: bool) -> list[dict[str, Any]]:  # noqa: FBT001
        """In a thread: the answer for every file, or the first refusal."""
        assert model.classifier is not None
        seen = np.stack([self._seen(number, *file, of=len(files)) for number, file in enumerate(files)])
        answers = []
        for file, image, found in zip(files, seen, model.classifier.predict(seen), strict=True):
            answer = {
                "name": file[0],
                "digit": found.digit,
                "label": found.label,
                "confidence": found.confidence,
                "probabilities": found.probabilities,
            }
            if explain:
                answer["seen"] = np.round(image, 4)
            answers.append(answer)
        return answers

    def _seen(self, number: int, name: str, content: bytes, *, of: int) -> Any:
        try:
            return normalize(decode(content, max_pixels=self._settings.max_pixels))
        except PictureError as error:
            which = "picture" if of == 1 else f"picture {number + 1} of {of} ({shown(name)})"
            status = 422 if isinstance(error, NoDigitError) else 400
            raise Refusal(status, f"{which}: {str(error).removeprefix('picture: ')}") from None


def _query(query: bytes) -> dict[str, str]:
    try:
        pairs = urllib.parse.parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=8)
    except ValueError:
        raise bad("query: expected model and explain, got too many fields") from None
    for name, _ in pairs:
        if name not in {"model", "explain"}:
            raise bad(f"query: expected model and explain, got {shown(name)}")
    return dict(pairs)


def _switch(value: str) -> bool:
    if value.lower() not in {"0", "1", "true", "false", ""}:
        raise bad(f"query explain: expected 0 or 1, got {shown(value)}")
    return value.lower() not in {"0", "false"}
