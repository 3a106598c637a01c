"""Values of 64 bits, and unsigned ones: the file computes in the types that Keras computes in on this backend.

PyTorch and TensorFlow keep 64 bits in most operations and JAX in none; Keras' own inference says 32 for all but
TensorFlow. Hash buckets, ids and seconds since 1970 are everyday inputs that do not fit 32 bits.
"""

import keras
import numpy as np
import onnx
import onnxruntime as ort
from comparing import call, session
from keras import layers as L
from keras import ops, tree

from mnistkit.export import export_onnx
from mnistkit.export.native import convert, shape_inference, trace, value_types
from mnistkit.export.native.graph import SINGLE_ONLY

IDS = np.asarray(
    [[8589934599, 5, 4294967296 + 123], [2**40 + 17, 2**31, 2**31 - 1], [-3, -(2**33) - 7, 2**53 + 1], [0, 1, 7]],
    "int64",
)
DOUBLES = np.asarray([[1e10 / 3, 5.3, -7.1e-9], [1 + 1e-9, 1 - 1e-9, 123456789.123], [-0.25, 3.7, 2**40 + 0.5]])
UNSIGNED = np.asarray([[2**32 - 2, 2**31, 5], [7, 0, 1], [3, 2**31 - 1, 2**31 + 1]], "uint32")

LARGE_NUMBERS = {
    "ids modulo buckets": lambda x: ops.mod(x, 1000),
    "seconds of the day": lambda x: ops.mod(ops.floor_divide(x, 1000), 86400),
    "differences of timestamps": lambda x: ops.cast(x - ops.flip(x, 1), "float32") / 1000.0,
    "plus and times": lambda x: x * 3 + 1,
    "sum": lambda x: ops.sum(x, axis=1),
    "running sum": lambda x: ops.cumsum(x, axis=1),
    "product": lambda x: ops.prod(x, axis=1),
    "mean": lambda x: ops.mean(x, axis=1),
    "largest": lambda x: ops.max(x, axis=1),
    "place of the largest": lambda x: ops.argmax(x, axis=1),
    "sorted": lambda x: ops.sort(x, axis=1),
    "maximum": lambda x: ops.maximum(x, 0),
    "minimum of two": lambda x: ops.minimum(x, ops.flip(x, 1)),
    "where": lambda x: ops.where(x > 10, x, 0),
    "clip": lambda x: ops.clip(x, -5, 2**31 - 1),
    "cube": lambda x: ops.power(ops.mod(x, 2000003), 3),
    "power of two tensors": lambda x: ops.power(ops.mod(x, 1000), ops.mod(x, 7)),
    "absolute, negative, sign": lambda x: ops.abs(x) - ops.negative(x) + ops.sign(x),
    "square": ops.square,
    "divided": lambda x: x / 2,
    "rounded": ops.round,
    "floor": ops.floor,
    "shifted": lambda x: ops.right_shift(ops.left_shift(x, 3), 5),
    "equal to another": lambda x: ops.equal(x, ops.flip(x, 1)),
    "nearly equal": lambda x: ops.isclose(x, x + 1),
    "is in": lambda x: ops.isin(x, np.asarray([8589934599, 7], "int64")),
    "as float": lambda x: ops.cast(x, "float32"),
    "as int32": lambda x: ops.cast(x, "int32"),
    "joined with int32": lambda x: ops.concatenate([x, ops.cast(x, "int32")], axis=1),
    "times a vector": lambda x: ops.matmul(x, np.asarray([[1], [10], [100]], "int64")),
    "dot": lambda x: ops.dot(ops.mod(x, 2**26), np.asarray([[1], [2], [3]], "int64")),
    "embedded": lambda x: L.Embedding(7, 2)(ops.mod(x, 7)),
}
DOUBLE_PRECISION = {
    "plus and times": lambda x: x * 3 + 1,
    "two tensors": lambda x: x - ops.flip(x, 1),
    "mod": lambda x: ops.mod(x, 3),
    "floor, ceil, round": lambda x: ops.floor(x) + ops.ceil(x) - ops.round(x),
    "sum": lambda x: ops.sum(x, axis=1),
    "where": lambda x: ops.where(x > 1, x, 0.5),
    "compared": lambda x: ops.greater(x, 1.0),
    "log, log1p, expm1": lambda x: ops.log(ops.abs(x)) + ops.log1p(ops.abs(x)) + ops.expm1(-ops.abs(x)),
    "softplus": ops.softplus,
    "square root": lambda x: ops.sqrt(ops.abs(x)),
    "infinite": lambda x: ops.isinf(x * 1e30 * 1e30),
    "logsumexp": lambda x: ops.logsumexp(x, axis=1),
    "sigmoid": ops.sigmoid,
    "relu": ops.relu,
    "leaky": ops.leaky_relu,
}
SINGLE_PRECISION = {
    "arctan": ops.arctan,
    "erf": ops.erf,
    "elu": ops.elu,
    "conv": lambda x: ops.conv(ops.reshape(x, (-1, 3, 1)), np.ones((2, 1, 2)) / 3, padding="same"),
    "dense": L.Dense(2, dtype="float64"),
    "normalized": L.LayerNormalization(dtype="float64"),
    "mean": lambda x: ops.mean(x, axis=1),
    "variance": lambda x: ops.var(x / 1e9, axis=1),
    "matrix product": lambda x: ops.matmul(x, np.eye(3)),
}
OF_UNSIGNED = {
    "plus": lambda x: x + 1,
    "largest": lambda x: ops.max(x, axis=1),
    "place of the largest": lambda x: ops.argmax(x, axis=1),
    "sorted": lambda x: ops.sort(x, axis=1),
    "mod": lambda x: ops.mod(x, 1000),
    "compared": lambda x: ops.greater(x, 7),
    "relu": ops.relu,
    "as float": lambda x: ops.cast(x, "float32"),
}


