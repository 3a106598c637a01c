"""Where the backends answer in ways of their own, a file answers as the backend of its model does."""

import warnings

import keras
import numpy as np
import onnx
import pytest
from comparing import session
from keras import layers as L
from keras import ops
from keras_versions import lacks_layer

from mnistkit.export import export_onnx
from mnistkit.export.equal_elements import NOTE, first_of_equal
from mnistkit.export.native import convert, find_unsupported
from mnistkit.export.native.backend_behavior import (
    casts_saturate,
    infinities_are_close,
    reflects_again,
    upper_limit_wins,
)
from mnistkit.export.native.lowerings import elementwise

BACKEND = keras.backend.backend()


@keras.saving.register_keras_serializable("mnistkit_tests")
class Apply(L.Layer):
    """A function of several tensors as a layer."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self.function = function

    def call(self, inputs):
        return self.function(*inputs)


def both(function, *arrays, **options):
    """Keras' answer and the file's."""
    inputs = [keras.Input(array.shape[1:], dtype=str(array.dtype)) for array in arrays]
    model = keras.Model(inputs, function(*inputs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # JAX holds int64 in 32 bits; Keras wants a list of one input
        runtime = session(convert(model, **options).proto)
        expected = ops.convert_to_numpy(model(list(arrays)))
    return expected, runtime.run(None, dict(zip([x.name for x in runtime.get_inputs()], arrays, strict=True)))[0]


def assert_as_keras(function, *arrays, **options):
    expected, got = both(function, *arrays, **options)
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=1e-3 if expected.dtype == "float16" else 1e-6)


# -- limits -----------------------------------------------------------------------------------------------------------

NUMBERS = np.asarray([[-3.0, -1.0, 0.0, 1.5, 2.0, 7.0]], "float32")
LOW, HIGH = np.full((1, 6), 2.0, "float32"), np.full((1, 6), -1.0, "float32")


@pytest.mark.parametrize("wins", [upper_limit_wins(), not upper_limit_wins()], ids=["as Keras", "the twin"])
def test_limits_that_cross_answer_what_the_backend_answers(wins, monkeypatch):
    monkeypatch.setattr(elementwise, "upper_limit_wins", lambda: wins)
    cases = [
        (Apply(lambda x: ops.clip(x, 2, -1)), NUMBERS),
        (Apply(lambda x, low: ops.clip(x, low, -1)), NUMBERS, LOW),
        (Apply(lambda x, high: ops.clip(x, 2, high)), NUMBERS, HIGH),
        (Apply(lambda x, low, high: ops.clip(x, low, high)), NUMBERS, LOW, HIGH),
    ]
    for function, *arrays in cases:
        expected, got = both(lambda *inputs, function=function: function(list(inputs)), *arrays)
        assert set(expected.ravel()) == {-1.0 if upper_limit_wins() else 2.0}
        assert np.array_equal(got, expected) == (wins == upper_limit_wins())


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the other backends refuse the limit or take another type")
def test_limits_beyond_the_type_of_the_numbers():
    assert_as_keras(lambda x: ops.clip(x, -2, 2), np.asarray([[0, 1, 3, 208, 255]], "uint8"))


# -- equal elements ---------------------------------------------------------------------------------------------------

TIES = np.asarray([[1.0, 3.0, 3.0, 0.0, 3.0, 1.0, 0.0, 2.0, 3.0, 2.0]], "float32")


def test_top_k_takes_the_first_of_equal_elements_and_the_report_says_so(tmp_path):
    x = keras.Input((10,))
    report = export_onnx(keras.Model(x, ops.top_k(x, 3)[1]), tmp_path / "m.onnx")
    found = session_of(tmp_path / "m.onnx").run(None, {report.inputs[0].name: TIES})[0]
    assert found.tolist() == [[1, 2, 4]]
    assert (NOTE in report.notes) == (BACKEND == "torch")


def session_of(path):
    return session(onnx.load(path))


@pytest.mark.skipif(BACKEND != "torch", reason="the other backends take the first by themselves")
def test_torch_chooses_for_itself_again_afterwards():
    import torch

    own = torch.topk(torch.zeros(10), 3)[1].tolist()
    assert own != [0, 1, 2]  # else there is nothing to be replaced
    with first_of_equal() as notes:
        assert torch.topk(torch.zeros(10), 3).indices.tolist() == [0, 1, 2]
        assert torch.topk(torch.tensor([2.0, 1.0, 1.0]), 2, largest=False).indices.tolist() == [1, 2]
    assert notes == [NOTE]
    assert torch.topk(torch.zeros(10), 3)[1].tolist() == own


# -- casts ------------------------------------------------------------------------------------------------------------

BEYOND = np.tile(np.asarray([-3.7, -0.5, 255.9, 300.0, -200.0, 70000.0, 7.0, 0.0], "float32"), (4, 128))


not_tensorflow = pytest.mark.skipif(
    BACKEND == "tensorflow", reason="what TensorFlow answers there depends on the length of the array"
)


@not_tensorflow
@pytest.mark.parametrize("target", ["uint8", "int8", "int16", "int32", "int64"])
@pytest.mark.parametrize("source", ["float32", "float16"])
def test_numbers_beyond_a_type_are_cast_as_the_backend_casts_them(source, target):
    assert_as_keras(lambda x: ops.cast(x, target), np.clip(BEYOND, -60000, 60000).astype(source))


@not_tensorflow
def test_numbers_beyond_uint8_stay_at_its_ends_where_the_backend_saturates():
    expected, got = both(lambda x: ops.cast(x, "uint8"), BEYOND)
    wrapped = BEYOND.astype("int64").astype("uint8")
    assert (got == wrapped).all() != casts_saturate("float32", "uint8")
    assert np.array_equal(got, expected)


@pytest.mark.skipif(BACKEND != "jax", reason="the other backends answer with the least int32")
def test_nan_and_infinities_become_integers_as_in_jax():
    numbers = np.asarray([[np.nan, np.inf, -np.inf, 3e9, -3e9]], "float32")
    _, got = both(lambda x: ops.cast(x, "int32"), numbers)
    assert got.tolist() == [[0, 2**31 - 1, -(2**31), 2**31 - 1, -(2**31)]]


# -- padding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
@pytest.mark.parametrize("shape", [(2, 3), (None, 3), (1, 2)], ids=str)
@pytest.mark.skipif(BACKEND != "jax", reason="the other backends refuse it")
def test_a_reflection_longer_than_the_axis_goes_back_and_forth(mode, shape, tmp_path):
    x = keras.Input(shape)
    report = export_onnx(keras.Model(x, ops.pad(x, ((0, 0), (5, 2), (0, 0)), mode=mode)), tmp_path / "m.onnx")
    numbers = np.arange(6, dtype="float32").reshape(1, 2, 3)
    if shape != (1, 2):
        got = session_of(tmp_path / "m.onnx").run(None, {report.inputs[0].name: numbers})[0]
        assert np.array_equal(got, np.pad(numbers, ((0, 0), (5, 2), (0, 0)), mode=mode))
    assert reflects_again()


# -- comparisons, extremes, activations -------------------------------------------------------------------------------


def test_infinities_are_close_as_on_the_backend():
    numbers = np.asarray([[np.inf, -np.inf, 1.0, np.nan]], "float32")
    others = np.asarray([[np.inf, np.inf, 1.000001, np.nan]], "float32")
    expected, got = both(ops.isclose, numbers, others)
    assert got.tolist() == expected.tolist()
    assert got[0, 0] == infinities_are_close()


@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize("initial", [0.5, 1, -3, 2.7])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32"])
def test_an_extreme_starts_where_the_backend_starts(name, initial, dtype):
    def extreme(x):
        return getattr(ops, name)(x, axis=2, initial=initial)

    numbers = np.asarray([[[0, 1, 0], [0, 0, 0], [1, 1, 1]]]).astype(dtype)
    try:
        expected = ops.convert_to_numpy(extreme(ops.convert_to_tensor(numbers)))
    except (ValueError, TypeError, OverflowError) as error:
        pytest.skip(f"Keras refuses it: {type(error).__name__}")
    if (BACKEND, dtype, name, initial) == ("tensorflow", "bool", "min", -3):  # True, whatever the elements are
        x = keras.Input((3, 3), dtype=dtype)
        (unsupported,) = find_unsupported(keras.Model(x, extreme(x)))
        assert "ops.cast" in str(unsupported)
    else:
        assert both(extreme, numbers)[1].tolist() == expected.tolist()


def test_limits_of_another_type_decide_the_type_as_on_the_backend():
    def limited(x, y):
        return Apply(lambda a, b: ops.clip(a, ops.minimum(b, 0), 1))([x, y])

    whole, numbers = np.asarray([[3, -2, 0]], "int32"), np.asarray([[-0.5, -0.5, 2.0]], "float32")
    if BACKEND == "tensorflow":
        with pytest.raises(Exception, match="int32"):
            limited(keras.Input((3,), dtype="int32"), keras.Input((3,)))
        return
    assert_as_keras(limited, whole, numbers)
    x, y = keras.Input((None,), dtype="int32"), keras.Input((None,))
    model = keras.Model([x, y], limited(x, y))
    (output,) = session(convert(model).proto).get_outputs()
    assert output.type == {"float32": "tensor(float)"}[keras.backend.standardize_dtype(model([whole, numbers]).dtype)]


@pytest.mark.parametrize("opset", [17, 18, 21])
@pytest.mark.parametrize("function", [ops.softplus, ops.log_sigmoid], ids=["softplus", "log_sigmoid"])
def test_softplus_of_half_precision_stays_finite(function, opset):
    numbers = np.asarray([[-60000, -200, -100, -12, 0, 12, 89, 200, 60000]], "float16")
    assert np.isfinite(both(function, numbers, opset=opset)[1]).all()
    assert_as_keras(function, numbers, opset=opset)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_relu_of_whole_numbers(dtype):
    numbers = np.asarray([[0, 1, 7, 3]]).astype(dtype)
    assert_as_keras(keras.activations.relu, numbers)
    assert_as_keras(lambda x: keras.activations.relu(x, max_value=2.5, threshold=1.5), numbers)


@pytest.mark.skipif(BACKEND != "jax", reason="Keras refuses it on the other backends")
def test_relu_of_unsigned_numbers_with_a_slope_is_refused_with_a_cure():
    x = keras.Input((4,), dtype="uint8")
    model = keras.Model(x, keras.activations.relu(x, negative_slope=0.3, threshold=1.0))
    (unsupported,) = find_unsupported(model)
    assert "ops.cast" in str(unsupported)


def test_prelu_of_int64():
    x = keras.Input((4,), dtype="int64")
    layer = L.PReLU(alpha_initializer=keras.initializers.Constant(0.25))
    model = keras.Model(x, layer(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # JAX holds int64 in 32 bits
        runtime = session(convert(model).proto)
    (taken,) = runtime.get_inputs()
    numbers = np.asarray([[-4, 0, 3, -1]], "int32" if "int32" in taken.type else "int64")
    assert runtime.run(None, {taken.name: numbers})[0].tolist() == [[-1.0, 0.0, 3.0, -0.25]]


@pytest.mark.skipif(lacks_layer("AdaptiveMaxPooling1D"), reason="this Keras has no adaptive pooling")
@pytest.mark.skipif(BACKEND != "jax", reason="Keras refuses it on the other backends")
@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_adaptive_pooling_of_whole_numbers(dtype):
    numbers = np.arange(14).reshape(1, 7, 2).astype(dtype)
    assert_as_keras(lambda x: ops.adaptive_max_pool(x, (3,)), numbers)
    x = keras.Input((7, 2), dtype=dtype)
    (unsupported,) = find_unsupported(keras.Model(x, ops.adaptive_average_pool(x, (3,))))
    assert "ops.cast" in str(unsupported)


# -- the check --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [lambda: L.MaxPooling1D(3), lambda: L.Conv1D(2, 3), lambda: L.Cropping1D(2)],
    ids=["MaxPooling1D", "Conv1D", "Cropping1D"],
)
def test_lengths_at_which_keras_answers_with_nothing_are_no_reason_to_refuse(layer, tmp_path):
    x = keras.Input((None, 2))
    report = export_onnx(keras.Model(x, layer()(x)), tmp_path / "m.onnx")
    lengths = {row.sample.rpartition(" ")[2] for row in report.rows if "length" in row.sample}
    assert len(lengths) > 1
    assert "1" not in lengths


def test_a_length_that_keras_answers_is_compared(tmp_path):
    x = keras.Input((None, 2))
    report = export_onnx(keras.Model(x, L.MaxPooling1D(1)(x)), tmp_path / "m.onnx")
    assert any(row.sample.endswith("length 1") for row in report.rows)


def test_numbers_beside_zero_leave_room_for_a_quotient(tmp_path):
    x = keras.Input((4,))
    export_onnx(keras.Model(x, ops.floor_divide(x, 3.0)), tmp_path / "m.onnx")


@pytest.mark.skipif(BACKEND != "jax", reason="Keras refuses it on the other backends")
@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_a_convolution_of_whole_numbers_answers_with_fractions(dtype):
    layer = L.Conv2D(2, 3)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 1)).astype(dtype)
    expected, got = both(layer, pictures)
    assert np.abs(expected - np.round(expected)).max() > 0.1
    np.testing.assert_allclose(got, expected, atol=1e-3)
