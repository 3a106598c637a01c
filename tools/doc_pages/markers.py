"""Generated parts of Markdown pages, between two markers."""

from __future__ import annotations

import re


def fill(text: str, name: str, content: str) -> str:
    """Return the page with new content, whole lines, between the markers of a table."""
    pattern = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end: {name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"the page has no place for the table {name!r}")
    return pattern.sub(lambda match: f"{match[1]}{content}{match[2]}", text)
