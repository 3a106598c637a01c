"""Put the convolutional net of exports/ into the package, and make its picture model.

    python tools/package_model.py             copy exports/mnist-cnn.onnx, write exports/mnist-cnn-picture.onnx
    python tools/package_model.py --check     exit 1 where a committed file is not what would be written

`exports/mnist-cnn.onnx` is written by `python -m mnistkit.export exports/mnist-cnn.keras`. The wheel holds the same
file as `mnistkit/digits/assets/mnist.onnx`. Both are committed: a build step that copied it would leave the package of
a checkout, and of an editable installation, without a model. In the repository they are one object.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # this checkout's package, whatever is installed

from mnistkit.digits.picture_model import build_picture_model


def contents(root: Path) -> dict[Path, bytes]:
    """What the files must hold, from the classifier in the ``exports`` folder of a checkout."""
    classifier = (root / "exports" / "mnist-cnn.onnx").read_bytes()
    return {
        root / "mnistkit" / "digits" / "assets" / "mnist.onnx": classifier,
        root / "exports" / "mnist-cnn-picture.onnx": build_picture_model(classifier).SerializeToString(
            deterministic=True
        ),
    }


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: this one)")
    options = parser.parse_args()
    outdated = []
    for path, content in contents(options.root).items():
        if not options.check:
            path.write_bytes(content)
        elif not path.is_file() or path.read_bytes() != content:
            outdated.append(path)
    for path in outdated:
        print(f"{path} is out of date; run: python tools/package_model.py", file=sys.stderr)
    return int(bool(outdated))


if __name__ == "__main__":
    sys.exit(main())
