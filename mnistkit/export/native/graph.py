"""The graph under construction: what handlers write to.

A :class:`Value` knows its type, its logical shape (the one Keras sees) and, in ``storage_layout``, how it is laid out:
image tensors stay channels-first from one convolution to the next while Keras believes in channels-last, and a
Transpose is written only where somebody needs the logical layout. ``pointwise`` keeps the layout, ``node`` asks for the
logical one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import onnx
from keras import KerasTensor

from mnistkit.core.errors import ExportError
from mnistkit.export.native.arrays import to_numpy
from mnistkit.export.native.names import Unique, sanitize_name
from mnistkit.export.native.records import Weight
from mnistkit.export.native.registry import UnsupportedOp
from mnistkit.export.native.symbolic_dim import SymbolicDim

Shape = tuple[Any, ...]
Array = np.ndarray[Any, Any]


@dataclass(slots=True, eq=False)
class Value:
    """A tensor of the graph.

    Attributes:
        name: Tensor name; None for a constant that no node has used yet.
        dtype: Keras' name of the type: ``float32``, ``int64``, ``bool`` …
        shape: Logical shape, of ints and free dimensions; None when not known (inside a handler).
        const: The content, when it is known.
        storage_layout: ``stored.shape[i] == shape[perm[i]]``; None when stored as it is.
        name_hint: What to call a constant.
    """

    name: str | None
    dtype: str
    shape: Shape | None = None
    const: Array | None = None
    storage_layout: tuple[int, ...] | None = None
    name_hint: str = "constant"
    _logical: Value | None = field(default=None, repr=False)
    _derived: dict[Any, Value] = field(default_factory=dict, repr=False)

    @property
    def rank(self) -> int:
        """Number of axes.

        Raises:
            ExportError: It is not known: a handler forgot to say it.
        """
        if self.shape is None:
            raise ExportError(f"the rank of {self.name} is not known; this is a bug in a handler, please report it")
        return len(self.shape)

    @property
    def static(self) -> bool:
        """Whether the shape is known and has no free dimension."""
        return self.shape is not None and not any(isinstance(size, SymbolicDim) for size in self.shape)


# Operators that onnxruntime has no kernel of double precision for on the CPU; tests/keras/export/test_native_types.py
# asks it for each.
SINGLE_ONLY = frozenset(
    {
        "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "AveragePool", "Celu", "Conv", "ConvTranspose", "Cosh",
        "Elu", "Erf", "GRU", "Gelu", "GlobalAveragePool", "GlobalMaxPool", "GridSample", "HardSigmoid", "HardSwish",
        "InstanceNormalization", "LSTM", "RNN", "Resize", "Selu", "Sinh", "Softsign", "Tan", "ThresholdedRelu",
    }
)  # fmt: skip


_TWO_BYTES = {"int16": "int32", "uint16": "int32"}
_TYPES_SINCE = {"float8_e4m3fn": 19, "float8_e5m2": 19, "int4": 21, "uint4": 21}
"""Types that ONNX has since a later opset."""
NO_KERNEL: dict[str, dict[str, str]] = {
    "Clip": _TWO_BYTES,
    "DepthToSpace": {"bool": "uint8", "int16": "float32", "uint16": "float32", "int32": "float64"},
    "Max": _TWO_BYTES,
    "Min": _TWO_BYTES,
    "Neg": {"uint8": "int32", "uint16": "int32", "uint32": "int64"},
    "Pad": _TWO_BYTES,
    # at opset 18 onnxruntime puts Log(Exp(x) + 1) in place of it, which is infinite from 89 on
    "Softplus": {"float16": "float32", "bfloat16": "float32"},
    "SpaceToDepth": {"bool": "uint8", "int16": "float32", "uint16": "float32", "int32": "float64"},
    "Where": {"bool": "uint8", **_TWO_BYTES, "uint64": "int64"},
}
"""Operators that onnxruntime, or ONNX, has not for some types, and the type that they are computed in instead."""


def known_size(size: Any) -> int:
    """Return a size as a number.

    Raises:
        UnsupportedOp: It is None, which ``ops.shape`` gives for a free axis of a symbolic tensor; Keras fails then too.
    """
    if size is None:
        raise UnsupportedOp("a size there is None; ask for ops.shape(x) inside a layer or a Lambda, or give -1")
    return int(size)


@dataclass(slots=True, eq=False)
class Node:
    """One ONNX node."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any]
    name: str


