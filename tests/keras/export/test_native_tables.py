"""Vocabularies and bins as Keras reads them: masks, unknown keys, missing numbers, whole numbers above 2^24."""

import keras
import numpy as np
import pytest
from comparing import call, session
from keras import layers as L
from keras import tree

from mnistkit.core.comparison import verify_file
from mnistkit.export import export_onnx
from mnistkit.export.native import convert
from mnistkit.export.native.lowerings import tabular

EDGES = [-0.5, 0.0, 0.1, 0.2, 3.0]
MISSING = np.asarray(
    [[np.nan, 0.0, 0.1, 9.0], [3.0, -9.0, np.inf, np.nan], [-np.inf, 0.19999999, 0.2, 1e-30]], "float32"
)
SECONDS = [1700000000, 1700000064, 1700000128, 1750000000]
TIMES = np.asarray([[1699999999, 1700000000], [1700000001, 1700000063], [1700000065, 1750000000], [1750000001, -5]])
IDS = np.asarray([[10], [20], [30], [0], [-1], [99], [2**31 - 1]], "int64")


def differing(layers, array):
    """Name the layers whose file answers otherwise than Keras; all are outputs of one model."""
    tensor = keras.Input(array.shape[1:], dtype=str(array.dtype))
    model = keras.Model(tensor, {name: layer(tensor) for name, layer in layers.items()})
    written = convert(model)
    expected = call(model, keras.ops.convert_to_tensor(array, dtype=str(array.dtype)), [])
    runner = session(written.proto)
    got = runner.run(tree.flatten(written.outputs), {runner.get_inputs()[0].name: array})
    pairs = zip(sorted(layers), expected, got, strict=True)
    return [f"{name}: {b.tolist()} in place of {a.tolist()}" for name, a, b in pairs if not np.array_equal(a, b)]


def bins():
    return {mode: L.Discretization(EDGES, output_mode=mode) for mode in ("int", "multi_hot", "count")}


def test_a_missing_number_goes_to_the_last_bin_as_in_keras():
    assert differing(bins(), MISSING) == []
    assert differing({"one_hot": L.Discretization(EDGES, output_mode="one_hot")}, MISSING.reshape(-1, 1)) == []


def test_counting_the_edges_below_a_number_puts_missing_ones_elsewhere(monkeypatch):
    """The twin: a comparison that NaN fails, where the other fails for NaN."""

    def counted(graph, value, edges, *, over):
        del over
        hits = graph.node("GreaterOrEqual", graph.unsqueeze(value, value.rank), edges, dtype="bool")
        counts = graph.node("ReduceSum", graph.cast(hits, "int32"), graph.ints(value.rank), keepdims=0)
        return tabular.Value(counts.name, "int32", value.shape)

    monkeypatch.setattr(tabular, "_count_edges", counted)
    assert len(differing(bins(), MISSING)) == 3


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_seconds_are_binned_as_whole_numbers_where_keras_does(dtype):
    layers = {"seconds": L.Discretization(SECONDS), "odd edges": L.Discretization([16777217, 16777219])}
    assert differing(layers, np.concatenate([TIMES, [[16777216, 16777218]]]).astype(dtype)) == []


def lookups():
    keys = [10, 20, 30]
    return {
        "one unknown": L.IntegerLookup(vocabulary=keys),
        "mask": L.IntegerLookup(vocabulary=keys, mask_token=0),
        "mask, two unknown": L.IntegerLookup(vocabulary=keys, mask_token=0, num_oov_indices=2),
        "mask, one hot": L.IntegerLookup(vocabulary=keys, mask_token=0, output_mode="one_hot"),
        "mask, multi hot, two unknown": L.IntegerLookup(
            vocabulary=keys, mask_token=0, output_mode="multi_hot", num_oov_indices=2
        ),
        "mask, count": L.IntegerLookup(vocabulary=keys, mask_token=0, output_mode="count"),
        "count": L.IntegerLookup(vocabulary=keys, output_mode="count"),
        "padded": L.IntegerLookup(vocabulary=keys, output_mode="multi_hot", max_tokens=8, pad_to_max_tokens=True),
    }


def test_a_mask_is_no_unknown_key(monkeypatch):
    pytest.importorskip("tensorflow", reason="Keras builds its lookups with TensorFlow, which this environment lacks")
    assert differing(lookups(), IDS) == []
    # the twin: the index of the first unknown key for the mask
    monkeypatch.setattr(tabular, "_DROPPED", 0)
    wrong = differing(lookups(), IDS)
    assert sorted(line.partition(":")[0] for line in wrong) == [
        "mask, count",
        "mask, multi hot, two unknown",
        "mask, one hot",
    ]


def test_without_an_index_for_unknown_keys_the_file_refuses_them_as_keras_does():
    pytest.importorskip("tensorflow", reason="Keras builds its lookups with TensorFlow, which this environment lacks")
    layers = {
        "int": L.IntegerLookup(vocabulary=[10, 20, 30], num_oov_indices=0),
        "one hot": L.IntegerLookup(vocabulary=[10, 20, 30], num_oov_indices=0, output_mode="one_hot"),
    }
    assert differing(layers, IDS[:3]) == []
    for layer in layers.values():
        tensor = keras.Input((1,), dtype="int64")
        runner = session(convert(keras.Model(tensor, layer(tensor))).proto)
        with pytest.raises(Exception, match="out of data bounds"):
            runner.run(None, {runner.get_inputs()[0].name: IDS})


@pytest.mark.parametrize("kind", ["integers", "words"])
def test_a_table_without_unknown_keys_is_verified_on_its_keys(kind, tmp_path):
    pytest.importorskip("tensorflow", reason="Keras builds its lookups with TensorFlow, which this environment lacks")
    if kind == "words" and keras.backend.backend() != "tensorflow":
        pytest.skip("Keras takes words under TensorFlow alone")
    layer = L.IntegerLookup(vocabulary=[1000, 2000], num_oov_indices=0)
    if kind == "words":
        layer = L.StringLookup(vocabulary=["red", "blue"], num_oov_indices=0)
    tensor = keras.Input((2,), dtype="int64" if kind == "integers" else "string")
    model = keras.Model(tensor, L.Dense(2)(L.Embedding(2, 3)(layer(tensor))))
    report = export_onnx(model, tmp_path / "table.onnx")
    assert report.rows[0].sample == "known keys"
    assert verify_file(report.path).pairs >= 1


def test_words_go_in_and_out(tmp_path):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("Keras takes words under TensorFlow alone")
    tensor = keras.Input((2,), dtype="string")
    keys = ["red", "blue"]
    index = L.StringLookup(vocabulary=keys)(tensor)
    word = L.StringLookup(vocabulary=keys, invert=True)(index)
    path = export_onnx(keras.Model(tensor, word), tmp_path / "words.onnx").path
    assert verify_file(path).pairs >= 1
    samples = {"input_layer": np.array([["blue", "green"]])}
    assert (
        export_onnx(keras.Model(tensor, index), tmp_path / "given.onnx", samples=samples).rows[0].comparison.rows == 1
    )
