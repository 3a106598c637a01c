"""Whether rows are answered one by one is found without a compiled call where possible, and never by guessing."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from mnistkit.core.errors import ParityError
from mnistkit.export import compiled, export_onnx
from mnistkit.export.answers import KerasAnswers
from mnistkit.export.choose import choose
from mnistkit.export.collect_samples import drawn_samples
from mnistkit.export.signature import signature_of_model

IS_COMPILED = keras.backend.backend() == "jax"
ROWS = {"x": np.linspace(-1, 1, 64, dtype="float32").reshape(16, 4)}
ROW = {"x": ROWS["x"][-1:]}


def model_of(function, shape=(4,)):
    inputs = keras.Input(shape, name="x")
    return keras.Model(inputs, function(inputs))


def rows_asked(model, *, without_file=False):
    """The numbers of rows that Keras is called with, and those that the file is run on."""
    chosen = choose(model, "native", opset=None, optimize=True, batch=None)
    seen = set()
    original = KerasAnswers.__call__

    class Watched(KerasAnswers):
        def __call__(self, arrays):
            seen.add(len(next(iter(arrays.values()))))
            return original(self, arrays)

    written = None if without_file else chosen.proto
    samples = drawn_samples(Watched(model, chosen.signature), chosen.proto.graph, atol=1e-4, written=written)
    return seen, {size for sample in samples for size in sample.batch_sizes}


def test_the_file_is_asked_for_a_row_alone_where_keras_would_compile_for_it():
    model = model_of(layers.Dense(3, activation="relu"))
    assert rows_asked(model) == ({16} if IS_COMPILED else {16, 1}, {1, 2, 3, 16})
    assert rows_asked(model, without_file=True) == ({16, 1}, {1, 2, 3, 16})


MIXED = {
    "the mean of the batch": lambda x: x - ops.mean(x, axis=0, keepdims=True),
    "the largest of the batch": lambda x: x - ops.max(x, axis=0, keepdims=True),
    "the row before": lambda x: ops.cumsum(x, axis=0),
    "the number of rows, counted": lambda x: x / ops.sum(ops.ones_like(x[:, :1])),
}


@pytest.mark.parametrize("case", MIXED)
def test_rows_that_depend_on_the_batch_are_asked_batch_by_batch(case, tmp_path):
    model = model_of(MIXED[case])
    assert rows_asked(model) == ({1, 2, 3, 16}, {1, 2, 3, 16})
    assert {row.batch_size for row in export_onnx(model, tmp_path / "m.onnx").rows} == {1, 2, 3, 16}


def test_an_answer_of_another_shape_to_one_row_is_found_by_the_trace_alone(tmp_path):
    """Squeeze takes the batch axis of one row away as well, and the file does not."""
    model = model_of(ops.squeeze, (1, 4))
    answers = KerasAnswers(model, signature_of_model(model))
    rows = {"x": ROWS["x"].reshape(16, 1, 4)}
    if IS_COMPILED:
        assert answers.shapes_if_alike({"x": rows["x"][:1]}, rows) != {answers.signature.outputs[0].name: (1, 4)}
    with pytest.raises(ParityError, match=r"batch size 1, .*expected shape \[4\], got \[1, 4\]"):
        export_onnx(model, tmp_path / "m.onnx")


def test_a_wrong_file_is_refused_as_before(tmp_path, monkeypatch):
    from mnistkit.export import pipeline

    original = pipeline.choose

    def wrong(*arguments, **options):
        chosen = original(*arguments, **options)
        for tensor in chosen.proto.graph.initializer:
            tensor.raw_data = (np.frombuffer(tensor.raw_data, np.float32) * np.float32(1.01)).tobytes()
        return chosen

    monkeypatch.setattr(pipeline, "choose", wrong)
    with pytest.raises(ParityError, match="largest difference"):
        export_onnx(model_of(layers.Dense(3, use_bias=False)), tmp_path / "m.onnx")


def test_a_file_that_cannot_run_leaves_the_question_to_keras():
    model = model_of(layers.Dense(3))
    chosen = choose(model, "native", opset=None, optimize=True, batch=None)
    graph = chosen.proto.graph
    broken = type(chosen.proto)()
    broken.CopyFrom(chosen.proto)
    broken.graph.node[0].op_type = "NoSuchOperator"
    answers = KerasAnswers(model, chosen.signature)
    sizes = {size for s in drawn_samples(answers, graph, atol=1e-4, written=broken) for size in s.batch_sizes}
    assert sizes == {1, 2, 3, 16}


class Branches(layers.Layer):
    """A layer that treats one row in another way."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def call(self, x):
        alone = x.shape[0] == 1
        if self.kind == "operation":
            return ops.sin(x) if alone else ops.cos(x)
        if self.kind == "number":
            return x * (2.0 if alone else 3.0)
        if self.kind == "array":
            return x * np.full(4, 2.0 if alone else 3.0, "float32")
        return x * 3.0

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


@pytest.mark.parametrize("kind", ["operation", "number", "array"])
def test_other_operations_or_constants_for_one_row_are_not_alike(kind):
    model = model_of(lambda x: Branches(kind)(x))
    answers = KerasAnswers(model, signature_of_model(model_of(lambda x: x * 3.0)))
    assert answers.shapes_if_alike(ROW, ROWS) is None


def test_the_same_operations_and_constants_are_alike_where_the_backend_compiles():
    model = model_of(lambda x: Branches("none")(x))
    answers = KerasAnswers(model, signature_of_model(model_of(lambda x: x * 3.0)))
    (name,) = (tensor.name for tensor in answers.signature.outputs)
    assert answers.shapes_if_alike(ROW, ROWS) == ({name: (1, 4)} if IS_COMPILED else None)


@pytest.mark.parametrize(
    "message", ["INVALID_ARGUMENT: No such compile option: 'xla_cpu_use_fusion_emitters'", "other"]
)
def test_an_xla_without_the_quickest_option_compiles_with_the_others(message):
    asked = []

    class Lowered:
        def compile(self, compiler_options):
            asked.append(compiler_options)
            if len(asked) == 1:
                raise RuntimeError(message)
            return "a program"

    if message == "other":
        with pytest.raises(RuntimeError, match="other"):
            compiled._compile_quickly(Lowered())
        assert len(asked) == 1
    else:
        assert compiled._compile_quickly(Lowered()) == "a program"
        assert "xla_cpu_use_fusion_emitters" in asked[0]
        assert "xla_cpu_use_fusion_emitters" not in asked[1]
        assert asked[1]["xla_backend_optimization_level"] == 0