def answers(functions, array, **options):
    """Return {name: (Keras' answer, the file's)}: all functions are outputs of one model."""
    tensor = keras.Input(array.shape[1:], dtype=str(array.dtype))
    model = keras.Model(tensor, {name: function(tensor) for name, function in functions.items()})
    written = convert(model, **options)
    onnx.checker.check_model(written.proto, full_check=True)
    expected = call(model, keras.ops.convert_to_tensor(array, dtype=str(array.dtype)), [])
    runner = session(written.proto)
    got = runner.run(tree.flatten(written.outputs), {runner.get_inputs()[0].name: array})
    return dict(zip(sorted(functions), zip(expected, got, strict=True), strict=True)), written


def differing(pairs, *, tolerance):
    """Name the answers that differ; types count too, and whole numbers exactly."""
    found = []
    for name, (expected, got) in pairs.items():
        if expected.shape != got.shape or expected.dtype != got.dtype:
            found.append(f"{name}: {got.dtype}{got.shape} in place of {expected.dtype}{expected.shape}")
            continue
        scale = np.abs(expected) if expected.dtype.kind == "f" else 0
        near = np.abs(expected - got) <= tolerance * (scale + 1) if expected.dtype.kind == "f" else expected == got
        if not ((expected == got) | near).all():
            found.append(f"{name}: {got.ravel()[:6]} in place of {expected.ravel()[:6]}")
    return found


def test_ids_and_timestamps_above_32_bits_are_computed_as_keras_does():
    pairs, written = answers(LARGE_NUMBERS, IDS)
    assert differing(pairs, tolerance=1e-6) == []
    assert any("int64" in note for note in written.notes)


def test_numbers_of_double_precision_keep_it():
    pairs, _ = answers(DOUBLE_PRECISION, DOUBLES)
    assert differing(pairs, tolerance=1e-12 if pairs["relu"][0].dtype == "float64" else 1e-6) == []
    leaky, _ = answers({"leaky": ops.leaky_relu}, DOUBLES, opset=21)
    assert differing(leaky, tolerance=1e-6) == []


def test_what_onnxruntime_has_in_single_precision_alone_is_computed_in_it_and_said():
    pairs, written = answers(SINGLE_PRECISION, DOUBLES)
    assert differing(pairs, tolerance=1e-6) == []
    assert any("Erf of float64 is computed in float32" in note for note in written.notes) == (
        pairs["erf"][0].dtype == "float64"
    )


