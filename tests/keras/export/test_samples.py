"""What a file is verified on: indices that fit their table, whatever type the model's input has."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from mnistkit.core.errors import UnsupportedError
from mnistkit.export import export_onnx
from mnistkit.export.choose import choose
from mnistkit.export.index_inputs import table_sizes
from mnistkit.export.samples import draw, sample_any


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
    for sample in sample_any(model, chosen.signature, batch_sizes=(3,), tables=tables):
        assert set(sample.inputs["kinds"].ravel().tolist()) <= {0.0, 1.0}
        if sample.inputs["tokens"].size > 50:
            assert sample.inputs["tokens"].max() > 100


def test_a_float_input_of_an_embedding_is_verified(tmp_path):
    report = export_onnx(model_of(embedded), tmp_path / "m.onnx")
    assert report.largest < 1e-5


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_bfloat16"])
def test_bfloat16_is_refused_with_what_to_do(tmp_path, policy):
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(4, name="a", dtype=policy), layers.Dense(2, name="b", dtype=policy)]
    )
    with pytest.raises(UnsupportedError, match=r"2 layers compute in bfloat16 \(a, b\).*set `layer.dtype_policy"):
        export_onnx(model, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
    for layer in model.layers:
        layer.dtype_policy = "float32"
    assert export_onnx(model, tmp_path / "m.onnx").largest < 1e-5
