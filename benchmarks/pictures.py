"""The share of people's pictures that is read rightly: ``python benchmarks/pictures.py DIR [--model FILE] [--json]``.

DIR holds ``labels.csv`` with the columns ``path``, ``label`` and ``kind`` beside the pictures it names.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections import defaultdict
from pathlib import Path

from mnistkit.errors import PictureError
from mnistkit.images import read_picture
from mnistkit.inference import Classifier


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with labels.csv and the pictures")
    parser.add_argument("--model", help="an .onnx file (default: as predict)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args()
    with (options.folder / "labels.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    classifier = Classifier(options.model)
    kinds: dict[str, list[bool]] = defaultdict(list)
    wrong = []
    started = time.perf_counter()
    for row in rows:
        try:
            found = classifier.predict(read_picture(options.folder / row["path"]))[0]
            answer, confidence = found.label, found.confidence
        except PictureError as error:
            answer, confidence = str(error), 0.0
        kinds[row["kind"].split(";")[0]].append(answer == row["label"])
        if answer != row["label"]:
            wrong.append(
                {"path": row["path"], "label": row["label"], "read": answer, "confidence": round(confidence, 3)}
            )
    seconds = time.perf_counter() - started
    right = len(rows) - len(wrong)
    result = {
        "pictures": len(rows),
        "right": right,
        "share": round(right / len(rows), 4),
        "seconds per picture": round(seconds / len(rows), 4),
        "kinds": {kind: {"pictures": len(hits), "right": sum(hits)} for kind, hits in sorted(kinds.items())},
        "wrong": wrong,
    }
    if options.json:
        print(json.dumps(result, indent=1, ensure_ascii=False))
        return 0
    width = max(len(kind) for kind in kinds)
    for kind, hits in sorted(kinds.items()):
        print(f"{kind:<{width}}  {sum(hits):>4} of {len(hits):<4} {sum(hits) / len(hits):>7.1%}")
    print(f"{'all':<{width}}  {right:>4} of {len(rows):<4} {right / len(rows):>7.1%}")
    for item in wrong:
        print(f"{item['path']}: {item['label']} read as {item['read']} ({item['confidence']:.1%})", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
