"""Resized images: the pixel that Keras takes, at ratios that are no whole numbers, at fixed and at free sizes."""

import keras
import numpy as np
import pytest
from comparing import call, session
from keras import layers as L
from keras import ops, tree

from mnistkit.export.native import convert
from mnistkit.export.native.lowerings import image


def pictures(height, width, dtype="float32"):
    return np.random.default_rng(height + width).uniform(0, 255, (2, height, width, 3)).astype(dtype)


def written(shape, functions, dtype="float32"):
    tensor = keras.Input(shape, dtype=dtype)
    model = keras.Model(tensor, {name: function(tensor) for name, function in functions.items()})
    return model, convert(model)


def differing(model, conversion, images, *, tolerance=0.0):
    """Name the outputs that differ in type, shape or by more than the tolerance."""
    expected = call(model, images, [])
    runner = session(conversion.proto)
    got = runner.run(tree.flatten(conversion.outputs), {runner.get_inputs()[0].name: images})
    found = []
    for name, a, b in zip(sorted(tree.flatten(conversion.outputs)), expected, got, strict=True):
        alike = a.shape == b.shape and a.dtype == b.dtype
        if not alike or np.abs(a.astype("float64") - b.astype("float64")).max() > tolerance:
            found.append(name)
    return found


def test_nearest_takes_the_pixel_that_keras_takes():
    sizes = {"9x8": (9, 8), "3x7": (3, 7), "60x62": (60, 62), "45x31": (45, 31), "10x64": (10, 64)}
    nearest = {name: L.Resizing(*size, interpolation="nearest") for name, size in sizes.items()}
    model, conversion = written((30, 31, 3), nearest)
    assert differing(model, conversion, pictures(30, 31)) == []
    operations = [node.op_type for node in conversion.proto.graph.node]
    assert operations.count("Resize") == 1  # whole ratios stay an operator


def test_nearest_at_a_free_size_takes_the_pixel_that_keras_takes(monkeypatch):
    layer = {"resized": L.Resizing(9, 8, interpolation="nearest")}
    model, conversion = written((None, None, 3), layer)
    for height, width in ((30, 31), (17, 3), (1, 100)):
        assert differing(model, conversion, pictures(height, width)) == []
    # the twin: the operator of ONNX, which rounds its coordinates otherwise
    monkeypatch.setattr(image, "_nearest", lambda graph, op, value, axes: image._onnx_resize(graph, op, value, axes))
    wrong = convert(model)
    assert differing(model, wrong, pictures(30, 31)) == ["resized"]


def test_pictures_of_whole_numbers_are_resized_in_the_type_that_keras_answers_with():
    functions = {
        mode: (lambda x, mode=mode: ops.image.resize(x, (7, 9), interpolation=mode))
        for mode in ("nearest", "bilinear", "bicubic")
    }
    model, conversion = written((5, 6, 3), functions, "uint8")
    images = pictures(5, 6, "uint8")
    assert differing(model, conversion, images, tolerance=1.0) == []
    kinds = {name: x.dtype for name, x in zip(sorted(functions), call(model, images, []), strict=True)}
    assert kinds["nearest"] == "uint8"


def test_enlarging_three_times_at_a_free_size_takes_the_places_that_keras_takes(monkeypatch):
    model, conversion = written((None, None, 3), {"enlarged": L.UpSampling2D(3, interpolation="bilinear")})
    images = pictures(224, 24) / 32
    assert differing(model, conversion, images, tolerance=3e-5) == []
    # the twin: the operator of ONNX, which computes the places in another order
    monkeypatch.setattr(image, "_grows_by_power_of_two", lambda *_: True)
    assert differing(model, convert(model), images, tolerance=3e-5) == ["enlarged"]


def test_enlarging_twice_at_a_free_size_stays_an_operator():
    for size in (2, (4, 1)):
        _, conversion = written((None, None, 3), {"enlarged": L.UpSampling2D(size, interpolation="bilinear")})
        assert [node.op_type for node in conversion.proto.graph.node].count("Resize") == 1


def test_cubic_splines_are_the_backend_s_own(monkeypatch):
    sizes = {"3x7": (3, 7), "10x11": (10, 11), "35x24": (35, 24)}
    cubic = {name: L.Resizing(*size, interpolation="bicubic") for name, size in sizes.items()}
    model, conversion = written((10, 10, 3), cubic)
    assert differing(model, conversion, pictures(10, 10), tolerance=1e-3) == []
    own = image._cubic(antialias=False)
    other = image._Cubic(image._keys(-0.5), False, None if own.steps else 1024)
    monkeypatch.setattr(image, "_cubic", lambda **_: other)
    assert differing(model, convert(model), pictures(10, 10), tolerance=1e-3) == sorted(sizes)


def test_pictures_of_whole_numbers_that_are_rounded_half_way():
    """TensorFlow's order of operations is followed to the last bit; for the others the report says what may happen."""
    model, conversion = written((10, 10, 3), {"resized": lambda x: ops.image.resize(x, (24, 35))}, "uint8")
    images = np.random.default_rng(0).integers(0, 256, (8, 10, 10, 3)).astype("uint8")
    assert differing(model, conversion, images, tolerance=1.0) == []
    if keras.backend.backend() == "tensorflow":
        assert differing(model, conversion, images) == []
        assert conversion.notes == ()
    else:
        assert "bilinear resizing of uint8 may answer 1 more or less" in conversion.notes[0]
    _, other = written((10, 10, 3), {"resized": lambda x: ops.image.resize(x, (24, 35))})
    assert other.notes == ()


@pytest.mark.parametrize("layer", [L.Resizing(9, 8), L.UpSampling2D(3, interpolation="bilinear")], ids=lambda x: x.name)
def test_free_sizes_at_the_ends_of_the_type(layer, monkeypatch):
    model, conversion = written((None, None, 3), {"resized": layer})
    limit = np.finfo("float32").max * 0.45
    images = np.random.default_rng(0).choice([-limit, limit], (2, 7, 5, 3)).astype("float32")
    assert differing(model, conversion, images, tolerance=1e-4 * limit) == []
    own = image._interpolates()
    images *= 2
    assert np.isfinite(call(model, images, [])[0]).all() == (not own)  # TensorFlow takes the difference of two pixels
    monkeypatch.setattr(image, "_interpolates", lambda: not own)
    wrong = session(convert(model).proto)
    answer = wrong.run(None, {wrong.get_inputs()[0].name: images})[0]
    assert np.isfinite(answer).all() == own
