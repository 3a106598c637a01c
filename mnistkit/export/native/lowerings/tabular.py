"""Preprocessing layers for tables and text: categories, bins and lookups.

What needs strings taken apart or hashed has no ONNX operator and is refused with the reason.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from mnistkit.export.native.backend_behavior import integers_are_binned_as_floats
from mnistkit.export.native.graph import Graph, Value
from mnistkit.export.native.keras_hooks import lookup_dtype
from mnistkit.export.native.lowerings.elementwise import is_float, together
from mnistkit.export.native.registry import (
    UnsupportedOp,
    register_layer_decomposition,
    register_layer_lowering,
    register_lowering,
)
from mnistkit.export.native.symbolic_dim import SymbolicDim


@register_lowering("Digitize")
def digitize(graph: Graph, _: Any, x: Any, bins: Any) -> Value:
    """Count the bin edges that are not over each number: edges rise, and nothing is over NaN."""
    value, edges = graph.value(x), graph.value(bins)
    if is_float(value.dtype):
        kind = "float64" if value.dtype == "float64" else "float32"
    elif integers_are_binned_as_floats(edges_are_integers=not is_float(edges.dtype)):
        kind, edges = "float32", graph.cast(edges, "float32")
    else:  # single precision holds integers up to 2^24 alone
        kind = "float64" if is_float(edges.dtype) else "int64"
    return _count_edges(graph, graph.cast(value, kind), graph.cast(edges, kind), over="Less")


@register_lowering("SearchSorted")
def search_sorted(graph: Graph, op: Any, sorted_sequence: Any, values: Any) -> Value:
    """As :func:`digitize`, with edges that may be a tensor."""
    edges, value = together(graph, sorted_sequence, values)
    return _count_edges(graph, value, edges, over="LessOrEqual" if op.side == "left" else "Less")


def _count_edges(graph: Graph, value: Value, edges: Value, *, over: str) -> Value:
    wide = graph.unsqueeze(value, value.rank)
    passed = graph.node("Not", graph.node(over, wide, edges, dtype="bool"))
    counts = graph.node("ReduceSum", graph.cast(passed, "int32"), graph.ints(value.rank), keepdims=0)
    return Value(counts.name, "int32", value.shape)


def encode(indices: Any, mode: str, *, depth: int, dtype: str, count_weights: Any = None) -> Any:
    """Express Keras' ``encode_categorical_inputs`` in operations: ``int``, ``one_hot``, ``multi_hot`` or ``count``."""
    if mode == "int":
        return ops.cast(indices, dtype)
    if len(indices.shape) == 0:
        indices = ops.expand_dims(indices, -1)
    if mode == "multi_hot":
        hot = ops.one_hot(indices, depth, dtype=dtype)
        return ops.max(hot, axis=1 if len(indices.shape) > 1 else 0)
    if mode == "one_hot":
        if len(indices.shape) > 1 and not isinstance(indices.shape[-1], SymbolicDim) and indices.shape[-1] == 1:
            indices = ops.squeeze(indices, -1)
        return ops.one_hot(indices, depth, dtype=dtype)
    hot = ops.one_hot(indices, depth, dtype=dtype if count_weights is None else count_weights.dtype)
    if count_weights is not None:
        hot = ops.multiply(hot, ops.expand_dims(count_weights, -1))
    return ops.sum(hot, axis=1 if len(indices.shape) > 1 else 0)


@register_layer_decomposition("CategoryEncoding")
def category_encoding(layer: Any, inputs: Any, count_weights: Any = None, **_: Any) -> Any:
    """One-hot, multi-hot or counts."""
    if layer.sparse:
        raise UnsupportedOp("sparse=True has no ONNX form; set sparse=False")
    return encode(inputs, layer.output_mode, depth=layer.num_tokens, dtype=layer.dtype, count_weights=count_weights)


@register_layer_decomposition("Discretization")
def discretization(layer: Any, inputs: Any, **_: Any) -> Any:
    """Bin numbers, encoded."""
    if layer.bin_boundaries is None:
        raise UnsupportedOp("it has no bin boundaries yet; give bin_boundaries or call adapt() first")
    if layer.sparse:
        raise UnsupportedOp("sparse=True has no ONNX form; set sparse=False")
    indices = ops.digitize(inputs, _edges(layer.bin_boundaries))
    depth = len(layer.bin_boundaries) + 1
    return encode(indices, layer.output_mode, depth=depth, dtype=layer.output_dtype)


def _edges(boundaries: Any) -> Any:
    """Bin edges in the type that Keras' backends make of a list: whole numbers stay so."""
    edges = np.asarray(boundaries)
    if edges.dtype.kind in "iu" and np.abs(edges).max(initial=0) < 2**31:
        return edges.astype("int32")
    return edges.astype("float32")


class Lookup(keras.Operation):
    """Keys to values through a table; recorded for the layers that look words or numbers up."""

    def __init__(self, keys: list[Any], values: list[Any], default: Any, dtype: str) -> None:
        super().__init__(name="lookup")
        self.keys = keys
        self.values = values
        self.default = default
        self.dtype = dtype

    def compute_output_spec(self, x: Any) -> Any:
        """Return the same shape with the type of the values."""
        return keras.KerasTensor(x.shape, self.dtype)


