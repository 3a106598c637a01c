"""Fill the README's tables from the measured JSON in exports/ and benchmarks/results/.

python benchmarks/readme.py           rewrite README.md
python benchmarks/readme.py --check   exit 1 if README.md is out of date
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tables import fill

ROOT = Path(__file__).parent.parent


def results_table() -> str:
    """One row for each backend's committed training: what it reached and how closely the export follows."""
    lines = [
        "| trained on | test accuracy, Keras | test accuracy, onnxruntime | largest difference, 10,000 images | file |",
        "|---|---|---|---|---|",
    ]
    for path in sorted((ROOT / "exports").glob("mnist-*.onnx.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        trained = found.get("training")
        if not trained or trained["model"] != "mlp":
            continue
        here = trained["backend"]
        accuracy, verification = found["accuracy"], found["verification"]
        lines.append(
            f"| {here['name']} {here['version']} | {accuracy['keras']:.4f} | {accuracy['onnxruntime']:.4f} "
            f"| {verification['largest']:.1e} | [`{found['file']}`](exports/{found['file']}) |"
        )
    return "\n".join(lines)


TABLES = {"results": results_table}


def render(text: str) -> str:
    """The text with every table between its two markers made anew."""
    for name, make in TABLES.items():
        text = fill(text, name, f"{make()}\n")
    return text


def main() -> int:
    """Rewrite or check."""
    path = ROOT / "README.md"
    old = path.read_text(encoding="utf-8")
    new = render(old)
    if "--check" in sys.argv[1:]:
        if new != old:
            print("README.md is out of date; run: python benchmarks/readme.py", file=sys.stderr)
        return int(new != old)
    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
