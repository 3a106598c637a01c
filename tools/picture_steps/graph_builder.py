"""A small builder of ONNX graphs: constants by value, nodes by call, names that depend on nothing but the order.

The picture graph has some hundreds of nodes. With ``onnx.helper`` alone its arithmetic could not be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx

Value = str
"""The name of a tensor in the graph."""

Size = tuple[Value, Value]
"""Rows and columns, int64 scalars."""


class GraphBuilder:
    """Collects nodes and constants; every method returns the name of the value it made.

    Args:
        prefix: Put before every generated name, so that a graph inside a graph cannot collide.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._count = 0
        self._known: dict[tuple[str, bytes, tuple[int, ...]], Value] = {}
        self._made: dict[tuple[Any, ...], Value] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, value: Any, dtype: str = "float32") -> Value:
        """A constant tensor; equal constants are stored once."""
        from onnx import numpy_helper

        array = np.asarray(value, dtype=dtype)
        key = (str(array.dtype), array.tobytes(), array.shape)
        if key not in self._known:
            self._known[key] = name = f"{self._prefix}c{len(self._known)}"
            self.initializers.append(numpy_helper.from_array(array, name))
        return self._known[key]

    def ints(self, *values: int) -> Value:
        """A one-dimensional int64 constant, as shapes, axes and slices take it."""
        return self.constant(list(values), "int64")

    def op(self, kind: str, *inputs: Any, name: Any = None, **attributes: Any) -> Value:
        """One node with one output; numbers among the inputs become float32 constants."""
        taken = [item if isinstance(item, str) else self.constant(item) for item in inputs]
        # The same question asked twice is one node: sizes, edges and weights come up again and again.
        key = None if name else (kind, *taken, *sorted((k, str(v)) for k, v in attributes.items()))
        if key is None or key not in self._made:
            made = self.ops(kind, *taken, names=[name or self._fresh(kind)], **attributes)[0]
            if key is None:
                return made
            self._made[key] = made
        return self._made[key]

    def ops(self, kind: str, *inputs: Any, names: Sequence[Value], **attributes: Any) -> list[Value]:
        """One node with the given outputs."""
        from onnx import helper

        taken = [item if isinstance(item, str) else self.constant(item) for item in inputs]
        self.nodes.append(
            helper.make_node(kind, taken, list(names), name=f"{self._prefix}n{len(self.nodes)}", **attributes)
        )
        return list(names)

    def fresh(self, count: int, kind: str = "v") -> list[Value]:
        """New unused names."""
        return [self._fresh(kind) for _ in range(count)]

    def _fresh(self, kind: str) -> Value:
        self._count += 1
        return f"{self._prefix}{kind.lower()}{self._count}"

    def __getattr__(self, kind: str) -> Callable[..., Value]:
        """``w.Add(a, 1)`` is ``w.op("Add", a, 1)``: the operator's own name reads best."""
        if not kind[:1].isupper():
            raise AttributeError(kind)
        return lambda *inputs, **attributes: self.op(kind, *inputs, **attributes)
