"""Requests and responses as plain values, whatever carries them (our own connection, ASGI, a test)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from mnistkit.core.errors import MnistkitError, one_line

JSON = b"application/json"
BINARY = b"application/octet-stream"


@dataclass(slots=True)
class Request:
    """A request whose body has arrived.

    Attributes:
        method: In capitals.
        path: Decoded, without the query.
        query: As sent, without the question mark.
        headers: Lower-case names; of repeated headers the last.
        body: All of it.
        client: Address of the other end, for the access log.
    """

    method: str
    path: str
    query: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    client: str = ""


@dataclass(slots=True)
class Response:
    """An answer; content length and connection headers are the carrier's business."""

    status: int
    body: bytes = b""
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Refusal(MnistkitError):  # noqa: N818 - it is an answer, most often to somebody else's error
    """A request that is answered with an error status and one sentence."""

    def __init__(self, status: int, message: str, *, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


def bad(message: str) -> Refusal:
    """A 400 whose sentence names field, expected and got."""
    return Refusal(400, message)


def busy(message: str) -> Refusal:
    """A 429 that asks to come back in a second."""
    return Refusal(429, message, headers=((b"retry-after", b"1"),))


def json_response(value: Any, status: int = 200) -> Response:
    """A JSON answer; NumPy arrays are written as nested lists."""
    return Response(status, orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))


def refusal_response(error: Refusal) -> Response:
    """The error in the protocol's form, one line."""
    message = one_line(error, limit=500)
    # lone surrogates, as from a path of broken UTF-8, cannot be written as JSON
    body = orjson.dumps({"error": message.encode("utf-8", "replace").decode()})
    return Response(error.status, body, JSON, error.headers)


def shown(value: object) -> str:
    """A client's value short enough for an error message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - about half a line
