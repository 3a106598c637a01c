"""A Markdown extension of the site: links as the repository's front end follows them, made to lead into the site.

A page that is nothing but a snippet (``docs/index.md`` shows README.md) has the links of the file that it shows. A link
to a file outside docs/ leads to that file's page if it has one, else to a copy in the site, which
``tools/build_site.py`` makes. Zensical gives the extension the path of the page; it is used by nothing else.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markdown import Extension
from markdown.treeprocessors import Treeprocessor

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

COPIES = "repository"
"""Folder of the site for copies of files of the repository."""
AS_THEY_ARE = {".txt", ".onnx", ".png", ".json", ".ipynb"}  # the others are copied as NAME.txt, which browsers show
_SNIPPET = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)


def shown(docs: Path) -> dict[str, str]:
    """For each file of the repository that a page shows the page, relative to docs/."""
    pages = {}
    for page in sorted(docs.rglob("*.md")):
        found = _SNIPPET.search(page.read_text(encoding="utf-8"))
        if found:
            pages[found[1]] = page.relative_to(docs).as_posix()
    return pages


def copy_name(path: str) -> str:
    """Where the site has its copy of a file of the repository."""
    return f"{COPIES}/{path}" if posixpath.splitext(path)[1] in AS_THEY_ARE else f"{COPIES}/{path}.txt"


def to_site(link: str, *, page: str, pages: dict[str, str]) -> str:
    """The link for the site.

    Args:
        link: As written, for the repository's front end.
        page: The page that has it, relative to docs/.
        pages: What `shown` gives.
    """
    path, hash_, anchor = link.partition("#")
    if not path or re.match(r"[a-z][a-z0-9+.-]*:|/", path):
        return link
    source = {there: name for name, there in pages.items()}.get(page, f"docs/{page}")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    inside = target.removeprefix("docs/")
    target = inside if inside != target else pages.get(target) or copy_name(target)
    return posixpath.relpath(target, posixpath.dirname(page) or ".") + hash_ + anchor


class _Links(Treeprocessor):
    def __init__(self, md: Any, docs: Path) -> None:
        super().__init__(md)
        self._docs, self._pages = docs, shown(docs)

    def run(self, root: Element) -> None:
        page = self.md.preprocessors["rendering_context"].page.path
        for tag, attribute in (("a", "href"), ("img", "src")):
            for element in root.iter(tag):
                link = element.get(attribute)
                if link:
                    element.set(attribute, to_site(link, page=page, pages=self._pages))


class _Extension(Extension):
    def extendMarkdown(self, md: Any) -> None:  # noqa: N802  # Markdown's name
        md.treeprocessors.register(_Links(md, Path("docs")), "page_links", 1)


def makeExtension(**options: Any) -> Extension:  # noqa: N802  # Markdown's name
    """What Markdown asks a module for."""
    return _Extension(**options)
