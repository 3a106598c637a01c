"""Connected ink, rows, cuts, and what is no digit."""

import numpy as np
import pytest

from mnistkit.digits.segmentation import (
    find_components,
    find_rows,
    is_slash,
    label,
    median_height_of,
    merge,
    split_touching,
)


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


def test_a_spiral_is_one_component():
    mask = np.zeros((41, 41), bool)
    for ring in range(0, 20, 4):
        mask[ring, ring : 41 - ring] = mask[40 - ring, ring : 41 - ring] = True
        mask[ring : 41 - ring, ring] = mask[ring : 41 - ring, 40 - ring] = True
        mask[ring, ring : ring + 4] = mask[ring : ring + 5, ring + 2] = True
    assert label(mask)[1] == slow_label(mask)[1]


def page(*boxes, shape=(120, 400)):
    """Full rectangles of ink: (top, bottom, left, right)."""
    foreground = np.zeros(shape, np.float32)
    for top, bottom, left, right in boxes:
        foreground[top:bottom, left:right] = 1
    return foreground


def boxes_of(components):
    return sorted((p.top, p.bottom, p.left, p.right) for p in components)


def test_components_have_their_boxes_and_no_neighbors_ink():
    foreground = page((20, 80, 10, 40), (20, 80, 60, 70))
    components = find_components(foreground, foreground)
    assert boxes_of(components) == [(20, 80, 10, 40), (20, 80, 60, 70)]
    assert sum(component.mass for component in components) == foreground.sum()


def test_soft_edges_belong_to_the_nearest_component():
    foreground = page((20, 80, 10, 40))
    foreground[20:80, 40] = 0.2
    (component,) = find_components(foreground, foreground)
    assert (component.left, component.right) == (10, 40)


def test_ink_that_may_be_noise_is_no_component():
    foreground = page((20, 80, 10, 40), (20, 80, 60, 90))
    confident = foreground.copy()
    confident[:, 50:] = 0
    assert boxes_of(find_components(foreground, confident)) == [(20, 80, 10, 40)]


def test_dust_is_dropped():
    foreground = page((20, 80, 10, 40), (5, 9, 100, 104))
    assert boxes_of(find_components(foreground, foreground)) == [(20, 80, 10, 40)]


def test_a_frame_and_a_comb_are_dropped_and_the_digits_stay():
    frame = page((30, 70, 40, 60), (10, 13, 10, 90), (90, 93, 10, 90), (10, 93, 10, 13), (10, 93, 87, 90))
    assert boxes_of(find_components(frame, frame)) == [(30, 70, 40, 60)]
    comb = page((30, 70, 40, 60), (30, 70, 120, 140), (30, 70, 200, 220), (10, 13, 10, 253), (90, 93, 10, 253))
    for left in (10, 90, 170, 250):
        comb[10:93, left : left + 3] = 1
    assert boxes_of(find_components(comb, comb)) == [(30, 70, 40, 60), (30, 70, 120, 140), (30, 70, 200, 220)]


def test_an_underline_is_dropped():
    foreground = page((20, 80, 10, 40), (20, 80, 60, 90), (20, 80, 110, 140), (90, 94, 5, 300))
    assert len(find_components(foreground, foreground)) == 3


def test_rows_from_top_to_bottom_and_left_to_right():
    foreground = page((5, 45, 200, 220), (8, 48, 20, 40), (60, 100, 110, 130), (70, 110, 60, 80))
    rows = find_rows(find_components(foreground, foreground))
    assert [[component.left for component in row] for row in rows] == [[20, 200], [60, 110]]


def test_a_climbing_row_is_one_row():
    foreground = page(*((60 - 12 * n, 100 - 12 * n, 20 + 60 * n, 40 + 60 * n) for n in range(5)))
    assert len(find_rows(find_components(foreground, foreground))) == 1


def test_small_components_join_the_row_they_lie_in():
    foreground = page((5, 45, 20, 40), (5, 9, 42, 60), (60, 100, 20, 40), (96, 102, 46, 52))
    rows = find_rows(find_components(foreground, foreground))
    assert [len(row) for row in rows] == [2, 2]


def test_merge_keeps_all_ink():
    foreground = page((20, 80, 10, 40), (25, 60, 30, 70), (5, 15, 50, 60))
    components = find_components(foreground, foreground)
    merged = merge(components)
    assert (merged.top, merged.bottom, merged.left, merged.right) == (5, 80, 10, 70)
    assert merged.mass == foreground.sum()


def test_two_rings_that_touch_are_cut_where_they_touch():
    rows, columns = np.mgrid[:100, :200]
    foreground = np.zeros((100, 200), np.float32)
    for middle in (60, 116):
        distance = np.hypot(rows - 50, columns - middle)
        foreground[abs(distance - 26) < 3] = 1
    (component,) = find_components(foreground, foreground)
    parts, crossed = split_touching(component, component.height)
    assert len(crossed) == len(parts) - 1
    assert sum(part.mass for part in parts) == pytest.approx(component.mass, rel=0.01)
    between = [ink for part, ink in zip(parts[1:], crossed, strict=True) if abs(part.left - 88) <= 8]
    assert between
    assert min(between) <= 2.5


def test_a_slash_leans_is_straight_and_is_higher_than_a_digit():
    foreground = np.zeros((120, 100), np.float32)
    for row in range(10, 110):
        foreground[row, 70 - row // 3 : 76 - row // 3] = 1
    (component,) = find_components(foreground, foreground)
    assert is_slash(component, 75)
    assert not is_slash(component, 100)
    (mirrored,) = find_components(foreground[:, ::-1].copy(), foreground[:, ::-1].copy())
    assert not is_slash(mirrored, 75)


def test_nothing():
    assert find_components(page(), page()) == []
    assert find_rows([]) == []
    assert median_height_of([]) == 0
