"""Keras' answers, as the check asks for them: few shapes, compiled once where that is cheaper, and never stale."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from mnistkit.core import keras_backend
from mnistkit.core.errors import ParityError
from mnistkit.export import export_onnx
from mnistkit.export.answers import KerasAnswers
from mnistkit.export.collect_samples import drawn_samples
from mnistkit.export.native import convert, registry
from mnistkit.export.signature import signature_of_conversion, signature_of_model


def model_of(function, *, shape=(4,), dtype="float32"):
    inputs = keras.Input(shape, dtype=dtype, name="x")
    return keras.Model(inputs, function(inputs))


def answers_of(model):
    written = convert(model)
    return KerasAnswers(model, signature_of_conversion(model, written)), written.proto.graph


X = {"x": np.random.default_rng(0).normal(size=(5, 4)).astype("float32")}


def test_they_are_those_of_a_call():
    model = model_of(lambda x: [layers.Dense(3, activation="gelu")(x), ops.argmax(x, axis=1)])
    answers, _ = answers_of(model)
    expected = [ops.convert_to_numpy(answer) for answer in model(X["x"])]
    for left, right in zip(answers(X).values(), expected, strict=True):
        assert left.dtype == right.dtype
        assert np.allclose(left, right, rtol=0, atol=1e-6)


def test_a_weight_or_an_activation_that_changes_counts():
    """One program serves models of the same kind; what they compute is never taken from another one."""
    dense = layers.Dense(3)
    model = model_of(dense)
    before = answers_of(model)[0](X)
    dense.kernel.assign(dense.kernel * 2)
    doubled = answers_of(model)[0](X)
    assert np.allclose(next(iter(doubled.values())), 2 * next(iter(before.values())), atol=1e-6)
    dense.activation = ops.tanh
    bent = answers_of(model)[0](X)
    assert np.allclose(next(iter(bent.values())), np.tanh(next(iter(doubled.values()))), atol=1e-6)


def test_a_table_inside_a_layer_counts():
    """An array that is no weight is part of the program."""
    found = []
    for number in (1.0, 3.0):
        table = np.full(4, number, "float32")
        found.append(next(iter(answers_of(model_of(lambda x, table=table: x * table))[0](X).values())))
    assert np.allclose(found[1], 3 * found[0])


class Looks(layers.Layer):
    """A layer that looks at its values in Python, which no compiler can."""

    def call(self, x):
        return x * float(np.sign(ops.convert_to_numpy(x).sum()))

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def test_a_layer_that_looks_at_values_is_called_as_it_is():
    model = model_of(lambda x: Looks()(x))
    answers = KerasAnswers(model, signature_of_model(model))
    (found,) = answers(X).values()
    assert np.allclose(found, X["x"] * np.sign(X["x"].sum()))


def test_moved_by_their_last_bit_answers_move_by_a_rounding():
    model = model_of(layers.Dense(3))
    answers, _ = answers_of(model)
    kept = [ops.convert_to_numpy(weight) for weight in model.weights]
    (answer,), (moved,) = answers(X).values(), answers.moved(X).values()
    assert 0 < np.abs(answer - moved).max() < 1e-5
    assert all(np.array_equal(a, ops.convert_to_numpy(b)) for a, b in zip(kept, model.weights, strict=True))


def shapes_asked(model):
    answers, graph = answers_of(model)
    seen = []
    original = KerasAnswers.__call__

    class Watched(KerasAnswers):
        def __call__(self, arrays):
            seen.append(tuple(array.shape for array in arrays.values()))
            return original(self, arrays)

    samples = drawn_samples(Watched(model, answers.signature), graph, atol=1e-4)
    return set(seen), {size for sample in samples for size in sample.batch_sizes}


def test_keras_is_asked_in_few_shapes():
    """A backend may compile for each; the file is run at more batch sizes than Keras."""
    assert shapes_asked(model_of(layers.Dense(2))) == ({((16, 4),), ((1, 4),)}, {1, 2, 3, 16})
    shapes, sizes = shapes_asked(model_of(layers.GRU(2), shape=(None, 3)))
    assert len(shapes) == 5
    assert sizes == {1, 2, 3, 16}
    assert max(shape[1] for (shape,) in shapes) >= 200


def test_rows_that_count_for_each_other_are_asked_batch_by_batch(tmp_path):
    """The mean over the batch: a row alone has another answer than in company."""
    model = model_of(lambda x: x - ops.mean(x, axis=0))
    shapes, sizes = shapes_asked(model)
    assert {shape[0] for (shape,) in shapes} == sizes == {1, 2, 3, 16}
    assert {row.batch_size for row in export_onnx(model, tmp_path / "m.onnx").rows} == sizes


def test_a_file_that_keeps_such_rows_apart_is_refused(tmp_path, monkeypatch):
    """The twin: the mean of each row in place of the mean over the batch."""
    find = registry.find_op

    def along_the_row(graph, _, x):
        return graph.node("ReduceMean", graph.value(x), axes=[1], keepdims=1)

    monkeypatch.setattr(registry, "find_op", lambda kind: along_the_row if kind.__name__ == "Mean" else find(kind))
    with pytest.raises(ParityError, match=r"noise, batch size \d"):
        export_onnx(model_of(lambda x: x - ops.mean(x, axis=0, keepdims=True)), tmp_path / "m.onnx")


def chaotic():
    """Each layer folds its numbers back into [-1, 1]: a last bit grows a hundredfold on the way."""
    x = inputs = keras.Input((8,), name="x")
    for seed in range(5):
        x = ops.sin(layers.Dense(8, kernel_initializer=keras.initializers.RandomNormal(0, 2.0, seed=seed))(x))
    return keras.Model(inputs, x)


def scale_weights(monkeypatch, factor, *, layers=slice(None)):
    """Multiply the matrices of some layers in every file that is written."""
    from mnistkit.export import pipeline

    choose = pipeline.choose

    def scaled(*arguments, **options):
        chosen = choose(*arguments, **options)
        matrices = [one for one in chosen.proto.graph.initializer if one.raw_data and len(one.dims) == 2]
        for matrix in matrices[layers]:
            matrix.raw_data = (np.frombuffer(matrix.raw_data, np.float32) * np.float32(factor)).tobytes()
        return chosen

    monkeypatch.setattr(pipeline, "choose", scaled)


def test_a_right_file_of_a_model_that_magnifies_roundings_passes(tmp_path, monkeypatch):
    """The tolerance follows what the model's own answers move by when weights and inputs move by their last bit."""
    # The last bit of one layer's weights: Keras may round as onnxruntime does on some processors.
    scale_weights(monkeypatch, 1 + 2**-23, layers=slice(1, 2))
    report = export_onnx(chaotic(), tmp_path / "m.onnx")
    widened = [row for row in report.rows if row.widened > 1]
    assert widened
    assert all(row.widened <= 100 for row in widened)
    assert "tolerance widened" in str(report)
    with pytest.raises(ParityError):  # a tolerance that was asked for stands
        export_onnx(chaotic(), tmp_path / "n.onnx", atol=1e-7)


