"""The pages at ``/`` and ``/docs``: files sent as they are, under a policy that allows nothing from elsewhere."""

from __future__ import annotations

from importlib import resources
from typing import Final

from mnistkit.serve.http import Response

_FOLDER = resources.files(__name__)
FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/pad.js": ("pad.js", "text/javascript; charset=utf-8"),
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/docs.css": ("docs.css", "text/css; charset=utf-8"),
    "/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    ("content-security-policy", _POLICY),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-cache"),
)
_read: dict[str, bytes] = {}


def response(path: str) -> Response:
    """One of the files."""
    name, kind = FILES[path]
    if name not in _read:
        _read[name] = _FOLDER.joinpath(name).read_bytes()
    return Response(200, _read[name], kind, _HEADERS)
