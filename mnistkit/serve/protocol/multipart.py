"""Files in a ``multipart/form-data`` body that is already in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from mnistkit.serve.http import bad_request


@dataclass(slots=True)
class Part:
    """One part: its field name, the file's name, its bytes."""

    name: str = ""
    filename: str = ""
    content: bytearray = field(default_factory=bytearray)


def parse_multipart(body: bytes, content_type: bytes, *, limit: int) -> list[Part]:
    """All parts of a form.

    Raises:
        HTTPError: 400, the body is damaged or has more than ``limit`` parts.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise bad_request("header Content-Type: expected a boundary for multipart/form-data, got none")
    reader = _Reader(limit)
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError, IndexError) as error:
        raise bad_request(f"body: expected multipart/form-data, got something else ({error})") from None
    if not reader.ended:
        raise bad_request("body: expected multipart/form-data with its closing boundary, got a body that is cut off")
    return reader.parts


class _Reader:
    def __init__(self, limit: int) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._limit = limit
        self._header, self._value = b"", b""

    def callbacks(self) -> dict[str, object]:
        names = ("part_begin", "part_data", "header_field", "header_value", "header_end", "end")
        return {f"on_{name}": getattr(self, name) for name in names}

    def part_begin(self) -> None:
        if len(self.parts) >= self._limit:
            raise bad_request(f"body: expected at most {self._limit} parts, got more")
        self.parts.append(Part())

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].content += data[start:end]

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            options = parse_options_header(self._value)[1]
            self.parts[-1].name = options.get(b"name", b"").decode("utf-8", "replace")
            self.parts[-1].filename = options.get(b"filename", b"").decode("utf-8", "replace")
        self._header, self._value = b"", b""

    def end(self) -> None:
        self.ended = True