def test_a_wrong_file_of_such_a_model_is_refused(tmp_path, monkeypatch):
    """The twin: weights that are a thousandth too large."""
    scale_weights(monkeypatch, 1.001)
    with pytest.raises(ParityError, match="largest difference"):
        export_onnx(chaotic(), tmp_path / "m.onnx")


class Hides(layers.Layer):
    """A layer that looks at its values, and calls what goes wrong by another name."""

    def call(self, x):
        try:
            return x * float(np.sign(ops.convert_to_numpy(x).sum()))
        except Exception:  # noqa: BLE001  # whatever the backend raises
            raise ValueError("this layer wants numbers") from None

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def test_what_is_refused_compiled_is_asked_once_more_before_it_is_called_refused():
    model = model_of(lambda x: Hides()(x))
    signature = signature_of_model(model)
    _, graph = answers_of(model_of(lambda x: x * 2.0))
    sample = drawn_samples(KerasAnswers(model, signature), graph, atol=1e-4)[0]
    (expected,) = sample.expected.values()
    assert np.allclose(np.abs(expected), np.abs(next(iter(sample.inputs.values()))))


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX alone compiles for each shape")
def test_what_xla_gives_up_is_called_as_it_is(monkeypatch):
    import jax

    def give_up(*_):
        raise jax.errors.JaxRuntimeError("UNIMPLEMENTED")

    model = model_of(layers.Dense(3))
    answers, _ = answers_of(model)
    monkeypatch.setattr(type(answers._program), "prepare", give_up)
    assert np.allclose(next(iter(answers(X).values())), ops.convert_to_numpy(model(X["x"])), atol=1e-6)


class Counts(layers.Layer):
    """A layer that refuses what is long, and counts how often it runs."""

    calls = 0

    def call(self, x):
        self.calls += 1
        if isinstance(x.shape[1], int) and x.shape[1] > 100:
            raise ValueError("too long")
        return x * 2.0


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX alone compiles for each shape")
def test_a_refused_shape_is_traced_once_and_never_run_operation_by_operation(monkeypatch):
    counts = Counts()
    answers, graph = answers_of(model_of(counts, shape=(None, 3)))
    counts.calls = 0
    monkeypatch.setattr(type(answers.signature), "call", lambda *_: pytest.fail("it was run operation by operation"))
    drawn_samples(answers, graph, atol=1e-4)
    assert counts.calls <= 6  # 24, 9, 1, a single row, and 224, which is refused


def precision():
    """Whether products may be computed in TF32, as the backend has it now."""
    name = keras.backend.backend()
    if name == "jax":
        import jax

        return jax.config.jax_default_matmul_precision != "highest"
    if name == "torch":
        import torch

        return torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
    import tensorflow as tf

    return tf.config.experimental.tensor_float_32_execution_enabled()


def test_on_a_gpu_they_are_in_full_precision(monkeypatch, tmp_path):
    seen = []

    def looked(self, model, signature):
        seen.append(precision())
        original(self, model, signature)

    original = KerasAnswers.__init__
    monkeypatch.setattr(KerasAnswers, "__init__", looked)
    model = model_of(lambda x: layers.Dense(2)(x))
    before = precision()
    assert before  # nothing here sets it
    export_onnx(model, tmp_path / "cpu.onnx", profile="none")
    monkeypatch.setattr(keras_backend, "_device", lambda _: "NVIDIA H200")
    export_onnx(model, tmp_path / "gpu.onnx", profile="none")
    assert seen == [True, False]
    assert precision() == before
    with pytest.raises(ZeroDivisionError), keras_backend.full_precision():
        raise ZeroDivisionError
    assert precision() == before
