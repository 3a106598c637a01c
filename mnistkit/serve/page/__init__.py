"""The page at ``/``: three files, sent as they are, under a policy that allows nothing from elsewhere."""

from __future__ import annotations

from importlib import resources
from typing import Final

from mnistkit.serve.http import Response

_FOLDER = resources.files(__name__)
FILES: Final = {
    "/": ("index.html", b"text/html; charset=utf-8"),
    "/page.css": ("page.css", b"text/css; charset=utf-8"),
    "/page.js": ("page.js", b"text/javascript; charset=utf-8"),
    "/pad.js": ("pad.js", b"text/javascript; charset=utf-8"),
}
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src data: blob:; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
)
_read: dict[str, bytes] = {}


def response(path: str) -> Response:
    """One of the files."""
    name, kind = FILES[path]
    if name not in _read:
        _read[name] = _FOLDER.joinpath(name).read_bytes()
    return Response(200, _read[name], kind, _HEADERS)