@register_lowering(Lookup)
def lookup(graph: Graph, op: Lookup, x: Any) -> Value:
    """Write ONNX-ML's LabelEncoder, a hash table in the runtime."""
    value = graph.value(x)
    attrs: dict[str, Any] = {}
    if value.dtype == "string":
        attrs["keys_strings"] = [str(key) for key in op.keys]
    else:
        value = graph.cast(value, "int64")
        attrs["keys_int64s"] = [int(key) for key in op.keys]
    if op.dtype == "string":
        attrs["values_strings"] = [str(item) for item in op.values]
        attrs["default_string"] = str(op.default)
        return graph.node("ai.onnx.ml.LabelEncoder", value, dtype="string", shape=value.shape, **attrs)
    attrs["values_int64s"] = [int(item) for item in op.values]
    attrs["default_int64"] = int(op.default)
    out = graph.node("ai.onnx.ml.LabelEncoder", value, dtype="int64", shape=value.shape, **attrs)
    return graph.cast(out, op.dtype)


@register_layer_decomposition("IntegerLookup", "StringLookup", "IndexLookup")
def index_lookup(layer: Any, inputs: Any, **_: Any) -> Any:
    """Word or number to index (or back), encoded."""
    if layer.sparse:
        raise UnsupportedOp("sparse=True has no ONNX form; set sparse=False")
    if layer.invert:
        words = layer.get_vocabulary()
        kind = "string" if layer.vocabulary_dtype == "string" else "int64"
        return Lookup(list(range(len(words))), words, layer.oov_token, kind).symbolic_call(inputs)
    hashed = layer.vocabulary_dtype == "string" or getattr(layer, "oov_method", "floormod") == "farmhash"
    if layer.num_oov_indices > 1 and hashed:
        raise UnsupportedOp("more than one out-of-vocabulary index needs a hash of strings; set num_oov_indices=1")
    indices = _look_up(layer, inputs)
    if layer.output_mode == "int":
        return indices
    depth = layer.max_tokens if layer.pad_to_max_tokens else layer.vocabulary_size()
    mode = "count" if layer.output_mode == "tf_idf" else layer.output_mode
    encoded = encode(indices, mode, depth=depth, dtype=lookup_dtype(layer))
    if layer.output_mode == "tf_idf":
        return ops.multiply(encoded, np.asarray(layer.idf_weights_const, "float32"))
    return encoded


_DROPPED = 2**31 - 1  # an index beyond every depth, which no encoding counts


def _look_up(layer: Any, inputs: Any) -> Any:
    masked = layer.mask_token is not None
    words = layer.get_vocabulary(include_special_tokens=False)
    start = int(masked and layer.output_mode == "int")
    first = start + layer.num_oov_indices
    keys, values = list(words), list(range(first, first + len(words)))
    if masked:  # the mask has an index of its own among integers, and none when they are encoded
        keys, values = [layer.mask_token, *keys], [0 if layer.output_mode == "int" else _DROPPED, *values]
    if layer.num_oov_indices == 0:
        return _look_up_known(keys, values, inputs)
    default = start if layer.num_oov_indices == 1 else -1
    indices = Lookup(keys, values, default, "int64").symbolic_call(inputs)
    if layer.num_oov_indices > 1:
        spread = ops.mod(ops.cast(inputs, "int64"), layer.num_oov_indices) + start
        indices = ops.where(ops.equal(indices, -1), spread, indices)
    return ops.cast(indices, "int64")


def _look_up_known(keys: list[Any], values: list[int], inputs: Any) -> Any:
    """Look up keys that are all known. Keras raises for another one, and so does the file: by an index out of range."""
    places = Lookup(keys, list(range(len(keys))), len(keys), "int64").symbolic_call(inputs)
    return ops.take(np.asarray(values, "int64"), places, axis=0)


@register_layer_lowering("Hashing")
def hashing(_: Graph, layer: Any, inputs: Any) -> Value:
    """Refuse: FarmHash and SipHash of strings."""
    del layer, inputs
    raise UnsupportedOp(
        "it hashes text with FarmHash or SipHash, which ONNX does not have; use IntegerLookup or StringLookup, "
        "or hash before the model"
    )


@register_layer_lowering("HashedCrossing")
def hashed_crossing(_: Graph, layer: Any, inputs: Any) -> Value:
    """Refuse: a fingerprint of strings."""
    del layer, inputs
    raise UnsupportedOp("it hashes text with FarmHash, which ONNX does not have; cross the features before the model")


@register_layer_lowering("TextVectorization")
def text_vectorization(_: Graph, layer: Any, inputs: Any) -> Value:
    """Refuse: text taken apart by regular expressions."""
    del layer, inputs
    raise UnsupportedOp(
        "it takes text apart with regular expressions, which ONNX does not have; tokenise before the model and "
        "export the model that takes the tokens"
    )
