"""Which inputs of a graph are looked up in a table, and how many rows the table has.

A model may take token numbers as integers or, as Keras' default input does, as floats. Drawn without care they fall
outside the table, or all on its first row, and the check sees little. The graph says what becomes of an input.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

# Nodes that hand numbers on as they are, and how many of their first inputs do so; None is all of them.
_HANDED_ON: dict[str, int | None] = {
    "Cast": 1,
    "Concat": None,
    "Expand": 1,
    "Flatten": 1,
    "Gather": 1,
    "Identity": 1,
    "Reshape": 1,
    "Slice": 1,
    "Split": 1,
    "Squeeze": 1,
    "Tile": 1,
    "Transpose": 1,
    "Unsqueeze": 1,
}
_LIMITS = ("Max", "Min")  # a cast that saturates: to the range of the type, then where it is not NaN
_COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
_MOST_CONSTANTS = 4096


def table_sizes(graph: onnx.GraphProto) -> dict[str, int]:
    """Inputs whose numbers are indices, with the number of valid ones: 0 to that, exclusive.

    An input that is looked up in several tables gets the size of the smallest. Looked for are ``Gather`` in a weight,
    ``OneHot``, and a comparison with 0, 1, 2 …, which is how the native exporter spells one-hot.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer}
    limits: dict[str, int] = {}
    for node, roots in _with_roots(graph, weights):
        look = _LOOKUPS.get(node.op_type)
        if look is None:
            continue
        for slot, size in look(node, list(node.input), weights):
            for name in roots[node.input[slot]]:
                if size is not None and size > 0:
                    limits[name] = min(size, limits.get(name, size))
    return limits


def known_values(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    """Inputs whose values are looked up by key or compared with constants, with these keys and constants.

    Numbers drawn by chance hardly ever meet the keys of a vocabulary or the edge of a bin.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer}
    found: defaultdict[str, list[NDArray[Any]]] = defaultdict(list)
    for node, roots in _with_roots(graph, weights):
        if node.op_type == "LabelEncoder":
            keys = next((_keys(attribute) for attribute in node.attribute if attribute.name.startswith("keys_")), None)
            pairs = [(0, keys)]
        elif node.op_type in _COMPARISONS:
            pairs = [(slot, _constants(weights.get(node.input[1 - slot]))) for slot in (0, 1)]
        else:
            continue
        for slot, values in pairs:
            if values is not None and values.size:
                for name in roots[node.input[slot]]:
                    found[name].append(values)
    return {name: np.concatenate([part.astype(parts[0].dtype) for part in parts]) for name, parts in found.items()}


def _with_roots(graph: onnx.GraphProto, weights: dict[str, Any]) -> Iterator[tuple[Any, defaultdict[str, set[str]]]]:
    """Nodes in order, each with the inputs of the graph whose numbers a value has as they are."""
    roots: defaultdict[str, set[str]] = defaultdict(set)
    for value in graph.input:
        roots[value.name].add(value.name)
    for node in graph.node:
        yield node, roots
        if node.op_type in _HANDED_ON:
            for name in node.input[: _HANDED_ON[node.op_type]]:
                for output in node.output:
                    roots[output] |= roots[name]
        elif node.op_type in _LIMITS and _is_one_number(weights.get(node.input[1])):
            roots[node.output[0]] |= roots[node.input[0]]
        elif node.op_type == "Where":  # negative numbers counted from the end
            for output in node.output:
                roots[output] |= roots[node.input[2]]


def _is_one_number(tensor: Any) -> bool:
    return tensor is not None and all(size == 1 for size in tensor.dims)


def _keys(attribute: Any) -> NDArray[Any]:
    if attribute.strings:
        return np.asarray([word.decode() for word in attribute.strings], dtype=object)
    return np.asarray(attribute.ints or attribute.floats)


def _constants(tensor: Any) -> NDArray[Any] | None:
    if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    values: NDArray[Any] = onnx.numpy_helper.to_array(tensor).reshape(-1)
    return values if values.dtype.kind in "iuf" and 0 < values.size <= _MOST_CONSTANTS else None


def _gather(node: Any, inputs: Sequence[str], weights: dict[str, Any]) -> list[tuple[int, int | None]]:
    table = weights.get(inputs[0])
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    return [(1, None if table is None or not table.dims else int(table.dims[axis]))]


def _one_hot(_: Any, inputs: Sequence[str], weights: dict[str, Any]) -> list[tuple[int, int | None]]:
    depth = weights.get(inputs[1])
    return [(0, None if depth is None else int(onnx.numpy_helper.to_array(depth).reshape(-1)[0]))]


def _equal(_: Any, inputs: Sequence[str], weights: dict[str, Any]) -> list[tuple[int, int | None]]:
    found: list[tuple[int, int | None]] = []
    for slot, other in ((0, 1), (1, 0)):
        classes = weights.get(inputs[other])
        if classes is None or classes.data_location == onnx.TensorProto.EXTERNAL:
            continue
        numbers = onnx.numpy_helper.to_array(classes).reshape(-1)
        if numbers.dtype.kind in "iuf" and numbers.size > 1 and np.array_equal(numbers, np.arange(numbers.size)):
            found.append((slot, int(numbers.size)))
    return found


_LOOKUPS: dict[str, Callable[..., list[tuple[int, int | None]]]] = {
    "Gather": _gather,
    "OneHot": _one_hot,
    "Equal": _equal,
}
