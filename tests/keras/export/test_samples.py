"""What a file is verified on: indices that fit their table, whatever type the model's input has."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from mnistkit.core.errors import ParityError, UnsupportedError
from mnistkit.core.runtime import Runtime
from mnistkit.export import collect_samples, export_onnx
from mnistkit.export.answers import KerasAnswers
from mnistkit.export.choose import choose
from mnistkit.export.index_inputs import table_sizes
from mnistkit.export.native import registry
from mnistkit.export.samples import draw


def model_of(function, *, dtype="float32", shape=(7,)):
    inputs = keras.Input(shape, dtype=dtype, name="x")
    return keras.Model(inputs, function(inputs))


def embedded(x):
    return layers.Dense(2)(layers.Flatten()(layers.Embedding(50, 3)(x)))


def encoded(x):
    return layers.Dense(2)(layers.CategoryEncoding(30, output_mode="multi_hot")(x))


def hot(x):
    return layers.Dense(2)(layers.Flatten()(ops.one_hot(ops.cast(x, "int32"), 40)))


def taken(x):
    table = np.random.default_rng(0).normal(size=(3, 20)).astype("float32")
    return layers.Dense(2)(ops.sum(ops.take(ops.convert_to_tensor(table), ops.cast(x, "int32"), axis=1), axis=0))


@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize(
    ("function", "size"),
    [(embedded, 50), (encoded, 30), (hot, 40), (taken, 20)],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_indices_fit_the_table_and_use_it(function, size, dtype):
    model = model_of(function, dtype=dtype)
    chosen = choose(model, "native", opset=None, optimize=True, batch=None)
    assert table_sizes(chosen.proto.graph) == {"x": size}
    arrays = draw(chosen.signature, rows=64, lengths=(), high=2, tables=table_sizes(chosen.proto.graph))["x"]
    assert arrays.dtype == dtype
    assert set(arrays.ravel().tolist()) <= set(range(size))
    assert len(np.unique(arrays)) > size * 0.8
    assert np.mean(arrays == 0) == pytest.approx(1 / 8 + 7 / 8 / size, abs=0.06)


def test_an_input_that_is_no_index_is_drawn_as_ever():
    def both(x):
        return layers.Concatenate()([layers.Dense(2)(x), ops.cast(ops.equal(x, 0), "float32")])

    chosen = choose(model_of(both), "native", opset=None, optimize=True, batch=None)
    assert table_sizes(chosen.proto.graph) == {}
    assert draw(chosen.signature, rows=64, lengths=(), high=2)["x"].min() < 0


def test_every_input_has_its_own_table():
    tokens, kinds = keras.Input((None,), dtype="int32", name="tokens"), keras.Input((None,), name="kinds")
    x = layers.Embedding(1000, 4, mask_zero=True)(tokens) + layers.Embedding(2, 4)(kinds)
    model = keras.Model([tokens, kinds], layers.Dense(2)(x))
    chosen = choose(model, "native", opset=None, optimize=True, batch=None)
    tables = table_sizes(chosen.proto.graph)
    assert tables == {"tokens": 1000, "kinds": 2}
    answers = KerasAnswers(model, chosen.signature)
    for sample in collect_samples.drawn_samples(answers, chosen.proto.graph, atol=1e-4):
        assert set(sample.inputs["kinds"].ravel().tolist()) <= {0.0, 1.0}
        if sample.inputs["tokens"].size > 50:
            assert sample.inputs["tokens"].max() > 100


def test_a_float_input_of_an_embedding_is_verified(tmp_path):
    report = export_onnx(model_of(embedded), tmp_path / "m.onnx")
    assert report.largest < 1e-5


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_bfloat16"])
def test_bfloat16_is_exported_in_float32(tmp_path, policy):
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(4, name="a", dtype=policy), layers.Dense(2, name="b", dtype=policy)]
    )
    report = export_onnx(model, tmp_path / "m.onnx")
    assert report.largest < 1e-5
    assert "bfloat16 is computed with as float32" in report.reason
    assert [layer.compute_dtype for layer in model.layers] == ["bfloat16"] * 2
    x = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
    answers = Runtime(tmp_path / "m.onnx").run(x)
    own = keras.ops.convert_to_numpy(keras.ops.cast(model(x), "float32"))
    assert 1e-5 < np.abs(answers - own).max() < 8 * 2.0**-8 * np.abs(own).max()


def test_bfloat16_by_name_alone_is_refused_with_what_to_do():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, name="a", dtype="bfloat16")])
    with pytest.raises(UnsupportedError, match=r"1 layers compute in bfloat16 \(a\).*set `layer.dtype_policy"):
        choose(model, "native", opset=None, optimize=True, batch=None)


# --- the ends of the number line ------------------------------------------------------------------------------------


def unguarded_expm1(graph, _, x):
    """``exp(x) - 1`` as ``2 sinh(x/2) exp(x/2)``: right around zero, infinity times zero below about -180."""
    half = graph.pointwise("Mul", graph.value(x), graph.const(0.5, "float32"))
    two_sinh = graph.pointwise("Mul", graph.pointwise("Sinh", half), graph.const(2.0, "float32"))
    return graph.pointwise("Mul", two_sinh, graph.pointwise("Exp", half))


def saturated_late(graph, _, x):
    """The hyperbolic tangent by its definition: right around zero, infinity over infinity above about 89."""
    value = graph.value(x)
    up, down = graph.pointwise("Exp", value), graph.pointwise("Exp", graph.pointwise("Neg", value))
    return graph.pointwise("Div", graph.pointwise("Sub", up, down), graph.pointwise("Add", up, down))


@pytest.mark.parametrize(
    ("operation", "function", "handler"),
    [("Expm1", ops.expm1, unguarded_expm1), ("Tanh", ops.tanh, saturated_late)],
)
def test_a_file_that_is_wrong_at_large_inputs_is_refused(tmp_path, monkeypatch, operation, function, handler):
    model = model_of(function)
    with_handler(monkeypatch, operation, handler)
    monkeypatch.setattr(collect_samples, "extreme_samples", lambda *_, **__: [])
    export_onnx(model, tmp_path / "unseen.onnx")  # ordinary samples do not show it
    monkeypatch.undo()
    with_handler(monkeypatch, operation, handler)
    with pytest.raises(ParityError, match=r"magnitude 1e\+0[24], batch size 16.*NaN in the exported answers"):
        export_onnx(model, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def with_handler(monkeypatch, operation, handler):
    found = registry.find_op

    def find_op(kind):
        return handler if kind.__name__ == operation else found(kind)

    monkeypatch.setattr(registry, "find_op", find_op)


ORDINARY = {"noise", "zeros", "magnitude 1e+02", "magnitude 1e+04", "not a number", "infinities"}


def names_of(report):
    return {row.sample for row in report.rows}


def test_what_a_model_without_sums_is_verified_on(tmp_path):
    report = export_onnx(model_of(ops.tanh), tmp_path / "m.onnx")
    assert names_of(report) == {*ORDINARY, "limits of the type"}
    assert {row.batch_size for row in report.rows} == {1, 2, 3, 16}
    assert report.left_out == {}


def test_a_model_with_sums_is_not_run_at_the_types_limits(tmp_path):
    """The order of the additions decides there whether a sum overflows."""
    report = export_onnx(model_of(layers.Dense(3)), tmp_path / "m.onnx")
    assert names_of(report) == ORDINARY


def test_rows_without_a_finite_answer_are_left_out_and_told(tmp_path):
    report = export_onnx(model_of(ops.exp), tmp_path / "m.onnx")
    count = report.left_out["magnitude 1e+04"]
    assert 6 <= count <= 11  # of 16: rows of negative numbers alone stay, because exp of them is 0
    assert report.provenance["verification"]["left_out"] == report.left_out
    assert f"magnitude 1e+04: {count} rows left out" in str(report)


def test_rows_that_a_rounding_decides_are_left_out(tmp_path):
    """The sine of a sum of large products; the sine of the input itself is exact."""
    report = export_onnx(model_of(lambda x: ops.sin(layers.Dense(3)(x))), tmp_path / "m.onnx")
    assert "magnitude 1e+04" not in names_of(report)
    assert "noise" in names_of(report)


def test_a_sample_has_the_range_that_the_first_layer_implies():
    normalization = layers.Normalization(mean=[1000.0, -5.0], variance=[400.0, 0.01])
    model = model_of(lambda x: layers.Dense(2)(normalization(x)), shape=(2,))
    numbers = extreme(model)["range of the first layer"]
    assert numbers.mean(axis=0) == pytest.approx([1000, -5], rel=0.05)
    model = model_of(lambda x: layers.Dense(2)(layers.Rescaling(1 / 127.5, offset=-1.0)(x)), shape=(2,))
    numbers = extreme(model)["range of the first layer"]
    assert 0 <= numbers.min() < 60
    assert 195 < numbers.max() <= 255
    assert "range of the first layer" not in extreme(model_of(layers.Dense(2)))


def extreme(model):
    chosen = choose(model, "native", opset=None, optimize=True, batch=None)
    samples = collect_samples.drawn_samples(KerasAnswers(model, chosen.signature), chosen.proto.graph, atol=1e-4)
    return {sample.name: sample.inputs["x"] for sample in samples}


def test_zeros_have_both_signs_and_large_numbers_too():
    found = extreme(model_of(ops.tanh))
    assert np.signbit(found["zeros"]).any(axis=1).tolist()[:2] == [False, True]
    assert set(np.sign(found["magnitude 1e+04"][0])) == {1}
    assert set(np.sign(found["magnitude 1e+04"][1])) == {-1}
    assert np.abs(found["magnitude 1e+04"]).max() > 9000
    assert np.abs(found["limits of the type"]).min() == np.finfo(np.float32).max


def test_large_integers_where_they_are_no_indices(tmp_path):
    found = extreme(model_of(lambda x: ops.abs(x) + 1, dtype="int32"))
    assert np.abs(found["magnitude 1e+04"]).max() > 9000
    assert found["magnitude 1e+04"].dtype == np.int32
    assert np.abs(found["large whole numbers"]).min() > 2**24  # float32 does not hold these
    assert set(extreme(model_of(embedded, dtype="int32"))) == {"noise", "padding"}
    export_onnx(model_of(lambda x: ops.abs(x) + 1, dtype="int32"), tmp_path / "m.onnx")


def test_a_batch_size_that_the_model_fixes_holds_there_too(tmp_path):
    inputs = keras.Input((3,), batch_size=4, name="x")
    report = export_onnx(keras.Model(inputs, ops.exp(inputs)), tmp_path / "m.onnx")
    assert {row.batch_size for row in report.rows} == {4}
    assert 2 <= report.left_out["magnitude 1e+04"] <= 3
