"""What a file is checked on, by what a user's model needs: each test is something a user would see."""

import keras
import numpy as np
import onnx
import pytest
from keras import layers, ops

from mnistkit.core.errors import ExportError, ParityError, UnsupportedError
from mnistkit.export import collect_samples, export_onnx
from mnistkit.export.answers import KerasAnswers
from mnistkit.export.choose import choose
from mnistkit.export.native import registry


def model_of(function, *, dtype="float32", shape=(5,)):
    inputs = keras.Input(shape, dtype=dtype, name="x")
    return keras.Model(inputs, function(inputs))


def samples_of(model):
    chosen = choose(model, "native", opset=None, optimize=True, batch=None)
    found = collect_samples.drawn_samples(KerasAnswers(model, chosen.signature), chosen.proto.graph, atol=1e-4)
    return {sample.name: sample for sample in found}


def replace_op(monkeypatch, name, handler):
    find = registry.find_op
    monkeypatch.setattr(registry, "find_op", lambda kind: handler if kind.__name__ == name else find(kind))


# --- inputs to which Keras has no answer ----------------------------------------------------------------------------


def test_the_classic_text_classifier_is_exported(tmp_path):
    """A row without any word is NaN in Keras: the mean of nothing. Such rows are left out, and told."""
    words = keras.Input((None,), dtype="int32", name="words")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(20, 3, mask_zero=True)(words))
    model = keras.Model(words, layers.Dense(1, activation="sigmoid")(x))
    report = export_onnx(model, tmp_path / "m.onnx")
    assert report.left_out["padding"] > 0
    assert {row.sample for row in report.rows} >= {"noise, length 24", "noise, length 1", "noise, length 224"}


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: ops.log(x) + ops.sqrt(x), "noise above 0"),
        (lambda x: ops.arctanh(2 * x - 1) + ops.log(x), "noise between 0 and 1"),
        (lambda x: ops.arccosh(x), "noise above 1"),
        (lambda x: ops.sum(1 / x, axis=-1), "noise"),
    ],
)
def test_a_model_with_a_domain_is_checked_inside_it(tmp_path, function, name):
    report = export_onnx(model_of(function), tmp_path / "m.onnx")
    assert report.rows[0].sample == name
    assert name in str(report)  # what was drawn is told


