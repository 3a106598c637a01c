"""How honest the reader's confidence is, and its weights: ``python benchmarks/reader_confidence.py [--fit]``.

Pages are composed from digits that the reader was not trained on: MNIST's test images; with ``--fit`` the training
images that were held out, with the pictures of ``read_numbers.py`` beside the pages, a quarter of them without a digit.
Prints the expected calibration error in ten bins, and how often an answer above .9 is wrong.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from read_numbers import KINDS, compose

from mnistkit.digits.classifier import Classifier
from mnistkit.digits.data import load_data
from mnistkit.digits.pictures import decode
from mnistkit.digits.reader.canvas import IGNORED
from mnistkit.digits.reader.confidence import LEAST_THERE, RIGHT, THERE, probability
from mnistkit.digits.reader.ink import Fonts
from mnistkit.digits.reader.looks import find_digits, smaller
from mnistkit.digits.reader.pages import SHOWN, Page, PageMaker
from mnistkit.digits.reader.peaks import overlaps
from mnistkit.digits.reader.rows import find_rows
from mnistkit.digits.reader.train import HELD_OUT
from mnistkit.digits.reader.vote import with_votes

USED = {"there": (0, 5, 6), "right": tuple(range(8))}  # columns of the evidence
SEED = 4242
FIT_SEEDS = (601, 501)  # of the pages and of the pictures that the packaged weights were fitted on
FIT_PICTURES = 40  # of each kind with digits; of those without, four times as many
Judged = tuple[np.ndarray, np.ndarray, np.ndarray]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=int, default=450, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s")
    parser.add_argument("--fonts", type=Path, help="as for mnistkit train --model reader")
    parser.add_argument("--fit", action="store_true", help="fit the weights of mnistkit.digits.reader.confidence anew")
    options = parser.parse_args()
    data = load_data()
    images, labels = (data.x_train[-HELD_OUT:], data.y_train[-HELD_OUT:]) if options.fit else (data.x_test, data.y_test)
    seed = FIT_SEEDS[0] if options.fit else options.seed
    maker = PageMaker(images, labels, fonts=Fonts.of(options.fonts), seed=seed)
    classifier = Classifier(device="cpu")
    judged = [judge(maker.make(SHOWN * number), classifier) for number in range(options.pages)]
    if options.fit:
        judged += judge_pictures(images, labels, classifier)
    facts, there, right = (np.concatenate([part[place] for part in judged]) for place in range(3))
    weights = {"there": THERE, "right": RIGHT}
    if options.fit:
        weights = {name: fit(facts, truth, USED[name]) for name, truth in (("there", there), ("right", right))}
        for name, found in weights.items():
            print(f"{name.upper()} = ({', '.join(f'{weight:.3f}' for weight in found)})")
    result = honesty(facts, right, weights)
    print(f"{result['digits']} digits on {options.pages} pages, {result['right']:.2%} right")
    print(f"expected calibration error {result['calibration error']:.4f}; ", end="")
    print(f"of answers above .9 {result['wrong above .9']:.2%} are wrong")
    return 0


def measure(classifier: Classifier, images: np.ndarray, labels: np.ndarray, *, pages: int, seed: int) -> dict[str, Any]:
    """How honest the packaged weights are on composed pages."""
    maker = PageMaker(images, labels, seed=seed)
    judged = [judge(maker.make(SHOWN * number), classifier) for number in range(pages)]
    facts, right = (np.concatenate([part[place] for part in judged]) for place in (0, 2))
    return {"pages": pages, **honesty(facts, right, {"there": THERE, "right": RIGHT})}


def honesty(facts: np.ndarray, right: np.ndarray, weights: dict[str, tuple[float, ...]]) -> dict[str, float]:
    """Digits that are answered with, the share of right ones, and how far the confidence is from it."""
    likely, sure = probability(facts, weights["there"]), probability(facts, weights["right"])
    kept = (likely >= LEAST_THERE) & (sure >= 1 - likely)
    chance, truth = sure[kept], right[kept]
    bins = np.minimum((chance * 10).astype(int), 9)
    error = sum(abs(chance[bins == n].mean() - truth[bins == n].mean()) * (bins == n).mean() for n in set(bins))
    return {
        "digits": int(kept.sum()),
        "right": round(float(truth.mean()), 4),
        "calibration error": round(float(error), 4),
        "wrong above .9": round(float(1 - truth[chance > 0.9].mean()), 4),
    }


def judge(page: Page, classifier: Classifier) -> Judged:
    """Of each candidate on a page: the evidence, whether a digit is there, whether it is read rightly."""
    picture = page.pixels[:, :, [0, 1, 1]]  # the smallest and the largest color
    found, turns = find_digits(picture)
    wanted = page.boxes[page.boxes[:, 4] >= IGNORED]
    if turns or (len(wanted) and wanted[0, 5]):
        found = found.only(np.zeros(len(found), bool))
    voted = with_votes(found, picture, classifier, on_all=True)
    there, right, chosen = [], [], []
    for place, box in enumerate(found.boxes):
        shared = overlaps(box, wanted[:, :4]) if len(wanted) else np.zeros(1)
        best = int(shared.argmax())
        hit = bool(shared[best] > 0.35)
        chosen.append(not (hit and wanted[best, 4] == IGNORED))
        there.append(hit)
        right.append(hit and voted.found.classes[place].argmax() == wanted[best, 4])
    mask = np.array(chosen, bool)
    return voted.facts[mask], np.array(there, float)[mask], np.array(right, float)[mask]


def judge_pictures(images: np.ndarray, labels: np.ndarray, classifier: Classifier) -> list[Judged]:
    """The same for pictures of numbers, whose digits are known without their places, and of nothing."""
    judged = []
    for kind, asked in KINDS.items():
        for number in range(4 * FIT_PICTURES if "nothing" in asked else FIT_PICTURES):
            generator = np.random.default_rng([FIT_SEEDS[1], number, *kind.encode()])
            rows, content = compose(images, labels, generator, **asked)
            picture = smaller(decode(content))
            found, turns = find_digits(picture)
            voted = with_votes(found, np.rot90(picture, -turns), classifier, on_all=True)
            judged.append((voted.facts, *_matched(voted.found.boxes, voted.found.classes, found.chances, rows)))
    return judged


def _matched(
    boxes: np.ndarray, classes: np.ndarray, chances: np.ndarray, rows: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Which candidates are digits, and which are read rightly: those that the two strings share."""
    there, right = np.zeros(len(boxes)), np.zeros(len(boxes))
    likely = np.flatnonzero(chances >= 0.5)
    order = [likely[place] for row in find_rows(boxes[likely]) for place in row]
    read = "".join(str(classes[place].argmax()) for place in order)
    matcher = difflib.SequenceMatcher(None, read, "".join(rows), autojunk=False)
    for tag, first, last, start, end in matcher.get_opcodes():
        places = order[first:last]
        if tag == "equal":
            there[places] = right[places] = 1
        elif tag == "replace" and last - first == end - start:
            there[places] = 1
    return there, right


def fit(facts: np.ndarray, truth: np.ndarray, columns: tuple[int, ...]) -> tuple[float, ...]:
    """Weights of a logistic regression on some columns, by Newton's method; 0 for the others."""
    spread = facts.std(0) + 1e-9
    table = np.concatenate([facts[:, columns] / spread[list(columns)], np.ones((len(facts), 1))], axis=1)
    found = np.zeros(table.shape[1])
    for _ in range(60):
        chance = 1 / (1 + np.exp(-(table @ found)))
        slope = table.T @ (chance - truth) + 0.1 * found
        bend = (table * (chance * (1 - chance))[:, None]).T @ table + 0.1 * np.eye(len(found))
        found -= np.linalg.solve(bend, slope)
    weights = np.zeros(facts.shape[1] + 1)
    weights[list(columns)] = found[:-1] / spread[list(columns)]
    weights[-1] = found[-1]
    return tuple(float(weight) for weight in weights)


if __name__ == "__main__":
    sys.exit(main())
