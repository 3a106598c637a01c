"""Matrix products: matmul, dot, tensordot, einsum."""

from __future__ import annotations

import math
from typing import Any

from mnistkit.export.native.backend_behavior import integers_are_multiplied_as_floats
from mnistkit.export.native.graph import Graph, Value
from mnistkit.export.native.lowerings.elementwise import is_float, result_type
from mnistkit.export.native.registry import register_lowering
from mnistkit.export.native.value_types import held_type


def product_type(graph: Graph, product: str, *operands: Any) -> str:
    """Return the type to multiply in: that of the operands; single precision where the backend takes integers to it.

    Keras' products of int8 are int32, so that they hold the sums.
    """
    dtype = result_type(graph, *operands)
    if product in {"matmul", "einsum"} and dtype == "int8" and _are_int8(graph, operands):
        return "int32"
    # integers of one byte or two stay below 2^24 in single precision, too
    if dtype in {"int32", "int64", "uint32"} and integers_are_multiplied_as_floats(product, held_type(dtype)):
        return "float32"
    return dtype


def _are_int8(graph: Graph, operands: tuple[Any, ...]) -> bool:
    return all(graph.value(x).dtype == "int8" for x in operands)


def matmul_values(graph: Graph, a: Value, b: Value, *, dtype: str) -> Value:
    """Multiply matrices in a type that onnxruntime has a kernel for."""
    if a.dtype == b.dtype == "int8" and dtype == "int32":
        return graph.node("MatMulInteger", a, b, dtype="int32")
    inner = dtype if is_float(dtype) or dtype in {"int32", "int64", "uint32", "uint64"} else "int32"
    out = graph.node("MatMul", graph.cast(a, inner), graph.cast(b, inner))
    return graph.cast(out, dtype)


@register_lowering("Matmul")
def matmul(graph: Graph, _: Any, x1: Any, x2: Any) -> Value:
    """Matrix product with NumPy's broadcasting, which ONNX has too."""
    dtype = product_type(graph, "matmul", x1, x2)
    return matmul_values(graph, graph.value(x1), graph.value(x2), dtype=dtype)


@register_lowering("Dot")
def dot(graph: Graph, _: Any, x1: Any, x2: Any) -> Value:
    """``numpy.dot``: scalars multiply, otherwise last axis against the last but one."""
    dtype = product_type(graph, "dot", x1, x2)
    a, b = graph.value(x1, dtype), graph.value(x2, dtype)
    if a.rank == 0 or b.rank == 0:
        return graph.pointwise("Mul", a, b)
    if b.rank <= 2:  # noqa: PLR2004  matrices and vectors
        return matmul_values(graph, a, b, dtype=dtype)
    return tensordot_values(graph, a, b, axes=([a.rank - 1], [b.rank - 2]), dtype=dtype)


@register_lowering("Tensordot")
def tensordot(graph: Graph, op: Any, x1: Any, x2: Any) -> Value:
    """Contract over given axes."""
    dtype = product_type(graph, "tensordot", x1, x2)
    a, b = graph.value(x1, dtype), graph.value(x2, dtype)
    if isinstance(op.axes, int):
        axes = (list(range(a.rank - op.axes, a.rank)), list(range(op.axes)))
    else:
        left, right = op.axes
        axes = (
            [left % a.rank] if isinstance(left, int) else [i % a.rank for i in left],
            [right % b.rank] if isinstance(right, int) else [i % b.rank for i in right],
        )
    return tensordot_values(graph, a, b, axes=axes, dtype=dtype)


def tensordot_values(graph: Graph, a: Value, b: Value, *, axes: tuple[list[int], list[int]], dtype: str) -> Value:
    """Contract by an einsum over letters."""
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    left = [next(letters) for _ in range(a.rank)]
    right = [next(letters) for _ in range(b.rank)]
    for i, j in zip(*axes, strict=True):
        right[j] = left[i]
    kept_left = [letter for i, letter in enumerate(left) if i not in axes[0]]
    kept_right = [letter for i, letter in enumerate(right) if i not in axes[1]]
    equation = f"{''.join(left)},{''.join(right)}->{''.join(kept_left + kept_right)}"
    return einsum_values(graph, equation, [a, b], dtype=dtype)


@register_lowering("Einsum")
def einsum(graph: Graph, op: Any, *operands: Any, **_: Any) -> Value:
    """Einstein summation."""
    dtype = product_type(graph, "einsum", *operands)
    equation = op.subscripts.replace(" ", "")
    brought = None if _are_int8(graph, operands) else dtype
    return einsum_values(graph, equation, [graph.value(x, brought) for x in operands], dtype=dtype)


def einsum_values(graph: Graph, equation: str, values: list[Value], *, dtype: str) -> Value:
    """Write an Einsum, as MatMul where the equation is one (faster, and foldable)."""
    for way in (_as_matmul, _as_batched_matmul):
        product = way(graph, equation, values, dtype=dtype)
        if product is not None:
            return product
    inner = dtype if is_float(dtype) else "float32" if dtype in {"int8", "uint8", "int16", "bool"} else dtype
    return graph.cast(graph.node("Einsum", *[graph.cast(v, inner) for v in values], equation=equation), dtype)


