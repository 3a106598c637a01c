"""Requests and responses as plain values, whatever carries them: RSGI, ASGI or a test."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import orjson

from mnistkit.core.errors import MnistkitError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mnistkit.serve.settings import Settings

JSON = "application/json"
BINARY = "application/octet-stream"
SINGLE_HEADERS = frozenset(
    {
        "authorization", "content-encoding", "content-length", "content-type", "host",
        "inference-header-content-length", "origin", "sec-fetch-site", "transfer-encoding",
    }
)  # fmt: skip
"""Headers of which a request must not have two: two readers could take different ones."""

_LONGEST = 60  # characters of a value in an error, about half a line
Headers = tuple[tuple[str, str], ...]
CLOSE: Headers = (("connection", "close"),)
"""For answers after which a body is left unread."""


@dataclass(slots=True)
class Request:
    """A request.

    Attributes:
        method: In capitals.
        path: Decoded, without the query.
        query: As sent, without the question mark.
        headers: Lower-case names; of repeated headers the last.
        body: All of it, once it has been read.
        client: Address of the other end.
        http_version: ``1.0``, ``1.1`` or ``2``.
        authority: Host of the request target, where it names one.
        size: Bytes of the body that was received; it may have been let go since.
        id: Request id, the client's or one made here.
        deadline: On `time.monotonic`'s clock, when the answer is due.
    """

    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    client: str = ""
    http_version: str = "1.1"
    authority: str | None = None
    size: int = 0
    id: str = ""
    deadline: float = 0.0


@dataclass(slots=True)
class Response:
    """An answer; content length, date and chunks are the carrier's business."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Headers = ()


class HTTPError(MnistkitError):
    """A request that is answered with an error status and one sentence."""

    def __init__(self, status: int, message: str, *, headers: Headers = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


def bad_request(message: str) -> HTTPError:
    """A 400 whose sentence names field, expected and got."""
    return HTTPError(400, message)


def too_many_requests(message: str) -> HTTPError:
    """A 429 that asks to come back in a second."""
    return HTTPError(429, message, headers=(("retry-after", "1"),))


def out_of_time(seconds: float) -> HTTPError:
    """A 504 for a request that was not answered within ``seconds``."""
    return HTTPError(504, f"timeout: expected an answer within {seconds:g} s, got none")


def check_head(request: Request, items: list[tuple[str, str]], settings: Settings) -> HTTPError | None:
    """What is wrong with the head of a request, if anything.

    Args:
        request: With its headers, of which a name that comes twice has been left out once.
        items: All headers.
        settings: Of the server.
    """
    size = len(request.path) + len(request.query) + 16
    size += len("".join(chain.from_iterable(items))) + 4 * len(items)
    if len(items) > settings.max_headers or size > settings.max_header_bytes:
        return HTTPError(
            431,
            f"headers: expected at most {settings.max_headers} lines and {settings.max_header_bytes} bytes, got more",
            headers=CLOSE,
        )
    if len(items) != len(request.headers):
        seen = set()
        for name, _ in items:
            if name in seen and name in SINGLE_HEADERS:
                return bad_request(f"header {name}: expected it once, got it again")
            seen.add(name)
    return None


def json_response(value: Any, status: int = 200) -> Response:
    """A JSON answer; NumPy arrays are written as nested lists."""
    return Response(status, orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))


def error_response(error: HTTPError) -> Response:
    """The error in the protocol's form, one line."""
    message = one_line(error, limit=500)
    # lone surrogates, as from a path of broken UTF-8, cannot be written as JSON
    body = orjson.dumps({"error": message.encode("utf-8", "replace").decode()})
    return Response(error.status, body, JSON, error.headers)


def truncate(value: object) -> str:
    """A client's value short enough for an error message, whatever its size; no more of it is looked at."""
    text = ""
    for piece in _written(value):
        text += piece
        if len(text) > _LONGEST:
            return f"{text[: _LONGEST - 3]}..."
    return text


def _written(value: object) -> Iterator[str]:
    """`repr` in pieces: of a list of half a million numbers it would take a quarter of a second, in one go."""
    if isinstance(value, list):
        yield "["
        for place, item in enumerate(value):
            yield ", " if place else ""
            yield from _written(item)
        yield "]"
    elif isinstance(value, dict):
        yield "{"
        for place, (name, item) in enumerate(value.items()):
            yield ", " if place else ""
            yield from _written(name)
            yield ": "
            yield from _written(item)
        yield "}"
    else:
        yield repr(value[: _LONGEST + 1] if isinstance(value, str | bytes) else value)