def test_a_division_of_whole_numbers_is_not_tried_by_zero(tmp_path):
    a, b = (keras.Input((3,), dtype="int32", name=name) for name in "ab")
    report = export_onnx(keras.Model([a, b], [a // b, ops.mod(a, b)]), tmp_path / "m.onnx")
    assert {row.batch_size for row in report.rows} == {1, 2, 3, 16}


def test_a_wrong_logarithm_is_refused_inside_its_domain(tmp_path, monkeypatch):
    """The twin."""
    replace_op(monkeypatch, "Log", lambda graph, _, x: graph.pointwise("Sqrt", graph.value(x)))
    with pytest.raises(ParityError, match="noise above 0"):
        export_onnx(model_of(ops.log), tmp_path / "m.onnx")


def test_a_model_without_any_answer_is_refused(tmp_path):
    with pytest.raises(ExportError, match="Keras itself answers with NaN to every input"):
        export_onnx(model_of(lambda x: x * np.float32("nan")), tmp_path / "m.onnx")


# --- values that chance does not draw -------------------------------------------------------------------------------


def test_padding_of_every_kind_is_checked():
    def text(x):
        return layers.Dense(2)(layers.LSTM(3)(layers.Embedding(9, 3, mask_zero=True)(x)))

    rows = samples_of(model_of(text, dtype="int32"))["padding"].inputs["x"]
    assert rows[0].tolist() == [0] * 5
    assert (rows[1][:2] > 0).all()
    assert rows[1][2:].tolist() == [0] * 3  # padded behind
    assert rows[2][:2].tolist() == [0] * 2  # padded before
    assert rows[3].tolist() == [8] * 5  # the last word


def test_a_vocabulary_is_checked_with_its_own_keys(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow", reason="Keras builds its lookups with TensorFlow, which this environment lacks")
    keys = [10**6 + 7 * n for n in range(40)]
    model = model_of(lambda x: layers.IntegerLookup(vocabulary=keys)(x), dtype="int64", shape=(4,))
    drawn = samples_of(model)["values that the model knows"].inputs["x"]
    assert len(set(drawn.ravel().tolist()) & set(keys)) > 5
    export_onnx(model, tmp_path / "m.onnx")
    chosen = choose(model, "native", opset=None, optimize=True, batch=None)
    encoder = next(node for node in chosen.proto.graph.node if node.op_type == "LabelEncoder")
    values = next(attribute for attribute in encoder.attribute if attribute.name == "values_int64s")
    values.ints[:] = [*values.ints[1:], values.ints[0]]  # the twin: every word has its neighbour's number
    monkeypatch.setattr("mnistkit.export.pipeline.choose", lambda *_, **__: chosen)
    with pytest.raises(ParityError, match="values that the model knows"):
        export_onnx(model, tmp_path / "m.onnx")


def test_the_edges_of_bins_are_checked(tmp_path, monkeypatch):
    model = model_of(layers.Discretization(bin_boundaries=[-1.3, 0.2, 77.7]))
    drawn = samples_of(model)["values that the model knows"].inputs["x"]
    assert np.float32(77.7) in drawn
    assert np.nextafter(np.float32(77.7), np.float32(0)) in drawn
    export_onnx(model, tmp_path / "m.onnx")

    def open_below(graph, _, x, bins):
        wide = graph.unsqueeze(graph.value(x), graph.value(x).rank)
        over = graph.node("Greater", wide, graph.value(bins, "float32"), dtype="bool")
        counts = graph.node("ReduceSum", graph.cast(over, "int32"), graph.ints(2), keepdims=0)
        return type(counts)(counts.name, "int32", graph.value(x).shape)

    replace_op(monkeypatch, "Digitize", open_below)
    with pytest.raises(ParityError, match="values that the model knows"):
        export_onnx(model, tmp_path / "m.onnx")


def test_a_long_text_is_checked(tmp_path):
    """A branch in Python on the length is baked into the file: seen only where the other branch is taken."""

    class Branch(layers.Layer):
        def call(self, x):
            return ops.mean(x, axis=1) if x.shape[1] is None or x.shape[1] <= 200 else ops.max(x, axis=1)

        def compute_output_spec(self, x):  # JAX itself cannot compare a size that is not known
            return keras.KerasTensor((x.shape[0], x.shape[2]), x.dtype)

    model = model_of(lambda x: Branch()(x), shape=(None, 3))
    with pytest.raises(ExportError):
        export_onnx(model, tmp_path / "m.onnx", exporter="native")


# --- numbers that are missing ---------------------------------------------------------------------------------------


def test_a_file_that_answers_nan_as_keras_does_has_nothing_to_tell(tmp_path):
    report = export_onnx(model_of(layers.Dense(3, activation="relu")), tmp_path / "m.onnx")
    assert {"not a number", "infinities"} <= {row.sample for row in report.rows}
    assert report.notes == ()
    assert report.provenance["verification"]["differs"] == []


def test_a_file_that_answers_missing_numbers_otherwise_says_so(tmp_path, monkeypatch):
    def zero_for_nan(graph, _, x):
        value = graph.value(x)
        missing = graph.pointwise("IsNaN", value)
        return graph.node(
            "Where", missing, graph.const(0.0, "float32"), graph.pointwise("Abs", value), shape=value.shape
        )

    replace_op(monkeypatch, "Absolute", zero_for_nan)
    report = export_onnx(model_of(ops.abs), tmp_path / "m.onnx")
    (note,) = report.notes
    assert note.startswith("not a number, batch size 16")
    assert "nan_to_num" in note
    assert f"differs from Keras: {note}" in str(report)
    assert report.provenance["verification"]["differs"] == [note]


# --- outputs whose first axis is not the batch ----------------------------------------------------------------------

ODD = {
    "batch and time in one axis": (lambda x: ops.reshape(x, (-1, 3)), (None, 3)),
    "the batch last": (lambda x: ops.transpose(x, (1, 0)), (4,)),
    "no batch at all": (lambda x: ops.sum(x), (4,)),
    "two batches in one": (lambda x: ops.concatenate([x, x * 2], axis=0), (4,)),
    "a constant beside an answer": (
        lambda x: [layers.Dense(2)(x), 0 * x[0, 0] + np.asarray([1.0, 2.0], "float32")],
        (4,),
    ),
    "the order of the batch": (lambda x: ops.argsort(x[:, 0]), (4,)),
}


def test_outputs_without_the_batch_in_front_are_compared_as_they_are(tmp_path):
    for function, shape in ODD.values():
        report = export_onnx(model_of(function, shape=shape), tmp_path / "m.onnx", exporter="native")
        assert {row.batch_size for row in report.rows} >= {1, 2, 3, 16}


def test_a_batch_in_the_wrong_order_is_refused(tmp_path, monkeypatch):
    """The twin."""
    chosen = choose(
        model_of(lambda x: ops.reshape(x, (-1, 2)), shape=(2, 2)), "native", opset=None, optimize=True, batch=None
    )
    graph = chosen.proto.graph
    source = graph.input[0].name
    for node in graph.node:
        node.input[:] = ["flipped" if name == source else name for name in node.input]
    graph.node.insert(0, onnx.helper.make_node("Transpose", [source], ["flipped"], perm=[0, 2, 1]))
    monkeypatch.setattr("mnistkit.export.pipeline.choose", lambda *_, **__: chosen)
    with pytest.raises(ParityError, match="largest difference"):
        export_onnx(model_of(lambda x: ops.reshape(x, (-1, 2)), shape=(2, 2)), tmp_path / "m.onnx")


# --- what else users meet -------------------------------------------------------------------------------------------


class Sampling(layers.Layer):
    """The draw of a variational autoencoder, as Keras' guides write it."""

    def call(self, x):
        return x + keras.random.normal(ops.shape(x), seed=1)


def test_a_layer_that_draws_at_inference_is_named():
    model = model_of(lambda x: layers.Dense(2)(Sampling(name="latent")(layers.Dense(3)(x))))
    with pytest.raises(
        UnsupportedError, match=r"latent \(.*Sampling\): it draws random numbers at inference.*the mean"
    ):
        choose(model, "auto", opset=None, optimize=True, batch=None)


def test_a_layer_that_draws_in_training_alone_is_exported(tmp_path):
    class Careful(layers.Layer):
        def call(self, x, *, training=False):
            self.add_loss(ops.mean(x))  # nothing at inference
            return x + keras.random.normal(ops.shape(x)) if training else x

    model = model_of(lambda x: layers.Dense(2)(Careful()(x)))
    assert export_onnx(model, tmp_path / "m.onnx").exporter == "native"
    assert keras.random.normal((2,)).shape == (2,)  # the patch is gone


def test_an_optional_answer_that_is_none_is_no_output(tmp_path):
    class Maybe(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)

        def call(self, a, b=None):
            y = self.dense(a)
            return {"y": y, "z": None if b is None else y + b}

    model = Maybe()
    model(np.zeros((2, 4), "float32"))
    report = export_onnx(model, tmp_path / "m.onnx")
    assert [tensor.name for tensor in report.outputs] == ["y"]


def test_bits_get_the_opset_that_they_need(tmp_path):
    def bits(x):
        return ops.bitwise_and(x, ops.right_shift(x, 1))

    report = export_onnx(model_of(bits, dtype="int32"), tmp_path / "m.onnx")
    assert report.provenance["opset"] == 18
    assert "with opset 18, which it needs" in report.reason
    with pytest.raises(UnsupportedError, match="BitwiseAnd needs opset 18"):
        export_onnx(model_of(bits, dtype="int32"), tmp_path / "n.onnx", opset=17, exporter="native")
    assert export_onnx(model_of(layers.Dense(2)), tmp_path / "n.onnx").provenance["opset"] == 17


def test_when_both_exporters_fail_the_first_ones_reason_stays(monkeypatch):
    class Odd(layers.Layer):
        def call(self, x):
            return ops.convert_to_tensor(np.asarray(ops.convert_to_numpy(x)))

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape, x.dtype)

    def fails(*_, **__):
        raise ExportError("the other one fails as well")

    monkeypatch.setattr("mnistkit.export.choose._stock", fails)
    with pytest.raises(UnsupportedError, match=r"odd.*symbolic tensors.*the other one fails as well"):
        choose(model_of(lambda x: Odd(name="odd")(x)), "auto", opset=None, optimize=True, batch=None)


def test_the_extreme_of_a_row_with_a_missing_number_is_missing(tmp_path):
    """As in Keras; onnxruntime's own operators pass NaN over."""
    for function in (lambda x: ops.max(x, axis=1), lambda x: ops.min(x, axis=(0, 1)), ops.amax):
        assert export_onnx(model_of(function), tmp_path / "m.onnx").notes == ()
