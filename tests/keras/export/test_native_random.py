"""What random models found (benchmarks/export_fuzz.py): answers, types and refusals beside Keras on this backend."""

import importlib.util

import keras
import numpy as np
import pytest
from comparing import call, session
from keras import layers as L
from keras import ops, tree
from test_native_types import answers, differing

from mnistkit.core.errors import UnsupportedError
from mnistkit.export import export_onnx
from mnistkit.export.native import backend_behavior, convert, lower_record, registry
from mnistkit.export.native.keras_hooks import operation_of
from mnistkit.export.native.lowerings import normalization, shape

BYTES = np.asarray([[0, 1, 255, 254], [7, 128, 127, 2], [3, 3, 200, 100]], "uint8")


def free_answers(functions, *arrays, axes=(1,)):
    """As ``answers``, with free axes, and at several sizes."""
    sizes = [None if axis in axes else size for axis, size in enumerate(arrays[0].shape)]
    tensor = keras.Input(sizes[1:], dtype=str(arrays[0].dtype))
    model = keras.Model(tensor, {name: function(tensor) for name, function in functions.items()})
    written = convert(model)
    runner = session(written.proto)
    for array in arrays:
        expected = call(model, ops.convert_to_tensor(array), [])
        got = runner.run(tree.flatten(written.outputs), {runner.get_inputs()[0].name: array})
        yield dict(zip(sorted(functions), zip(expected, got, strict=True), strict=True))


def in_layers(functions, array):
    """Each function in a Lambda, where Keras can do it: of symbolic tensors, it refuses plain numbers at times."""
    found = {}
    for name, function in functions.items():
        try:
            L.Lambda(function)(keras.Input([None] * (array.ndim - 1), dtype=str(array.dtype)))
            function(ops.convert_to_tensor(array))
        except Exception:  # noqa: BLE001, S112  a backend refuses a type with whatever it raises
            continue
        found[name] = L.Lambda(function)
    assert found
    return found


def numbers(*shape):
    return np.random.default_rng(0).normal(0, 1, shape).astype("float32")


def test_bytes_stay_bytes_where_keras_leaves_them_so():
    """Without the backend's word, the file adds in 32 bits and has no overflow where Keras has one."""
    functions = {
        "or": lambda x: ops.bitwise_or(x, 1),
        "and": lambda x: ops.bitwise_and(x, 6),
        "divided": lambda x: 1.0 / (ops.cast(ops.bitwise_or(x, 1) + 1, "float32") + 0.5),
        "plus": lambda x: x + 1,
        "times": lambda x: x * 3,
        "modulo": lambda x: ops.mod(x, 7),
        "shifted": lambda x: ops.left_shift(x, 2),
        "sum": lambda x: ops.sum(x, axis=1),
        "square": ops.square,
        "between": lambda x: ops.clip(x, -0.5, 0.7),
        "between, of more bits": lambda x: ops.clip(ops.cast(x, "int32") - 1, -0.5, 0.7),
        "negative": lambda x: -x,
    }
    pairs, _ = answers(in_layers(functions, BYTES), BYTES, opset=18)
    assert differing(pairs, tolerance=1e-6) == []


def test_what_overflows_in_keras_is_refused_with_the_cure():
    """`softsign` of bytes adds 1 to 255, where the backend has 0 then, and infinity for an answer."""
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow has no softsign of whole numbers")
    x = keras.Input((4,), dtype="uint8")
    model = keras.Model(x, L.Lambda(ops.softsign)(x))
    if not backend_behavior.overflows("softsign", "uint8"):
        assert differing(answers({"softsign": L.Lambda(ops.softsign)}, BYTES)[0], tolerance=1e-6) == []
        return
    with pytest.raises(UnsupportedError, match=r"softsign of uint8 overflows.*ops\.cast"):
        convert(model)


