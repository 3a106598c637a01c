"""Small files as an export writes them, made without Keras."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mnistkit.core import golden
from mnistkit.core.runtime import Runtime

TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}


def write(path, nodes, *, inputs, outputs, weights, rows, metadata=None):
    """A file with one golden pair; ``inputs`` and ``outputs`` are types and shapes by name."""
    values = [
        [helper.make_tensor_value_info(name, TYPES[dtype], shape) for name, (dtype, shape) in one.items()]
        for one in (inputs, outputs)
    ]
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", *values, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    pair = golden.GoldenPair(rows, golden.rounded(Runtime(path, device="cpu", exact=True).run(rows)))
    entries = {"format_version": "1", "golden": golden.encode_golden([pair]), **(metadata or {})}
    for key, value in sorted(entries.items()):
        model.metadata_props.add(key=f"mnistkit.{key}", value=value)
    onnx.save(model, path)
    return path


def three_inputs(path):
    """Floats, ids and truth values in; a sum and the ids out."""
    rng = np.random.default_rng(0)
    return write(
        path,
        [
            helper.make_node("Cast", ["on it"], ["on_float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["x", "w"], ["scaled"]),
            helper.make_node("Add", ["scaled", "on_float"], ["sum"]),
            helper.make_node("Identity", ["ids"], ["same"]),
        ],
        inputs={"x": ("float32", ["n", 2]), "ids": ("int64", ["n", 3]), "on it": ("bool", ["n", 1])},
        outputs={"sum": ("float32", ["n", 2]), "same": ("int64", ["n", 3])},
        weights={"w": np.float32([2, 3])},
        rows={
            "x": rng.random((2, 2), np.float32),
            "ids": rng.integers(0, 9, (2, 3)),
            "on it": np.array([[True], [False]]),
        },
    )


def colors(path, *, layout="hwc", parameters=None, **more):
    """Names the color of a picture of 8x8 pixels in [-1, 1]."""
    shape, axes = (["n", 8, 8, 3], [1, 2]) if layout == "hwc" else (["n", 3, 8, 8], [2, 3])
    said = {"side": 8, "scale": 1 / 127.5, "offset": -1.0} if parameters is None else parameters
    return write(
        path,
        [
            helper.make_node("ReduceMean", ["picture"], ["mean"], axes=axes, keepdims=0),
            helper.make_node("Mul", ["mean", "w"], ["large"]),
            helper.make_node("Softmax", ["large"], ["color"], axis=-1),
        ],
        inputs={"picture": ("float32", shape)},
        outputs={"color": ("float32", ["n", 3])},
        weights={"w": np.float32([4, 4, 4])},
        rows={"picture": np.random.default_rng(0).uniform(-1, 1, (1, *shape[1:])).astype(np.float32)},
        metadata={
            "labels": json.dumps(["red", "gr|een <b>", "blau ü"], ensure_ascii=False),
            "preprocessing": "RGB, 8x8, scaled to [-1, 1]",
            "preprocessing_parameters": json.dumps(said),
            **more,
        },
    )
