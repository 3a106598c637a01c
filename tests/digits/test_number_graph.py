"""Each step of the graph that reads numbers beside the same step of the reader."""

import numpy as np
import pytest
from onnx import helper
from PIL import Image

from mnistkit.core.runtime import Runtime
from mnistkit.digits.number_graph import pixels
from mnistkit.digits.number_graph.boxes import WIDTH, Rows, medians, without_overlaps
from mnistkit.digits.number_graph.graph import Graph
from mnistkit.digits.number_graph.looks import _agreed
from mnistkit.digits.number_graph.order import in_order
from mnistkit.digits.number_graph.tensor import KINDS
from mnistkit.digits.reader import detect, looks, peaks


def run(build, **feeds):
    """What a part of the graph gives."""
    graph = Graph()
    found = build(graph, **{name: graph.tensor(name, str(value.dtype)) for name, value in feeds.items()})
    graph.named(found, "found")
    infos = [
        helper.make_tensor_value_info(name, KINDS[str(value.dtype)], [None] * value.ndim)
        for name, value in feeds.items()
    ]
    outputs = [helper.make_tensor_value_info("found", KINDS[found.dtype], None)]
    whole = helper.make_graph(graph.nodes, "part", infos, outputs, graph.initializers)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return Runtime(model.SerializeToString(), device="cpu", optimize=False).run(feeds)["found"]


@pytest.fixture
def generator():
    return np.random.default_rng(3)


@pytest.mark.parametrize("shape", [(2700, 31, 1), (2605, 2, 2), (40, 5203, 3), (2611, 20, 4), (1299, 9, 3)])
def test_large_pictures_are_reduced_to_the_same_bytes(generator, shape):
    picture = generator.integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(run(pixels.smaller, picture=picture), looks.smaller(picture))


@pytest.mark.parametrize("shape", [(9, 7, 1), (9, 7, 2), (9, 7, 3), (9, 7, 4)])
@pytest.mark.parametrize("alpha", [None, 0, 255])
def test_planes(generator, shape, alpha):
    picture = generator.integers(0, 256, shape, dtype=np.uint8)
    if alpha is not None:
        picture[..., -1] = alpha
    expected = np.stack([np.asarray(plane) for plane in looks.to_planes(picture)])
    assert np.array_equal(run(pixels.to_planes, picture=picture), expected)


@pytest.mark.parametrize(
    ("rows", "columns", "height", "width"),
    [(300, 400, 84, 112), (60, 80, 252, 336), (600, 900, 75, 112), (28, 28, 112, 112), (20, 900, 32, 336)],
)
def test_pixels_are_resampled_as_pillow_does(generator, rows, columns, height, width):
    plane = generator.integers(0, 256, (rows, columns), dtype=np.uint8)
    expected = np.asarray(looks._resized(Image.fromarray(plane), (width, height)))
    sizes = np.array([height, width])
    found = run(
        lambda g, planes, sizes: pixels.resized(g, planes, sizes.take(0), sizes.take(1)),
        planes=np.stack([plane, plane]),
        sizes=sizes,
    )
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1  # fixed point here, floats there
    assert difference.mean() < 0.25


@pytest.mark.parametrize("turns", range(4))
def test_turned_upright(generator, turns):
    picture = generator.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    found = run(
        lambda g, picture, turns: pixels.upright(g, picture, turns, rows=0, columns=1),
        picture=picture,
        turns=np.array(turns),
    )
    assert np.array_equal(found, np.rot90(picture, -turns))


def digits(generator, count, *, reach=200.0):
    boxes = np.concatenate([generator.uniform(0, reach, (count, 2)), generator.uniform(15, 45, (count, 2))], 1)
    classes = generator.dirichlet(np.ones(10) * 0.2, count)
    turns = generator.dirichlet(np.ones(4), count)
    parts = boxes, generator.uniform(0.2, 1, count), classes, turns
    return peaks.Found(*(part.astype(np.float32) for part in parts))


def packed(found):
    return np.concatenate([found.boxes, found.chances[:, None], found.classes, found.turns], 1)


@pytest.mark.parametrize("count", [0, 1, 2, 60, 300])
def test_overlaps(generator, count):
    found = digits(generator, count)
    expected = packed(peaks.without_overlaps(found)).reshape(-1, WIDTH)
    answer = run(lambda g, rows: without_overlaps(Rows(g, rows)).packed, rows=packed(found))
    assert np.array_equal(answer, expected)
    assert count < 60 or len(expected) < count


@pytest.mark.parametrize("counts", [(0, 0), (0, 3), (3, 0), (40, 50)])
def test_two_looks_together(generator, counts):
    first, second = (digits(generator, count) for count in counts)
    shared = min(counts) // 2
    second.boxes[:shared] = first.boxes[:shared] + 1
    expected = packed(looks._agreed(first, second))
    answer = run(
        lambda g, one, two: _agreed(g, Rows(g, one), Rows(g, two)).packed, one=packed(first), two=packed(second)
    )
    np.testing.assert_allclose(answer, expected, rtol=1e-5)


def line(generator, count, top, *, slope=0.0, height=40.0):
    x = np.cumsum(generator.uniform(25, 60, count) + 80 * (generator.random(count) < 0.2))
    y = top + slope * x + generator.normal(0, 2, count)
    high = height * generator.uniform(0.8, 1.4, count)
    return np.stack([x, y, high * generator.uniform(0.2, 0.7, count), high], 1)


@pytest.mark.parametrize("slope", [0.0, 0.12])
@pytest.mark.parametrize("lengths", [(1,), (2,), (7,), (5, 9), (3, 1, 8), (12, 12, 12, 2)])
def test_reading_order(generator, lengths, slope):
    boxes = np.concatenate([line(generator, n, 70 * row, slope=slope) for row, n in enumerate(lengths)])
    mixed = generator.permutation(len(boxes))
    found = digits(generator, len(boxes))
    found.boxes[:] = boxes[mixed]
    found.classes[::2] = np.eye(10, dtype=np.float32)[1]  # ones, which may be the strokes in dates
    rows = detect._without_strokes(found)
    expected = [(place, row, gap) for row, places in enumerate(rows) for place, gap in places]

    def build(g, rows):
        place, row, gap = in_order(Rows(g, rows))
        return g.stack([place, row, gap.cast("int64")], 1)

    assert run(build, rows=packed(found)).tolist() == [[place, row, int(gap)] for place, row, gap in expected]


def test_medians_of_groups(generator):
    values, groups = generator.random(20).astype(np.float32), generator.integers(0, 4, 20)
    groups[groups == 2] = 3  # an empty one
    counts = np.bincount(groups, minlength=4)
    found = run(medians, values=values, groups=groups, counts=counts)
    for group in (0, 1, 3):
        assert found[group] == np.median(values[groups == group])
