"""Do people's own pictures get read? Everything that docs/pictures.md says, measured.

    python benchmarks/pictures.py FOLDER [--model NAME=FILE ...] [--count N] [--write]
    python benchmarks/pictures.py FOLDER --part people    # or made, numbers, speed, memory; the others stay

FOLDER holds ``labels.csv`` (columns ``path``, ``label``, ``kind``) beside the pictures it names. Prints tables; --write
keeps them in benchmarks/results/pictures.json and renders docs/pictures.md from it.
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

from mnistkit.core.errors import PictureError
from mnistkit.digits.classifier import Classifier
from mnistkit.digits.data import load_data
from mnistkit.digits.pictures import read_picture

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "pictures.json"
PAGE = ROOT / "docs" / "pictures.md"
MODELS = {"mlp": "exports/mnist-jax.onnx", "cnn": "exports/mnist-cnn.onnx"}
PARTS = ("people", "made", "numbers", "speed", "memory")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with labels.csv and the pictures")
    parser.add_argument("--model", action="append", metavar="NAME=FILE", help="default: mlp and cnn from exports/")
    parser.add_argument(
        "--count", type=int, default=100, help="made pictures and numbers of each kind (default: %(default)s)"
    )
    parser.add_argument("--part", choices=PARTS, action="append", help="measure this part (default: all)")
    parser.add_argument("--write", action="store_true", help="keep the results and render docs/pictures.md")
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
        else:
            with tempfile.TemporaryDirectory() as folder:
                measure = speed if part == "speed" else hostile
                results[part] = measure(Path(folder), best)
        if options.write:
            RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            PAGE.write_text(render(results), encoding="utf-8")
    print(render(results))
    return 0


def people(folder: Path, classifier: Classifier) -> dict[str, Any]:
    """Read every picture of the folder."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
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


# --- the page -------------------------------------------------------------------------------------------------------


def render(results: dict[str, Any]) -> str:
    """docs/pictures.md from the results."""
    lines = [
        "# What is read on people's pictures",
        "",
        "Written by `python benchmarks/pictures.py FOLDER --write` from",
        "`benchmarks/results/pictures.json`; do not edit.",
        f"Python {results['versions']['python']}, onnxruntime {results['versions']['onnxruntime']}, CPU.",
    ]
    for part, write in WRITERS.items():
        if part in results:
            lines += ["", *write(results[part])]
    return "\n".join(lines) + "\n"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _people(found: dict[str, Any]) -> list[str]:
    rows = [
        [name, str(one["pictures"]), str(one["right"]), f"{one['right'] / one['pictures']:.1%}"]
        for name, one in found.items()
    ]
    lines = ["## Pictures that people drew or photographed", ""]
    lines += _table(["model", "pictures", "right", "share"], rows)
    for name, one in found.items():
        named = "; ".join(f"`{w['path']}` ({w['label']} as {w['read']}, {w['confidence']:.0%})" for w in one["wrong"])
        lines += ["", f"Wrong by {name}: {named or 'none'}."]
    return lines


def _made(found: dict[str, Any]) -> list[str]:
    shares = found["shares"]
    rows = [[kind, *(f"{one[kind]:.1%}" for one in shares.values())] for kind in KINDS]
    rows.append(["all", *(f"{np.mean(list(one.values())):.1%}" for one in shares.values())])
    text = f"{found['count']} of each kind (a third as many huge ones)."
    return ["## Pictures made from MNIST's test images", "", text, "", *_table(["kind", *shares], rows)]


def _numbers(found: dict[str, Any]) -> list[str]:
    rows = [
        [kind, f"{one['numbers right']:.1%} of {one['numbers']}", f"{one['digits right']:.2%} of {one['digits']}"]
        for kind, one in found.items()
    ]
    text = "`predict --number`, rows of 1 to 12 digits; digits by edit distance."
    return ["## Numbers", "", text, "", *_table(["kind", "numbers right", "digits right"], rows)]


def _speed(found: dict[str, Any]) -> list[str]:
    rows = [
        [name, f"{one['wall']:.3f} s", f"{one['cpu']:.3f} s", f"{one['wall'] / found['bare imports']['wall']:.2f}"]
        for name, one in found.items()
    ]
    text = "The whole process, from the shell's point of view; the median of interleaved runs."
    return ["## Time", "", text, "", *_table(["command", "wall", "CPU", "times the bare imports"], rows)]


def _memory(found: dict[str, Any]) -> list[str]:
    rows = [
        [name, *(f"{way['code']}, {way['above idle']} MB, {way['lines']} line" for way in ways.values())]
        for name, ways in found["files"].items()
    ]
    text = f"Exit code, peak memory above the idle process ({found['idle']} MB), lines printed."
    ways = list(next(iter(found["files"].values())))
    return ["## Files that are no pictures of digits", "", text, "", *_table(["file", *ways], rows)]


WRITERS = {"people": _people, "made": _made, "numbers": _numbers, "speed": _speed, "memory": _memory}


if __name__ == "__main__":
    sys.exit(main())
