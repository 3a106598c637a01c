"""Handlers are found by class: what a user's class is called says nothing about it."""

import keras
import numpy as np
import pytest
from comparing import agree, compare
from keras import layers as L
from keras import ops

from mnistkit.core.errors import InputError, UnsupportedError
from mnistkit.core.keras_backend import EXPORTERS, is_installed
from mnistkit.export import export_onnx, native
from mnistkit.export.fallback.exporters import PACKAGES
from mnistkit.export.native import convert, find_unsupported, keras_hooks, register_layer, register_op, registry


class Round(keras.Operation):
    """A user's own: Keras' has ``decimals``."""

    def call(self, x):
        return ops.floor(x * 3.0) + 0.25

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


class Sign(keras.Operation):
    """A user's own, with a zone around 0."""

    def call(self, x):
        return ops.where(ops.abs(x) < 0.3, 0.5, ops.sign(x) * 2.0)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


class Silu(keras.Operation):
    """A user's own, with a factor, and two results."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, x):
        return x * ops.sigmoid(self.factor * x), ops.shape(x)[1] * ops.ones_like(x)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype), keras.KerasTensor(x.shape, x.dtype)


def model_of(operation, shape=(5,)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, operation(inputs))


@pytest.mark.parametrize(("operation", "shape"), [(Round(), (5,)), (Sign(), (5,)), (Silu(1.7), (None, 3))])
def test_a_users_operation_with_the_name_of_one_of_keras(operation, shape):
    agree(model_of(operation, shape))


def test_keras_own_of_that_name_is_another_function():
    """The twin: were the user's ``Sign`` lowered as Keras' own, the comparison would fail."""
    with pytest.raises(AssertionError, match="largest difference"):
        agree(model_of(Sign()), proto=convert(model_of(ops.sign)).proto)


def test_inside_a_layer_and_with_a_handler_of_ones_own():
    class Halve(keras.Operation):
        def call(self, x):
            return keras.ops.convert_to_tensor(np.asarray(x) / 2)

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape, x.dtype)

    halve = Halve()
    assert [problem.kind for problem in find_unsupported(model_of(halve))] == [f"{__name__}.{Halve.__qualname__}"]

    @register_op(Halve)
    def lower_halve(graph, _, x):
        return graph.pointwise("Mul", x, graph.const(0.5, x.dtype))

    assert find_unsupported(model_of(halve)) == []
    file = convert(model_of(halve))
    x = np.linspace(-3, 3, 10, dtype="float32").reshape(2, 5)
    import onnxruntime as ort

    runner = ort.InferenceSession(file.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    compare([x / 2], runner.run(None, {file.inputs: x}))
    assert registry.find_op(Halve) is lower_halve


class Escaping(keras.Operation):
    """Leaves ``keras.ops`` for the framework, which symbolic tensors cannot follow."""

    def call(self, x):
        if keras.backend.backend() == "jax":
            import jax

            return jax.lax.mul(x, jax.lax.sign(x))
        if keras.backend.backend() == "torch":
            import torch

            return torch.mul(x, torch.sign(x))
        import tensorflow as tf

        return tf.raw_ops.Mul(x=x, y=tf.raw_ops.Sign(x=x))

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


Escaping.__name__ = Escaping.__qualname__ = "Relu"


def test_what_cannot_be_traced_is_refused_by_its_full_name():
    model = model_of(Escaping())
    with pytest.raises(UnsupportedError, match=rf"{__name__}\.Relu\).*does not run on symbolic tensors.*register_op"):
        convert(model)


class Dense(L.Layer):
    """A user's layer with the name of one of Keras', that says it lives in Keras."""

    def call(self, x):
        return x * 3.0


Dense.__module__ = "keras.mine"


class LSTM(L.GRU):
    """A user's subclass of one layer with the name of another."""


class Hashing(L.Layer):
    """Keras' own of this name is refused."""

    def call(self, x):
        return ops.cast(ops.round(x), "float32") * 2.0


Hashing.__module__ = "keras.src.layers.preprocessing.hashing"


@pytest.mark.parametrize(("layer", "shape"), [(Dense, (3,)), (lambda: LSTM(4), (None, 3)), (Hashing, (3,))])
def test_a_users_layer_with_the_name_of_one_of_keras(layer, shape):
    agree(model_of(layer(), shape))


def test_the_names_of_messages():
    assert registry.class_name(L.Dense) == "Dense"
    assert registry.class_name(Dense) == "keras.mine.Dense"
    assert not keras_hooks.is_own(Hashing)


def test_registering_twice_is_an_error():
    class Mine(keras.Operation):
        pass

    class MyLayer(L.Layer):
        pass

    def one(_graph, _op, x):
        return x

    def two(_graph, _op, x):
        return x

    register_op(Mine)(one)
    with pytest.raises(InputError, match=r"Mine has a handler already \(.*one\).*replace=True"):
        register_op(Mine)(two)
    assert registry.find_op(Mine) is one
    register_op(Mine, replace=True)(two)
    assert registry.find_op(Mine) is two
    register_layer(MyLayer)(one)
    with pytest.raises(InputError, match="MyLayer has a handler already"):
        register_layer(MyLayer)(two)


