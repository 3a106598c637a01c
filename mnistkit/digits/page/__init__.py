"""The page to draw a digit on, as files: the server sends them, ``mnistkit export --web`` writes them into a folder."""

from __future__ import annotations

from importlib import resources
from typing import Final

SCRIPTS: Final = ("pad.js", "answer.js", "input.js")
"""The classic scripts of the page, in the order in which they are loaded."""

_FOLDER = resources.files(__name__)


def read(name: str) -> str:
    """One of the files."""
    return _FOLDER.joinpath(name).read_text(encoding="utf-8")


def drawing_page(
    *, head: str, footer: str, scripts: str, title: str = "Draw a digit", hint: str = "0 to 9, here"
) -> str:
    """The HTML of the page.

    Args:
        head: Elements for the head: at least the style sheet.
        footer: What comes after the line about the keyboard.
        scripts: The elements that load the scripts.
        title: The heading.
        hint: What stands in the empty pad.
    """
    page = read("index.html").replace('data-hint=""', f'data-hint="{hint}"')
    for place, part in (("title", title), ("head", head), ("footer", footer), ("scripts", scripts)):
        page = page.replace(f"<!-- {place} -->", part)
    return page
