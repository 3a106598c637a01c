"""What is decided about the digits that the net finds: strokes in dates, the way up of a page, the vote."""

import numpy as np
import pytest

from mnistkit.digits.reader import looks
from mnistkit.digits.reader.detect import _without_strokes
from mnistkit.digits.reader.peaks import Found
from mnistkit.digits.reader.vote import with_votes

PAGE = np.full((40, 100, 1), 255, np.uint8)


def found_as(digits, boxes=None, *, chances=0.8, turns=(1.0, 0.0, 0.0, 0.0)):
    """Digits that the net is sure of, in one row where no boxes are given."""
    n = len(digits)
    if boxes is None:
        boxes = [(20.0 * place + 10, 20.0, 12.0, 20.0) for place in range(n)]
    classes = np.full((n, 10), 0.01, np.float32)
    classes[np.arange(n), digits] = 0.9
    return Found(
        np.array(boxes, np.float32).reshape(n, 4),
        np.full(n, chances, np.float32),
        classes,
        np.tile(np.array(turns, np.float32), (n, 1)),
    )


def row_with(*, top, bottom, place):
    """Five digits from row 10 to row 30, of which the one at ``place`` leans, is read as a 1, and has other ends."""
    boxes = [(20.0 * n + 10, 20.0, 12.0, 20.0) for n in range(5)]
    boxes[place] = (20.0 * place + 10, (top + bottom) / 2, 9.0, float(bottom - top))
    return found_as([1 if n == place else 4 for n in range(5)], boxes)


@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_long_one_that_stands_on_the_line_is_a_digit(place):
    (row,) = _without_strokes(row_with(top=3, bottom=31, place=place))
    assert [kept for kept, _ in row] == [0, 1, 2, 3, 4]
    assert not any(gap for _, gap in row)


@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_stroke_that_reaches_below_the_line_is_none(place):
    (row,) = _without_strokes(row_with(top=6, bottom=34, place=place))
    assert [kept for kept, _ in row] == [n for n in range(5) if n != place]
    assert [gap for _, gap in row] == [n == place for n in range(4)]


def test_the_line_may_slope():
    boxes = [(20.0 * n + 10, 20.0 + 3 * n, 12.0, 20.0) for n in range(5)]
    boxes[2] = (50.0, 24.0, 9.0, 26.0)  # its foot is between those beside it
    (row,) = _without_strokes(found_as([4, 4, 1, 4, 4], boxes))
    assert len(row) == 5


@pytest.fixture
def seen(monkeypatch):
    """What the net sees each time it looks, instead of the net."""
    answers = []
    monkeypatch.setattr(looks, "_at_best_size", lambda _planes: answers.pop(0))
    return answers


HEAD = (0.3, 1e-4, 0.25, 1e-4)  # upright is a little likelier than on its head


def test_a_page_on_its_head_is_turned_where_the_digits_then_stand_upright(seen):
    seen += [found_as([3, 2, 5], chances=0.7, turns=HEAD), found_as([5, 7, 3])]
    found, turns = looks.find_digits(PAGE)
    assert (turns, found.classes.argmax(1).tolist()) == (2, [5, 7, 3])


def test_a_page_that_reads_as_well_both_ways_stays(seen):
    seen += [found_as([6, 0, 9], chances=0.7, turns=HEAD), found_as([6, 0, 9], turns=HEAD)]
    assert looks.find_digits(PAGE)[1] == 0


def test_a_page_that_reads_worse_when_turned_stays(seen):
    seen += [found_as([3, 2, 5], chances=0.7, turns=HEAD), found_as([5, 7, 3], chances=0.6)]
    assert looks.find_digits(PAGE)[1] == 0


def test_a_page_without_doubt_is_looked_at_once(seen):
    seen += [found_as([3, 2, 5])]
    assert looks.find_digits(PAGE)[1] == 0
    seen += [found_as([])]
    assert looks.find_digits(PAGE)[1] == 0
    assert not seen


class Recorder:
    """A classifier that keeps what it is shown, and says 1."""

    def predict(self, images):
        self.images = images
        return [self] * len(images)

    probabilities = np.array([0.01, 0.91, *[0.01] * 8], np.float32)


def two_strokes(*, joined):
    """Two leaning strokes whose boxes overlap by a third, and what the net finds there."""
    page = np.full((140, 200, 1), 255, np.uint8)
    for row in range(20, 120):
        lean = (120 - row) // 2
        page[row, 40 + lean : 52 + lean] = 0
        page[row, 84 + lean : 90 + lean] = 0
        if joined and 66 <= row < 72:
            page[row, 40 + lean : 90 + lean] = 0
    boxes = [(71.0, 70.0, 62.0, 100.0), (112.0, 70.0, 56.0, 100.0)]
    return page, found_as([1, 1], boxes)


def test_the_classifier_sees_one_digit_without_its_neighbors_ink():
    page, found = two_strokes(joined=False)
    seen = Recorder()
    voted = with_votes(found, page, seen)
    assert (seen.images > 0.3).any((1, 2)).all()
    gaps = [(np.diff(np.flatnonzero((image > 0.3)[row])) > 1).any() for image in seen.images for row in range(6, 22)]
    assert not any(gaps)  # one run of ink in each row: the other stroke is gone
    assert voted.found.classes.argmax(1).tolist() == [1, 1]


def test_ink_of_digits_that_touch_stays():
    page, found = two_strokes(joined=True)
    seen = Recorder()
    with_votes(found, page, seen)
    gaps = [(np.diff(np.flatnonzero((image > 0.3)[row])) > 1).any() for image in seen.images for row in range(6, 22)]
    assert any(gaps)
