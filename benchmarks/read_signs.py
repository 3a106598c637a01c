"""How well signs are told: ``python benchmarks/read_signs.py [--count N] [--seed N] [--train] [--wrong]``.

Rows like 12+34=46, (7,5) or 3.12/9, from MNIST's test images and drawn signs, on shaded and grainy paper. Prints for
each sign how often it is told, how often something else is said to be it, and how many whole rows are right.
"""

from __future__ import annotations

import argparse
import collections
import difflib
import sys
from typing import Any

import numpy as np
from drawing import digit, jpeg, on_paper

from mnistkit.core.errors import PictureError
from mnistkit.digits.classifier import Classifier
from mnistkit.digits.data import load_data
from mnistkit.digits.numbers import read_digits
from mnistkit.digits.reader.clutter import sign_named

SIGNS = {
    "+": "+",
    "-": "-",
    "x": "times",
    "÷": "by",
    "=": "=",
    "(": "(",
    ")": ")",
    "/": "/",
    ",": ",",
    ".": ".",
    ":": ":",
}

SEED = 77


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="rows (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s; the shapes were tuned on seed 11")
    parser.add_argument("--train", action="store_true", help="digits from the training images, to try things out on")
    parser.add_argument("--wrong", action="store_true", help="print what was read wrongly")
    options = parser.parse_args()
    data = load_data()
    images, labels = (data.x_train, data.y_train) if options.train else (data.x_test, data.y_test)
    classifier = Classifier(device="cpu")
    result = score_signs(classifier, images, labels, count=options.count, seed=options.seed, tell=options.wrong)
    for sign, one in result["signs"].items():
        print(f"{sign}  {one['told']:>4} of {one['there']:>4} told, {one['invented']:>3} where it is not")
    print(f"{result['rows right']} of {options.count} rows right; the digits alone of {result['digits right']}")
    return 0


def score_signs(
    classifier: Classifier, images: np.ndarray, labels: np.ndarray, *, count: int, seed: int = SEED, tell: bool = False
) -> dict[str, Any]:
    """How often each sign is told, and said where it is not; and how many whole rows are right."""
    there, told, right = collections.Counter(), collections.Counter(), collections.Counter()
    rows = digits = 0
    for number in range(count):
        wanted, content = compose(images, labels, np.random.default_rng([seed, number]))
        try:
            found = read_digits(classifier, content, signs=True).text.replace(" ", "").replace("\n", "")
        except PictureError:
            found = ""
        there.update(wanted)
        told.update(found)
        for start, _, size in difflib.SequenceMatcher(None, wanted, found, autojunk=False).get_matching_blocks():
            right.update(wanted[start : start + size])
        rows += found == wanted
        digits += _digits(found) == _digits(wanted)
        if tell and found != wanted:
            print(f"{number}: {wanted} read as {found}")
    signs = {
        sign: {"there": there[sign], "told": right[sign], "invented": told[sign] - right[sign]}
        for sign in sorted(SIGNS)
    }
    return {"rows": count, "rows right": rows, "digits right": digits, "signs": signs}


def compose(images: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> tuple[str, bytes]:
    """A row of digits with signs between, and a JPEG file of it."""
    g = generator
    height = int(g.integers(40, 110))
    slant, pen = g.normal(0, 0.1), float(height * g.uniform(0.06, 0.13))
    ink = np.zeros((int(2.4 * height), 14 * height), np.float32)
    base, left, text = int(1.7 * height), 0, ""

    def put(patch: np.ndarray, foot: float) -> None:
        nonlocal left
        top = round(foot - patch.shape[0])
        part = ink[top : top + patch.shape[0], left : left + patch.shape[1]]
        np.maximum(part, patch[: part.shape[0], : part.shape[1]], out=part)
        left += patch.shape[1] + int(g.uniform(0.12, 0.3) * height)

    for number in range(int(g.integers(2, 4))):
        if number:
            name = str(g.choice(list(SIGNS)))
            patch, above = sign_named(SIGNS[name], g, height=height, pen=max(pen, 1.5))
            text += name
            put(patch.astype(np.float32) / 255, base - above * height + patch.shape[0] / 2)
        for _ in range(int(g.integers(1, 4))):
            place = int(g.integers(len(images)))
            text += str(labels[place])
            put(digit(images[place], height, slant, g), base + g.normal(0, 0.03) * height)
    around = (g.uniform(0.3, 1.2, 2) * height).astype(int)
    ink = np.pad(ink[:, :left], ((0, 0), (around[0], around[1])))
    return text, jpeg(on_paper(ink, height, g), quality=int(g.integers(60, 95)))


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())


if __name__ == "__main__":
    sys.exit(main())