@pytest.mark.parametrize("function", ["round", "arctan2", "isnan"])
def test_keras_operations_have_a_handler_already(function):
    with pytest.raises(InputError, match="has a handler already"):
        register_op(getattr(ops, function))(lambda _graph, _op, x: x)


@pytest.mark.parametrize("name", ["Arctan2", "Sign", "Scan"])
def test_the_exporters_own_tables_refuse_a_second_entry(name):
    with pytest.raises(InputError, match=f"{name} has a handler already"):
        registry.register_decomposition(name)(lambda _op, x: x)
    with pytest.raises(InputError, match=f"{name} has a handler already"):
        registry.register_lowering(name)(lambda _graph, _op, x: x)


@pytest.mark.parametrize("wrong", ["NoSuchOperation", int, len, ops.shape])
def test_what_is_no_operation(wrong):
    with pytest.raises(InputError, match="is no operation of Keras"):
        register_op(wrong)


@pytest.mark.parametrize("wrong", ["NoSuchLayer", int, Round])
def test_what_is_no_layer(wrong):
    with pytest.raises(InputError, match="is no layer of Keras"):
        register_layer(wrong)


@pytest.fixture
def restored():
    tables = (registry._LOWERINGS, registry._DECOMPOSITIONS)
    kept = [dict(table) for table in tables]
    yield
    for table, content in zip(tables, kept, strict=True):
        table.clear()
        table.update(content)


@pytest.mark.usefixtures("restored")
def test_a_handler_for_a_function_of_keras():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, ops.erfinv(ops.tanh(inputs) * 0.5))
    with pytest.raises(UnsupportedError, match="Erfinv"):
        convert(model)

    @register_op(ops.erfinv)
    def erfinv(graph, _, x):
        return graph.pointwise("Mul", x, graph.const(0.9, x.dtype))

    assert any(node.op_type == "Mul" for node in convert(model).proto.graph.node)


@pytest.mark.usefixtures("restored")
def test_a_users_handler_takes_the_place_of_a_decomposition():
    @register_op("Cbrt", replace=True)
    def cbrt(graph, _, x):
        return graph.pointwise("Identity", x)

    inputs = keras.Input((4,))
    assert [n.op_type for n in convert(keras.Model(inputs, ops.cbrt(inputs))).proto.graph.node] == ["Identity"]


@pytest.mark.parametrize(
    ("old", "new"), [("Unwritable", "UnsupportedOp"), ("register_rewrite", "register_decomposition")]
)
def test_old_names_warn(old, new):
    with pytest.warns(DeprecationWarning, match=f"{old} is called {new} now"):
        assert getattr(native, old) is getattr(native, new)


def test_every_function_that_records_one_class_leads_to_it():
    for name in ("add", "where", "softmax", "relu", "matmul", "einsum", "conv", "reshape"):
        kind = keras_hooks.operation_of(getattr(ops, name))
        assert kind is not None
        assert kind.__name__.lower() == name.replace("_", "")
    assert keras_hooks.operation_of(ops.zeros) is None
    assert keras_hooks.operation_of(np.abs) is None


# Names in the exporter's tables that came to Keras after 3.12, and those that went after 3.15.
NEWER = {
    "AdaptiveAveragePool",
    "AdaptiveMaxPool",
    "AllClose",
    "ArraySplit",
    "CDist",
    "DepthToSpace",
    "Dsplit",
    "Dstack",
    "EmptyLike",
    "Erfc",
    "Fabs",
    "Fliplr",
    "Flipud",
    "Fmax",
    "Fmin",
    "Fmod",
    "Hsplit",
    "Ldexp",
    "Nanargmax",
    "Nanargmin",
    "Nancumprod",
    "Nancumsum",
    "Nanmax",
    "Nanmean",
    "Nanmedian",
    "Nanmin",
    "Nanprod",
    "Nanstd",
    "Nansum",
    "Nanvar",
    "Percentile",
    "Ptp",
    "Rad2deg",
    "SegmentMin",
    "SegmentProd",
    "Sinc",
    "SpaceToDepth",
    "Vander",
    "Vsplit",
}
GONE = {"Ndim", "Size"}


def test_every_name_in_the_tables_is_a_class_of_this_keras_or_is_listed():
    def resolve(name):
        layer = name.removeprefix("layers.")
        return keras_hooks.operation_class(name) if layer == name else keras_hooks.layer_class(layer)

    version = tuple(int(part) for part in keras.__version__.split(".")[:2])
    listed = (NEWER if version < (3, 15) else set()) | (GONE if version > (3, 15) else set())
    assert {name for name in registry._NAMED if resolve(name) is None} <= listed


def test_auto_falls_back_from_what_cannot_be_traced(tmp_path):
    name = next(
        (n for n, b in EXPORTERS.items() if b == keras.backend.backend() and is_installed(PACKAGES[n][0])), None
    )
    if name is None:
        pytest.skip("this backend's own exporter is not installed")  # an extra of its own
    report = export_onnx(model_of(Escaping()), tmp_path / "model.onnx")
    assert report.exporter == name
    assert f"{__name__}.Relu" in report.reason
