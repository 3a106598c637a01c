"""Shapes that MNIST lacks: ``python benchmarks/stroke_digits.py [--model FILE] [--writers N] [--wrong]``.

Digits are drawn from stroke models: a flagged 1 with and without a foot, a crossed 7, an open and a closed 4, others.
Each writer keeps one pen, slant and unevenness for all digits; no training draws its digits from these writers.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

import numpy as np

from mnistkit.digits.classifier import Classifier
from mnistkit.digits.pictures import center_digit
from mnistkit.digits.reader.strokes import stroke_digit

SHAPES = {
    0: ("plain 0", "slashed 0"),
    1: ("flagged 1", "flagged 1 with a foot"),
    2: ("plain 2", "looped 2"),
    3: ("round 3", "flat 3"),
    4: ("open 4", "closed 4"),
    5: ("joined 5", "5 in two strokes"),
    6: ("curved 6", "6 with a flat back"),
    7: ("plain 7", "crossed 7"),
    8: ("8 in one line", "8 of two rings"),
    9: ("straight 9", "curled 9"),
}
SEED = 90210
HEIGHT = 60.0  # pixels, as drawn
ROOM = 6  # pixels around


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="an .onnx file (default: as predict)")
    parser.add_argument("--writers", type=int, default=100, help="default: %(default)s")
    parser.add_argument(
        "--each", type=int, default=4, help="digits of each shape by each writer (default: %(default)s)"
    )
    parser.add_argument("--wrong", action="store_true", help="tell what the others were read as")
    options = parser.parse_args()
    classifier = Classifier(options.model, device="cpu")
    for digit, names in SHAPES.items():
        for habit, name in enumerate(names):
            images = np.stack(
                [
                    image
                    for writer in range(options.writers)
                    for image in written(digit, writer, habit=bool(habit), count=options.each)
                ]
            )
            read = Counter(reading.digit for reading in classifier.predict(images))
            others = {str(other): count for other, count in sorted(read.items()) if other != digit}
            print(f"{name:<24}{read[digit] / len(images):>8.2%} of {len(images)}", others if options.wrong else "")
    return 0


def written(digit: int, writer: int, *, habit: bool, count: int) -> list[np.ndarray]:
    """Some digits by one writer, as MNIST would show them: float32 ``[28, 28]``."""
    generator = np.random.default_rng([SEED, writer])
    slant = float(generator.normal(0.05, 0.15))
    pen = float(np.exp(generator.normal(np.log(0.1), 0.35)).clip(0.04, 0.22)) * HEIGHT
    wobble = float(generator.uniform(0.01, 0.045))
    images = []
    for _ in range(count):
        ink = stroke_digit(digit, HEIGHT, habit=habit, pen=pen, slant=slant, wobble=wobble, generator=generator)
        images.append(center_digit(np.pad(ink / np.float32(255), ROOM)))
    return images


if __name__ == "__main__":
    sys.exit(main())