class Graph:
    """Builds nodes and initializers; one per export.

    Args:
        opset: ONNX operator set to write.
        layouts: Whether image tensors may stay channels-first between operations.
    """

    def __init__(self, *, opset: int, layouts: bool = True) -> None:
        self.opset = opset
        self.layouts = layouts
        self.scope = ""
        self.nodes: list[Node] = []
        self.initializers: dict[str, Array] = {}
        self.unique = Unique()
        self.tensors: dict[int, Value] = {}
        self._weights: dict[Any, Value] = {}
        self._small: dict[Any, str] = {}
        self._dims: dict[Any, Value] = {}
        self.dim_names: dict[Any, Any] = {}
        self.spec: list[Any] = []
        self.notes: set[str] = set()

    # -- constants ----------------------------------------------------------------------------------------------------

    def const(self, array: Any, dtype: str | None = None, *, name_hint: str = "constant") -> Value:
        """Make a constant from a NumPy array, a number or a list.

        Args:
            array: Content; anything ``np.asarray`` takes.
            dtype: Keras' name of a type to convert to.
            name_hint: Name, below the current layer's path.
        """
        array = np.asarray(array)
        if dtype is not None and str(array.dtype) != dtype:
            with np.errstate(over="ignore"):  # to infinity, as in every backend
                array = array.astype(numpy_dtype(dtype))
        return Value(None, str(array.dtype), tuple(array.shape), const=array, name_hint=name_hint)

    def ints(self, *values: int) -> Value:
        """Make a constant int64 vector."""
        return self.const(np.asarray(values, np.int64), name_hint="shape")

    def weight(self, variable: Any, dtype: str | None = None) -> Value:
        """Make a constant from a Keras variable; the same variable gives the same initializer.

        Args:
            variable: A variable, or a :class:`Weight`.
            dtype: Type to convert to; the variable's own when None.
        """
        if isinstance(variable, Weight):
            variable, dtype = variable.variable, dtype or variable.dtype
        stored = keras.backend.standardize_dtype(getattr(variable, "_dtype", None) or variable.dtype)
        dtype = dtype or stored
        key = (id(variable), dtype)
        if key not in self._weights:
            raw = getattr(variable, "_value", None)
            array = to_numpy(raw if raw is not None else variable.value)
            if str(array.dtype) != dtype:
                array = array.astype(numpy_dtype(dtype))
            name = sanitize_name(getattr(variable, "name", "weight"))
            self._weights[key] = Value(None, dtype, tuple(array.shape), const=array, name_hint=name)
        return self._weights[key]

    def kept(self, variable: Any, dtype: str, content: Callable[[], Array]) -> Value:
        """Make an initializer of a variable that keeps its type: operations on it are written, never folded.

        Args:
            variable: A variable; with the same type it gives the same initializer.
            dtype: The type, which may be one that Keras does not compute in.
            content: Gives the content in this type.

        Raises:
            UnsupportedOp: The type is newer than the graph's opset.
        """
        self._check_type(dtype)
        key = ("kept", id(variable), dtype)
        if key not in self._weights:
            array = content()
            named = self.const(array, name_hint=sanitize_name(getattr(variable, "name", "weight")))
            self._weights[key] = Value(self.use(named), dtype, tuple(array.shape))
        return self._weights[key]

    def _check_type(self, dtype: Any) -> None:
        since = _TYPES_SINCE.get(dtype, 0)
        if since > self.opset:
            raise UnsupportedOp(f"{dtype} needs opset {since}", opset=since)

    def value(self, x: Any, dtype: str | None = None) -> Value:
        """Turn an argument (value, number, size, array, variable) into a value, cast to ``dtype`` when given."""
        if isinstance(x, Value):
            return x if dtype is None else self.cast(x, dtype)
        if isinstance(x, SymbolicDim):
            return self.cast(self.node("Squeeze", self.dim(x), self.ints(0), shape=()), dtype or "int32")
        if isinstance(x, KerasTensor):
            return self.value(self.tensors[id(x)], dtype)
        if isinstance(x, (Weight, keras.Variable)):
            return self.weight(x, dtype)
        if isinstance(x, bool):
            return self.const(np.asarray(x), dtype or "bool")
        if isinstance(x, int):
            return self.const(np.asarray(x), dtype or ("int32" if -(2**31) <= x < 2**31 else "int64"))
        if isinstance(x, float):
            return self.const(np.asarray(x), dtype or keras.config.floatx())
        if isinstance(x, (list, tuple)):
            if any(isinstance(item, (Value, KerasTensor, SymbolicDim)) for item in x):
                parts = [self.value(item) for item in x]
                kind = dtype or parts[0].dtype
                parts = [self.unsqueeze(self.cast(part, kind), 0) for part in parts]
                shape = (len(parts), *(parts[0].shape or (1,))[1:])
                return self.node("Concat", *parts, axis=0, dtype=kind, shape=shape)
            array = np.asarray(x)
            default = {"int64": "int32", "float64": keras.config.floatx()}
            return self.const(array, dtype or default.get(str(array.dtype)))
        return self.const(to_numpy(x), dtype)

    # -- nodes --------------------------------------------------------------------------------------------------------

    def raw(
        self,
        op: str,
        inputs: list[Value | None],
        *,
        outputs: int = 1,
        attrs: dict[str, Any],
        name_hint: str | None = None,
    ) -> tuple[list[str], Node]:
        """Append a node on the inputs as they are stored.

        Raises:
            UnsupportedOp: The operator is newer than the graph's opset.
        """
        since = _first_opset(op)
        if since > self.opset:
            raise UnsupportedOp(f"{op} needs opset {since}", opset=since)
        self._check_type(attrs.get("to"))
        if op in SINGLE_ONLY and any(x is not None and x.dtype == "float64" for x in inputs):
            self.notes.add(f"{op} of float64 is computed in float32, because onnxruntime has it in no other")
            return self._in_type(op, inputs, "float64", "float32", outputs=outputs, attrs=attrs, name_hint=name_hint)
        given = next((x.dtype for x in inputs[op == "Where" :] if x is not None), "")
        work = NO_KERNEL.get(op, {}).get(given)
        if work is not None:
            return self._in_type(op, inputs, given, work, outputs=outputs, attrs=attrs, name_hint=name_hint)
        base = f"{self.scope}/{name_hint or op}" if self.scope else (name_hint or op)
        name = self.unique(base)
        names = [name] + [self.unique(f"{name}_out{i}") for i in range(1, outputs)]
        node = Node(op, ["" if x is None else self.use(x) for x in inputs], names, attrs, name)
        while node.inputs and not node.inputs[-1]:
            node.inputs.pop()
        self.nodes.append(node)
        return names, node

    def _in_type(
        self,
        op: str,
        inputs: list[Value | None],
        given: str,
        work: str,
        *,
        outputs: int,
        attrs: dict[str, Any],
        name_hint: str | None,
    ) -> tuple[list[str], Node]:
        """Append a node with a Cast to another type before each input of a type, and one back after each output."""
        brought: list[Value | None] = []
        for place, x in enumerate(inputs):
            if x is None or x.dtype != given or (op == "Where" and place == 0):
                brought.append(x)
            elif x.const is not None:
                brought.append(self.const(x.const, work, name_hint=x.name_hint))
            else:
                narrow, _ = self.raw("Cast", [x], attrs={"to": work})
                brought.append(Value(narrow[0], work))
        names, _ = self.raw(op, brought, outputs=outputs, attrs=attrs, name_hint=name_hint)
        back = [self.raw("Cast", [Value(name, work)], attrs={"to": given}) for name in names]
        return [found[0] for found, _ in back], back[0][1]

    def node(self, op: str, *inputs: Any, dtype: str | None = None, shape: Shape | None = None, **attrs: Any) -> Value:
        """Append a node with one output; inputs in logical layout, numbers and arrays welcome, None for an absent one.

        Args:
            op: ONNX operator.
            inputs: Arguments.
            dtype: Type of the output; the first input's when None.
            shape: Logical shape of the output when later calls in the same handler need it.
            **attrs: Node attributes; None leaves one out.
        """
        values = [None if x is None else self.to_logical(self.value(x)) for x in inputs]
        attrs = {key: value for key, value in attrs.items() if value is not None}
        folded = _fold(op, values, attrs)
        if folded is not None:
            return self.const(folded, name_hint=next((v.name_hint for v in values if v is not None), "constant"))
        names, _ = self.raw(op, values, attrs=attrs)
        return Value(names[0], dtype or next(v.dtype for v in values if v is not None), shape)

    def nodes_out(self, op: str, *inputs: Any, dtypes: list[str], **attrs: Any) -> list[Value]:
        """Append a node with several outputs, one for each type given."""
        values = [None if x is None else self.to_logical(self.value(x)) for x in inputs]
        attrs = {key: value for key, value in attrs.items() if value is not None}
        names, _ = self.raw(op, values, outputs=len(dtypes), attrs=attrs)
        return [Value(name, dtype) for name, dtype in zip(names, dtypes, strict=True)]

    def pointwise(self, op: str, *inputs: Any, dtype: str | None = None, **attrs: Any) -> Value:
        """Append an elementwise node (NumPy broadcasting): the layout of the inputs is kept.

        Args:
            op: ONNX operator.
            inputs: Arguments, all of the type that the operator wants.
            dtype: Type of the output; the first input's when None.
            **attrs: Node attributes; None leaves one out.
        """
        values = [self.value(x) for x in inputs]
        attrs = {key: value for key, value in attrs.items() if value is not None}
        perm = self._common_layout(values)
        shape = _broadcast([v.shape for v in values])
        if perm is None:
            values = [self.to_logical(v) for v in values]
            folded = _fold(op, values, attrs)
            if folded is not None:
                return self.const(folded, dtype, name_hint=values[0].name_hint)
        else:
            values = [self.layout(v, perm) for v in values]
        names, _ = self.raw(op, values, attrs=attrs)  # type: ignore[arg-type]
        return Value(names[0], dtype or values[0].dtype, shape, storage_layout=perm)

    def _common_layout(self, values: list[Value]) -> tuple[int, ...] | None:
        perm = next((v.storage_layout for v in values if v.storage_layout is not None), None)
        if perm is None:
            return None
        for v in values:
            if v.shape is None or (v.const is None and v.rank not in (0, len(perm))) or v.rank > len(perm):
                return None
        return perm

    # -- layout -------------------------------------------------------------------------------------------------------

    def to_logical(self, value: Value) -> Value:
        """Return the value in logical layout."""
        if value.storage_layout is None:
            return value
        if value._logical is None:  # noqa: SLF001  the cache belongs to this class
            inverse = [value.storage_layout.index(axis) for axis in range(len(value.storage_layout))]
            stored = Value(value.name, value.dtype)
            names, _ = self.raw("Transpose", [stored], attrs={"perm": inverse})
            value._logical = Value(names[0], value.dtype, value.shape)  # noqa: SLF001  as above
        return value._logical  # noqa: SLF001  as above

    def layout(self, value: Value, perm: tuple[int, ...]) -> Value:
        """Return the value stored in the given layout (with lower-rank constants extended to its rank)."""
        if value.storage_layout == perm or value.rank == 0:
            return value
        key = ("layout", perm)
        if key in value._derived:  # noqa: SLF001  the cache belongs to this class
            return value._derived[key]  # noqa: SLF001  as above
        if value.const is not None:
            array = value.const.reshape((1,) * (len(perm) - value.rank) + value.const.shape)
            made = Value(
                None,
                value.dtype,
                tuple(array.shape),
                const=array.transpose(perm),
                storage_layout=perm,
                name_hint=value.name_hint,
            )
        else:
            plain = self.to_logical(value)
            names, _ = self.raw("Transpose", [plain], attrs={"perm": list(perm)})
            made = Value(names[0], value.dtype, value.shape, storage_layout=perm)
        value._derived[key] = made  # noqa: SLF001  as above
        return made

    def stored(self, name: str, dtype: str, shape: Shape | None, perm: tuple[int, ...] | None) -> Value:
        """Wrap a stored tensor; with layouts switched off it is brought to the logical layout at once."""
        if perm is not None and perm == tuple(range(len(perm))):
            perm = None
        value = Value(name, dtype, shape, storage_layout=perm)
        return value if self.layouts else self.to_logical(value)

    # -- small helpers ------------------------------------------------------------------------------------------------

    def cast(self, x: Any, dtype: str) -> Value:
        """Cast, unless the type is right already."""
        value = self.value(x)
        if value.dtype == dtype:
            return value
        if value.const is not None:
            return self.const(value.const, dtype, name_hint=value.name_hint)
        return self.pointwise("Cast", value, dtype=dtype, to=dtype)

    def unsqueeze(self, value: Any, *axes: int) -> Value:
        """Insert axes of length 1; axes count in the result."""
        value = self.value(value)
        shape: list[Any] | None = None if value.shape is None else list(value.shape)
        if shape is not None:
            total = len(shape) + len(axes)
            axes = tuple(sorted(axis % total for axis in axes))
            for axis in axes:
                shape.insert(axis, 1)
        return self.node("Unsqueeze", value, self.ints(*axes), shape=None if shape is None else tuple(shape))

    def squeeze(self, value: Any, *axes: int) -> Value:
        """Remove axes of length 1."""
        value = self.value(value)
        axes = tuple(sorted(axis % value.rank for axis in axes))
        shape = tuple(size for axis, size in enumerate(value.shape or ()) if axis not in axes)
        return self.node("Squeeze", value, self.ints(*axes), shape=shape)

    def reshape(self, value: Any, shape: Any) -> Value:
        """Reshape to a shape of ints, free dimensions and at most one -1."""
        value = self.value(value)
        return self.node("Reshape", value, self.reshape_target(value, tuple(shape)), shape=tuple(shape))

    def reshape_target(self, value: Value, shape: Shape) -> Value:
        """Return the second input of a Reshape: constant when at most one dimension is free."""
        free = [axis for axis, size in enumerate(shape) if isinstance(size, SymbolicDim)]
        fixed: list[Any] = [known_size(size) for size in shape]
        if free and -1 not in fixed and all(fixed[axis] != 0 for axis in range(len(fixed)) if axis not in free):
            kept = [
                axis
                for axis in free
                if value.shape is not None
                and axis < len(value.shape)
                and isinstance(value.shape[axis], SymbolicDim)
                and value.shape[axis].expr_key() == shape[axis].expr_key()
            ]
            others = [axis for axis in free if axis not in kept]
            if not others and len(kept) == 1:
                others, kept = kept, []
            if len(others) <= 1:
                for axis in kept:
                    fixed[axis] = 0
                for axis in others:
                    fixed[axis] = -1
                return self.ints(*fixed)
        if not free:
            return self.ints(*fixed)
        return self.shape_vector(shape)

    def transpose(self, x: Any, perm: Any) -> Value:
        """Transpose; on a value with a layout only the bookkeeping changes when possible."""
        value = self.value(x)
        perm = tuple(axis % value.rank for axis in perm)
        shape = tuple((value.shape or ())[axis] for axis in perm)
        if perm == tuple(range(len(perm))):
            return value
        if value.storage_layout is not None:
            layout: tuple[int, ...] | None = tuple(perm.index(axis) for axis in value.storage_layout)
            if layout == tuple(range(len(perm))):
                layout = None
            return Value(value.name, value.dtype, shape, storage_layout=layout)
        return self.node("Transpose", value, perm=list(perm), shape=shape)

    # -- sizes --------------------------------------------------------------------------------------------------------

    def dim(self, size: Any) -> Value:
        """Return an int64 vector of length 1 with a size, fixed or free."""
        if not isinstance(size, SymbolicDim):
            return self.ints(known_size(size))
        key = size.expr_key()
        if key not in self._dims:
            self._dims[key] = self._dim(size)
        return self._dims[key]

    def _dim(self, size: SymbolicDim) -> Value:
        head, left, right = size.expr
        if head == "axis":
            value = self.tensors[id(left)]
            axis = right if value.storage_layout is None else value.storage_layout.index(right)
            names, _ = self.raw(
                "Shape", [Value(value.name, value.dtype)], attrs={"start": axis, "end": axis + 1}, name_hint="Size"
            )
            return Value(names[0], "int64", (1,))
        a, b = self.dim(left), self.dim(right)
        if head in {"add", "sub", "mul"}:
            return self.node(head.capitalize(), a, b, shape=(1,))
        if head == "mod":
            return self.node("Mod", a, b, shape=(1,))
        # floor division: a - mod(a, b) is divisible, and ONNX's Mod has Python's sign
        return self.node("Div", self.node("Sub", a, self.node("Mod", a, b)), b, shape=(1,))

    def shape_vector(self, shape: Any) -> Value:
        """Return an int64 vector of sizes, fixed or free."""
        if not any(isinstance(size, SymbolicDim) for size in shape):
            return self.ints(*map(known_size, shape))
        parts: list[Value] = []
        run: list[int] = []
        for size in shape:
            if isinstance(size, SymbolicDim):
                if run:
                    parts.append(self.ints(*run))
                    run = []
                parts.append(self.dim(size))
            else:
                run.append(known_size(size))
        if run:
            parts.append(self.ints(*run))
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=0, dtype="int64", shape=(len(shape),))

    # -- naming -------------------------------------------------------------------------------------------------------

    def identity(self, value: Value, name: str) -> str:
        """Append an Identity whose output has exactly this (reserved) name; tidying up removes it where it can."""
        self.nodes.append(Node("Identity", [self.use(value)], [name], {}, self.unique(f"{name}/Identity")))
        return name

    def dim_shape(self, shape: Shape) -> tuple[Any, ...]:
        """Return a shape for the file: ints, the names of inputs' free dimensions, None for others."""
        return tuple(
            self.dim_names.get(size.expr_key()) if isinstance(size, SymbolicDim) else int(size) for size in shape
        )

    def use(self, value: Value) -> str:
        """Return the value's name, making an initializer of a constant on first use."""
        if value.name is not None:
            return value.name
        array = value.const
        assert array is not None
        small = array.size <= 16  # noqa: PLR2004  small constants are shared by content
        if small:
            key = (str(array.dtype), array.shape, array.tobytes())
            if key in self._small:
                value.name = self._small[key]
                return value.name
        named = value.name_hint not in {"constant", "shape"}
        name = self.unique(f"{self.scope}/{value.name_hint}" if named and self.scope else value.name_hint)
        self.initializers[name] = array
        if small:
            self._small[key] = name
        value.name = name
        return name


