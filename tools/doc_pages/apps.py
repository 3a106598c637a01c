"""docs/apps.md, from the figures that benchmarks/calls.py kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from doc_pages.markers import fill

if TYPE_CHECKING:
    from pathlib import Path

_OWN = "session.run"


def render(text: str, root: Path) -> str:
    """The page with its table of calls made anew."""
    found = json.loads((root / "benchmarks" / "results" / "calls.json").read_text(encoding="utf-8"))
    sizes = list(found["ways"][_OWN])
    lines = [
        f"| call | {' | '.join(f'batch {size}' for size in sizes)} |",
        f"| --- |{' --- |' * len(sizes)}",
    ]
    for way, row in found["ways"].items():
        cells = [f"{one['us']:g} µs" if way == _OWN else f"{one['ratio']:.2f} x" for one in row.values()]
        lines.append(f"| `{way.replace(', ', '`, ', 1)}{'' if ', ' in way else '`'} | {' | '.join(cells)} |")
    about = (
        f"`python benchmarks/calls.py --write`, {found['model']}, {found['processors']} processors, "
        f"onnxruntime {found['versions']['onnxruntime']}."
    )
    return fill(text, "calls", "\n".join([*lines, "", about]) + "\n")
