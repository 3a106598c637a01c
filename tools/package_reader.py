"""Put a trained reader into the package, with the decoding inside.

    python tools/package_reader.py exports/reader.keras

`exports/reader.keras` is written by `mnistkit train --model reader --out exports/reader.keras`, with its provenance.
The file in the package, `mnistkit/digits/assets/reader.onnx`, is checked against Keras before it is replaced.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Write it."""
    sys.path.insert(0, str(ROOT))  # this checkout's package, whatever is installed
    from mnistkit.core.errors import MnistkitError
    from mnistkit.core.keras_backend import load_keras
    from mnistkit.digits.reader.looks import FILE

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="the .keras file")
    parser.add_argument("-o", "--out", type=Path, default=FILE, help="default: the file in the package")
    options = parser.parse_args()
    load_keras()
    from mnistkit.digits.reader.export import export_reader

    try:
        written = export_reader(options.model, options.out)
    except MnistkitError as error:
        print(f"package_reader: {error}", file=sys.stderr)
        return 1
    print(f"wrote {written}, {written.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
