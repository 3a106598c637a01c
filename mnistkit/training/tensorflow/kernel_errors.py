"""Errors that TensorFlow's kernels raise and XLA does not: a label or an id out of range, a failed assertion.

XLA clamps such an index or computes NaN, and trains on. So a step that might meet one runs on the kernels, which raise
as they do in ``model.fit``. Most steps cannot: their indices come straight from the data, whose range is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Range = tuple[float, float]

# by the name of the operation: which input has the indices, and which one they index, along which axis
_INDEXED = {
    "GatherV2": (1, 0, None),  # the axis is the third input
    "ResourceGather": (1, 0, 0),
    "SparseSoftmaxCrossEntropyWithLogits": (1, 0, -1),
}
_ALWAYS = {"Assert", "CheckNumerics", "GatherNd", "ResourceGatherNd", "Bincount", "DenseBincount"}
_DIVISIONS = {"Div", "FloorDiv", "FloorMod", "Mod", "TruncateDiv", "TruncateMod"}
_SAME = {
    *("BroadcastTo", "Cast", "ExpandDims", "Identity", "Reshape", "Reverse", "ReverseV2", "Slice", "Squeeze"),
    *("StopGradient", "StridedSlice", "Tile", "Transpose"),
}
_RANDOM = {
    *("Multinomial", "ParameterizedTruncatedNormal", "RandomGamma", "RandomPoissonV2", "RandomShuffle"),
    *("RandomStandardNormal", "RandomUniform", "RandomUniformInt", "TruncatedNormal"),
}


def operations(graph: Any) -> Iterator[Any]:
    """Go through the nodes of a graph and of the functions that it calls."""
    definition = graph.as_graph_def()
    yield from definition.node
    for function in definition.library.function:
        yield from function.node_def


def draws_globally(graph: Any) -> bool:
    """Tell whether a step draws from TensorFlow's global random generator, whose numbers depend on who asked before."""
    return any(node.op in _RANDOM for node in operations(graph))


class KernelErrors:
    """What the kernels check in a step.

    Args:
        traced: the step, a concrete function of the arrays of a batch.
    """

    def __init__(self, traced: Any) -> None:
        graph = traced.graph
        self._inputs = {
            tensor.name: i for i, tensor in enumerate(graph.inputs[: len(traced.structured_input_signature[0])])
        }
        self._indexed: list[tuple[Any, float]] = []  # indices, and how many there are to choose from
        own = graph.get_operations()
        nested = {node.op for function in graph.as_graph_def().library.function for node in function.node_def}
        self._always = bool(nested & (_ALWAYS | _INDEXED.keys())) or any(
            one.type in _ALWAYS or _may_divide_by_zero(one) for one in own
        )
        for one in own:
            if one.type in _INDEXED:
                self._indexed.append(_indices_and_limit(one))
        self._checked: tuple[list[Any], bool] | None = None

    def may_happen(self, data: Sequence[Any]) -> bool:
        """Tell whether a kernel might raise on these arrays."""
        if self._always:
            return True
        if not self._indexed:
            return False
        if self._checked is None or any(one is not two for one, two in zip(self._checked[0], data, strict=True)):
            ranges: dict[int, Range | None] = {}
            self._checked = [*data], not all(self._is_within(*one, data, ranges) for one in self._indexed)
        return self._checked[1]

    def _is_within(self, indices: Any, limit: float, data: Sequence[Any], ranges: dict[int, Range | None]) -> bool:
        found = self._range(indices, data, ranges)
        return found is not None and found[0] >= 0 and found[1] < limit

    def _range(self, tensor: Any, data: Sequence[Any], ranges: dict[int, Range | None]) -> Range | None:
        """Return between which numbers a tensor of a step lies, or None where that is not known."""
        if tensor.name in self._inputs:
            number = self._inputs[tensor.name]
            if number not in ranges:
                ranges[number] = _range_of(data[number])
            return ranges[number]
        constant = tf.get_static_value(tensor)
        if constant is not None:
            return _range_of(constant)
        operation = tensor.op
        if operation.type in _SAME:
            return self._range(operation.inputs[0], data, ranges)
        if operation.type in {"ArgMax", "ArgMin"}:
            axis, shape = tf.get_static_value(operation.inputs[1]), operation.inputs[0].shape
            size = shape[int(axis)] if axis is not None else None
            return None if size is None else (0, size - 1)
        if operation.type == "SelectV2":
            return self._range_of_select(operation, data, ranges)
        return None

    def _range_of_select(self, operation: Any, data: Sequence[Any], ranges: dict[int, Range | None]) -> Range | None:
        """Return the range of ``where(x < 0, x + size, x)``: that of x where all of it is 0 or more."""
        condition, _, otherwise = operation.inputs
        if condition.op.type != "Less" or not np.array_equal(tf.get_static_value(condition.op.inputs[1]), 0):
            return None
        compared = self._range(condition.op.inputs[0], data, ranges)
        if compared is None or compared[0] < 0:
            return None
        return self._range(otherwise, data, ranges)


def _indices_and_limit(operation: Any) -> tuple[Any, float]:
    number, indexed, axis = _INDEXED[operation.type]
    if axis is None:
        axis = tf.get_static_value(operation.inputs[2])
    shape = _shape_of(operation, indexed)
    size = shape[int(axis)] if axis is not None and shape is not None else None
    return operation.inputs[number], -1 if size is None else size


def _shape_of(operation: Any, number: int) -> Any:
    """Return the shape of an input, also where it is a variable."""
    tensor = operation.inputs[number]
    if tensor.dtype != tf.resource:
        return tensor.shape if tensor.shape.rank is not None else None
    captures = {inside.name: outside for outside, inside in operation.graph.captures}
    variables = {id(variable.handle): variable for variable in operation.graph.variables}
    variable = variables.get(id(captures.get(tensor.name)))
    return None if variable is None else variable.shape


def _range_of(values: Any) -> Range | None:
    array = np.asarray(values)
    if array.size == 0 or array.dtype.kind not in "biuf":
        return None
    low, high = float(array.min()), float(array.max())
    return (low, high) if np.isfinite([low, high]).all() else None


def _may_divide_by_zero(operation: Any) -> bool:
    if operation.type not in _DIVISIONS or not operation.inputs[1].dtype.is_integer:
        return False
    divisor = operation.inputs[1]
    # the gradient of a mean divides by the greater of a size and 1
    at_least = divisor.op.inputs if divisor.op.type == "Maximum" else []
    if any((value := tf.get_static_value(one)) is not None and np.all(value >= 1) for one in at_least):
        return False
    value = tf.get_static_value(divisor)
    return value is None or bool(np.any(np.equal(value, 0)))
