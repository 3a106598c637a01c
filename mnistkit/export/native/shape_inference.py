"""Shape inference: Keras' own, called for symbolic sizes, and corrected where it refuses what the operations accept.

The functions of the table return symbolic outputs like ``Operation.compute_output_spec``, for sizes that are numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, tree

from mnistkit.export.native.keras_hooks import get_mask, is_own, set_mask
from mnistkit.export.native.records import map_leaves
from mnistkit.export.native.symbolic_dim import (
    FreeSize,
    SymbolicDim,
    collect,
    contains_dim,
    first_size,
    large_size,
    make_tensor,
    second_size,
)
from mnistkit.export.native.value_types import computed, copied_operation


def infer(target: Any, args: Any, kwargs: Any) -> Any:
    """Infer outputs by Keras, or by the table below for the classes that need it."""
    special = SPECS.get(type(target).__name__) if is_own(type(target)) else None
    return target.compute_output_spec(*args, **kwargs) if special is None else special(target, *args, **kwargs)


def _conv(op: Any, inputs: Any, kernel: Any) -> Any:
    """A kernel with fewer input channels than the images is a grouped one: show Keras one group."""
    last = (op.data_format or keras.config.image_data_format()) == "channels_last"
    shape = list(inputs.shape)
    shape[-1 if last else 1] = kernel.shape[-2]
    out = op.compute_output_spec(KerasTensor(shape, dtype=inputs.dtype, name="t"), kernel)
    return KerasTensor(out.shape, dtype=inputs.dtype, name="t")


def _batch_norm(_: Any, x: Any, *__: Any, **___: Any) -> Any:
    return KerasTensor(x.shape, dtype=x.dtype, name="t")


def _adaptive_pool(op: Any, inputs: Any) -> Any:
    """Keras counts the spatial axes of the output only, and so keeps one too many for some inputs."""
    sizes = op.output_size
    count = len(inputs.shape) - 2
    sizes = (sizes,) * count if isinstance(sizes, int) else tuple(sizes)
    last = (op.data_format or keras.config.image_data_format()) == "channels_last"
    shape = (inputs.shape[0], *sizes, inputs.shape[-1]) if last else (*inputs.shape[:2], *sizes)
    return KerasTensor(shape, dtype=inputs.dtype, name="t")


def _multi_hot(op: Any, inputs: Any) -> Any:
    """The result has the type asked for, not that of the indices."""
    return KerasTensor(op.compute_output_spec(inputs).shape, dtype=op.dtype, name="t")


def _getitem(_: Any, x: Any, key: Any) -> Any:
    """Keras knows no bare ``None``, slice or tensor as a key, and no tensor inside one."""
    keys = list(key) if isinstance(key, (tuple, list)) else [key]
    ellipsis = [place for place, part in enumerate(keys) if part is Ellipsis]
    where = ellipsis[0] if ellipsis else len(keys)
    used = sum(1 for part in keys if part is not None and part is not Ellipsis)
    keys[where : where + len(ellipsis)] = [slice(None)] * (len(x.shape) - used)
    left = list(x.shape)
    shape: list[int] = []
    for part in keys:
        if part is None:
            shape.append(1)
            continue
        size = left.pop(0)
        if isinstance(part, slice):
            shape.append(_slice_length(part, size))
        elif not isinstance(part, (int, np.integer)):
            shape += list(getattr(part, "shape", np.shape(part)))
        elif not -size <= part < size:
            raise IndexError(f"index {part} is out of bounds for an axis of length {size}")
    return KerasTensor(tuple(shape), dtype=x.dtype, name="t")


def _slice_length(part: slice, size: int) -> int:
    ends = (part.start, part.stop)
    if any(isinstance(end, KerasTensor) for end in ends):
        raise TypeError("a slice between computed places has a length that depends on the data")
    return len(range(*part.indices(size)))


SPECS: dict[str, Callable[..., Any]] = {
    "Conv": _conv,
    "BatchNorm": _batch_norm,
    "AdaptiveAveragePool": _adaptive_pool,
    "AdaptiveMaxPool": _adaptive_pool,
    "GetItem": _getitem,
    "MultiHot": _multi_hot,
}


# -- symbolic sizes ---------------------------------------------------------------------------------------------------


def infer_symbolic(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Infer the outputs of an operation or a layer whose arguments have symbolic dimensions.

    Shapes are inferred twice, with two sets of sizes for the symbolic dimensions: an output dimension that differs
    between the two is symbolic too.
    """
    held = {} if _is_layer(target) else vars(target)  # clip holds its limits
    attributes = {k: v for k, v in held.items() if isinstance(v, KerasTensor) or contains_dim(v)}
    dims: dict[Any, SymbolicDim] = {}
    collect((args, kwargs, attributes), dims)
    first = _infer_sized(target, attributes, args, kwargs, first_size, typed=True)
    second = _infer_sized(target, attributes, args, kwargs, second_size) if dims else first
    by_sizes: dict[tuple[int, int], list[SymbolicDim]] = {}
    for dim in dims.values():
        by_sizes.setdefault((first_size(dim), second_size(dim)), []).append(dim)
    # a slice with bounds: x[:, :512] is as long as x up to 512, and 512 from there on
    cut = bool(dims) and type(target).__name__ == "GetItem" and is_own(type(target))
    large = _infer_sized(target, attributes, args, kwargs, large_size) if cut else first

    def size(x: Any, y: Any, z: Any) -> Any:
        if x == y and x is not None:
            if cut and z != x:
                raise ValueError(f"a slice is {x} long for some sizes and {z} for others")
            return int(x)
        known = [dim for dim in by_sizes.get((x, y), []) if not cut or large_size(dim) == z]
        return known[0] if len(known) == 1 else FreeSize(x or 1, y or 1)

    def merge(a: KerasTensor, b: KerasTensor, c: KerasTensor) -> KerasTensor:
        return make_tensor([size(*sizes) for sizes in zip(a.shape, b.shape, c.shape, strict=True)], a.dtype)

    return tree.map_structure(merge, first, second, large)


def _infer_sized(
    target: Any,
    attributes: dict[str, Any],
    args: Any,
    kwargs: Any,
    size_of: Callable[[Any], Any],
    *,
    typed: bool = False,
) -> Any:
    """Infer with a number for each symbolic dimension, those among the operation's attributes included.

    With ``typed`` the outputs have the types that the backend answers with.
    """

    def sized(value: Any) -> Any:
        if isinstance(value, SymbolicDim):
            return size_of(value)
        if isinstance(value, KerasTensor):
            tensor = make_tensor(map(size_of, value.shape), value.dtype)
            mask = get_mask(value)
            if mask is not None and _is_layer(target):
                set_mask(tensor, sized(mask))  # layers look at the mask of their input
            return tensor
        return value

    if attributes:
        target = copied_operation(target, map_leaves(attributes, sized))
    args, kwargs = map_leaves((args, kwargs), sized)

    def outputs(args: Any, kwargs: Any) -> Any:
        inferred = infer(target, args, kwargs)
        return computed(target, args, kwargs, inferred) if typed and not _is_layer(target) else inferred

    try:
        return outputs(args, kwargs)
    except AttributeError:
        # a size given where a tensor belongs, as in ops.cast(ops.shape(x)[1], "float32")
        def tensor(value: Any) -> Any:
            return make_tensor((), "int32") if type(value) is int else value

        return outputs(*map_leaves((args, kwargs), tensor))


def _is_layer(target: Any) -> bool:
    return isinstance(target, keras.layers.Layer)