def test_unsigned_numbers_above_31_bits_are_computed_as_keras_does():
    pairs, _ = answers(OF_UNSIGNED, UNSIGNED)
    assert differing(pairs, tolerance=1e-6) == []


def test_sums_and_products_of_int32_overflow_as_in_keras():
    array = np.asarray([[2**30, 2**30, 2**30], [-(2**31), -5, 7], [3, 5, 7]], "int32")
    pairs, _ = answers(
        {"sum": lambda x: ops.sum(x, axis=1), "product": lambda x: ops.prod(x, axis=1), "times": lambda x: x * 3}, array
    )
    assert differing(pairs, tolerance=0) == []


def test_types_as_keras_infers_them_are_noticed(monkeypatch):
    """The twin: narrowed where the backend keeps 64 bits, kept where it narrows."""
    names = ("ids modulo buckets", "largest", "sorted")
    keeps = value_types.held_type("int64") == "int64"
    kinds = {"int64": "int32"} if keeps else {}

    def inferred(_, __, ___, outputs):
        return tree.map_structure(lambda x: keras.KerasTensor(x.shape, kinds.get(x.dtype, x.dtype)), outputs)

    monkeypatch.setattr(shape_inference, "computed", inferred)
    monkeypatch.setattr(trace, "held_type", lambda dtype: dtype)
    pairs, _ = answers({name: LARGE_NUMBERS[name] for name in names}, IDS)
    assert len(differing(pairs, tolerance=1e-6)) == len(names)


def test_the_report_says_that_the_answer_depends_on_the_backend(tmp_path):
    i = keras.Input((3,), dtype="int64", name="ids")
    report = export_onnx(keras.Model(i, ops.mod(i, 1000)), tmp_path / "m.onnx")
    assert f"under {keras.backend.backend()}" in report.reason
    assert report.provenance["exporter"]["reason"] == report.reason
    i = keras.Input((3,), dtype="int32", name="ids")
    report = export_onnx(keras.Model(i, ops.mod(i, 1000)), tmp_path / "n.onnx")
    assert "under" not in report.reason  # the twin: 32 bits are the same everywhere


X = np.full((1, 2, 4, 4), 0.5)
NODES = {
    "AveragePool": ({"x": X}, {"kernel_shape": [2, 2]}),
    "Conv": ({"x": X, "w": X}, {}),
    "ConvTranspose": ({"x": X, "w": np.ones((2, 2, 3, 3))}, {}),
    "GridSample": ({"x": X, "g": np.zeros((1, 2, 2, 2))}, {}),
    "InstanceNormalization": ({"x": X, "a": np.ones(2), "b": np.ones(2)}, {}),
    "Resize": ({"x": X, "r": np.zeros(0), "s": np.ones(4, "float32")}, {}),
    **{
        name: (
            {"x": np.ones((2, 1, 3)), "w": np.ones((1, 2 * n, 3)), "r": np.ones((1, 2 * n, 2))},
            {"hidden_size": 2},
        )
        for name, n in (("LSTM", 4), ("GRU", 3), ("RNN", 1))
    },
}


def runs_in_double(name):
    inputs, attributes = NODES.get(name, ({"x": X}, {}))
    node = onnx.helper.make_node(name, list(inputs), ["y"], **attributes)
    kinds = {key: onnx.helper.np_dtype_to_tensor_dtype(x.dtype) for key, x in inputs.items()}
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [onnx.helper.make_tensor_value_info(key, kinds[key], x.shape) for key, x in inputs.items()],
        [onnx.helper.make_empty_tensor_value_info("y")],
    )
    opset = 20 if name == "Gelu" else 17
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, inputs)
    except Exception:  # noqa: BLE001  onnxruntime has many classes of exceptions for a missing kernel
        return False
    return True


def test_the_operators_without_double_precision_are_those_of_the_table():
    """When onnxruntime gets such a kernel, the table can do without it; `Relu` and the like have one."""
    assert [name for name in sorted(SINGLE_ONLY) if runs_in_double(name)] == []
    assert all(map(runs_in_double, ("Relu", "Sigmoid", "Tanh", "Exp", "Log", "Softmax", "Sqrt")))
