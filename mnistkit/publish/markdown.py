"""Markdown, with other people's texts in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def code(language: str, lines: str) -> str:
    """A block of code."""
    return f"```{language}\n{lines}\n```"


def text(value: Any) -> str:
    """Somebody else's text within Markdown: one line, no table's bar, no tag, no code mark."""
    word = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    one_line = " ".join(word.split())
    for mark, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("`", "&#96;"), ("[", "&#91;"), ("*", "&#42;")):
        one_line = one_line.replace(mark, safe)
    return one_line


def bytes_in_words(size: int) -> str:
    """A number of bytes as people say it: ``"524 kB"``."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}" if size < 999.5 * unit else f"{size / unit:.0f} {name}"
    return f"{size} bytes"
