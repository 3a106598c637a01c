"""Connected ink, rows, cuts, and what is no digit."""

import numpy as np
import pytest

from mnistkit.digits.segmentation import cut, find_pieces, find_rows, is_slash, join, label, usual_height


def slow_label(mask):
    """Flood fill, cell by cell."""
    labels, count = np.zeros(mask.shape, int), 0
    for start in zip(*np.nonzero(mask), strict=True):
        if labels[start]:
            continue
        count += 1
        todo = [start]
        while todo:
            row, column = todo.pop()
            inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
            if inside and mask[row, column] and not labels[row, column]:
                labels[row, column] = count
                todo += [(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return labels, count


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.45, 0.6, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (23, 31)])
def test_label_is_a_flood_fill(shape, share):
    mask = np.random.default_rng(4).random(shape) < share
    labels, count = label(mask)
    expected, wanted = slow_label(mask)
    assert count == wanted
    assert np.array_equal(labels > 0, mask)
    # The same cells together, whatever their number.
    assert len(set(zip(labels.ravel().tolist(), expected.ravel().tolist(), strict=True))) == count + (not mask.all())


def test_a_spiral_is_one_piece():
    mask = np.zeros((41, 41), bool)
    for ring in range(0, 20, 4):
        mask[ring, ring : 41 - ring] = mask[40 - ring, ring : 41 - ring] = True
        mask[ring : 41 - ring, ring] = mask[ring : 41 - ring, 40 - ring] = True
        mask[ring, ring : ring + 4] = mask[ring : ring + 5, ring + 2] = True
    assert label(mask)[1] == slow_label(mask)[1]


def page(*boxes, shape=(120, 400)):
    """Full rectangles of ink: (top, bottom, left, right)."""
    strokes = np.zeros(shape, np.float32)
    for top, bottom, left, right in boxes:
        strokes[top:bottom, left:right] = 1
    return strokes


def boxes_of(pieces):
    return sorted((p.top, p.bottom, p.left, p.right) for p in pieces)


def test_pieces_have_their_boxes_and_no_neighbours_ink():
    strokes = page((20, 80, 10, 40), (20, 80, 60, 70))
    pieces = find_pieces(strokes, strokes)
    assert boxes_of(pieces) == [(20, 80, 10, 40), (20, 80, 60, 70)]
    assert sum(piece.mass for piece in pieces) == strokes.sum()


def test_soft_edges_belong_to_the_nearest_piece():
    strokes = page((20, 80, 10, 40))
    strokes[20:80, 40] = 0.2
    (piece,) = find_pieces(strokes, strokes)
    assert (piece.left, piece.right) == (10, 40)


def test_ink_that_may_be_noise_is_no_piece():
    strokes = page((20, 80, 10, 40), (20, 80, 60, 90))
    sure = strokes.copy()
    sure[:, 50:] = 0
    assert boxes_of(find_pieces(strokes, sure)) == [(20, 80, 10, 40)]


def test_dust_is_dropped():
    strokes = page((20, 80, 10, 40), (5, 9, 100, 104))
    assert boxes_of(find_pieces(strokes, strokes)) == [(20, 80, 10, 40)]


def test_a_frame_and_a_comb_are_dropped_and_the_digits_stay():
    frame = page((30, 70, 40, 60), (10, 13, 10, 90), (90, 93, 10, 90), (10, 93, 10, 13), (10, 93, 87, 90))
    assert boxes_of(find_pieces(frame, frame)) == [(30, 70, 40, 60)]
    comb = page((30, 70, 40, 60), (30, 70, 120, 140), (30, 70, 200, 220), (10, 13, 10, 253), (90, 93, 10, 253))
    for left in (10, 90, 170, 250):
        comb[10:93, left : left + 3] = 1
    assert boxes_of(find_pieces(comb, comb)) == [(30, 70, 40, 60), (30, 70, 120, 140), (30, 70, 200, 220)]


def test_an_underline_is_dropped():
    strokes = page((20, 80, 10, 40), (20, 80, 60, 90), (20, 80, 110, 140), (90, 94, 5, 300))
    assert len(find_pieces(strokes, strokes)) == 3


def test_rows_from_top_to_bottom_and_left_to_right():
    strokes = page((5, 45, 200, 220), (8, 48, 20, 40), (60, 100, 110, 130), (70, 110, 60, 80))
    rows = find_rows(find_pieces(strokes, strokes))
    assert [[piece.left for piece in row] for row in rows] == [[20, 200], [60, 110]]


def test_a_climbing_row_is_one_row():
    strokes = page(*((60 - 12 * n, 100 - 12 * n, 20 + 60 * n, 40 + 60 * n) for n in range(5)))
    assert len(find_rows(find_pieces(strokes, strokes))) == 1


def test_small_pieces_join_the_row_they_lie_in():
    strokes = page((5, 45, 20, 40), (5, 9, 42, 60), (60, 100, 20, 40), (96, 102, 46, 52))
    rows = find_rows(find_pieces(strokes, strokes))
    assert [len(row) for row in rows] == [2, 2]


def test_join_keeps_all_ink():
    strokes = page((20, 80, 10, 40), (25, 60, 30, 70), (5, 15, 50, 60))
    pieces = find_pieces(strokes, strokes)
    whole = join(pieces)
    assert (whole.top, whole.bottom, whole.left, whole.right) == (5, 80, 10, 70)
    assert whole.mass == strokes.sum()


def test_two_rings_that_touch_are_cut_where_they_touch():
    rows, columns = np.mgrid[:100, :200]
    strokes = np.zeros((100, 200), np.float32)
    for middle in (60, 116):
        distance = np.hypot(rows - 50, columns - middle)
        strokes[abs(distance - 26) < 3] = 1
    (piece,) = find_pieces(strokes, strokes)
    parts, crossed = cut(piece, piece.height)
    assert len(crossed) == len(parts) - 1
    assert sum(part.mass for part in parts) == pytest.approx(piece.mass, rel=0.01)
    between = [ink for part, ink in zip(parts[1:], crossed, strict=True) if abs(part.left - 88) <= 8]
    assert between
    assert min(between) <= 2.5


def test_a_slash_leans_is_straight_and_is_higher_than_a_digit():
    strokes = np.zeros((120, 100), np.float32)
    for row in range(10, 110):
        strokes[row, 70 - row // 3 : 76 - row // 3] = 1
    (piece,) = find_pieces(strokes, strokes)
    assert is_slash(piece, 75)
    assert not is_slash(piece, 100)
    (mirrored,) = find_pieces(strokes[:, ::-1].copy(), strokes[:, ::-1].copy())
    assert not is_slash(mirrored, 75)


def test_nothing():
    assert find_pieces(page(), page()) == []
    assert find_rows([]) == []
    assert usual_height([]) == 0
