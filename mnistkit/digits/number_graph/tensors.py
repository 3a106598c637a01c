"""ONNX graphs written like NumPy: tensors with operators, branches and loops as Python functions.

Nodes go into the innermost graph that is being written, constants into the outermost, where all graphs see them.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import onnx

_KINDS: Final = {"bool": 9, "uint8": 2, "int32": 6, "int64": 7, "float32": 1, "float64": 11}  # TensorProto.DataType
_LISTED: Final = ("ReduceMean", "ReduceMax", "ReduceMin")  # before opset 18 their axes are an attribute


class Tensor:
    """A value of the graph.

    Attributes:
        name: In the graph.
        dtype: NumPy's name of its type.
    """

    __slots__ = ("_graph", "dtype", "name")

    def __init__(self, graph: Graph, name: str, dtype: str) -> None:
        self._graph, self.name, self.dtype = graph, name, dtype

    def _with(self, kind: str, other: Tensor | float, *, is_right: bool = False, dtype: str | None = None) -> Tensor:
        value = other if isinstance(other, Tensor) else self._graph.constant(other, self.dtype)
        pair = (value, self) if is_right else (self, value)
        return self._graph.op(kind, *pair, dtype=dtype or self.dtype)

    def __add__(self, other: Tensor | float) -> Tensor:
        return self._with("Add", other)

    def __radd__(self, other: float) -> Tensor:
        return self._with("Add", other, is_right=True)

    def __sub__(self, other: Tensor | float) -> Tensor:
        return self._with("Sub", other)

    def __rsub__(self, other: float) -> Tensor:
        return self._with("Sub", other, is_right=True)

    def __mul__(self, other: Tensor | float) -> Tensor:
        return self._with("Mul", other)

    def __rmul__(self, other: float) -> Tensor:
        return self._with("Mul", other, is_right=True)

    def __truediv__(self, other: Tensor | float) -> Tensor:
        return self._with("Div", other)

    def __rtruediv__(self, other: float) -> Tensor:
        return self._with("Div", other, is_right=True)

    def __floordiv__(self, other: Tensor | float) -> Tensor:
        """Of whole numbers that are not negative."""
        return self._with("Div", other)

    def __neg__(self) -> Tensor:
        return self._graph.op("Neg", self)

    def __gt__(self, other: Tensor | float) -> Tensor:
        return self._with("Greater", other, dtype="bool")

    def __ge__(self, other: Tensor | float) -> Tensor:
        return self._with("GreaterOrEqual", other, dtype="bool")

    def __lt__(self, other: Tensor | float) -> Tensor:
        return self._with("Less", other, dtype="bool")

    def __le__(self, other: Tensor | float) -> Tensor:
        return self._with("LessOrEqual", other, dtype="bool")

    def equals(self, other: Tensor | float) -> Tensor:
        """Where both are the same."""
        return self._with("Equal", other, dtype="bool")

    def __and__(self, other: Tensor) -> Tensor:
        return self._with("And", other)

    def __or__(self, other: Tensor) -> Tensor:
        return self._with("Or", other)

    def __invert__(self) -> Tensor:
        return self._graph.op("Not", self)

    def most(self, other: Tensor | float) -> Tensor:
        """The larger of both, cell by cell."""
        return self._with("Max", other)

    def least(self, other: Tensor | float) -> Tensor:
        """The smaller of both, cell by cell."""
        return self._with("Min", other)

    def cast(self, dtype: str) -> Tensor:
        """As another type; floats are cut off, as ``int`` does it."""
        return self if dtype == self.dtype else self._graph.op("Cast", self, dtype=dtype, to=_KINDS[dtype])

    def reshape(self, *shape: int | Tensor) -> Tensor:
        """With another shape; -1 is what is left."""
        return self._graph.op("Reshape", self, self._graph.shape_of(shape))

    def flat(self) -> Tensor:
        """One axis."""
        return self.reshape(-1)

    def size(self, axis: int = 0) -> Tensor:
        """Length of an axis, int64 ``[]``."""
        found = self._graph.op("Shape", self, dtype="int64", start=axis, end=axis + 1)
        return self._graph.op("Squeeze", found)

    def take(self, places: Tensor | int, axis: int = 0) -> Tensor:
        """Entries at places along an axis."""
        at = places if isinstance(places, Tensor) else self._graph.constant(places, "int64")
        return self._graph.op("Gather", self, at, axis=axis)

    def where(self, chosen: Tensor, axis: int = 0) -> Tensor:
        """Entries of an axis that are chosen."""
        return self._graph.op("Compress", self, chosen, axis=axis)

    def cut(self, start: int | Tensor, stop: int | Tensor, axis: int = 0) -> Tensor:
        """A slice of an axis."""
        graph = self._graph
        ends = [graph.shape_of([end]) for end in (start, stop)]
        return graph.op("Slice", self, *ends, graph.ints(axis))

    def unsqueeze(self, *axes: int) -> Tensor:
        """With axes of length 1."""
        return self._graph.op("Unsqueeze", self, self._graph.ints(*axes))

    def squeeze(self, *axes: int) -> Tensor:
        """Without axes of length 1."""
        return self._graph.op("Squeeze", self, self._graph.ints(*axes))

    def transpose(self, *axes: int) -> Tensor:
        """With the axes in another order."""
        return self._graph.op("Transpose", self, perm=list(axes))

    def sum(self, *axes: int) -> Tensor:
        """Over axes, or all of them."""
        return self._reduced("ReduceSum", axes)

    def max(self, *axes: int) -> Tensor:
        """Over axes, or all of them; of at least one entry."""
        return self._reduced("ReduceMax", axes)

    def min(self, *axes: int) -> Tensor:
        """Over axes, or all of them; of at least one entry."""
        return self._reduced("ReduceMin", axes)

    def mean(self, *axes: int) -> Tensor:
        """Over axes, or all of them."""
        return self._reduced("ReduceMean", axes)

    def any(self, *axes: int) -> Tensor:
        """Whether one is true, over axes or all of them; nothing is false."""
        return self.cast("int32").sum(*axes) > 0

    def prod(self) -> Tensor:
        """All entries times each other; 1 where there is none."""
        return self._reduced("ReduceProd", ())

    def argmax(self, axis: int = 0) -> Tensor:
        """Place of the first largest, int64."""
        return self._graph.op("ArgMax", self, dtype="int64", axis=axis, keepdims=0)

    def apply(self, kind: str) -> Tensor:
        """An operator of one tensor: Log, Exp, Sqrt, Floor, Ceil, Round, Abs."""
        return self._graph.op(kind, self)

    def _reduced(self, kind: str, axes: Sequence[int]) -> Tensor:
        over = [self._graph.ints(*axes)] if axes else []
        return self._graph.op(kind, self, *over, keepdims=0)


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
        _axes_as_inputs(self, graph)
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


def rename(graph: onnx.GraphProto, new_name: Callable[[str], str]) -> None:
    """Rename all nodes and tensors of a graph and of the graphs within it; the empty name stays."""

    def rename_all(names: Any) -> None:
        names[:] = [name and new_name(name) for name in names]

    for node in graph.node:
        rename_all(node.input)
        rename_all(node.output)
        node.name = new_name(node.name)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                rename(attribute.g, new_name)
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = new_name(value.name)


def _axes_as_inputs(whole: Graph, graph: onnx.GraphProto) -> None:
    """From opset 17 to 18: reductions take their axes as an input, and Split says into how many parts."""
    from onnx import helper

    for node in graph.node:
        kept = []
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _axes_as_inputs(whole, attribute.g)
            if node.op_type in _LISTED and attribute.name == "axes":
                node.input.append(whole.ints(*attribute.ints).name)
                continue
            kept.append(attribute)
        if node.op_type == "Split" and len(node.input) == 1:
            kept.append(helper.make_attribute("num_outputs", len(node.output)))
        copies = [type(one).FromString(one.SerializeToString()) for one in kept]
        del node.attribute[:]
        node.attribute.extend(copies)


def _info(value: Tensor, shape: Sequence[int] | None = None) -> onnx.ValueInfoProto:
    from onnx import helper

    return helper.make_tensor_value_info(value.name, _KINDS[value.dtype], shape)
