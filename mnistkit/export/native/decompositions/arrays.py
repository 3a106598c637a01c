"""Joining, splitting, counting and arranging."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
from keras import ops

from mnistkit.export.native.registry import UnsupportedOp, register_decomposition


@register_decomposition("Append")
def append(op: Any, x1: Any, x2: Any) -> Any:
    """Join two tensors, flattened without an axis."""
    if op.axis is None:
        return ops.concatenate([ops.reshape(x1, (-1,)), ops.reshape(x2, (-1,))])
    return ops.concatenate([x1, x2], axis=op.axis)


@register_decomposition("Hstack", "Vstack", "Dstack")
def stack(op: Any, xs: Any) -> Any:
    """Join along columns, rows or depth."""
    kind = type(op).__name__
    rank = {"Hstack": 1, "Vstack": 2, "Dstack": 3}[kind]
    parts = []
    for x in xs:
        x = ops.convert_to_tensor(x)  # noqa: PLW2901  scalars may come as numbers
        if len(x.shape) == 0:
            x = ops.reshape(x, (1,))  # noqa: PLW2901  as above
        if rank > 1 and len(x.shape) == 1:
            x = ops.expand_dims(x, 0)  # noqa: PLW2901  as above
        if kind == "Dstack" and len(x.shape) == 2:  # noqa: PLR2004  a matrix gets a depth
            x = ops.expand_dims(x, 2)  # noqa: PLW2901  as above
        parts.append(x)
    axis = {"Hstack": 0 if len(parts[0].shape) == 1 else 1, "Vstack": 0, "Dstack": 2}[kind]
    return ops.concatenate(parts, axis=axis)


@register_decomposition("Rot90")
def rot90(op: Any, array: Any) -> Any:
    """Turn by right angles."""
    first, second = (axis % len(array.shape) for axis in op.axes)
    turns = op.k % 4
    if turns == 0:
        return array
    if turns == 2:  # noqa: PLR2004  half a turn
        return ops.flip(ops.flip(array, first), second)
    if turns == 1:
        return ops.swapaxes(ops.flip(array, second), first, second)
    return ops.flip(ops.swapaxes(array, first, second), second)


@register_decomposition("Diff")
def diff(op: Any, a: Any) -> Any:
    """Differences of neighbours."""
    axis = op.axis % len(a.shape)
    for _ in range(op.n):
        lead = (slice(None),) * axis
        later, earlier = a[(*lead, slice(1, None))], a[(*lead, slice(None, -1))]
        a = ops.logical_xor(later, earlier) if a.dtype == "bool" else later - earlier
    return a


@register_decomposition("Diagonal")
def diagonal(op: Any, x: Any) -> Any:
    """Diagonals of matrices, moved to the last axis."""
    rank = len(x.shape)
    a, b = op.axis1 % rank, op.axis2 % rank
    x = ops.transpose(x, [*[i for i in range(rank) if i not in (a, b)], a, b])
    rows, columns = x.shape[-2], x.shape[-1]
    row, column = max(-op.offset, 0), max(op.offset, 0)
    length = max(min(int(rows) - row, int(columns) - column), 0)
    index = np.arange(length)
    flat = ops.reshape(x, (*x.shape[:-2], int(rows) * int(columns)))
    return ops.take(flat, (index + row) * int(columns) + index + column, axis=-1)


@register_decomposition("Trace")
def trace(op: Any, x: Any) -> Any:
    """Sum of the diagonal."""
    return ops.sum(ops.diagonal(x, offset=op.offset, axis1=op.axis1, axis2=op.axis2), axis=-1)


@register_decomposition("Diag")
def diag(op: Any, x: Any) -> Any:
    """A matrix with a vector on a diagonal, or the diagonal of a matrix."""
    if len(x.shape) == 2:  # noqa: PLR2004  a matrix
        return ops.diagonal(x, offset=op.k)
    size = int(x.shape[0])
    total = size + abs(op.k)
    out = np.zeros((total, total), bool)
    index = np.arange(size)
    out[index + max(-op.k, 0), index + max(op.k, 0)] = True
    spread = ops.pad(x, [(max(-op.k, 0), max(op.k, 0))])
    return ops.where(out, ops.expand_dims(spread, 1), ops.zeros((), dtype=x.dtype))


@register_decomposition("Diagflat")
def diagflat(op: Any, x: Any) -> Any:
    """A matrix with the flattened tensor on a diagonal."""
    return ops.diag(ops.reshape(x, (-1,)), k=op.k)


@register_decomposition("Kron")
def kron(_: Any, x1: Any, x2: Any) -> Any:
    """Kronecker product."""
    rank = max(len(x1.shape), len(x2.shape))
    a = ops.reshape(x1, (1,) * (rank - len(x1.shape)) + tuple(x1.shape))
    b = ops.reshape(x2, (1,) * (rank - len(x2.shape)) + tuple(x2.shape))
    wide_a = ops.expand_dims(a, tuple(range(1, 2 * rank, 2)))
    wide_b = ops.expand_dims(b, tuple(range(0, 2 * rank, 2)))
    return ops.reshape(ops.multiply(wide_a, wide_b), tuple(m * n for m, n in zip(a.shape, b.shape, strict=True)))


@register_decomposition("Cross")
def cross(op: Any, x1: Any, x2: Any) -> Any:
    """Vector product in three dimensions (two: its third component)."""
    a, b = ops.moveaxis(x1, op.axisa, -1), ops.moveaxis(x2, op.axisb, -1)
    planar = (a.shape[-1] == 2, b.shape[-1] == 2)  # noqa: PLR2004  vectors in the plane
    a1, a2 = a[..., 0], a[..., 1]
    b1, b2 = b[..., 0], b[..., 1]
    if all(planar):
        return a1 * b2 - a2 * b1
    a3 = ops.zeros_like(a1) if planar[0] else a[..., 2]
    b3 = ops.zeros_like(b1) if planar[1] else b[..., 2]
    out = ops.stack([a2 * b3 - a3 * b2, a3 * b1 - a1 * b3, a1 * b2 - a2 * b1], axis=-1)
    return ops.moveaxis(out, -1, op.axisc)


@register_decomposition("Meshgrid")
def meshgrid(op: Any, *x: Any) -> Any:
    """Coordinate grids."""
    flat = [ops.reshape(item, (-1,)) for item in x]
    count = len(flat)
    order = list(range(count))
    if op.indexing == "xy" and count > 1:
        order[0], order[1] = 1, 0
    sizes = [flat[i].shape[0] for i in order]
    grids = []
    for i, item in enumerate(flat):
        shape = [1] * count
        shape[order.index(i)] = -1
        grids.append(ops.broadcast_to(ops.reshape(item, shape), tuple(sizes)))
    return grids


@register_decomposition("Cumprod")
def cumprod(op: Any, x: Any) -> Any:
    """Running product: for each position the product of what is not after it."""
    dtype = op.dtype
    if op.axis is None:
        x, axis = ops.reshape(x, (-1,)), 0
    else:
        axis = op.axis
    if dtype is not None:
        x = ops.cast(x, dtype)
    elif x.dtype == "bool":
        x = ops.cast(x, "int32")
    x = ops.moveaxis(x, axis, -1)
    size = ops.shape(x)[-1]
    index = ops.arange(size)
    before = ops.less_equal(ops.expand_dims(index, 0), ops.expand_dims(index, 1))
    out = ops.prod(ops.where(before, ops.expand_dims(x, -2), ops.ones((), dtype=x.dtype)), axis=-1)
    return ops.moveaxis(ops.cast(out, x.dtype), -1, axis)


@register_decomposition("Bincount")
def bincount(op: Any, x: Any) -> Any:
    """Count how often each number occurs, when ``minlength`` says how many there are."""
    if not op.minlength:
        raise UnsupportedOp("bincount without minlength has a shape that depends on the data")
    hits = ops.cast(ops.equal(ops.expand_dims(x, -1), ops.arange(op.minlength, dtype=x.dtype)), "int32")
    if op.weights is None:
        return ops.sum(hits, axis=-2)
    weights = ops.convert_to_tensor(op.weights)
    return ops.sum(ops.cast(hits, weights.dtype) * ops.expand_dims(weights, -1), axis=-2)


@register_decomposition("IsIn")
def isin(op: Any, x1: Any, x2: Any) -> Any:
    """Whether each element occurs in the other tensor."""
    found = ops.any(ops.equal(ops.expand_dims(x1, -1), ops.reshape(x2, (-1,))), axis=-1)
    return ops.logical_not(found) if op.invert else found


@register_decomposition("Select")
def select(_: Any, condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """The first choice whose condition holds."""
    out = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        out = ops.where(condition, choice, out)
    return out


@register_decomposition("UnravelIndex")
def unravel_index(op: Any, indices: Any) -> Any:
    """Indices into the flattened tensor as indices by axis."""
    rest = ops.where(ops.less(indices, 0), indices + int(np.prod(op.shape)), indices)
    parts = []
    for size in reversed(op.shape):
        parts.append(ops.mod(rest, size))
        rest = ops.floor_divide(rest, size)
    return tuple(reversed(parts))


@register_decomposition("Vander")
def vander(op: Any, x: Any) -> Any:
    """Powers of a vector as columns."""
    count = int(x.shape[0]) if op.N is None else op.N
    columns = [ops.ones_like(x)]
    for _ in range(count - 1):
        columns.append(columns[-1] * x)
    columns = columns[:count] if op.increasing else columns[:count][::-1]
    return ops.stack(columns, axis=-1)


@register_decomposition("Linspace")
def linspace(op: Any, start: Any, stop: Any) -> Any:
    """Evenly spaced numbers between two tensors."""
    from mnistkit.export.native.decompositions.elementwise import promoted

    a, b = promoted(start, stop)
    count = op.num - 1 if op.endpoint else op.num
    steps = np.arange(op.num, dtype="float32") / max(count, 1)
    rank = max(len(a.shape), len(b.shape))
    shape = [1] * (rank + 1)
    shape[op.axis % (rank + 1)] = op.num
    a, b = ops.broadcast_to(a, ops.shape(a + b)), ops.broadcast_to(b, ops.shape(a + b))
    steps = ops.convert_to_tensor(steps.reshape(shape), dtype=a.dtype)
    out = ops.expand_dims(a, op.axis) * (1 - steps) + ops.expand_dims(b, op.axis) * steps
    out = out if op.dtype is None else ops.cast(out, op.dtype)
    return (out, (b - a) / max(count, 1)) if op.retstep else out


@register_decomposition("Logspace")
def logspace(op: Any, start: Any, stop: Any) -> Any:
    """Powers with evenly spaced exponents."""
    exponents = ops.linspace(start, stop, num=op.num, endpoint=op.endpoint, axis=op.axis)
    out = ops.power(ops.cast(op.base, exponents.dtype), exponents)
    return out if op.dtype is None else ops.cast(out, op.dtype)


@register_decomposition("Size")
def size(_: Any, x: Any) -> Any:
    """Number of elements."""
    total: Any = 1
    for length in x.shape:
        total = length * total
    return ops.cast(total, "int32")


@register_decomposition("Ndim")
def ndim(_: Any, x: Any) -> int:
    """Number of axes, a plain number as for real tensors: layers build shapes and indices from it."""
    return len(x.shape)


@register_decomposition("ExtractSequences")
def extract_sequences(op: Any, x: Any) -> Any:
    """Overlapping windows of the last axis."""
    count = (ops.shape(x)[-1] - op.sequence_length) // op.sequence_stride + 1
    starts = ops.expand_dims(ops.arange(count) * op.sequence_stride, 1)
    index = starts + ops.expand_dims(ops.arange(op.sequence_length), 0)
    return ops.take(x, index, axis=-1)


@register_decomposition("CDist")
def cdist(_: Any, x: Any, y: Any) -> Any:
    """Distances between all pairs of points."""
    difference = ops.expand_dims(x, -2) - ops.expand_dims(y, -3)
    return ops.sqrt(ops.sum(ops.square(difference), axis=-1))


@register_decomposition("SegmentSum", "SegmentMax", "SegmentMin", "SegmentProd")
def segment(op: Any, data: Any, segment_ids: Any) -> Any:
    """Reduce rows by segment, when the number of segments is given."""
    if op.num_segments is None:
        raise UnsupportedOp("a segment reduction without num_segments has a shape that depends on the data")
    kind = type(op).__name__
    ids = np.arange(op.num_segments, dtype="int32")[:, None]
    member = ops.equal(ids, ops.expand_dims(ops.cast(segment_ids, "int32"), 0))
    member = ops.reshape(member, (*member.shape, *[1] * (len(data.shape) - 1)))
    floating = "float" in data.dtype
    info = np.finfo("float32") if floating else np.iinfo(data.dtype)
    low, high = (-np.inf, np.inf) if floating else (info.min, info.max)
    neutral = {"SegmentSum": 0, "SegmentProd": 1, "SegmentMax": low, "SegmentMin": high}[kind]
    reduce = {"SegmentSum": ops.sum, "SegmentProd": ops.prod, "SegmentMax": ops.max, "SegmentMin": ops.min}[kind]
    return reduce(ops.where(member, ops.expand_dims(data, 0), ops.cast(neutral, data.dtype)), axis=1)


@register_decomposition("Rearrange")
def rearrange(op: Any, tensor: Any, pattern: str, **axes_lengths: int) -> Any:
    """Reshapes and a transpose, for patterns of names and parentheses."""
    del op
    if set(pattern) & set(string.punctuation) - set("()_->"):
        raise UnsupportedOp(f"the pattern {pattern!r}")
    return _rearranged(tensor, pattern, axes_lengths)


def _rearranged(tensor: Any, pattern: str, lengths: dict[str, int]) -> Any:
    left, right = (_groups(side) for side in pattern.split("->"))
    sizes: dict[str, Any] = dict(lengths)
    for group, size in zip(left, tensor.shape, strict=True):
        unknown = [name for name in group if name not in sizes]
        known: Any = 1
        for name in group:
            known = known * sizes.get(name, 1)
        if unknown:
            sizes[unknown[0]] = size // known if known != 1 else size
    names = [name for group in left for name in group]
    x = ops.reshape(tensor, tuple(sizes[name] for name in names))
    order = [name for group in right for name in group]
    x = ops.transpose(x, [names.index(name) for name in order])
    out = []
    for group in right:
        total: Any = 1
        for name in group:
            total = sizes[name] * total
        out.append(total)
    return ops.reshape(x, tuple(out))


def _groups(side: str) -> list[list[str]]:
    groups: list[list[str]] = []
    inside = False
    for token in side.replace("(", " ( ").replace(")", " ) ").split():
        if token == "(":  # noqa: S105  a parenthesis, no password
            groups.append([])
            inside = True
        elif token == ")":  # noqa: S105  as above
            inside = False
        elif inside:
            groups[-1].append(token)
        else:
            groups.append([] if token == "1" else [token])  # noqa: S105  an axis of length 1
    return groups