def _as_matmul(graph: Graph, equation: str, values: list[Value], *, dtype: str) -> Value | None:
    """Recognise ``batch left common , weight`` products: reshape the weight to a matrix and multiply."""
    if len(values) != 2 or "->" not in equation:  # noqa: PLR2004  a product has two factors
        return None
    inputs, output = equation.split("->")
    left, right = inputs.split(",")
    ellipsis = left.startswith("...") and output.startswith("...") and "." not in right
    if ellipsis:
        left, output = left[3:], output[3:]
    if "." in left + right + output or len({*left}) != len(left) or len({*right}) != len(right):
        return None
    a, b = values
    if b.const is None and not b.static:
        return None
    common = [c for c in left if c in right and c not in output]
    free_left = [c for c in left if c not in right]
    free_right = [c for c in right if c not in left]
    if not common or sorted(output) != sorted(free_left + free_right):
        return None
    if list(left) != free_left + common or list(output) != free_left + free_right:
        return None
    sizes: dict[str, int] = dict(zip(right, b.shape or (), strict=True))
    depth = 1
    for c in common:
        depth *= sizes[c]
    if a.shape is None:
        return None
    columns = math.prod(sizes[c] for c in free_right)
    ordered = graph.transpose(b, [right.index(c) for c in common + free_right])
    matrix = ordered if len(right) == 2 and free_right else graph.reshape(ordered, (depth, columns))  # noqa: PLR2004  a matrix already
    lead = a.shape[: len(a.shape) - len(common)]
    flat = a if len(common) == 1 else graph.reshape(a, (*lead, depth))
    out = matmul_values(graph, flat, matrix, dtype=dtype)
    if len(free_right) == 1:
        return out
    out.shape = (*lead, columns)
    return graph.reshape(out, (*lead, *[sizes[c] for c in free_right]))


def _as_batched_matmul(graph: Graph, equation: str, values: list[Value], *, dtype: str) -> Value | None:
    """Recognize products of matrices in stacks, as in attention: onnxruntime's Einsum takes three times as long."""
    if len(values) != 2 or "->" not in equation or "." in equation:  # noqa: PLR2004  a product has two factors
        return None
    inputs, output = equation.split("->")
    left, right = inputs.split(",")
    if any(len({*letters}) != len(letters) for letters in (left, right, output)):
        return None
    stack = [c for c in output if c in left and c in right]
    common = [c for c in left if c in right and c not in output]
    rows, columns = [c for c in left if c not in right], [c for c in right if c not in left]
    if not stack or any(len(letters) != 1 for letters in (common, rows, columns)):
        return None
    sizes = _sizes(left, right, values)
    if sorted(output) != sorted(stack + rows + columns) or sizes is None:
        return None
    a, b = values
    if output.index(columns[0]) < output.index(rows[0]):  # the other way round the product needs no transposition
        a, b, left, right, rows, columns = b, a, right, left, columns, rows
    a = _with_axes(graph, a, left, stack + rows + common)
    b = _with_axes(graph, b, right, stack + common + columns)
    product = matmul_values(graph, a, b, dtype=dtype)
    product.shape = tuple(sizes[letter] for letter in stack + rows + columns)
    return _with_axes(graph, product, "".join(stack + rows + columns), [*output])


def _sizes(left: str, right: str, values: list[Value]) -> dict[str, Any] | None:
    """The size of each letter; ``None`` where an axis of length 1 stands for a longer one."""
    sizes: dict[str, Any] = {}
    for letters, value in zip((left, right), values, strict=True):
        if value.shape is None or len(value.shape) != len(letters):
            return None
        for letter, size in zip(letters, value.shape, strict=True):
            known = sizes.get(letter)
            if isinstance(known, int) and isinstance(size, int) and known != size:
                return None
            sizes[letter] = known if isinstance(known, int) else size
    return sizes


def _with_axes(graph: Graph, value: Value, letters: str, wanted: list[str]) -> Value:
    return graph.transpose(value, [letters.index(letter) for letter in wanted])


@register_lowering("Outer")
def outer(graph: Graph, _: Any, x1: Any, x2: Any) -> Value:
    """Outer product of flattened vectors."""
    dtype = result_type(graph, x1, x2)
    a = graph.reshape(graph.value(x1, dtype), (-1, 1))
    b = graph.reshape(graph.value(x2, dtype), (1, -1))
    return graph.node("And" if dtype == "bool" else "Mul", a, b)


@register_lowering("Vdot")
def vdot(graph: Graph, _: Any, x1: Any, x2: Any) -> Value:
    """Inner product of flattened vectors."""
    dtype = product_type(graph, "vdot", x1, x2)
    a, b = graph.reshape(graph.value(x1, dtype), (-1,)), graph.reshape(graph.value(x2, dtype), (-1,))
    return matmul_values(graph, a, b, dtype=dtype)


@register_lowering("Inner")
def inner(graph: Graph, _: Any, x1: Any, x2: Any) -> Value:
    """Contract the last axes."""
    dtype = product_type(graph, "inner", x1, x2)
    a, b = graph.value(x1, dtype), graph.value(x2, dtype)
    if a.rank == 0 or b.rank == 0:
        return graph.pointwise("Mul", a, b)
    return tensordot_values(graph, a, b, axes=([a.rank - 1], [b.rank - 1]), dtype=dtype)
