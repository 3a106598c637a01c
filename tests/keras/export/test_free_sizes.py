"""Models whose Python code looks at the number of a free size: written when it changes nothing, refused otherwise."""

import functools
import math

import keras
import numpy as np
import onnx
import pytest
from comparing import agree, redraw
from keras import layers as L
from keras import ops

from mnistkit.core.errors import ExportError, UnsupportedError
from mnistkit.core.tensors import TensorInfo
from mnistkit.export import export_onnx
from mnistkit.export.answers import KerasAnswers
from mnistkit.export.collect_samples import drawn_samples
from mnistkit.export.native import convert, find_unsupported
from mnistkit.export.native.size_decisions import FreeSizeError
from mnistkit.export.samples import Sample
from mnistkit.export.signature import Signature
from mnistkit.export.verification import verify_samples


class Pick(L.Layer):
    """A user's layer around a function. It says its shape: JAX itself cannot compare a size that is not known."""

    def __init__(self, function, *, shape=(None, None, 4), **options):
        super().__init__(**options)
        self.function, self.shape = function, shape

    def compute_output_spec(self, x):
        return keras.KerasTensor(self.shape, x.dtype)

    def call(self, x):
        return self.function(x)


def around(function, length=None, shape=(None, None, 4), **options):
    x = keras.Input((length, 4), **options)
    return keras.Model(x, Pick(function, shape=shape, name="pick")(x))


def length(x):
    return ops.shape(x)[1]


@functools.cache
def factor_for(size):
    return 2.0 if size == 256 else 1.0


def too_long(x):
    if length(x) > 600:
        raise ValueError("too long")
    return x * 2


COMPARED = {
    "above a threshold": lambda x: x * 2 if length(x) > 200 else x,
    "above a threshold that no check reaches": lambda x: x * 2 if length(x) > 5000 else x,
    "at one size alone": lambda x: x * 2 if length(x) == 7 else x,
    "odd": lambda x: x * 2 if length(x) % 2 else x,
    "a bound by min()": lambda x: x * ops.cast(min(length(x), 512), "float32"),
    "another number, same operations": lambda x: x * (2.0 if x.shape[1] >= 1000 else 3.0),
    "half the batch": lambda x: x * 2 if x.shape[0] // 2 > 32 else x,
    "a batch of 1": lambda x: x * 2 if ops.shape(x)[0] == 1 else x,
    "bounds of a chain": lambda x: x * 2 if 300 < length(x) < 310 else x,
}


@pytest.mark.parametrize("function", COMPARED.values(), ids=COMPARED)
def test_another_way_for_other_sizes_is_refused_by_the_name_of_the_layer(function):
    with pytest.raises(FreeSizeError, match=r"pick: decides in Python by a free size .*a fixed size works"):
        convert(around(function))


NUMBERS = {
    "int()": lambda x: x * int(length(x)),
    "float()": lambda x: x * float(length(x)),
    "/": lambda x: x * (1.0 / length(x)),
    "a product with a float": lambda x: x * (0.5 * length(x)),
    "math": lambda x: x * math.sqrt(length(x)),
    "range()": lambda x: sum((x for _ in range(0, length(x), 512)), x),
    "a list of that length": lambda x: x * len([0] * length(x)),
    "a key": lambda x: x * {256: 2.0}.get(length(x), 1.0),
    "a key in a tuple": lambda x: x * {(256, 4): 2.0}.get(tuple(x.shape[1:]), 1.0),
    "a cache": lambda x: x * factor_for(length(x)),
    "NumPy": lambda x: x * float(np.asarray(length(x)) > 200),
    "bits": lambda x: x * (length(x) & 1),
}


@pytest.mark.parametrize("function", NUMBERS.values(), ids=NUMBERS)
def test_the_number_of_a_free_size_is_refused_by_the_name_of_the_layer(function):
    with pytest.raises(FreeSizeError, match=r"pick: a free size is .*test_free_sizes.py, line \d+.*a fixed size works"):
        convert(around(function))


def test_with_fixed_sizes_the_same_models_are_written():
    for function in [*COMPARED.values(), *NUMBERS.values()]:
        convert(around(function, 7, batch_size=2))


SHAPES = {"a slice of what is there": (None, None, 2, 2), "a mean": (None, 4), "rows joined": (None, 4)}
HARMLESS = {
    "a refusal by the model itself": too_long,
    "a comparison without consequences": lambda x: x * 2 if length(x) > 4 else 2 * x if False else x * 2,
    "bool()": lambda x: x * 2 if length(x) else x,
    "a message": lambda x: x * 2 if f"length {length(x)}" else x,
    "a slice of what is there": lambda x: ops.reshape(x[:, :512], (-1, length(x[:, :512]), 2, 2)),
    "positions": lambda x: x * ops.cast(ops.arange(length(x)), "float32")[None, :, None],
    "a mean": lambda x: ops.sum(x, axis=1) / length(x),
    "rows joined": lambda x: ops.reshape(x, (ops.shape(x)[0] * length(x), 4)),
    "a power and divmod": lambda x: ops.ones((1, length(x) ** 2, divmod(length(x) + 1, 2)[0])) * ops.sum(x),
}


