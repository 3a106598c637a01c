"""Fill the generated parts of README.md and docs/ from the JSON in exports/ and benchmarks/results/.

python tools/docs_tables.py             write the pages
python tools/docs_tables.py --check     exit 1 where a page is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # this checkout's package, whatever is installed

import committed
from doc_pages import (
    apps,
    coverage,
    devices,
    exporting,
    pictures,
    processes,
    readme,
    scaling,
    serving,
    shrinking,
    training,
)

PAGES = {
    "README.md": readme.render,
    "docs/apps.md": apps.render,
    "docs/coverage.md": coverage.render,
    "docs/devices.md": devices.render,
    "docs/exporting.md": exporting.render,
    "docs/how-to/processes.md": processes.render,
    "docs/pictures.md": pictures.render,
    "docs/scaling.md": scaling.render,
    "docs/serving.md": serving.render,
    "docs/shrinking.md": shrinking.render,
    "docs/training.md": training.render,
}
"""From a page's text and the checkout to its text made anew."""


def contents(root: Path) -> dict[Path, bytes]:
    """What the pages of a checkout must hold."""
    return {
        root / name: render((root / name).read_text(encoding="utf-8"), root).encode() for name, render in PAGES.items()
    }


def main() -> int:
    """Write or check."""
    parser = committed.parser(__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: this one)")
    options = parser.parse_args()
    return committed.write_or_check(contents(options.root), check=options.check, tool="tools/docs_tables.py")


if __name__ == "__main__":
    sys.exit(main())
