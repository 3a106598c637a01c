"""Put the convolutional net of exports/ into the package, and make its picture model.

    python tools/package_model.py             copy exports/mnist-cnn.onnx, write exports/mnist-cnn-picture.onnx
    python tools/package_model.py --check     exit 1 where a committed file is not what would be written

`exports/mnist-cnn.onnx` is written by `python -m mnistkit.export exports/mnist-cnn.keras`. The wheel holds the same
file as `mnistkit/digits/assets/mnist.onnx`. Both are committed: a build step that copied it would leave the package of
a checkout, and of an editable installation, without a model. In the repository they are one object.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # this checkout's package, whatever is installed

import committed

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
    parser = committed.parser(__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: this one)")
    options = parser.parse_args()
    return committed.write_or_check(contents(options.root), check=options.check, tool="tools/package_model.py")


if __name__ == "__main__":
    sys.exit(main())
