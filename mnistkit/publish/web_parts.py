"""Bytes as classic scripts: compressed, as text, in files that every host takes, with names that hold their digest."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PART: Final = 15_000_000
"""Bytes in one script, before they become text. 20 MB of text stay below the limits of static hosts, of which 25 MiB
(Cloudflare Pages) is the smallest known."""
_DIGITS = 10  # of the digest; enough to tell two versions of a file apart


def as_parts(name: str, content: bytes, texts: Mapping[str, str]) -> dict[str, str]:
    """Scripts that hand bytes to the page: ``part(name, index, base64 of a piece of the gzip stream)``.

    Args:
        name: How the page calls them.
        content: The bytes.
        texts: Scripts that go along as text, by name; into the first file.

    Returns:
        The text of each file by its name.
    """
    packed = gzip.compress(content, 9 if len(content) <= PART else 6, mtime=0)
    files = {}
    for index, start in enumerate(range(0, len(packed), PART)):
        piece = base64.b64encode(packed[start : start + PART]).decode()
        lines = [f"part({json.dumps(name)}, {index}, {json.dumps(piece)});"]
        if index == 0:
            lines += [f"part({json.dumps(key)}, 0, {json.dumps(text)});" for key, text in texts.items()]
        file, text = hashed(f"{name}{index or ''}.js", "\n".join(lines) + "\n")
        files[file] = text
    return files


def hashed(name: str, text: str) -> tuple[str, str]:
    """The name with the digest of the text in it, ``page-0123456789.js``, and the text."""
    stem, dot, end = name.partition(".")
    return f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]}{dot}{end}", text
