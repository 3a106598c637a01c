"""ONNX graphs written like NumPy: tensors with operators, branches and loops as Python functions.

Nodes go into the innermost graph that is being written, constants into the outermost, where all graphs see them.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.digits.number_graph.merging import axes_as_inputs, rename
from mnistkit.digits.number_graph.tensor import KINDS, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import onnx


class Graph:
    """A graph in the making."""

    def __init__(self) -> None:
        self._scopes: list[list[onnx.NodeProto]] = [[]]
        self._constants: dict[tuple[str, bytes, tuple[int, ...]], Tensor] = {}
        self._count = 0
        self.initializers: list[onnx.TensorProto] = []

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """Of the innermost graph."""
        return self._scopes[-1]

    def tensor(self, name: str, dtype: str) -> Tensor:
        """A value that has a name already, such as an input."""
        return Tensor(self, name, dtype)

    def constant(self, value: Any, dtype: str) -> Tensor:
        """A constant; equal ones are stored once."""
        from onnx import numpy_helper

        array = np.asarray(value, dtype)
        key = (dtype, array.tobytes(), array.shape)
        if key not in self._constants:
            name = f"constant{len(self._constants)}"
            self.initializers.append(numpy_helper.from_array(array, name))
            self._constants[key] = Tensor(self, name, dtype)
        return self._constants[key]

    def ints(self, *values: int) -> Tensor:
        """int64 ``[n]``, as axes and shapes are given."""
        return self.constant(values, "int64")

    def shape_of(self, sizes: Sequence[int | Tensor]) -> Tensor:
        """int64 ``[n]`` of numbers, some of which the graph computes."""
        if not any(isinstance(size, Tensor) for size in sizes):
            return self.ints(*(int(size) for size in sizes if not isinstance(size, Tensor)))
        parts = [size.reshape(1) if isinstance(size, Tensor) else self.ints(size) for size in sizes]
        return parts[0] if len(parts) == 1 else self.join(parts)

    def op(self, kind: str, *inputs: Tensor | str, dtype: str | None = None, **attributes: Any) -> Tensor:
        """One node with one output, by default of the type of its first input; ``""`` leaves an input out."""
        first = inputs[0]
        found = dtype or (first.dtype if isinstance(first, Tensor) else "float32")
        return self.ops(kind, *inputs, dtypes=[found], **attributes)[0]

    def ops(self, kind: str, *inputs: Tensor | str, dtypes: Sequence[str], **attributes: Any) -> list[Tensor]:
        """One node with several outputs."""
        from onnx import helper

        made = [Tensor(self, self._fresh(kind), dtype) for dtype in dtypes]
        names = [one.name if isinstance(one, Tensor) else one for one in inputs]
        outputs = [one.name for one in made]
        self.nodes.append(helper.make_node(kind, names, outputs, name=f"{outputs[0]}/node", **attributes))
        return made

    def join(self, parts: Sequence[Tensor], axis: int = 0) -> Tensor:
        """Tensors one after the other."""
        return self.op("Concat", *parts, axis=axis)

    def stack(self, parts: Sequence[Tensor], axis: int = 0) -> Tensor:
        """Tensors of equal shape along a new axis."""
        return self.join([part.unsqueeze(axis) for part in parts], axis)

    def choose(self, condition: Tensor, one: Tensor | float, other: Tensor | float) -> Tensor:
        """One or the other, cell by cell; one of them at least is a tensor."""
        dtype = next(part.dtype for part in (one, other) if isinstance(part, Tensor))
        pair = [part if isinstance(part, Tensor) else self.constant(part, dtype) for part in (one, other)]
        return self.op("Where", condition, *pair, dtype=dtype)

    def arange(self, count: Tensor) -> Tensor:
        """0 to ``count`` - 1, int64."""
        return self.op("Range", self.constant(0, "int64"), count, self.constant(1, "int64"))

    def argsort(self, values: Tensor, *, descending: bool = False) -> Tensor:
        """Places of the values in their order; equal ones keep theirs."""
        return self.ops(
            "TopK", values, values.size().reshape(1), dtypes=[values.dtype, "int64"], axis=0, largest=int(descending)
        )[1]

    def either(
        self, condition: Tensor, one: Callable[[], Sequence[Tensor]], other: Callable[[], Sequence[Tensor]]
    ) -> list[Tensor]:
        """What one function gives where the condition holds, else what the other gives; the other one is not run."""
        branches = [self._branch(build) for build in (one, other)]
        dtypes = [value.dtype for value in branches[0][1]]
        assert dtypes == [value.dtype for value in branches[1][1]], "both branches give the same types"
        return self.ops("If", condition, dtypes=dtypes, then_branch=branches[0][0], else_branch=branches[1][0])

    def loop(
        self,
        count: Tensor | int,
        states: Sequence[Tensor],
        body: Callable[..., tuple[Tensor | None, Sequence[Tensor], Sequence[Tensor]]],
        shapes: Sequence[Sequence[int]] | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Repeat something.

        Args:
            count: How often, at most.
            states: What goes from one turn to the next; shapes may change.
            body: Takes the turn's number and the states; gives whether to go on (``None``: always), the next states,
                and what is collected from all turns.
            shapes: Of what is collected, in one turn (default: none has an axis).

        Returns:
            The last states, and what was collected, with an axis for the turns in front.
        """
        from onnx import helper

        times = count if isinstance(count, Tensor) else self.constant(count, "int64")
        turn = Tensor(self, self._fresh("turn"), "int64")
        go = Tensor(self, self._fresh("go"), "bool")
        inner = [Tensor(self, self._fresh("state"), state.dtype) for state in states]
        with self._scope() as nodes:
            on, after, collected = body(turn, *inner)
            assert [one.dtype for one in after] == [one.dtype for one in states], "states keep their types"
            given = [self.op("Identity", one) for one in (go if on is None else on, *after, *collected)]
        kept = 1 + len(states)
        infos = [*map(_info, given[:kept]), *map(_info, given[kept:], shapes or [()] * len(collected))]
        graph = helper.make_graph(nodes, turn.name, [_info(turn, ()), _info(go, ()), *map(_info, inner)], infos)
        dtypes = [one.dtype for one in given[1:]]
        found = self.ops("Loop", times, self.constant(True, "bool"), *states, dtypes=dtypes, body=graph)
        return found[: len(states)], found[len(states) :]

    def include(
        self, model: onnx.ModelProto, inputs: Mapping[str, Tensor], *, prefix: str, dtype: str = "float32"
    ) -> dict[str, Tensor]:
        """Another model's graph, in its opset 17, as a part of this one; its weights are stored once.

        Args:
            model: The model, which is not changed.
            inputs: What its inputs are here.
            prefix: Of the names of its values.
            dtype: Of all its outputs.

        Returns:
            Its outputs by name.
        """
        import onnx

        graph = onnx.GraphProto()
        graph.CopyFrom(model.graph)
        names = {name: tensor.name for name, tensor in inputs.items()}
        rename(graph, lambda name: names.get(name, f"{prefix}/{name}"))
        axes_as_inputs(graph, lambda *numbers: self.ints(*numbers).name)
        self.initializers += graph.initializer
        self.nodes.extend(graph.node)
        return {one.name: Tensor(self, f"{prefix}/{one.name}", dtype) for one in model.graph.output}

    def named(self, value: Tensor, name: str) -> None:
        """Make a value an output of that name."""
        from onnx import helper

        self.nodes.append(helper.make_node("Identity", [value.name], [name], name=f"{name}/node"))

    def _branch(self, build: Callable[[], Sequence[Tensor]]) -> tuple[onnx.GraphProto, list[Tensor]]:
        from onnx import helper

        with self._scope() as nodes:
            values = [self.op("Identity", one) for one in build()]
        return helper.make_graph(nodes, self._fresh("branch"), [], list(map(_info, values))), values

    @contextmanager
    def _scope(self) -> Iterator[list[onnx.NodeProto]]:
        self._scopes.append([])
        try:
            yield self._scopes[-1]
        finally:
            self._scopes.pop()

    def _fresh(self, kind: str) -> str:
        self._count += 1
        return f"{kind.lower()}{self._count}"


def _info(value: Tensor, shape: Sequence[int] | None = None) -> onnx.ValueInfoProto:
    from onnx import helper

    return helper.make_tensor_value_info(value.name, KINDS[value.dtype], shape)
