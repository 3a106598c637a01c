"""Build the site of docs/ into build/site, and check it: no warning, no dead link, nothing from elsewhere.

python tools/build_site.py                                  build and check
python -m http.server -d build/site 8080                    read it at http://localhost:8080
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from page_links import COPIES

ROOT = Path(__file__).parents[1]
_LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
_LOADED_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "preconnect", "dns-prefetch", "manifest"}


class _Page(HTMLParser):
    """What a page links to, what it loads, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take one element in."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and _LOADED_LINKS & set(given.get("rel", "").split()):
            self.loads.append(given.get("href", ""))
        elif given.get(_LOADING.get(tag, "")):
            self.loads.append(given[_LOADING[tag]])


def build(root: Path) -> str:
    """Run Zensical; what it printed if anything is wrong, else nothing."""
    ran = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "--clean"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    told = re.sub(r"\x1b\[[0-9;]*m", "", ran.stdout + ran.stderr)
    return "" if ran.returncode == 0 and "No issues found" in told else told.partition("Traceback")[0] or told


def read_pages(site: Path) -> dict[Path, _Page]:
    """Every page of the site."""
    return {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


def copy_files(root: Path, site: Path, pages: dict[Path, _Page]) -> None:
    """Copy the files of the repository that pages link to; what does not exist stays a dead link."""
    for path, page in pages.items():
        for link in page.links:
            target = (path.parent / unquote(link.partition("#")[0])).resolve()
            if target.is_relative_to(site / COPIES):
                name = target.relative_to(site / COPIES)
                for source in (root / name, root / name.with_suffix("")):  # as it is, or with .txt behind it
                    if source.is_file() and source.resolve().is_relative_to(root):
                        target.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(source, target)
                        break


def faults(site: Path, pages: dict[Path, _Page]) -> list[str]:
    """One line for each dead link and for each thing that a page loads from elsewhere."""
    found = []
    for path, page in pages.items():
        name = path.relative_to(site)
        found += [f"{name}: loads {link} from elsewhere" for link in page.loads if _elsewhere(link)]
        for link in [*page.links, *(link for link in page.loads if not _elsewhere(link))]:
            file, _, anchor = link.partition("#")
            if _elsewhere(file) or link.startswith(("mailto:", "data:", "javascript:")):
                continue
            base = site if file.startswith("/") else path.parent
            target = (base / unquote(file).lstrip("/")).resolve() if file else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                found.append(f"{name}: dead link {link}")
            elif anchor and target in pages and unquote(anchor) not in pages[target].anchors:
                found.append(f"{name}: no such anchor {link}")
    for path in sorted(site.rglob("*.css")):
        for link in re.findall(
            r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')]+)""", path.read_text(encoding="utf-8")
        ):
            found.append(f"{path.relative_to(site)}: loads {link} from elsewhere")
    return found


def _elsewhere(link: str) -> bool:
    return bool(re.match(r"(https?:)?//", link))


def main() -> int:
    """Build, copy, check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: this one)")
    root = parser.parse_args().root.resolve()
    site = root / "build" / "site"
    shutil.rmtree(site, ignore_errors=True)
    told = build(root)
    if told:
        print(told.rstrip() + "\nthe site was not built; mend what is above", file=sys.stderr)
        return 1
    pages = read_pages(site)
    copy_files(root, site, pages)
    found = faults(site, pages)
    for line in found:
        print(line, file=sys.stderr)
    if found:
        return 1
    print(f"{len(pages)} pages in {os.path.relpath(site)}; every link leads somewhere")
    return 0


if __name__ == "__main__":
    sys.exit(main())