def test_counts_that_keras_turns_around_are_refused_with_the_cure():
    functions = {"count": L.Lambda(lambda x: ops.count_nonzero(x, axis=1))}
    if not backend_behavior.counts_with_axes_reversed():
        assert differing(answers(functions, np.ones((2, 3, 4), "float32"))[0], tolerance=0) == []
        return
    with pytest.raises(UnsupportedError, match=r"axes reversed; use ops\.sum"):
        answers(functions, np.ones((2, 3, 4), "float32"))


def test_axes_that_keras_drops_are_refused_with_the_cure():
    def largest(x):
        return ops.amax(x, keepdims=True)

    if backend_behavior.keeps_axes("amax"):
        pairs, _ = answers({"largest": L.Lambda(largest)}, numbers(2, 3, 4))
        assert differing(pairs, tolerance=0) == []
        return
    with pytest.raises(UnsupportedError, match="amax of this backend drops the axes"):
        answers({"largest": L.Lambda(largest)}, numbers(2, 3, 4))
    pairs, _ = answers({"named": L.Lambda(lambda x: ops.amax(x, axis=(0, 1, 2), keepdims=True))}, numbers(2, 3, 4))
    assert differing(pairs, tolerance=0) == []  # the twin: the cure helps


def test_categories_in_groups_are_encoded_along_the_axis_that_keras_takes():
    """Keras takes the largest along axis 1, also where an input has more axes than a batch of rows."""
    ids = np.random.default_rng(0).integers(0, 5, (3, 4, 2)).astype("int32")
    functions = {
        "some of": L.CategoryEncoding(5, output_mode="multi_hot"),
        "counted": L.CategoryEncoding(5, output_mode="count"),
        "one of": L.CategoryEncoding(5, output_mode="one_hot"),
    }
    if importlib.util.find_spec("tensorflow"):  # Keras builds its lookups with it
        functions["looked up"] = L.IntegerLookup(vocabulary=[1, 3], output_mode="multi_hot")
    pairs, _ = answers(functions, ids)
    assert differing(pairs, tolerance=0) == []


def test_activations_of_truth_values_answer_with_numbers_where_keras_does():
    functions = {
        "sparse_plus": lambda x: ops.sparse_plus(x > 1),
        "hard_tanh": lambda x: ops.hard_tanh(ops.cast(x > 1, "float32")),
        "where": lambda x: ops.where(x > 1, x > 2, x > 0),  # onnxruntime chooses no truth values
        "sign": lambda x: ops.sign(x > 1),
        "outer": lambda x: ops.outer(x[:, 0] > 1, x[:, 1] > 1),
        "between": lambda x: ops.clip(x > 1, -0.5, 0.7),
        "maximum": lambda x: ops.maximum(x > 1, 0),
    }
    pairs, _ = answers(in_layers(functions, BYTES), BYTES)
    assert differing(pairs, tolerance=1e-6) == []


def test_an_axis_of_free_size_is_split():
    functions = {
        "halves": lambda x: L.Lambda(lambda t: ops.concatenate(ops.split(ops.concatenate([t, t], 1), 2, 1)[::-1], 2))(
            x
        ),
        "at": lambda t: ops.concatenate(ops.split(t, [1, 3], 1)[::-1], 1),
        "gated": lambda t: ops.glu(ops.concatenate([t, 2 * t], 1), axis=1),
        "gated along the batch": lambda t: ops.glu(ops.concatenate([t, 2 * t], 0), axis=0),
    }
    for pairs in free_answers(in_layers(functions, numbers(2, 5, 3)), numbers(2, 5, 3), numbers(3, 8, 3)):
        assert differing(pairs, tolerance=1e-6) == []


NORMALIZED = {
    "rms": lambda t: ops.rms_normalization(t, axis=1),
    "layer": lambda t: ops.layer_normalization(t, axis=1),
}


