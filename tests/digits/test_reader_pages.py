"""The pages that the reader learns from: what is on them is where their boxes say, and chance comes from the seed."""

import numpy as np
import pytest

from mnistkit.digits.reader import strokes
from mnistkit.digits.reader.canvas import IGNORED
from mnistkit.digits.reader.pages import MOST_BOXES, NO_BOX, SHOWN, SIDE, PageMaker
from mnistkit.digits.reader.peaks import Found, without_overlaps
from mnistkit.digits.reader.rows import find_rows, wide_gaps
from mnistkit.digits.reader.score import Score
from mnistkit.digits.reader.strokes import draw_digit, habits, stroke_digit


@pytest.fixture(scope="module")
def maker(mnist):
    return PageMaker(mnist.x_test, mnist.y_test, seed=5)


@pytest.fixture(scope="module")
def pages(maker):
    return [maker.make(number) for number in range(0, 40 * SHOWN, SHOWN)]


def ink_at(page, box):
    """How much darker or lighter than the page a box is, at most."""
    x, y, wide, high = box[:4]
    plane = page.pixels[:, :, 0].astype(float)
    part = plane[max(int(y - high / 2), 0) : int(y + high / 2) + 1, max(int(x - wide / 2), 0) : int(x + wide / 2) + 1]
    return np.ptp(part) if part.size else 0.0


def test_the_same_seed_makes_the_same_page(mnist, maker):
    again = PageMaker(mnist.x_test, mnist.y_test, seed=5).make(7)
    other = PageMaker(mnist.x_test, mnist.y_test, seed=6).make(7)
    page = maker.make(7)
    assert (again.pixels == page.pixels).all()
    assert (again.boxes == page.boxes).all()
    assert (other.pixels != page.pixels).any()


def test_boxes_hold_digits(pages):
    kinds, empty, inked = set(), 0, []
    for page in pages:
        assert page.pixels.shape == (SIDE, SIDE, 2)
        assert page.pixels.dtype == np.uint8
        assert page.boxes.shape == (MOST_BOXES, 6)
        assert (page.pixels[:, :, 0].astype(int) <= page.pixels[:, :, 1]).all()
        digits = page.boxes[page.boxes[:, 4] >= 0]
        empty += not len(digits)
        kinds |= set(page.boxes[:, 4])
        inked += [ink_at(page, box) for box in digits]
        assert (digits[:, :2] >= 0).all()
        assert (digits[:, :2] <= SIDE).all()
    assert kinds == {NO_BOX, IGNORED, *range(10)}
    assert 0 < empty < 20
    assert np.median(inked) > 60


def test_a_turned_page_has_its_boxes_turned(pages):
    turned = [page for page in pages if (page.boxes[:, 4] >= 0).any() and page.boxes[0, 5] > 0]
    assert turned
    moved = []
    for page in turned:
        boxes = page.boxes[page.boxes[:, 4] >= 0]
        here = np.mean([ink_at(page, box) for box in boxes])
        page_wrong = np.rot90(page.pixels)
        wrong = type(page)(page_wrong, page.boxes)
        moved.append(here - np.mean([ink_at(wrong, box) for box in boxes]))
    assert np.mean(moved) > 20


@pytest.mark.parametrize("habit", [False, True])
@pytest.mark.parametrize("digit", range(10))
def test_strokes_fill_the_height_that_was_asked_for(digit, habit):
    generator = np.random.default_rng(digit)
    ink = stroke_digit(digit, 50, habit=habit, pen=4, slant=0.1, wobble=0.02, generator=generator)
    assert ink.dtype == np.uint8
    assert 44 <= ink.shape[0] <= 68
    assert 40 < (ink > 127).sum() * 1.0 < 0.8 * ink.size
    assert ink[0].any()
    assert ink[:, -1].any()


def test_drawn_digits_differ_from_hand_to_hand():
    generator = np.random.default_rng(0)
    drawn = [draw_digit(1, generator) for _ in range(3)]
    assert all(image.shape == (28, 28) and 0.9 < image.max() <= 1 for image in drawn)
    assert not np.array_equal(drawn[0], drawn[1])
    assert len({habits(generator) for _ in range(5)}) > 1


@pytest.mark.parametrize("digit", [0, 2, 3, 5, 6, 8, 9])
def test_digits_at_right_angles(digit, monkeypatch):
    """Also drawn are the shapes of a clock, of which no stroke is a curve."""
    shares = {0.0: [], 1.0: []}
    for share, curves in shares.items():
        monkeypatch.setattr(strokes, "_SQUARED", share)
        monkeypatch.setattr(strokes, "_curve", lambda points, curves=curves: curves.append(points) or points)
        image = draw_digit(digit, np.random.default_rng(digit))
        assert image.shape == (28, 28)
        assert 0.9 < image.max() <= 1
    assert shares[0.0]
    assert not shares[1.0]


# --- order ----------------------------------------------------------------------------------------------------------


def boxes_of(*places, high=20.0):
    return np.array([(x, y, 0.6 * high, high) for x, y in places], np.float32)


def test_rows_are_read_from_top_to_bottom_and_left_to_right():
    boxes = boxes_of((60, 51), (20, 10), (20, 50), (40, 12), (40, 49))
    assert find_rows(boxes) == [[1, 3], [2, 4, 0]]
    assert find_rows(boxes[:0]) == []


def test_a_sloping_row_stays_one_row():
    sloping = boxes_of(*((20 * n, 10 + 3 * n) for n in range(14)))
    assert find_rows(sloping) == [list(range(14))]
    level = boxes_of(*((20 * n, 10 + 42 * (n >= 7)) for n in range(14)))
    assert find_rows(level) == [list(range(7)), list(range(7, 14))]


def test_columns_of_a_table_are_one_row_with_gaps():
    boxes = boxes_of((0, 10), (14, 10), (200, 11), (214, 9), (0, 50), (200, 50))
    rows = find_rows(boxes)
    assert rows == [[0, 1, 2, 3], [4, 5]]
    assert wide_gaps(boxes[rows[0]]) == [False, False, True, False]
    assert wide_gaps(boxes[:0]) == []


def found_at(*places, chances):
    n = len(places)
    return Found(boxes_of(*places), np.array(chances, np.float32), np.eye(10, dtype=np.float32)[:n], np.eye(4)[[0] * n])


def test_of_two_boxes_in_one_place_the_surer_stays():
    found = found_at((10, 10), (11, 10), (40, 10), chances=(0.6, 0.9, 0.7))
    kept = without_overlaps(found)
    assert kept.boxes[:, 0].tolist() == [11, 40]
    assert len(without_overlaps(found_at((10, 10), (22, 10), chances=(0.6, 0.9)))) == 2


def test_a_score_counts_what_is_missed_and_invented(maker):
    from mnistkit.digits.reader.net import Maps

    page = next(p for p in map(maker.make, range(99)) if (p.boxes[:, 4] >= 0).sum() > 2 and p.boxes[0, 5] == 0)
    nothing = np.full((SIDE // 4, SIDE // 4, Maps.COUNT), -9.0, np.float32)
    score = Score()
    score.add(nothing, page.boxes)
    assert (score.found, score.invented, score.pages_right) == (0, 0, 0)
    invented = nothing.copy()
    invented[2, 2] = 9.0
    empty = Score()
    empty.add(invented, np.full_like(page.boxes, NO_BOX))
    assert (empty.invented, empty.empty_pages, empty.empty_pages_right) == (1, 1, 0)
