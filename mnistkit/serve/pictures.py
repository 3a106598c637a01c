"""``POST /predict``: picture files in, digits out."""

from __future__ import annotations

import contextlib
import urllib.parse
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import InputError, NoDigitError, PictureError
from mnistkit.digits.numbers import read_digits
from mnistkit.digits.pictures import decode_sized, normalize
from mnistkit.digits.readings import number_as_json
from mnistkit.digits.several import read_several
from mnistkit.serve.http import HTTPError, Request, Response, bad_request, json_response, truncate
from mnistkit.serve.pool import Pool
from mnistkit.serve.protocol.multipart import parse_multipart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from mnistkit.digits.classifier import Classifier, Prediction
    from mnistkit.digits.digit_string import DigitString
    from mnistkit.serve.models import Models
    from mnistkit.serve.pool import Ticket
    from mnistkit.serve.served_model import ServedModel
    from mnistkit.serve.settings import Settings

    _Seen = tuple[NDArray[np.float32], DigitString | None]


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
        explain, number, signs = (_switch(name, query.get(name, "0")) for name in ("explain", "number", "signs"))
        if explain and (number or signs):
            raise bad_request(f"query: expected explain or {'number' if number else 'signs'}, got both")
        least = _share(query.get("min_confidence", "0"))
        _check_type(request)
        read = partial(self._read, explain=explain, least=least)
        if number or signs:
            read = partial(self._read_numbers, signs=signs, least=least)
        answer: Response = await self.pool.run(read, model, request, deadline=request.deadline)
        return answer

    def _read_numbers(
        self, ticket: Ticket, model: ServedModel, request: Request, *, signs: bool, least: float
    ) -> Response:
        """In a thread: all digits of every file, or the first refusal."""
        assert model.classifier is not None
        files = _files(request, limit=self._settings.max_pictures)
        classifier = _Wanted(model.classifier, ticket)
        answers = []
        for place, (name, content) in enumerate(files):
            ticket.check()
            with _refusals(place, name, of=len(files)):
                found = read_digits(classifier, content, max_pixels=self._settings.max_pixels, signs=signs)
            answers.append({"name": name, **number_as_json(found), **_doubt(found, least)})
        return json_response({"model_name": model.name, "predictions": answers})

    def _read(self, ticket: Ticket, model: ServedModel, request: Request, *, explain: bool, least: float) -> Response:
        """In a thread: the answer for every file, or the first refusal."""
        assert model.classifier is not None
        files = _files(request, limit=self._settings.max_pictures)
        classifier = _Wanted(model.classifier, ticket)
        seen = [self._see(classifier, place, *file, of=len(files)) for place, file in enumerate(files)]
        ticket.check()
        read = model.classifier.predict(np.stack([image for image, _ in seen]))
        answers = []
        for (name, _), (image, number), found in zip(files, seen, read, strict=True):
            answer = {"name": name, **_prediction(found, number, least)}
            if explain:
                answer["seen"] = np.round(image, 4)
            answers.append(answer)
        return json_response({"model_name": model.name, "predictions": answers})

    def _see(self, classifier: _Wanted, place: int, name: str, content: bytes, *, of: int) -> _Seen:
        """The 28x28 of a picture, and all its digits where it has several."""
        classifier.check()
        with _refusals(place, name, of=of):
            picture, size = decode_sized(content, max_pixels=self._settings.max_pixels)
            return normalize(picture), read_several(classifier, picture, size)


def _prediction(found: Prediction, number: DigitString | None, least: float) -> dict[str, Any]:
    """The answer for a picture that may have one digit; of several, none is given for all of them."""
    doubt = _doubt(number or found, least)
    told = number is None and not doubt["unclear"]
    return {
        "digit": found.digit if told else None,
        "label": found.label if told else None,
        "confidence": (number or found).confidence,
        "probabilities": found.probabilities if number is None else None,
        **doubt,
        "number": number and number_as_json(number),
    }


def _doubt(answer: Prediction | DigitString, least: float) -> dict[str, Any]:
    """Whether an answer is less sure than asked for, and what it may be."""
    return {"unclear": answer.confidence < least, "candidates": [one.as_json() for one in answer.candidates]}


class _Wanted:
    """A classifier that reads only as long as somebody waits for it."""

    def __init__(self, classifier: Classifier, ticket: Ticket) -> None:
        self._classifier, self._ticket = classifier, ticket

    @property
    def labels(self) -> tuple[str, ...]:
        return self._classifier.labels

    def check(self) -> None:
        self._ticket.check()

    def predict(self, images: ArrayLike, /) -> list[Prediction]:
        self.check()
        return self._classifier.predict(images)


@contextlib.contextmanager
def _refusals(number: int, name: str, *, of: int) -> Iterator[None]:
    """Turn what is wrong with a picture into an answer that names it."""
    try:
        yield
    except (PictureError, InputError) as error:
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


_ASKED = ("model", "explain", "number", "signs", "min_confidence")


def _query(query: str) -> dict[str, str]:
    expected = f"expected {', '.join(_ASKED[:-1])} and {_ASKED[-1]}"
    try:
        pairs = urllib.parse.parse_qsl(query, keep_blank_values=True, max_num_fields=8)
    except ValueError:
        raise bad_request(f"query: {expected}, got too many fields") from None
    for name, _ in pairs:
        if name not in _ASKED:
            raise bad_request(f"query: {expected}, got {truncate(name)}")
    return dict(pairs)


def _share(value: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= float(value) <= 1:
            return float(value)
    raise bad_request(f"query min_confidence: expected a number from 0 to 1, got {truncate(value)}")


def _switch(name: str, value: str) -> bool:
    if value.lower() not in {"0", "1", "true", "false", ""}:
        raise bad_request(f"query {name}: expected 0 or 1, got {truncate(value)}")
    return value.lower() not in {"0", "false"}
