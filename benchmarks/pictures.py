"""Do people's own pictures get read? Everything that docs/pictures.md says, measured.

    python benchmarks/pictures.py FOLDER [--model NAME=FILE ...] [--count N] [--write]
    python benchmarks/pictures.py FOLDER --part people    # or made, numbers, speed, memory; the others stay

FOLDER holds ``labels.csv`` (columns ``path``, ``label``, ``kind``) beside the pictures it names. Prints tables; --write
keeps the figures in benchmarks/results/pictures.json, from which `python tools/docs_tables.py` makes docs/pictures.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from made_pictures import KINDS, make
from picture_processes import hostile, speed
from read_numbers import score_numbers
from read_signs import score_signs
from reader_confidence import SEED as CONFIDENCE_SEED
from reader_confidence import measure as confidence_on

from mnistkit.core.errors import PictureError
from mnistkit.digits.classifier import Classifier
from mnistkit.digits.data import load_data
from mnistkit.digits.pictures import read_picture

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tools"))

from doc_pages.pictures import page  # noqa: E402 - tools/ is on the path from here on

RESULTS = ROOT / "benchmarks" / "results" / "pictures.json"
MODELS = {"mlp": "exports/mnist-jax.onnx", "cnn": "exports/mnist-cnn.onnx"}
PARTS = ("people", "made", "numbers", "confidence", "signs", "speed", "memory")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with labels.csv and the pictures")
    parser.add_argument("--model", action="append", metavar="NAME=FILE", help="default: mlp and cnn from exports/")
    parser.add_argument(
        "--count", type=int, default=100, help="made pictures and numbers of each kind (default: %(default)s)"
    )
    parser.add_argument("--part", choices=PARTS, action="append", help="measure this part (default: all)")
    parser.add_argument("--write", action="store_true", help="keep the results")
    options = parser.parse_args()
    named = dict(pair.split("=", 1) for pair in options.model) if options.model else MODELS
    models = {name: Path(file) if Path(file).is_file() else ROOT / file for name, file in named.items()}
    classifiers = {name: Classifier(file, device="cpu") for name, file in models.items() if file.is_file()}
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    results["versions"] = {"python": platform.python_version(), "onnxruntime": onnxruntime.__version__}
    best = models[list(classifiers)[-1]]
    for part in options.part or PARTS:
        if part == "people":
            results[part] = {name: people(options.folder, model) for name, model in classifiers.items()}
        elif part == "made":
            results[part] = made(classifiers, options.count)
        elif part == "numbers":
            data = load_data()
            results[part] = score_numbers(Classifier(best), data.x_test, data.y_test, count=options.count)
        elif part == "confidence":
            data = load_data()
            results[part] = confidence_on(Classifier(best), data.x_test, data.y_test, pages=450, seed=CONFIDENCE_SEED)
        elif part == "signs":
            data = load_data()
            results[part] = score_signs(Classifier(best), data.x_test, data.y_test, count=options.count)
        else:
            with tempfile.TemporaryDirectory() as folder:
                measure = speed if part == "speed" else hostile
                results[part] = measure(Path(folder), best)
        if options.write:
            RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(page(results))
    return 0


def people(folder: Path, classifier: Classifier) -> dict[str, Any]:
    """Read every picture of one digit in the folder; ``numbers_folder.py`` reads the numbers."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if len(row["label"]) == 1]
    kinds: dict[str, list[bool]] = defaultdict(list)
    wrong = []
    for row in rows:
        try:
            found = classifier.predict(read_picture(folder / row["path"]))[0]
            answer, confidence = found.label, found.confidence
        except PictureError as error:
            answer, confidence = str(error), 0.0
        kinds[row["kind"].split(";")[0]].append(answer == row["label"])
        if answer != row["label"]:
            wrong.append(
                {"path": row["path"], "label": row["label"], "read": answer, "confidence": round(confidence, 3)}
            )
    return {
        "pictures": len(rows),
        "right": len(rows) - len(wrong),
        "kinds": {kind: {"pictures": len(hits), "right": sum(hits)} for kind, hits in sorted(kinds.items())},
        "wrong": wrong,
    }


def made(classifiers: dict[str, Classifier], count: int) -> dict[str, Any]:
    """The share of made pictures of each kind that is read as the digit they were made from."""
    data = load_data()
    shares: dict[str, Any] = {name: {} for name in classifiers}
    for kind in KINDS:
        right = dict.fromkeys(classifiers, 0)
        # Pictures of 12 megapixels take long to draw.
        there = max(count // 3, 1) if kind.startswith("huge") else count
        for n in range(there):
            generator = np.random.default_rng([5, n, *kind.encode()])
            place = int(generator.integers(len(data.x_test)))
            try:
                seen = read_picture(make(kind, data.x_test[place], generator))
            except PictureError:
                continue
            for name, classifier in classifiers.items():
                right[name] += classifier.predict(seen)[0].digit == data.y_test[place]
        for name, hits in right.items():
            shares[name][kind] = round(hits / there, 4)
    return {"count": count, "shares": shares}


if __name__ == "__main__":
    sys.exit(main())