def numpy_dtype(dtype: str) -> Any:
    """Return NumPy's type for Keras' name of a type.

    Raises:
        ExportError: ONNX has no such type, or not one that onnxruntime computes with.
    """
    if dtype in {"bfloat16", *_TYPES_SINCE}:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, dtype))
    try:
        return np.dtype(dtype)
    except TypeError as error:
        raise ExportError(f"the type {dtype} cannot be written; use float32, float16 or an integer policy") from error


def _broadcast(shapes: list[Shape | None]) -> Shape | None:
    if any(shape is None for shape in shapes):
        return None
    rank = max(len(shape or ()) for shape in shapes)
    result: list[Any] = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape or (), start=rank - len(shape or ())):
            if isinstance(size, SymbolicDim):
                result[axis] = size if result[axis] == 1 else result[axis]
            elif size != 1:
                result[axis] = size
    return tuple(result)


_FOLDS: dict[str, Any] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Reshape": lambda x, shape: x.reshape(shape.tolist()),
    "Unsqueeze": lambda x, axes: np.expand_dims(x, tuple(axes.tolist())),
    "Squeeze": lambda x, axes: np.squeeze(x, tuple(axes.tolist())),
}


def _fold(op: str, values: Sequence[Value | None], attrs: dict[str, Any]) -> Array | None:
    """Compute exactly defined operations on constants; the others are left to the runtime's own folding."""
    if any(v is None or v.const is None for v in values):
        return None
    arrays = [v.const for v in values if v is not None]
    if op == "Transpose":
        assert arrays[0] is not None
        return arrays[0].transpose(attrs["perm"])
    if op == "Concat":
        return np.concatenate(arrays, attrs["axis"])  # type: ignore[arg-type]
    function = _FOLDS.get(op)
    return None if function is None or attrs else np.asarray(function(*arrays))


@functools.cache
def _first_opset(op: str) -> int:
    """The opset that brought an operator of ONNX; 0 for those of other domains."""
    versions = [s.since_version for s in onnx.defs.get_all_schemas_with_history() if s.name == op and not s.domain]
    return min(versions, default=0)