def test_sizes_that_stay_sizes_are_written():
    for name, function in HARMLESS.items():
        model = around(function, shape=SHAPES.get(name, (None, None, 4)))
        assert find_unsupported(model) == [], name
        if name != "rows joined":
            agree(model, lengths=(3, 8))


def test_a_decision_inside_the_model_is_found_through_the_layers_before_it():
    x = keras.Input((None, 4))
    small = L.Conv1D(4, 3, strides=4)(x)
    model = keras.Model(x, Pick(lambda y: y * 2 if y.shape[1] > 100 else y, name="pick")(small))
    with pytest.raises(FreeSizeError, match="pick: decides in Python by a free size"):
        convert(model)


def test_a_branch_that_runs_only_in_the_framework_is_refused():
    def past_keras(x):
        if length(x) > 5000:
            return ops.convert_to_tensor(np.asarray(x) * 2)  # runs on the backend's tensors alone
        return x

    model = around(past_keras)
    with pytest.raises(FreeSizeError, match=r"pick: decides in Python by a free size"):
        convert(model)


def test_a_slice_with_a_bound_is_as_long_as_what_it_takes():
    """Its length is the input's up to the bound: the file once took it for the input's at any length."""

    def mean_of_the_first(x):
        first = x[:, :400]
        return ops.sum(first, axis=1) / length(first)

    agree(around(mean_of_the_first, shape=(None, 4)), lengths=(3, 500))


def test_a_picture_of_free_size_that_is_cropped_is_refused():
    """Keras resizes pictures that are smaller than the crop."""
    x = keras.Input((None, None, 3))
    model = keras.Model(x, L.CenterCrop(40, 50)(x))
    with pytest.raises(FreeSizeError, match=r"center_crop: .*a fixed size works"):
        convert(model)
    agree(redraw(keras.Sequential([keras.Input((60, 70, 3)), L.CenterCrop(40, 50)])))


def test_no_other_exporter_is_tried_for_a_decision_by_a_size(tmp_path):
    """They would write one way for all sizes without a word."""
    model = around(COMPARED["above a threshold that no check reaches"])
    with pytest.raises(FreeSizeError) as found:
        export_onnx(model, tmp_path / "m.onnx")
    assert not isinstance(found.value, UnsupportedError)
    assert not list(tmp_path.iterdir())


def test_lengths_that_must_agree_are_not_drawn_apart():
    """A mask of length 1 fits any length by broadcasting, under JAX even inside an attention; no file does that."""
    a, b = keras.Input((None, 2), name="a"), keras.Input((None, 2), name="b")
    model = keras.Model([a, b], L.Add()([a, b]))
    sizes = tuple(TensorInfo(name, "float32", ("batch", f"{name}_1", 2)) for name in "ab")
    structure = [None, None]
    signature = Signature(sizes, (TensorInfo("add", "float32", ("batch", None, 2)),), structure, ())
    graph = onnx.helper.make_graph([], "empty", [], [])
    drawn = drawn_samples(KerasAnswers(model, signature), graph, atol=1e-5)
    lengths = [[x.shape[1] for x in sample.inputs.values()] for sample in drawn if ", length " in sample.name]
    assert lengths[:3] == [[24, 24], [9, 9], [1, 1]]
    assert all(a == b for a, b in lengths)


def test_a_file_that_cannot_run_is_an_export_error_by_the_name_of_the_layer(tmp_path):
    x = keras.Input((None, 4))
    model = redraw(keras.Model(x, L.Dense(3, name="inner")(x)))
    proto = convert(model).proto
    graph = proto.graph
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 7, 4], np.int64), "fixed"))
    last = graph.node[0]
    kept = last.input[0]
    last.input[0] = "inner/fixed"
    graph.node.insert(0, onnx.helper.make_node("Reshape", [kept, "fixed"], ["inner/fixed"], name="inner/Reshape"))
    for size in graph.output[0].type.tensor_type.shape.dim:
        size.Clear()
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    ones = np.ones((1, 3, 4), np.float32)
    sample = Sample("noise", {graph.input[0].name: ones}, {graph.output[0].name: np.ones((1, 3, 3))}, (1,))
    with pytest.raises(ExportError, match=r"noise, batch size 1: onnxruntime cannot run .* stops in inner .Reshape."):
        verify_samples(path, [sample], atol=1.0)


def test_the_batch_size_is_read_from_the_same_input_on_every_backend():
    """Keras visits a dict in the order of its keys, and under PyTorch as it was filled."""
    words, gaps = keras.Input((None,), name="words"), keras.Input((None,), name="gaps")
    table = Pick(lambda x: ops.zeros((ops.shape(x)[0], 3)), shape=(None, 3))(words)
    written = convert(keras.Model({"words": words, "gaps": gaps}, [table, gaps]))
    assert [node.input[0] for node in written.proto.graph.node if node.op_type == "Shape"] == ["gaps"]
