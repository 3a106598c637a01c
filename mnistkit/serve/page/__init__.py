"""The pages at ``/`` and ``/docs``: files sent as they are, under a policy that allows nothing from elsewhere."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Final

from mnistkit.digits import page as shared
from mnistkit.serve.http import Response

_FOLDER = resources.files(__name__)
FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    **{f"/{name}": (name, "text/javascript; charset=utf-8") for name in shared.SCRIPTS},
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
_SCRIPTS: Final = "\n".join(f'<script src="{name}" defer></script>' for name in (*shared.SCRIPTS, "page.js"))


def response(path: str) -> Response:
    """One of the files."""
    name, kind = FILES[path]
    return Response(200, _read(name), kind, _HEADERS)


@functools.cache
def _read(name: str) -> bytes:
    if name == "index.html":
        return shared.drawing_page(
            head='<link rel="stylesheet" href="page.css">',
            footer='<a href="docs">What else the server answers</a>',
            scripts=_SCRIPTS,
        ).encode()
    if name in {"page.css", *shared.SCRIPTS}:
        return shared.read(name).encode()
    return _FOLDER.joinpath(name).read_bytes()
