"""``POST /predict``: picture files in, digits out."""

from __future__ import annotations

import contextlib
import urllib.parse
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import NoDigitError, PictureError
from mnistkit.digits.numbers import read_digits
from mnistkit.digits.pictures import decode, normalize
from mnistkit.serve.http import HTTPError, Request, Response, bad_request, json_response, truncate
from mnistkit.serve.pool import Pool
from mnistkit.serve.protocol.multipart import parse_multipart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike

    from mnistkit.digits.classifier import Classifier, Prediction
    from mnistkit.serve.models import Models
    from mnistkit.serve.pool import Ticket
    from mnistkit.serve.served_model import ServedModel
    from mnistkit.serve.settings import Settings


class Pictures:
    """Decodes and reads pictures in threads of its own, so that a large photo does not hold up anything else."""

    def __init__(self, models: Models, settings: Settings) -> None:
        self._models, self._settings = models, settings
        self.pool = Pool(
            "pictures", threads=settings.concurrency, max_queue=settings.max_queue, timeout=settings.timeout
        )

    async def answer(self, request: Request) -> Response:
        """Answer a request.

        Raises:
            HTTPError: 400 for anything that is not a picture, 404, 415, 422 when nothing is drawn, 429, 504.
        """
        query = _query(request.query)
        model = self._models.get(query.get("model", self._models.default))
        if model.classifier is None:
            raise bad_request(
                f"model: expected one that reads 28x28 pictures, got {model.name}; use /v2/models/{model.name}/infer"
            )
        explain, number = (_switch(name, query.get(name, "0")) for name in ("explain", "number"))
        if explain and number:
            raise bad_request("query: expected explain or number, got both")
        _check_type(request)
        read = self._read_numbers if number else partial(self._read, explain=explain)
        answer: Response = await self.pool.run(read, model, request, deadline=request.deadline)
        return answer

    def _read_numbers(self, ticket: Ticket, model: ServedModel, request: Request) -> Response:
        """In a thread: all digits of every file, or the first refusal."""
        assert model.classifier is not None
        files = _files(request, limit=self._settings.max_pictures)
        classifier = _Wanted(model.classifier, ticket)
        answers = []
        for place, (name, content) in enumerate(files):
            ticket.check()
            with _refusals(place, name, of=len(files)):
                found = read_digits(classifier, content, max_pixels=self._settings.max_pixels)
            digits = [
                {"digit": digit.digit, "label": digit.label, "confidence": digit.confidence, "row": digit.row,
                 "after_gap": digit.after_gap, "box": asdict(digit.box)}
                for digit in found.digits
            ]  # fmt: skip
            answers.append({"name": name, "text": found.text, "rows": found.rows, "confidence": found.confidence,
                            "width": found.width, "height": found.height, "digits": digits})  # fmt: skip
        return json_response({"model_name": model.name, "predictions": answers})

    def _read(self, ticket: Ticket, model: ServedModel, request: Request, *, explain: bool) -> Response:
        """In a thread: the answer for every file, or the first refusal."""
        assert model.classifier is not None
        files = _files(request, limit=self._settings.max_pictures)
        images = np.stack([self._image(ticket, number, *file, of=len(files)) for number, file in enumerate(files)])
        ticket.check()
        answers = []
        for file, image, found in zip(files, images, model.classifier.predict(images), strict=True):
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
        return json_response({"model_name": model.name, "predictions": answers})

    def _image(self, ticket: Ticket, number: int, name: str, content: bytes, *, of: int) -> Any:
        ticket.check()
        with _refusals(number, name, of=of):
            return normalize(decode(content, max_pixels=self._settings.max_pixels))


class _Wanted:
    """A classifier that reads only as long as somebody waits for it."""

    def __init__(self, classifier: Classifier, ticket: Ticket) -> None:
        self._classifier, self._ticket = classifier, ticket

    def predict(self, images: ArrayLike, /) -> list[Prediction]:
        self._ticket.check()
        return self._classifier.predict(images)


@contextlib.contextmanager
def _refusals(number: int, name: str, *, of: int) -> Iterator[None]:
    """Turn what is wrong with a picture into an answer that names it."""
    try:
        yield
    except PictureError as error:
        which = "picture" if of == 1 else f"picture {number + 1} of {of} ({truncate(name)})"
        status = 422 if isinstance(error, NoDigitError) else 400
        raise HTTPError(status, f"{which}: {str(error).removeprefix('picture: ')}") from None


def _check_type(request: Request) -> None:
    """Refuse what is neither a picture nor a form.

    Raises:
        HTTPError: 400 or 415.
    """
    kind = _kind(request)
    if kind == "multipart/form-data":
        return
    if kind and not kind.startswith("image/") and kind != "application/octet-stream":
        accepted = "image/*, application/octet-stream or multipart/form-data"
        raise HTTPError(415, f"header Content-Type: expected {accepted}, got {truncate(kind)}")
    if not request.body:
        raise bad_request("body: expected a picture file, got 0 bytes")


def _files(request: Request, *, limit: int) -> list[tuple[str, bytes]]:
    if _kind(request) != "multipart/form-data":
        return [("picture", request.body)]
    content_type = request.headers["content-type"].encode("latin-1", "replace")
    parts = parse_multipart(request.body, content_type, limit=limit)
    if not parts:
        raise bad_request("body: expected picture files, got an empty form")
    return [(part.filename or part.name or "picture", bytes(part.content)) for part in parts]


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def _query(query: str) -> dict[str, str]:
    try:
        pairs = urllib.parse.parse_qsl(query, keep_blank_values=True, max_num_fields=8)
    except ValueError:
        raise bad_request("query: expected model, explain and number, got too many fields") from None
    for name, _ in pairs:
        if name not in {"model", "explain", "number"}:
            raise bad_request(f"query: expected model, explain and number, got {truncate(name)}")
    return dict(pairs)


def _switch(name: str, value: str) -> bool:
    if value.lower() not in {"0", "1", "true", "false", ""}:
        raise bad_request(f"query {name}: expected 0 or 1, got {truncate(value)}")
    return value.lower() not in {"0", "false"}
