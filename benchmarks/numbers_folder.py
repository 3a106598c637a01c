"""Numbers in a folder with labels.csv: ``python benchmarks/numbers_folder.py FOLDER [--model FILE] [--way net|cuts]``.

``labels.csv`` has the columns ``path`` and ``label``; rows of a label are divided by `` / ``. Spaces count for nothing.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path

from mnistkit.core.errors import PictureError
from mnistkit.digits.classifier import Classifier
from mnistkit.digits.numbers import read_digits

WAYS = {"net": True, "cuts": False}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", help="an .onnx file (default: as predict)")
    parser.add_argument("--way", choices=WAYS, default="net", help="default: %(default)s")
    parser.add_argument("--all", action="store_true", help="single digits too, read as numbers of one digit")
    parser.add_argument("--wrong", action="store_true", help="print what was read wrongly")
    options = parser.parse_args()
    classifier = Classifier(options.model, device="cpu")
    with (options.folder / "labels.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if options.all or len(row["label"]) > 1]
    right = 0
    slowest = 0.0
    for row in rows:
        wanted = row["label"].replace(" / ", "\n").replace(" ", "")
        begin = time.process_time()
        try:
            found = read_digits(classifier, options.folder / row["path"], use_net=WAYS[options.way])
            text, confidence = found.text.replace(" ", ""), found.confidence
        except PictureError as error:
            text, confidence = str(error), 0.0
        slowest = max(slowest, time.process_time() - begin)
        right += text == wanted
        if text != wanted and options.wrong:
            print(f"{row['path']}: {wanted!r} read as {text!r} ({confidence:.2f})")
    print(f"{right} of {len(rows)} right; at most {slowest:.2f} s of CPU for one")
    return 0


if __name__ == "__main__":
    sys.exit(main())