def test_normalized_over_an_axis_that_is_not_the_last_one_as_under_this_backend(monkeypatch):
    """PyTorch's kernels take the last axes where those have the same sizes."""
    square = numbers(2, 4, 4)
    for pairs in free_answers(in_layers(NORMALIZED, square), square, numbers(3, 6, 6), axes=(1, 2)):
        assert differing(pairs, tolerance=1e-5) == []
    as_asked = not backend_behavior.normalizes_last_axes("rms_normalization")
    monkeypatch.setattr(normalization, "normalizes_last_axes", lambda _: as_asked)  # the twin
    for pairs in free_answers(in_layers(NORMALIZED, square), square, axes=(1, 2)):
        assert differing(pairs, tolerance=1e-5) != []


def test_padding_by_reflection_of_two_as_under_this_backend(monkeypatch):
    functions = {"padded": lambda x: ops.pad(x, ((0, 0), (2, 2)), mode="symmetric")}
    pairs, _ = answers(functions, numbers(2, 5))
    assert differing(pairs, tolerance=0) == []
    repeats = backend_behavior.symmetric_padding_repeats_the_edge()
    monkeypatch.setattr(shape, "symmetric_padding_repeats_the_edge", lambda: not repeats)  # the twin
    pairs, _ = answers(functions, numbers(2, 5))
    assert differing(pairs, tolerance=0) == ["padded: " + str(pairs["padded"][1].ravel()[:6]) + " in place of "
                                             + str(pairs["padded"][0].ravel()[:6])]  # fmt: skip


def test_a_size_that_is_none_is_refused_with_the_cure():
    x = keras.Input((None, 4))
    model = keras.Model(x, ops.slice(x, (0, 0, 0), (ops.shape(x)[0], 1, 1)))
    with pytest.raises(UnsupportedError, match=r"ask for ops\.shape\(x\) inside a layer or a Lambda"):
        convert(model)


def test_a_limit_that_keras_took_from_outside_the_model_is_refused_by_name():
    a, b = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([a, b], ops.add(ops.clip(a, ops.minimum(b, 0), 1), b))
    with pytest.raises(UnsupportedError, match=r"Clip.*it uses a tensor from outside the model"):
        convert(model)


def test_a_translation_that_fails_is_refused_by_the_name_of_the_layer(monkeypatch):
    x = keras.Input((4,))
    model = keras.Model(x, L.Activation("tanh", name="squashed")(x))

    def fails(*_):
        raise IndexError("not this one")

    fails.__module__ = "mnistkit.export.native.lowerings.elementwise"
    monkeypatch.setitem(registry._LOWERINGS, operation_of(ops.tanh), fails)
    with pytest.raises(UnsupportedError, match=rf"squashed \(Tanh\): .*IndexError: not this one.*{lower_record.FAULT}"):
        convert(model)
    fails.__module__ = "users_own"  # the twin: whoever writes a handler wants the traceback
    with pytest.raises(IndexError, match="not this one"):
        convert(model)


def test_a_batch_size_that_keras_refuses_is_left_out_of_the_check(tmp_path):
    """The batch axis is moved and cropped: Keras answers batches of 2 and 16, and not of 1."""
    x = keras.Input((4, 3))
    report = export_onnx(keras.Model(x, L.Cropping1D((1, 0))(ops.transpose(x, (1, 0, 2)))), tmp_path / "cropped.onnx")
    sizes = {row.batch_size for row in report.rows}
    assert 2 in sizes
    assert 1 not in sizes


def test_a_model_in_half_precision_without_weights_has_the_tolerance_of_half_precision(tmp_path):
    half = keras.Input((6,), dtype="float16")
    layer = L.ELU(alpha=0.5, dtype="float16")
    squared = half * half
    report = export_onnx(keras.Model(half, layer(squared) - squared), tmp_path / "half.onnx")
    assert report.atol > 2.0**-10
    single = keras.Input((6,))
    assert export_onnx(keras.Model(single, L.ELU()(single)), tmp_path / "single.onnx").atol < 2e-5  # the twin
